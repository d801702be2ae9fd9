//! The bins of a round's columns, row by row, without the commonest bin of each column.
//!
//! Where most values are alike, as the paper of a picture is, what is left out is most of the work;
//! its sums are what the others leave of the sums of all. Row by row, because a row's slopes are then
//! read once, and neighbouring additions do not wait for each other.

use super::Pair;
use crate::fit::{bins::Bins, matrix::index32, trees::at};

/// Of which bins the histograms of a round consist, and where each row adds to them.
#[derive(Debug)]
pub(super) struct Entries {
    /// The commonest bin of every column there is.
    commonest: Vec<u8>,
    /// Columns of the round, growing.
    columns: Vec<usize>,
    /// The commonest bin of each of them.
    common: Vec<u8>,
    /// Bins of the widest column.
    stride: usize,
    /// Where each row's places begin; one more at the end.
    starts: Vec<usize>,
    /// Places in a histogram, row after row.
    places: Vec<u32>,
}

/// Rows whose places are written side by side.
const BLOCK: usize = 256;

impl Entries {
    /// Of no columns yet.
    pub(super) fn new(bins: &Bins) -> Self {
        Self {
            commonest: (0..bins.width()).map(|column| bins.commonest(column)).collect(),
            columns: Vec::new(),
            common: Vec::new(),
            stride: 1,
            starts: vec![0; bins.rows() + 1],
            places: Vec::new(),
        }
    }

    /// Takes up the columns of a round.
    pub(super) fn take_up(&mut self, bins: &Bins, columns: &[usize]) {
        self.columns.clear();
        self.columns.extend_from_slice(columns);
        self.stride = columns.iter().map(|&column| bins.count(column)).max().unwrap_or(1);
        self.common.clear();
        self.common.extend(columns.iter().map(|&column| self.commonest[column]));
        self.starts.clear();
        self.places.clear();
        let mut block = vec![0_u8; BLOCK.min(bins.rows()) * columns.len()];
        for first in (0..bins.rows()).step_by(BLOCK) {
            let count = BLOCK.min(bins.rows() - first);
            for (slot, &column) in columns.iter().enumerate() {
                let bytes = &bins.column(column)[first..first + count];
                for (row, &bin) in bytes.iter().enumerate() {
                    block[row * columns.len() + slot] = bin;
                }
            }
            for row in block.chunks_exact(columns.len().max(1)).take(count) {
                self.starts.push(self.places.len());
                let mut place = 0;
                for (&bin, &common) in row.iter().zip(&self.common) {
                    if bin != common {
                        self.places.push(place + u32::from(bin));
                    }
                    place += index32(self.stride);
                }
            }
        }
        // One end for all; without columns, the beginnings too.
        self.starts.resize(bins.rows() + 1, self.places.len());
    }

    /// The columns with their part of a histogram.
    pub(super) fn columns<'a>(
        &'a self,
        histogram: &'a [Pair],
    ) -> impl Iterator<Item = (usize, &'a [Pair])> {
        self.columns.iter().copied().zip(histogram.chunks_exact(self.stride))
    }

    /// The sums of slope and curvature of `rows` in each bin of each column; `sum` is that of all.
    pub(super) fn count(
        &self,
        rows: &[u32],
        pairs: &[Pair],
        sum: [f64; 2],
        histogram: &mut Vec<Pair>,
    ) {
        histogram.clear();
        histogram.resize(self.columns.len() * self.stride, [0.0; 2]);
        for &row in rows {
            let row = at(row);
            let pair = pairs[row];
            for &place in &self.places[self.starts[row]..self.starts[row + 1]] {
                let sum = &mut histogram[at(place)];
                *sum = [sum[0] + pair[0], sum[1] + pair[1]];
            }
        }
        for (sums, &common) in histogram.chunks_exact_mut(self.stride).zip(&self.common) {
            let mut rest = sum;
            for pair in &*sums {
                rest = [rest[0] - f64::from(pair[0]), rest[1] - f64::from(pair[1])];
            }
            sums[usize::from(common)] = rest.map(crate::fit::matrix::narrow);
        }
    }
}

#[cfg(test)]
mod tests {
    use models::Features;

    use super::*;
    use crate::{draw::Draw, fit::matrix::narrow};

    #[test]
    fn a_histogram_sums_what_falls_into_each_bin_the_commonest_included() {
        let (rows, width) = (700, 5);
        let mut draw = Draw::new(1);
        // Columns with few and with many different values, the smallest the commonest.
        let value = |draw: &mut Draw, at: usize| {
            u8::try_from(draw.below(3).pow(2) * draw.below(1 + at % width)).map(f32::from).unwrap()
        };
        let values = (0..rows * width).map(|at| value(&mut draw, at)).collect();
        let bins = Bins::new(&Features::new(width, values).unwrap(), 16);
        let pairs: Vec<Pair> =
            (0..rows).map(|_| [draw.unit() - 0.5, draw.unit()].map(narrow)).collect();
        let chosen: Vec<u32> = (0..index32(rows)).filter(|row| row % 3 != 0).collect();
        let mut sum = [0.0_f64; 2];
        for &row in &chosen {
            let pair = pairs[at(row)];
            sum = [sum[0] + f64::from(pair[0]), sum[1] + f64::from(pair[1])];
        }
        let columns = [1, 2, 4];
        let mut entries = Entries::new(&bins);
        entries.take_up(&bins, &columns);
        let mut histogram = Vec::new();
        entries.count(&chosen, &pairs, sum, &mut histogram);
        for (column, sums) in entries.columns(&histogram) {
            for (bin, sum) in sums.iter().enumerate().take(bins.count(column)) {
                let here =
                    chosen.iter().filter(|&&row| usize::from(bins.column(column)[at(row)]) == bin);
                let by_hand: f32 = here.map(|&row| pairs[at(row)][0]).sum();
                assert!((sum[0] - by_hand).abs() < 1e-3, "{column} {bin}");
            }
        }
    }
}
