//! The few loops that all the arithmetic of serving goes through.
//!
//! Each sums in one fixed order: [`LANES`] partial sums, then a tree over them. Nothing is fused
//! and nothing depends on the length of a batch, so a sample gets bit for bit the same scores
//! alone and among others, on x86-64 and on aarch64. The loops are written so that the
//! compiler turns the lanes into vector registers: those that every machine of the architecture
//! has, and where this one has wider ones (`pulp` looks once), those. Width changes no bit.

mod bytes;
mod near;

use std::sync::OnceLock;

pub use bytes::{nearest_of_bytes, squared_distances_of_bytes};
pub use near::{BLOCK_ROWS, Blocks, Spare, boxes, nearest};
use pulp::{Arch, Simd, WithSimd};

/// Partial sums kept side by side: eight registers of four, or two of sixteen.
pub const LANES: usize = 32;
/// The same for what is left over.
const SHORT: usize = 8;
/// Narrow rows side by side.
const ROWS: usize = 8;

/// One side of many sums, in whole registers, and what is left over in one that is filled up with zeros.
struct Side<'a> {
    long: &'a [[f32; LANES]],
    short: &'a [[f32; SHORT]],
    rest: [f32; SHORT],
    /// How many values `rest` has.
    left: usize,
}

impl<'a> Side<'a> {
    #[inline(always)]
    fn of(values: &'a [f32]) -> Self {
        let (long, rest) = values.as_chunks();
        let (short, rest) = rest.as_chunks();
        Self { long, short, rest: filled_up(rest), left: rest.len() }
    }
}

/// As many `values` as there are, and zeros.
#[inline(always)]
fn filled_up(values: &[f32]) -> [f32; SHORT] {
    std::array::from_fn(|lane| values.get(lane).copied().unwrap_or(0.0))
}

/// Σ over `i` of `term(a[i], b[i])`; `a` may be longer than `b`, as a row is with those behind it. `term(0, 0)`
/// must be 0.
///
/// Every index below is known when this is compiled, or the lanes would live in memory. What is left over is read
/// together with what lies behind it, which then counts as zero: copying it by itself became calls of the system's
/// library, which took longer than a whole row of a few sensors.
#[inline(always)]
fn sum_of(a: &[f32], b: &Side<'_>, term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (long, a) = a.split_at(b.long.len() * LANES);
    for (a, b) in long.as_chunks::<LANES>().0.iter().zip(b.long) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    let mut eight = [0.0_f32; SHORT];
    for lane in 0..SHORT {
        let (low, high) = (lanes[lane] + lanes[lane + 16], lanes[lane + 8] + lanes[lane + 24]);
        eight[lane] = low + high;
    }
    let (short, a) = a.split_at(b.short.len() * SHORT);
    for (a, b) in short.as_chunks::<SHORT>().0.iter().zip(b.short) {
        for lane in 0..SHORT {
            eight[lane] += term(a[lane], b[lane]);
        }
    }
    if 0 < b.left {
        let a = match a.first_chunk::<SHORT>() {
            Some(a) => std::array::from_fn(|lane| if lane < b.left { a[lane] } else { 0.0 }),
            None => filled_up(&a[..b.left]),
        };
        for lane in 0..SHORT {
            eight[lane] += term(a[lane], b.rest[lane]);
        }
    }
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The beginnings of the rows of `rows`, each with all that lies behind it.
#[inline(always)]
fn beginnings(rows: &[f32], width: usize) -> impl Iterator<Item = &[f32]> {
    let whole = rows.len() - rows.len() % width;
    (0..whole).step_by(width).map(|at| &rows[at..])
}

/// `row · x` of each row, in order.
///
/// # Shapes
///
/// `rows` is `[n, x.len()]`, row-major; `x` has at least one value.
pub fn products(rows: &[f32], x: &[f32], then: impl FnMut(f32)) {
    widest(EachRow { rows, x, term: |a, b| a * b, then });
}

/// `|row - x|²` of each row, in order. Never NaN when both are finite; it may overflow to infinity.
///
/// # Shapes
///
/// As [`products`].
pub fn squared_distances(rows: &[f32], x: &[f32], then: impl FnMut(f32)) {
    widest(EachRow { rows, x, term: square_of_difference, then });
}

/// [`squared_distances`] of many samples: `then` gets the index of the sample and the distance.
/// Every row is read once and compared with all samples while it lies in the cache; each sample
/// gets its rows in order.
///
/// # Shapes
///
/// `rows` is `[n, width]` and `xs` is `[samples, width]`, both row-major; `width` is at least 1.
pub fn squared_distances_of_many(
    rows: &[f32],
    xs: &[f32],
    width: usize,
    then: impl FnMut(usize, f32),
) {
    widest(EachPair { rows, xs, width, then });
}

/// `e^(-factor·x)` of each value, which is at least 0; `factor` is positive.
pub fn exponentials(values: &mut [f32], factor: f32) {
    widest(Exponentials { values, factor });
}

#[inline(always)]
fn square_of_difference(a: f32, b: f32) -> f32 {
    let difference = a - b;
    difference * difference
}

/// Runs `kernel` with the widest vector registers that this machine has.
fn widest<K: WithSimd>(kernel: K) -> K::Output {
    arch().dispatch(kernel)
}

/// What this machine has.
fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

struct EachRow<'a, T, F> {
    rows: &'a [f32],
    x: &'a [f32],
    term: T,
    then: F,
}

