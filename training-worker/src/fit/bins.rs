//! Columns cut into at most 256 bins, so that trees look for splits among bytes.
//!
//! A value is in bin `b` when it is at most cut `b` and above the cut before it. A split after bin
//! `b` is therefore the comparison `value <= cut[b]`, exactly: what a tree decided on bins, it
//! decides on the numbers.

use models::Features;

/// Rows that are turned from columns at once.
const TRANSPOSED_ROWS: usize = 64;

/// Samples as bins.
#[derive(Debug)]
pub(super) struct Bins {
    rows: usize,
    /// `[width, rows]`: a column's bins stand together.
    columns: Vec<u8>,
    /// The cuts of each column, growing; one fewer than it has bins.
    cuts: Vec<Vec<f32>>,
}

impl Bins {
    /// Cuts every column of `samples` into at most `most` bins, as evenly filled as equal values
    /// allow.
    pub(super) fn new(samples: &Features, most: usize) -> Self {
        let (rows, width) = (samples.len(), samples.width());
        let most = most.clamp(2, 256);
        let mut columns = Vec::with_capacity(rows * width);
        let mut cuts = Vec::with_capacity(width);
        let mut values = Vec::with_capacity(rows);
        for column in 0..width {
            values.clear();
            values.extend(samples.values()[column..].iter().step_by(width));
            values.sort_unstable_by(f32::total_cmp);
            let cut = cut_evenly(&values, most);
            let bins = samples.values()[column..].iter().step_by(width);
            columns.extend(bins.map(|&value| bin(&cut, value)));
            cuts.push(cut);
        }
        Self { rows, columns, cuts }
    }

    /// The bins of all rows in `column`.
    pub(super) fn column(&self, column: usize) -> &[u8] {
        &self.columns[column * self.rows..][..self.rows]
    }

