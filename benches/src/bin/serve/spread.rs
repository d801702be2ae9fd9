//! How latencies are spread: exact percentiles of all that were measured, none of them binned.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latencies of many answers, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of nanoseconds, in any order.
    pub(crate) fn of(nanoseconds: &mut [u32]) -> Self {
        nanoseconds.sort_unstable();
        let at = |thousandths: usize| {
            let place = (nanoseconds.len() * thousandths / 1000).min(nanoseconds.len() - 1);
            f64::from(nanoseconds[place]) / 1e3
        };
        if nanoseconds.is_empty() {
            return Self::default();
        }
        let sum: f64 = nanoseconds.iter().map(|&one| f64::from(one)).sum();
        Self {
            count: nanoseconds.len() as u64,
            mean: sum / nanoseconds.len() as f64 / 1e3,
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p999: at(999),
            max: at(1000),
        }
    }
}

/// Percentiles of most windows of time: the medians of theirs. What happens in fewer than half of the
/// windows is not in them, which is meant: the [`Spread`] of all answers has it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Typical {
    pub(crate) windows: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Typical {
    /// Of the nanoseconds of each window. A window with fewer than a hundred answers has no 99th
    /// percentile, such as the last one, which may be cut short; where none has, all are one.
    pub(crate) fn of(windows: &mut [Vec<u32>]) -> Self {
        let full = windows.iter_mut().filter(|it| 100 <= it.len());
        let mut spreads: Vec<Spread> = full.map(|it| Spread::of(it)).collect();
        if spreads.is_empty() {
            spreads.push(Spread::of(&mut windows.concat()));
        }
        Self {
            windows: spreads.len(),
            p50: median(spreads.iter().map(|it| it.p50)),
            p99: median(spreads.iter().map(|it| it.p99)),
        }
    }
}

/// Nanoseconds in 32 bits: what took longer than four seconds took four seconds.
pub(crate) fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// The middle one of some figures; of an even number the upper.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_row() {
        let mut times: Vec<u32> = (1..=1000).rev().map(|micros| micros * 1000).collect();
        let spread = Spread::of(&mut times);
        assert_eq!((spread.count, spread.p50, spread.p99), (1000, 501.0, 991.0));
        assert_eq!((spread.max, spread.mean), (1000.0, 500.5));
        assert_eq!(Spread::of(&mut []).count, 0);
    }

    #[test]
    fn what_happens_in_few_windows_is_not_typical() {
        let calm: Vec<u32> = vec![1000; 200];
        let mut windows = vec![calm.clone(), vec![9_000_000; 200], calm.clone(), vec![7; 99], calm];
        let typical = Typical::of(&mut windows);
        assert_eq!((typical.windows, typical.p50, typical.p99), (4, 1.0, 1.0));
        windows.extend([vec![9_000_000; 200], vec![9_000_000; 200], vec![9_000_000; 200]]);
        assert_eq!(Typical::of(&mut windows).p99, 9000.0);
        assert_eq!(Typical::of(&mut [vec![2000; 60], vec![2000; 60]]).p99, 2.0);
    }

    #[test]
    fn the_median_is_a_figure_of_the_row() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([1.0, 2.0]), 2.0);
    }
}
