//! Dense products over row-major slices: the one door to the linear algebra library.

use faer::{
    Accum, MatMut, MatRef, Par,
    linalg::matmul::{
        matmul,
        triangular::{self, BlockStructure},
    },
};
pub(super) use pulp::NullaryFnOnce;

/// `[rows, columns]` of a row-major slice.
pub(super) fn view<T>(values: &[T], rows: usize, columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(values, rows, columns)
}

/// `[rows, columns]` of a row-major slice, to be written.
pub(super) fn view_mut<T>(values: &mut [T], rows: usize, columns: usize) -> MatMut<'_, T> {
    MatMut::from_row_major_slice_mut(values, rows, columns)
}

/// `out = a · b`.
pub(super) fn multiply<T: faer::traits::ComplexField>(
    out: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
) {
    matmul(out, Accum::Replace, a, b, T::one_impl(), Par::Seq);
}

/// `out += a · b`.
pub(super) fn add_product<T: faer::traits::ComplexField>(
    out: MatMut<'_, T>,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
) {
    matmul(out, Accum::Add, a, b, T::one_impl(), Par::Seq);
}

/// The lower triangle of `out = a · b`, which is symmetric: half the work. What stands above the
/// diagonal of `out` afterwards means nothing.
fn multiply_lower(out: MatMut<'_, f32>, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    triangular::matmul(
        out,
        BlockStructure::TriangularLower,
        Accum::Replace,
        a,
        BlockStructure::Rectangular,
        b,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
}

/// Rows multiplied at once where a sum over all rows is wanted: enough that adding up the products
/// costs little, few enough that single precision loses little.
pub(super) const BLOCK_ROWS: usize = 768;

/// `xᵀ · x` in double precision, where `x` is `rows` (`[n, width]`) with `mean` taken from each.
pub(super) fn gram(rows: &[f32], mean: &[f64]) -> Vec<f64> {
    weighted_gram(rows, mean, |_| 1.0)
}

/// [`gram`] of rows that count `weight` each.
pub(super) fn weighted_gram(rows: &[f32], mean: &[f64], weight: impl Fn(usize) -> f32) -> Vec<f64> {
    gram_of(rows, mean.len(), |at, row, centred| {
        let root = f64::from(weight(at)).sqrt();
        let values = row.iter().zip(mean);
        centred.extend(values.map(|(&x, mean)| narrow(root * (f64::from(x) - mean))));
    })
}

/// `xᵀ · x` in double precision, where `take` appends what it makes of each row of `rows` (`[n, width]`):
/// a block of them is in memory at once.
pub(super) fn gram_of(
    rows: &[f32],
    width: usize,
    take: impl Fn(usize, &[f32], &mut Vec<f32>),
) -> Vec<f64> {
    let mut sum = vec![0.0_f64; width * width];
    let mut part = vec![0.0_f32; width * width];
    let mut centred = Vec::with_capacity(BLOCK_ROWS.min(rows.len() / width) * width);
    for (first, block) in rows.chunks(BLOCK_ROWS * width).enumerate() {
        centred.clear();
        for (at, row) in block.chunks_exact(width).enumerate() {
            take(first * BLOCK_ROWS + at, row, &mut centred);
        }
        let block = view(&centred, block.len() / width, width);
        multiply_lower(view_mut(&mut part, width, width), block.transpose(), block);
        for at in 0..width {
            let lower = at * width..at * width + at + 1;
            for (sum, &part) in sum[lower.clone()].iter_mut().zip(&part[lower]) {
                *sum += f64::from(part);
            }
        }
    }
    for row in 0..width {
        for column in 0..row {
            sum[column * width + row] = sum[row * width + column];
        }
    }
    sum
}

/// The mean of each column.
pub(super) fn means(rows: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let count = (rows.len() / width).max(1) as f64;
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// [`means`] of rows that count `weight` each, 1 on average.
pub(super) fn weighted_means(
    rows: &[f32],
    width: usize,
    weight: impl Fn(usize) -> f32,
) -> Vec<f64> {
    let mut sums = vec![0.0_f64; width];
    let mut count = 0.0;
    for (at, row) in rows.chunks_exact(width).enumerate() {
        let weight = f64::from(weight(at));
        count += weight;
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += weight * f64::from(value);
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// Runs `kernel` with the widest vector instructions of this machine that stable Rust may use.
///
/// Its `call` must be `#[inline(always)]`, as must be all that it calls: what the compiler leaves
/// out of line is compiled for the oldest machine, and there a fused multiply-add is a function
/// call. For the same reason kernels are neither closures nor functions: those cannot be told.
pub(super) fn vectorised<K: NullaryFnOnce>(kernel: K) -> K::Output {
    pulp::Arch::new().dispatch(kernel)
}

/// `|row|²` of each row of `rows`.
pub(super) struct Squares<'a> {
    pub(super) rows: &'a [f32],
    pub(super) width: usize,
}

impl NullaryFnOnce for Squares<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        let mut squares = Vec::with_capacity(self.rows.len() / self.width);
        for row in self.rows.chunks_exact(self.width) {
            squares.push(dot(row, row));
        }
        squares
    }
}

/// Partial sums of [`dot`]: enough to fill the registers of every machine we know.
const LANES: usize = 32;

/// `a · b` in single precision; call through [`vectorised`].
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    let mut sum = 0.0_f32;
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum + sums.iter().sum::<f32>()
}

/// `y += factor · x`; call through [`vectorised`].
#[inline(always)]
pub(super) fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// To single precision, rounding to the nearest.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// An index of an array in memory, as the models store it.
pub(super) fn index32(index: usize) -> u32 {
    u32::try_from(index).expect("arrays of a model stay below four billion entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gram_matrix_is_the_sum_of_products_of_columns() {
        let width = 3;
        let rows: Vec<f32> = (0_u16..1800).map(|i| f32::from(i % 17) - 8.0).collect();
        let gram = gram(&rows, &[1.0, 0.0, -2.0]);
        for a in 0..width {
            for b in 0..width {
                let by_hand: f64 = rows
                    .chunks_exact(width)
                    .map(|row| [row[0] - 1.0, row[1], row[2] + 2.0])
                    .map(|row| f64::from(row[a]) * f64::from(row[b]))
                    .sum();
                assert!((gram[a * width + b] - by_hand).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_dot_product_takes_every_length() {
        for length in [0, 1, 31, 32, 33, 100] {
            let a: Vec<f32> = vec![2.0; length];
            let sum = vectorised(Squares { rows: &a, width: length.max(1) });
            let sum = sum.first().copied().unwrap_or(0.0);
            assert!((sum - 4.0 * u16::try_from(length).map(f32::from).unwrap()).abs() < 1e-6);
        }
    }
}
