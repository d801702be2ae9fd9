//! Rows of the kernel matrix, computed when they are needed and kept while there is room.

use crate::fit::matrix::{NullaryFnOnce, Squares, multiply, vectorised, view, view_mut};

/// Kernel rows between the rows of one pair of classes.
pub(super) struct Kernel {
    /// `[rows, width]`.
    values: Vec<f32>,
    width: usize,
    gamma: f32,
    rows: usize,
    /// `gamma·|row|²`.
    squares: Vec<f32>,
    /// A kernel row for each slot that was used.
    kept: Vec<Vec<f32>>,
    /// The row that each slot keeps.
    holds: Vec<Option<usize>>,
    /// The slot of each row.
    slots: Vec<Option<usize>>,
    /// When each slot was used last.
    used: Vec<u64>,
    now: u64,
    batch: Vec<f32>,
    products: Vec<f32>,
}

impl Kernel {
    /// Keeps `bytes` of kernel rows, at least `room_min` rows.
    pub(super) fn new(
        values: Vec<f32>,
        width: usize,
        gamma: f32,
        bytes: usize,
        room_min: usize,
    ) -> Self {
        let rows = values.len() / width;
        let room = (bytes / (4 * rows)).clamp(room_min, room_min.max(rows));
        let mut squares = vectorised(Squares { rows: &values, width });
        squares.iter_mut().for_each(|square| *square *= gamma);
        Self {
            values,
            width,
            gamma,
            rows,
            squares,
            kept: Vec::new(),
            holds: vec![None; room],
            slots: vec![None; rows],
            used: vec![0; room],
            now: 0,
            batch: Vec::new(),
            products: Vec::new(),
        }
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.slots[row].is_some()
    }

    /// Says that `row`, which must have been fetched, is in use.
    pub(super) fn touch(&mut self, row: usize) {
        let slot = self.slots[row].expect("fetched before it is used");
        self.now += 1;
        self.used[slot] = self.now;
    }

    /// The kernel row of `row`, which must have been fetched.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let slot = self.slots[row].expect("fetched before it is used");
        &self.kept[slot]
    }

    /// Computes the kernel rows of `wanted`, none of which is kept yet and for which
    /// there is room.
    pub(super) fn fetch(&mut self, wanted: &[usize]) {
        let (rows, width) = (self.rows, self.width);
        self.batch.clear();
        for &row in wanted {
            self.batch.extend_from_slice(&self.values[row * width..][..width]);
        }
        let mut products = std::mem::take(&mut self.products);
        products.resize(wanted.len() * rows, 0.0);
        multiply(
            view_mut(&mut products, wanted.len(), rows),
            view(&self.batch, wanted.len(), width),
            view(&self.values, rows, width).transpose(),
        );
        for (products, &row) in products.chunks_exact(rows).zip(wanted) {
            let slot = self.make_room();
            while self.kept.len() <= slot {
                self.kept.push(vec![0.0; rows]);
            }
            let kernels = &mut self.kept[slot][..];
            let square = self.squares[row];
            let twice = 2.0 * self.gamma;
            vectorised(Kernels { kernels, products, squares: &self.squares, square, twice });
            kernels[row] = 1.0;
            self.holds[slot] = Some(row);
            self.slots[row] = Some(slot);
            self.touch(row);
        }
        self.products = products;
    }

    /// A free slot, or the one used longest ago.
    fn make_room(&mut self) -> usize {
        let oldest = (0..self.used.len()).min_by_key(|&slot| self.used[slot]);
        let slot = oldest.expect("a cache has slots");
        if let Some(row) = self.holds[slot].take() {
            self.slots[row] = None;
        }
        slot
    }
}

/// From products with a row to kernels with it.
struct Kernels<'a> {
    kernels: &'a mut [f32],
    products: &'a [f32],
    squares: &'a [f32],
    square: f32,
    twice: f32,
}

impl NullaryFnOnce for Kernels<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let others = self.products.iter().zip(self.squares);
        for (kernel, (product, other)) in self.kernels.iter_mut().zip(others) {
            *kernel = exp((self.twice * product - self.square - other).min(0.0));
        }
    }
}

/// `eˣ` for `x <= 0`, to about two units in the last place, in instructions that vectorise.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the exponent lies between -126 and 0"
)]
fn exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    let whole = (x * std::f32::consts::LOG2_E).round_ties_even();
    let rest = whole.mul_add(-0.693_359_4, x);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        sum = sum.mul_add(rest, factor);
    }
    let sum = (sum * rest).mul_add(rest, rest) + 1.0;
    sum * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_exponentials_of_distances_however_often_rows_are_forgotten() {
        let (rows, width, room) = (100, 3, 24);
        let values: Vec<f32> = (0_u16..300).map(|it| f32::from(it * 7 % 50) / 10.0).collect();
        let mut kernel = Kernel::new(values.clone(), width, 0.3, 0, room);
        for wanted in (0..rows).collect::<Vec<_>>().chunks(room) {
            kernel.fetch(wanted);
            for &row in wanted {
                for other in 0..rows {
                    let pairs = values[row * width..].iter().zip(&values[other * width..]);
                    let far: f32 = pairs.take(width).map(|(a, b)| (a - b) * (a - b)).sum();
                    let error = kernel.row(row)[other] - (-0.3 * far).exp();
                    assert!(error.abs() < 1e-5, "{row} {other} {error}");
                }
            }
        }
        assert!(!kernel.has(0) && kernel.has(rows - 1));
    }
}
