//! The course of a series in time: level, spread, shape, crossings, memory.
//!
//! | name | what it is | unit |
//! | --- | --- | --- |
//! | `mean`, `median`, `min`, `max` | as they are called | of the series |
//! | `deviation` | standard deviation over the window, not a sample of it | of the series |
//! | `mad` | median distance from the median | of the series |
//! | `iqr` | from the lower to the upper quartile | of the series |
//! | `energy` | mean of the squares | its square |
//! | `skewness`, `kurtosis` | third and fourth standardised moment (3 for a normal one) | none |
//! | `zero_crossings`, `mean_crossings` | changes of side, zero counts as above | per second |
//! | `slope` | of the least-squares line | per second |
//! | `change` | mean distance of neighbours | of the series |
//! | `ar1` … `ar4` | autoregression of order four (Levinson and Durbin) | none |
//! | `echo_16`, `echo_8`, `echo_4` | autocorrelation at that fraction of the window | none |
//! | `rhythm` | highest autocorrelation after it was first below 0 | none |
//!
//! The list follows the UCI HAR set (Anguita and others, 2013); crossings, echoes and rhythm are
//! ours. A series that stands still has 0 wherever its spread would be divided by.

use crate::number::{count, mean, quantile, share};

/// What stands after the name of a series, in the order of [`course`].
pub(crate) const NAMES: [&str; 22] = [
    "mean",
    "deviation",
    "median",
    "mad",
    "min",
    "max",
    "energy",
    "iqr",
    "skewness",
    "kurtosis",
    "zero_crossings",
    "mean_crossings",
    "slope",
    "change",
    "ar1",
    "ar2",
    "ar3",
    "ar4",
    "echo_16",
    "echo_8",
    "echo_4",
    "rhythm",
];

/// What is said of a series that only changes: of a jerk. The rest would repeat the series itself.
pub(crate) const BRIEF: [&str; 7] =
    ["deviation", "mad", "min", "max", "iqr", "kurtosis", "mean_crossings"];

/// The numbers of [`NAMES`] for `values`, which were sampled `rate_hz` times a second.
///
/// Finite values of at most `f32::MAX` times a billion give numbers that are never NaN.
pub(crate) fn course(values: &[f64], rate_hz: f64) -> [f64; NAMES.len()] {
    if values.is_empty() {
        return [0.0; NAMES.len()];
    }
    let n = count(values.len());
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
    let still = min == max;
    // The mean of equal numbers may be off by a rounding; nothing may grow out of that.
    let mean = if still { min } else { mean(values) };
    let median = quantile(&sorted, 0.5);
    let iqr = quantile(&sorted, 0.75) - quantile(&sorted, 0.25);
    let energy = values.iter().map(|x| x * x).sum::<f64>() / n;
    let centred: Vec<f64> = values.iter().map(|x| x - mean).collect();
    let change =
        values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>() / (n - 1.0).max(1.0);
    let zero_crossings = crossings(values) * share(rate_hz, n - 1.0);
    let mean_crossings = crossings(&centred) * share(rate_hz, n - 1.0);

    sorted.iter_mut().for_each(|x| *x = (*x - median).abs());
    sorted.sort_by(f64::total_cmp);
    let mad = quantile(&sorted, 0.5);

    let variance = centred.iter().map(|x| x * x).sum::<f64>() / n;
    let deviation = variance.sqrt();
    let moment = |power: i32| {
        if deviation > 0.0 {
            centred.iter().map(|x| (x / deviation).powi(power)).sum::<f64>() / n
        } else {
            0.0
        }
    };
    let echoes = Echoes::of(&centred, deviation);
    let [ar1, ar2, ar3, ar4] = autoregression(&echoes);
    let at = |part: usize| echoes.at((values.len() / part).max(1));
    [
        mean,
        deviation,
        median,
        mad,
        min,
        max,
        energy,
        iqr,
        moment(3),
        moment(4),
        zero_crossings,
        mean_crossings,
        slope(&centred) * rate_hz,
        change,
        ar1,
        ar2,
        ar3,
        ar4,
        at(16),
        at(8),
        at(4),
        echoes.rhythm(),
    ]
}

/// How often neighbours lie on two sides of zero, which itself counts as above.
fn crossings(values: &[f64]) -> f64 {
    count(values.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count())
}

/// The slope of the least-squares line through values around 0 at 0, 1, 2, …
fn slope(centred: &[f64]) -> f64 {
    let middle = (count(centred.len()) - 1.0) / 2.0;
    let (mut products, mut squares, mut at) = (0.0, 0.0, -middle);
    for value in centred {
        products += at * value;
        squares += at * at;
        at += 1.0;
    }
    share(products, squares)
}

/// How alike a series is to itself some samples later, from -1 to 1.
///
/// Lags of up to half a window, and of no more than [`Echoes::LAGS_MAX`]: the sum over all lags
/// would cost the square of the window.
struct Echoes {
    unit: Vec<f64>,
    by_lag: Vec<f64>,
}

impl Echoes {
    const LAGS_MAX: usize = 256;