    /// `[rows, width]`: a row's bins stand together.
    pub(super) fn by_row(&self) -> Vec<u8> {
        let width = self.width();
        let mut by_row = vec![0; self.columns.len()];
        // A few rows at a time, which stay in the cache while all columns are read.
        for (block, rows) in by_row.chunks_mut(TRANSPOSED_ROWS * width).enumerate() {
            let first = block * TRANSPOSED_ROWS;
            let count = rows.len() / width;
            for column in 0..width {
                let bins = &self.column(column)[first..first + count];
                for (to, &bin) in rows[column..].iter_mut().step_by(width).zip(bins) {
                    *to = bin;
                }
            }
        }
        by_row
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The bin of `column` that most rows are in; of equal ones the lowest.
    pub(super) fn commonest(&self, column: usize) -> u8 {
        let mut filled = [0_u32; 256];
        self.column(column).iter().for_each(|&bin| filled[usize::from(bin)] += 1);
        let bins = (0..=u8::MAX).rev();
        bins.max_by_key(|&bin| filled[usize::from(bin)]).unwrap_or(0)
    }

    /// How many bins `column` has; 1 when it is constant.
    pub(super) fn count(&self, column: usize) -> usize {
        self.cuts[column].len() + 1
    }

    /// The number that a split after `bin` of `column` compares with.
    pub(super) fn threshold(&self, column: usize, bin: u8) -> f32 {
        self.cuts[column][usize::from(bin)]
    }

    /// After which bin to split `column` between rows up to bin `low` and rows from bin `high` on: where
    /// the cut is nearest to the middle of what lies between them.
    pub(super) fn middle(&self, column: usize, low: u8, high: u8) -> u8 {
        let cuts = &self.cuts[column][usize::from(low)..usize::from(high)];
        let middle = between(cuts[0], cuts[cuts.len() - 1]);
        let above = cuts.partition_point(|&cut| cut < middle);
        let nearer = 0 < above && middle - cuts[above - 1] <= cuts[above] - middle;
        low + u8::try_from(above - usize::from(nearer)).expect("between two bins")
    }

    /// How many columns there are.
    pub(super) fn width(&self) -> usize {
        self.cuts.len()
    }

    /// The bin of any `value` in `column`.
    #[cfg(test)]
    pub(super) fn of(&self, column: usize, value: f32) -> u8 {
        bin(&self.cuts[column], value)
    }
}

fn bin(cuts: &[f32], value: f32) -> u8 {
    u8::try_from(cuts.partition_point(|&cut| cut < value)).expect("at most 255 cuts")
}

/// Cuts between neighbouring values, so that each bin holds about the same number of `sorted`.
fn cut_evenly(sorted: &[f32], most: usize) -> Vec<f32> {
    let distinct = 1 + sorted.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let mut cuts = Vec::with_capacity(distinct.min(most) - 1);
    let (mut filled, mut seen) = (0_usize, 0_usize);
    for pair in sorted.windows(2) {
        filled += 1;
        seen += 1;
        let bins_left = most - cuts.len();
        if bins_left == 1 {
            break;
        }
        // What is left is shared by the bins that are left, counting what this bin has.
        let share = (sorted.len() - seen + filled).div_ceil(bins_left);
        if pair[0] < pair[1] && (distinct <= most || share <= filled) {
            cuts.push(between(pair[0], pair[1]));
            filled = 0;
        }
    }
    cuts
}

/// The middle of two different numbers, never the larger one.
fn between(low: f32, high: f32) -> f32 {
    let middle = low / 2.0 + high / 2.0;
    if low <= middle && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_different_values_have_a_bin_each() {
        let samples = Features::new(1, vec![3.0, 1.0, 2.0, 1.0, -0.0, 0.0]).unwrap();
        let bins = Bins::new(&samples, 64);
        assert_eq!(bins.column(0), [3, 1, 2, 1, 0, 0]);
        assert_eq!(bins.count(0), 4);
    }

    #[test]
    fn rows_and_columns_hold_the_same_bins() {
        let values = (0_u16..3 * 150).map(|it| f32::from(it * 7 % 31)).collect();
        let bins = Bins::new(&Features::new(3, values).unwrap(), 64);
        for (row, bytes) in bins.by_row().chunks_exact(3).enumerate() {
            assert_eq!([0, 1, 2].map(|column| bins.column(column)[row]), bytes);
        }
    }

    #[test]
    fn many_values_fill_their_bins_evenly() {
        let samples = Features::new(1, (0_u16..1000).map(f32::from).collect()).unwrap();
        let bins = Bins::new(&samples, 10);
        let mut filled = [0_u32; 10];
        for &bin in bins.column(0) {
            filled[usize::from(bin)] += 1;
        }
        assert_eq!(filled, [100; 10]);
    }

    #[test]
    fn a_split_after_a_bin_is_the_comparison_with_its_cut() {
        let values = [-1e30, -1.0, f32::MIN_POSITIVE, 1.0, 1.000_000_1, 2.0, f32::MAX];
        let samples = Features::new(1, values.to_vec()).unwrap();
        let bins = Bins::new(&samples, 256);
        for bin in 0..6 {
            for value in values {
                let left = bins.of(0, value) <= bin;
                assert_eq!(left, value <= bins.threshold(0, bin), "{value} {bin}");
            }
        }
    }

    #[test]
    fn a_split_is_in_the_middle_of_what_no_row_is_in() {
        let samples = Features::new(1, vec![0.0, 1.0, 2.0, 10.0, 90.0, 100.0]).unwrap();
        let bins = Bins::new(&samples, 256);
        // Cuts at 0.5, 1.5, 6, 50 and 95.
        for (low, high, middle) in
            [(0, 1, 0), (0, 3, 1), (0, 4, 2), (0, 5, 3), (2, 5, 3), (4, 5, 4)]
        {
            assert_eq!(bins.middle(0, low, high), middle, "{low} {high}");
        }
    }

    #[test]
    fn a_constant_column_has_one_bin() {
        let samples = Features::new(1, vec![5.0; 9]).unwrap();
        assert_eq!(Bins::new(&samples, 64).count(0), 1);
    }
}
