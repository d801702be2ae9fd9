//! k nearest neighbours: the training rows themselves.

use super::{Buffers, ModelError};
use crate::{check, kernel::squared_distances_of_many, rows::Rows, work::Work};

/// Most neighbours: they are kept sorted by insertion, which is fast while they are few.
pub const NEIGHBOURS_MAX: u32 = 1_000;

/// Votes of the `k` rows that are nearest by Euclidean distance.
///
/// A tie between classes goes to the smallest class; of rows at the same distance the first counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Knn {
    /// How many neighbours vote; at least 1, at most the number of rows.
    pub k: u32,
    /// Values per row.
    pub width: usize,
    /// `[n, width]`, row-major.
    pub rows: Rows,
    /// `[n]` class ids.
    pub labels: Vec<u16>,
}

impl Knn {
    /// `out[c]` becomes the number of the `k` nearest rows that are of class `c`.
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let k = self.k as usize;
        let Buffers { nearest, bytes, .. } = buffers;
        nearest.clear();
        nearest.reserve(k);
        self.rows.nearer(x, bytes, |row, distance| {
            if let Some(&label) = self.labels.get(row) {
                keep_nearest(nearest, k, distance, label);
            }
            nearest.get(k - 1).map_or(f32::INFINITY, |&(worst, _)| worst)
        });
        count(nearest, out);
    }

    /// [`Knn::scores`] of several samples side by side: the same distances in the same order.
    pub(super) fn scores_of_many(&self, xs: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let k = self.k as usize;
        let samples = xs.len() / self.width;
        let classes = out.len() / samples.max(1);
        let Rows::Exact(rows) = &self.rows else {
            // So few bytes stay in the cache, and far rows are left early.
            let samples = xs.chunks_exact(self.width).zip(out.chunks_exact_mut(classes.max(1)));
            samples.for_each(|(x, out)| self.scores(x, out, buffers));
            return;
        };
        let mut nearest = vec![Vec::with_capacity(k); samples];
        let mut labels = self.labels.iter();
        let mut label = 0;
        squared_distances_of_many(rows, xs, self.width, |sample, distance| {
            if sample == 0 {
                label = labels.next().copied().unwrap_or_default();
            }
            keep_nearest(&mut nearest[sample], k, distance, label);
        });
        for (nearest, out) in nearest.iter().zip(out.chunks_exact_mut(classes.max(1))) {
            count(nearest, out);
        }
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        check::some("knn labels", self.labels.len())?;
        check::some("knn k", self.k as usize)?;
        check::at_most("knn k", self.k as usize, NEIGHBOURS_MAX as usize)?;
        check::at_most("knn k", self.k as usize, self.labels.len())?;
        super::same_width("knn width", self.width, width)?;
        self.rows.check("knn rows", self.labels.len(), self.width)?;
        for &label in &self.labels {
            check::below("knn labels", label, classes)?;
        }
        Ok(())
    }

    /// Every row is read once.
    pub(super) fn work(&self) -> Work {
        Work { bytes: self.rows.bytes(), ..Work::default() }
    }
}

/// Inserts a row into the sorted list of the nearest ones, behind those at the same distance.
#[inline]
fn keep_nearest(nearest: &mut Vec<(f32, u16)>, k: usize, distance: f32, label: u16) {
    if nearest.len() == k {
        if nearest.last().is_none_or(|&(worst, _)| worst <= distance) {
            return;
        }
        nearest.pop();
    }
    let at = nearest.partition_point(|&(other, _)| other <= distance);
    nearest.insert(at, (distance, label));
}

fn count(nearest: &[(f32, u16)], out: &mut [f32]) {
    out.fill(0.0);
    for &(_, label) in nearest {
        out[usize::from(label)] += 1.0;
    }
}