    fn of(centred: &[f64], deviation: f64) -> Self {
        let unit: Vec<f64> = if deviation > 0.0 {
            centred.iter().map(|x| x / deviation).collect()
        } else {
            Vec::new()
        };
        let lags = (centred.len() / 2).min(Self::LAGS_MAX);
        let by_lag = (0..=lags).map(|lag| lagged(&unit, lag)).collect();
        Self { unit, by_lag }
    }

    fn at(&self, lag: usize) -> f64 {
        self.by_lag.get(lag).copied().unwrap_or_else(|| lagged(&self.unit, lag))
    }

    fn rhythm(&self) -> f64 {
        let after = self.by_lag.iter().skip_while(|echo| 0.0 <= **echo);
        after.copied().fold(0.0, f64::max)
    }
}

/// The mean product of values `lag` apart, over the whole window: never above the one at lag 0.
fn lagged(unit: &[f64], lag: usize) -> f64 {
    let later = unit.get(lag..).unwrap_or_default();
    share(unit.iter().zip(later).map(|(a, b)| a * b).sum::<f64>(), count(unit.len()))
}

/// How four samples predict the next: x[t] ≈ Σ aₖ·x[t - k].
///
/// # Source
///
/// The recursion of Levinson (1946) and Durbin (1960) on autocorrelations that are divided by the
/// whole window, for which every reflection lies between -1 and 1.
fn autoregression(echoes: &Echoes) -> [f64; 4] {
    let mut a = [0.0; 4];
    let mut error = echoes.at(0);
    for order in 0..4 {
        // What is predicted to a millionth of a millionth has nothing left to be predicted.
        if error <= 1e-12 {
            break;
        }
        let known: f64 = (0..order).map(|k| a[k] * echoes.at(order - k)).sum();
        let reflection = (echoes.at(order + 1) - known) / error;
        let before = a;
        a[order] = reflection;
        for k in 0..order {
            a[k] = before[k] - reflection * before[order - 1 - k];
        }
        error *= 1.0 - reflection * reflection;
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[f64], rate_hz: f64, name: &str) -> f64 {
        course(values, rate_hz)[NAMES.iter().position(|it| *it == name).unwrap()]
    }

    fn near(one: f64, other: f64) {
        assert!((one - other).abs() <= 1e-9 * (1.0 + other.abs()), "{one} instead of {other}");
    }

    #[test]
    fn they_are_what_their_names_say() {
        let values = [-1.0, 1.0, 3.0, 5.0, 2.0];
        near(named(&values, 10.0, "mean"), 2.0);
        near(named(&values, 10.0, "deviation"), 4.0_f64.sqrt());
        near(named(&values, 10.0, "median"), 2.0);
        near(named(&values, 10.0, "mad"), 1.0);
        near(named(&values, 10.0, "energy"), 8.0);
        near(named(&values, 10.0, "iqr"), 2.0);
        near(named(&values, 10.0, "zero_crossings"), 2.5);
        // Two lie below the mean, and the last one is on it, which counts as above.
        near(named(&values, 10.0, "mean_crossings"), 2.5);
        near(named(&values, 10.0, "change"), 9.0 / 4.0);
        near(named(&[1.0, 3.0, 5.0], 10.0, "slope"), 20.0);
        near(named(&[0.0, 0.0, 0.0, 0.0, 5.0], 1.0, "skewness"), 1.5);
        near(named(&[-1.0, 1.0, -1.0, 1.0], 1.0, "kurtosis"), 1.0);
    }

    #[test]
    fn a_swing_comes_back_as_rhythm_and_as_echo() {
        let swing: Vec<f64> =
            (0_u32..160).map(|t| (f64::from(t) * std::f64::consts::TAU / 20.0).sin()).collect();
        // A lag of 20 samples is one whole swing; the window divides by all of its samples.
        near(named(&swing, 20.0, "echo_8"), 140.0 / 160.0);
        near(named(&swing, 20.0, "rhythm"), 140.0 / 160.0);
        let (ar1, ar2) = (named(&swing, 20.0, "ar1"), named(&swing, 20.0, "ar2"));
        assert!(1.0 < ar1 && ar2 < 0.0, "one step ahead, less the one before: {ar1} and {ar2}");
    }

    #[test]
    fn what_stands_still_has_no_shape() {
        for value in [0.0, 0.1, -7.3, 3.4e38] {
            let values = [value; 7];
            for name in ["deviation", "mad", "iqr", "skewness", "kurtosis", "slope", "change"] {
                assert_eq!(named(&values, 50.0, name), 0.0, "{name} of {value}");
            }
            for name in ["ar1", "ar4", "echo_4", "rhythm", "mean_crossings"] {
                assert_eq!(named(&values, 50.0, name), 0.0, "{name} of {value}");
            }
        }
        assert_eq!(course(&[], 1.0), [0.0; NAMES.len()]);
    }

    #[test]
    fn a_jerk_has_names_that_exist() {
        assert!(BRIEF.iter().all(|name| NAMES.contains(name)));
    }
}
