//! Numbers of a series: sums in `f64` and in order, answers in `f32` that are always finite.

/// How many values there are, as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "a window has far fewer than 2^52 samples")]
pub(crate) fn count(values: usize) -> f64 {
    values as f64
}

/// The mean; 0 of no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count(values.len()) }
}

/// The value that `share` of the `sorted` values lie below, between two of them on the line that
/// joins them; 0 of no values.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * count(last);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let lower = (place.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    sorted[lower] + (sorted[upper] - sorted[lower]) * (place - count(lower))
}

/// `value` as `f32`: what it cannot hold becomes its largest value.
#[expect(clippy::cast_possible_truncation, reason = "clamped to what f32 holds, then rounded")]
pub(crate) fn narrow(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// `part / whole`, and 0 where there is no whole.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        for (share, value) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(quantile(&sorted, share), value);
        }
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn what_is_too_large_becomes_the_largest() {
        assert_eq!(narrow(1e300), f32::MAX);
        assert_eq!(narrow(-1e300), f32::MIN);
        assert_eq!(narrow(1.5), 1.5);
    }
}
