//! What is said of one channel in one window: time-domain statistics.

/// A number that sums up the values of one channel in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The standard deviation, over the window and not a sample of it.
    Deviation,
    /// The smallest value.
    Minimum,
    /// The largest value.
    Maximum,
    /// The middle value; of an even number, the mean of the two in the middle.
    Median,
    /// The slope of the least-squares line, per second.
    Slope,
    /// The mean absolute difference between neighbours: how restless it is.
    Change,
}

impl Statistic {
    /// All of them, in the order of the features.
    pub const ALL: [Self; 7] = [
        Self::Mean,
        Self::Deviation,
        Self::Minimum,
        Self::Maximum,
        Self::Median,
        Self::Slope,
        Self::Change,
    ];

    /// What stands after the channel in the name of a feature.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Deviation => "deviation",
            Self::Minimum => "min",
            Self::Maximum => "max",
            Self::Median => "median",
            Self::Slope => "slope",
            Self::Change => "change",
        }
    }

    /// This statistic of `values`, which were sampled `rate_hz` times a second.
    ///
    /// Sums are taken in `f64` and in order, so that the same values give the same bits.
    /// Finite values give a finite answer: what `f32` cannot hold becomes its largest value.
    ///
    /// 0 of no values, and slope and change are 0 of a single one.
    #[must_use]
    pub fn of(self, values: &[f32], rate_hz: f64) -> f32 {
        if values.is_empty() {
            return 0.0;
        }
        let value = match self {
            Self::Mean => mean(values),
            Self::Deviation => {
                let mean = mean(values);
                let squares: f64 = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
                (squares / count(values)).sqrt()
            }
            Self::Minimum => values.iter().copied().map(f64::from).fold(f64::INFINITY, f64::min),
            Self::Maximum => {
                values.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max)
            }
            Self::Median => median(values),
            Self::Slope => slope(values) * rate_hz,
            Self::Change => {
                let steps: f64 = values
                    .windows(2)
                    .map(|pair| (f64::from(pair[1]) - f64::from(pair[0])).abs())
                    .sum();
                steps / (count(values) - 1.0).max(1.0)
            }
        };
        narrow(value)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a window has far fewer than 2^52 samples")]
fn count(values: &[f32]) -> f64 {
    values.len() as f64
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / count(values)
}

fn median(values: &[f32]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let upper = f64::from(sorted[sorted.len() / 2]);
    let lower = f64::from(sorted[(sorted.len() - 1) / 2]);
    lower + (upper - lower) / 2.0
}

/// The slope of the least-squares line through the values at 0, 1, 2, …
fn slope(values: &[f32]) -> f64 {
    let middle = (count(values) - 1.0) / 2.0;
    let mean = mean(values);
    let (mut products, mut squares, mut at) = (0.0, 0.0, -middle);
    for &value in values {
        products += at * (f64::from(value) - mean);
        squares += at * at;
        at += 1.0;
    }
    if squares > 0.0 { products / squares } else { 0.0 }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to what f32 holds, then rounded")]
fn narrow(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(values: &[f32], rate_hz: f64) -> Vec<f32> {
        Statistic::ALL.iter().map(|statistic| statistic.of(values, rate_hz)).collect()
    }

    #[test]
    fn they_are_what_their_names_say() {
        // 1, 3, 5, 7: mean and median 4, variance 5, one more every half step.
        let measured = all(&[1.0, 3.0, 5.0, 7.0], 10.0);
        let expected = [4.0, 5.0_f32.sqrt(), 1.0, 7.0, 4.0, 20.0, 2.0];
        for (measured, expected) in measured.iter().zip(expected) {
            assert!((measured - expected).abs() < 1e-5, "{measured} instead of {expected}");
        }
        assert_eq!(Statistic::Median.of(&[9.0, -1.0, 2.0], 1.0), 2.0);
    }

    #[test]
    fn a_single_value_stands_still() {
        assert_eq!(all(&[3.0], 10.0), [3.0, 0.0, 3.0, 3.0, 3.0, 0.0, 0.0]);
        assert_eq!(all(&[], 10.0), [0.0; 7]);
    }

    #[test]
    fn the_largest_values_stay_finite() {
        let measured = all(&[f32::MAX, f32::MIN, f32::MAX, f32::MIN], 1e6);
        assert!(measured.iter().all(|value| value.is_finite()), "{measured:?}");
    }

    proptest! {
        #[test]
        fn mean_and_median_lie_between_the_extremes(
            values in proptest::collection::vec(-1e6_f32..1e6, 1..40)
        ) {
            let measured = all(&values, 10.0);
            let (min, max) = (measured[2], measured[3]);
            prop_assert!(min <= measured[0] && measured[0] <= max);
            prop_assert!(min <= measured[4] && measured[4] <= max);
            prop_assert!(measured[1] <= (max - min));
        }

        #[test]
        fn turning_time_around_turns_the_slope_around_and_nothing_else(
            values in proptest::collection::vec(-1e3_f32..1e3, 2..40)
        ) {
            let backwards: Vec<f32> = values.iter().rev().copied().collect();
            for (statistic, (one, other)) in
                Statistic::ALL.iter().zip(all(&values, 4.0).iter().zip(all(&backwards, 4.0)))
            {
                let other = if *statistic == Statistic::Slope { -other } else { other };
                prop_assert!((one - other).abs() <= 1e-2, "{statistic:?}: {one} and {other}");
            }
        }
    }
}
