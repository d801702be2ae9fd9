//! The few loops that all the arithmetic of serving goes through.
//!
//! Each sums in one fixed order: [`LANES`] partial sums, then a tree over them. Nothing is fused
//! and nothing depends on the length of a batch, so a sample gets bit for bit the same scores
//! alone and among others, on x86-64 and on aarch64. The loops are written so that the
//! compiler turns the lanes into vector registers.

/// Partial sums kept side by side: eight registers of four, or two of sixteen.
pub const LANES: usize = 32;
/// The same for what is left over.
const SHORT: usize = 8;

/// Σ over `i` of `term(a[i], b[i])`; the shorter slice ends it.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    let (a_short, a_rest) = a_rest.as_chunks::<SHORT>();
    let (b_short, b_rest) = b_rest.as_chunks::<SHORT>();
    for (a, b) in a_short.iter().zip(b_short) {
        for lane in 0..SHORT {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += term(a, b);
    }
    let mut width = LANES / 2;
    while 0 < width {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `a · b`.
#[inline]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

/// `|a - b|²`. Never NaN when both are finite; it may overflow to infinity.
#[inline]
#[must_use]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| {
        let difference = a - b;
        difference * difference
    })
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

/// `e^x` for `x <= 0`, within 2 units in the last place, 0 below -87.
///
/// Our own so that every machine gives the same bits (a system's `expf` differs from the next
/// one's) and so that a row of them runs in vector registers. NaN gives 0.
///
/// # Source
///
/// Range reduction and polynomial of Cephes `expf` (Moshier, 1992).
#[inline]
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

    proptest! {
        #[test]
        fn sums_are_those_of_twice_the_precision(
            pairs in prop::collection::vec((-9.0_f32..9.0, -9.0_f32..9.0), 0..200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let pairs = || pairs.iter().map(|&(a, b)| (f64::from(a), f64::from(b)));
            let exact: f64 = pairs().map(|(a, b)| a * b).sum();
            let size: f64 = pairs().map(|(a, b)| (a * b).abs()).sum();
            prop_assert!((f64::from(dot(&a, &b)) - exact).abs() <= 1e-5 * size);
            let exact: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
            prop_assert!((f64::from(squared_distance(&a, &b)) - exact).abs() <= 1e-5 * exact);
        }

        #[test]
        fn what_is_made_finite_is_finite(bits: u32) {
            let x = f32::from_bits(bits);
            prop_assert!(finite(x).is_finite());
            prop_assert!(!x.is_finite() || finite(x).to_bits() == x.to_bits());
        }
    }
}