impl<T: Fn(f32, f32) -> f32, F: FnMut(f32)> WithSimd for EachRow<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        // The lengths that leave most of a register empty.
        match self.x.len() {
            1 => self.narrow::<1>(),
            2 => self.narrow::<2>(),
            3 => self.narrow::<3>(),
            4 => self.narrow::<4>(),
            5 => self.narrow::<5>(),
            6 => self.narrow::<6>(),
            7 => self.narrow::<7>(),
            width => {
                let x = Side::of(self.x);
                for row in beginnings(self.rows, width) {
                    (self.then)(sum_of(row, &x, &self.term));
                }
            }
        }
    }
}

impl<T: Fn(f32, f32) -> f32, F: FnMut(f32)> EachRow<'_, T, F> {
    /// Rows of fewer than [`SHORT`] values: several side by side, each in the order of [`sum_of`].
    #[inline(always)]
    fn narrow<const WIDTH: usize>(mut self) {
        let Some(x) = self.x.first_chunk::<WIDTH>() else { return };
        let (rows, _) = self.rows.as_chunks::<WIDTH>();
        let (blocks, rest) = rows.as_chunks::<ROWS>();
        for block in blocks {
            let sums: [f32; ROWS] =
                std::array::from_fn(|row| sum_of_narrow(&block[row], x, &self.term));
            sums.into_iter().for_each(&mut self.then);
        }
        for row in rest {
            (self.then)(sum_of_narrow(row, x, &self.term));
        }
    }
}

/// What [`sum_of`] says of fewer than [`SHORT`] values: sums with lanes that hold nothing are left out, which
/// changes no bit, since no lane holds -0.
#[inline(always)]
fn sum_of_narrow<const WIDTH: usize>(
    a: &[f32; WIDTH],
    b: &[f32; WIDTH],
    term: impl Fn(f32, f32) -> f32,
) -> f32 {
    let eight: [f32; WIDTH] = std::array::from_fn(|lane| 0.0 + term(a[lane], b[lane]));
    let four = |lane: usize| {
        if lane + 4 < WIDTH { eight[lane] + eight[lane + 4] } else { eight[lane] }
    };
    let two = |lane: usize| {
        if lane + 2 < WIDTH { four(lane) + four(lane + 2) } else { four(lane) }
    };
    if 1 < WIDTH { two(0) + two(1) } else { two(0) }
}

struct EachPair<'a, F> {
    rows: &'a [f32],
    xs: &'a [f32],
    width: usize,
    then: F,
}

