//! Round trips to another device: the last few, and what to expect of the next.

use std::{collections::VecDeque, time::Duration};

/// How many round trips are remembered: a minute and a half at one a second, so that a network
/// that got slower shows within the sampling periods that placement waits for.
const SAMPLES_MAX: usize = 90;

/// The last round trips.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    micros: VecDeque<u32>,
}

/// What the window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// Half of the round trips were no longer, in microseconds.
    pub(crate) p50_us: u32,
    /// 95 of 100 were no longer, in microseconds.
    pub(crate) p95_us: u32,
    /// How many there are.
    pub(crate) samples: u32,
}

impl Window {
    /// Remembers one round trip, and forgets the oldest when there are too many.
    pub(crate) fn push(&mut self, took: Duration) {
        if self.micros.len() == SAMPLES_MAX {
            self.micros.pop_front();
        }
        self.micros.push_back(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Nearest-rank quantiles: values that were really seen. `None` before the first round trip.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let mut sorted: Vec<u32> = self.micros.iter().copied().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        Some(Quantiles {
            p50_us: *sorted.get(rank(50))?,
            p95_us: *sorted.get(rank(95))?,
            samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_round_trips_that_were_seen() {
        let mut window = Window::default();
        assert_eq!(window.quantiles(), None);
        for ms in 1..=20 {
            window.push(Duration::from_millis(ms));
        }
        let expected = Quantiles { p50_us: 10_000, p95_us: 19_000, samples: 20 };
        assert_eq!(window.quantiles(), Some(expected));
    }

    proptest! {
        #[test]
        fn the_window_forgets_and_its_quantiles_are_ordered(micros: Vec<u32>) {
            let mut window = Window::default();
            for &us in &micros {
                window.push(Duration::from_micros(u64::from(us)));
            }
            let recent = &micros[micros.len().saturating_sub(SAMPLES_MAX)..];
            match window.quantiles() {
                None => prop_assert!(recent.is_empty()),
                Some(Quantiles { p50_us, p95_us, samples }) => {
                    prop_assert_eq!(usize::try_from(samples).unwrap(), recent.len());
                    prop_assert!(p50_us <= p95_us);
                    prop_assert!(recent.contains(&p50_us) && recent.contains(&p95_us));
                }
            }
        }
    }
}
