//! k nearest neighbours: the training rows themselves.

use super::{Buffers, ModelError};
use crate::{check, kernel::squared_distances_of_many, near::Near, rows::Rows, work::Work};

/// Most neighbours: they are kept sorted by insertion, which is fast while they are few.
pub const NEIGHBOURS_MAX: u32 = 1_000;

/// Votes of the `k` rows that are nearest by Euclidean distance.
///
/// A tie between classes goes to the smallest class; of rows at the same distance the first counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Knn {
    /// How many neighbours vote; at least 1, at most the number of rows.
    pub k: u32,
    /// `[n, width]`, row-major.
    pub rows: Near,
    /// `[n]` class ids.
    pub labels: Vec<u16>,
}

impl Knn {
    /// `out[c]` becomes the number of the `k` nearest rows that are of class `c`.
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let k = self.k as usize;
        let Buffers { nearest, near, .. } = buffers;
        nearest.clear();
        nearest.reserve(k);
        self.rows.nearest(x, near, |row, distance| {
            keep_nearest(nearest, k, distance, row);
            nearest.get(k - 1).map_or(f32::INFINITY, |&(worst, _)| worst)
        });
        self.count(nearest, out);
    }

    /// [`Knn::scores`] of several samples side by side: the same distances in the same order.
    pub(super) fn scores_of_many(&self, xs: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let k = self.k as usize;
        let width = self.rows.width();
        let samples = xs.len() / width;
        let classes = out.len() / samples.max(1);
        let Rows::Exact(rows) = self.rows.rows() else {
            // So few bytes stay in the cache, and far rows are left early.
            let samples = xs.chunks_exact(width).zip(out.chunks_exact_mut(classes.max(1)));
            samples.for_each(|(x, out)| self.scores(x, out, buffers));
            return;
        };
        let mut nearest = vec![Vec::with_capacity(k); samples];
        let mut rows_read = 0;
        squared_distances_of_many(rows, xs, width, |sample, distance| {
            rows_read += usize::from(sample == 0);
            keep_nearest(&mut nearest[sample], k, distance, rows_read - 1);
        });
        for (nearest, out) in nearest.iter().zip(out.chunks_exact_mut(classes.max(1))) {
            self.count(nearest, out);
        }
    }

    fn count(&self, nearest: &[(f32, usize)], out: &mut [f32]) {
        out.fill(0.0);
        for &(_, row) in nearest {
            out[usize::from(self.labels[row])] += 1.0;
        }
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        check::some("knn labels", self.labels.len())?;
        check::some("knn k", self.k as usize)?;
        check::at_most("knn k", self.k as usize, NEIGHBOURS_MAX as usize)?;
        check::at_most("knn k", self.k as usize, self.labels.len())?;
        super::same_width("knn width", self.rows.width(), width)?;
        self.rows.check("knn rows", self.labels.len())?;
        for &label in &self.labels {
            check::below("knn labels", label, classes)?;
        }
        Ok(())
    }

    /// Every row is read once.
    pub(super) fn work(&self) -> Work {
        Work { bytes: self.rows.rows().bytes(), ..Work::default() }
    }
}

/// Inserts a row into the list of the nearest ones, which is sorted by distance and number.
#[inline]
fn keep_nearest(nearest: &mut Vec<(f32, usize)>, k: usize, distance: f32, row: usize) {
    let before =
        |&(other, number): &(f32, usize)| other < distance || (other == distance && number < row);
    if nearest.len() == k {
        if nearest.last().is_none_or(before) {
            return;
        }
        nearest.pop();
    }
    let at = nearest.partition_point(before);
    nearest.insert(at, (distance, row));
}