impl<F: FnMut(usize, f32)> WithSimd for EachPair<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // The square of a difference has the same bits from either side: the samples are rows to the row.
        for x in self.rows.chunks_exact(self.width) {
            let mut samples = 0..;
            let then = |distance| {
                if let Some(sample) = samples.next() {
                    (self.then)(sample, distance);
                }
            };
            EachRow { rows: self.xs, x, term: square_of_difference, then }.with_simd(simd);
        }
    }
}

struct Exponentials<'a> {
    values: &'a mut [f32],
    factor: f32,
}

impl WithSimd for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for value in self.values {
            *value = exp_of_negative(-self.factor * *value);
        }
    }
}

/// `x` if it is finite; else the nearest finite value, and 0 for NaN.
///
/// Samples near the end of what an `f32` holds overflow when they are scaled or projected; what
/// follows relies on finite values.
#[inline]
#[must_use]
pub fn finite(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-f32::MAX, f32::MAX) }
}

/// `ln x` for a finite `x >= 1`, to the nearest `f32` or the next one; 0 for anything else.
///
/// Our own so that every machine gives the same bits.
///
/// # Source
///
/// `ln x = e·ln 2 + 2·artanh((m - 1) / (m + 1))` for `x = m·2ᵉ` with `m` around 1, and the series of the inverse
/// hyperbolic tangent.
#[must_use]
pub fn natural_log(x: f32) -> f32 {
    const BIAS: i32 = 1023;
    const FRACTION_BITS: u32 = 52;
    if !(x.is_finite() && 1.0 <= x) {
        return 0.0;
    }
    let bits = f64::from(x).to_bits();
    let exponent = i32::try_from(bits >> FRACTION_BITS).unwrap_or(BIAS) - BIAS;
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let mantissa = f64::from_bits(fraction | 1023 << FRACTION_BITS);
    let (mantissa, exponent) = if std::f64::consts::SQRT_2 < mantissa {
        (mantissa / 2.0, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0];
    let sum = series.into_iter().fold(0.0, |sum, of| sum * square + 1.0 / of);
    #[expect(clippy::cast_possible_truncation, reason = "at most 89")]
    let log = (f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * t * sum) as f32;
    log
}

/// `e^x` for `x <= 0`, within 2 units in the last place, 0 below -87.
///
/// Our own so that every machine gives the same bits (a system's `expf` differs from the next
/// one's) and so that a row of them runs in vector registers. NaN gives 0.
///
/// # Source
///
/// Range reduction and polynomial of Cephes `expf` (Moshier, 1992).
#[inline(always)]
#[must_use]
pub fn exp_of_negative(x: f32) -> f32 {
    /// 1.5·2²³: adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = if -87.0 < x { x.min(0.0) } else { -87.0 };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * (r * r) + r + 1.0;
    // n is in -126..=0, so 2^n is a normal number with exponent field n + 127.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if -87.0 < x { mantissa * f32::from_bits(exponent) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The order of the sums, in plain words; the shorter slice ends it.
    fn in_order(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
        let count = a.len().min(b.len());
        let long = count / LANES * LANES;
        let mut lanes = [0.0_f32; LANES];
        for at in 0..long {
            lanes[at % LANES] += term(a[at], b[at]);
        }
        let mut eight: [f32; SHORT] = std::array::from_fn(|lane| {
            (lanes[lane] + lanes[lane + 16]) + (lanes[lane + 8] + lanes[lane + 24])
        });
        for at in long..count.next_multiple_of(SHORT) {
            let of = |values: &[f32]| if at < count { values[at] } else { 0.0 };
            eight[at % SHORT] += term(of(a), of(b));
        }
        let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }

    #[test]
    fn a_row_says_the_same_wherever_it_lies() {
        for width in 1..=2 * LANES + SHORT {
            // Among them 0 and, as a product, -0.
            let value = |at: usize| (at * 37 % 13) as f32 - 6.0;
            let x: Vec<f32> = (0..width).map(|at| value(at + 5)).collect();
            let row: Vec<f32> = (0..width).map(value).collect();
            // What lies behind it must not be heard, whatever it is.
            let odd = [f32::NAN, f32::INFINITY, f32::MAX, -0.0];
            let between: Vec<f32> = (0..width).map(|at| odd[at % odd.len()]).collect();
            let rows = [&*row, &*between, &*row, &*row].concat().repeat(ROWS);
            let rows = &rows[..rows.len() - width];
            let (product, distance) =
                (in_order(&row, &x, |a, b| a * b), in_order(&row, &x, square_of_difference));
            let check = |found: &[f32], expected: f32| {
                assert_eq!(found.len(), 4 * ROWS - 1, "width {width}");
                for at in (0..found.len()).filter(|at| at % 4 != 1) {
                    assert_eq!(found[at].to_bits(), expected.to_bits(), "width {width}, row {at}");
                }
            };
            let mut found = Vec::new();
            products(rows, &x, |sum| found.push(sum));
            check(&found, product);
            found.clear();
            squared_distances(rows, &x, |sum| found.push(sum));
            check(&found, distance);
            let mut of = [Vec::new(), Vec::new()];
            let samples = [&*x, &*row].concat();
            squared_distances_of_many(rows, &samples, width, |sample, sum| of[sample].push(sum));
            check(&of[0], distance);
            check(&of[1], 0.0);
        }
    }

    #[test]
    fn the_exponential_is_within_two_units_of_the_last_place() {
        let mut x = 0.0_f32;
        while -87.0 < x {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_of_negative(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "e^{x}: {error:e}");
            x -= 0.000_37 + x.abs() * 1e-5;
        }
        assert_eq!(exp_of_negative(0.0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(exp_of_negative(-0.0).to_bits(), 1.0_f32.to_bits());
        for zero in [-87.0, -88.0, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp_of_negative(zero).to_bits(), 0);
        }
    }

    #[test]
    fn the_logarithm_is_the_nearest_or_the_next() {
        let mut x = 1.0_f32;
        while x.is_finite() {
            let exact = f64::from(x).ln();
            let error = (f64::from(natural_log(x)) - exact).abs();
            assert!(error <= 1.2e-7 * exact, "ln {x}: {error:e}");
            x *= 1.000_3;
        }
        assert_eq!(natural_log(1.0).to_bits(), 0);
        for none in [0.5, 0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(natural_log(none).to_bits(), 0, "{none}");
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_twice_the_precision(
            pairs in prop::collection::vec((-9.0_f32..9.0, -9.0_f32..9.0), 1..200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let pairs = || pairs.iter().map(|&(a, b)| (f64::from(a), f64::from(b)));
            let exact: f64 = pairs().map(|(a, b)| a * b).sum();
            let size: f64 = pairs().map(|(a, b)| (a * b).abs()).sum();
            let narrow = in_order(&a, &b, |a, b| a * b);
            prop_assert!((f64::from(narrow) - exact).abs() <= 1e-5 * size);
            products(&a, &b, |wide| assert_eq!(wide.to_bits(), narrow.to_bits()));
            let exact: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
            let narrow = in_order(&a, &b, square_of_difference);
            prop_assert!((f64::from(narrow) - exact).abs() <= 1e-5 * exact);
            squared_distances(&a, &b, |wide| assert_eq!(wide.to_bits(), narrow.to_bits()));
            squared_distances_of_many(&a, &b, b.len(), |sample, wide| {
                assert_eq!((sample, wide.to_bits()), (0, narrow.to_bits()));
            });
            let mut wide = vec![narrow; 37];
            exponentials(&mut wide, 0.01);
            let narrow = exp_of_negative(-0.01 * narrow);
            prop_assert!(wide.iter().all(|wide| wide.to_bits() == narrow.to_bits()));
        }

        #[test]
        fn what_is_made_finite_is_finite(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assert!(finite(x).is_finite());
            prop_assert!(!x.is_finite() || finite(x).to_bits() == x.to_bits());
        }
    }
}
