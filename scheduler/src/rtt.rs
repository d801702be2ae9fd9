//! Round-trip times from one observer to one device, over a sliding window.

use std::collections::VecDeque;

/// Measurements that a window holds: about a minute at one a second.
pub const WINDOW: usize = 64;
/// Failures in a row, each a heartbeat apart, after which a device counts as silent. As many as
/// heartbeats fit into a lease by default, so that a restarted worker is not a lost one.
pub const FAILURES_MAX: u32 = 5;

/// What is known of the way to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rtt {
    /// Median, in microseconds.
    pub p50_us: u32,
    /// 95th percentile, in microseconds.
    pub p95_us: u32,
    /// How many measurements that rests on.
    pub samples: u32,
}

/// The last measurements of one observer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    times_us: VecDeque<u32>,
    failures: u32,
}

impl Window {
    /// Adds a measurement; the oldest one of a full window is forgotten.
    pub fn push(&mut self, us: u32) {
        if self.times_us.len() == WINDOW {
            self.times_us.pop_front();
        }
        self.times_us.push_back(us);
        self.failures = 0;
    }

    /// Adds that there was no answer.
    pub fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether the device has not answered several times in a row.
    #[must_use]
    pub fn silent(&self) -> bool {
        FAILURES_MAX <= self.failures
    }

    /// The quantiles; `None` before the first measurement and while the device is silent.
    #[must_use]
    pub fn quantiles(&self) -> Option<Rtt> {
        if self.silent() {
            return None;
        }
        let mut sorted: Vec<u32> = self.times_us.iter().copied().collect();
        sorted.sort_unstable();
        Some(Rtt {
            p50_us: quantile(&sorted, 50)?,
            p95_us: quantile(&sorted, 95)?,
            samples: u32::try_from(sorted.len()).expect("at most WINDOW"),
        })
    }
}

/// The smallest value that at least `percent` of the values do not exceed (nearest rank).
fn quantile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut window = Window::default();
        assert_eq!(window.quantiles(), None);
        window.push(7);
        assert_eq!(window.quantiles(), Some(Rtt { p50_us: 7, p95_us: 7, samples: 1 }));
        for us in 1..=20 {
            window.push(us * 10);
        }
        let rtt = window.quantiles().unwrap();
        assert_eq!((rtt.p50_us, rtt.p95_us, rtt.samples), (100, 190, 21));
    }

    #[test]
    fn a_silent_device_has_no_rtt_until_it_answers_again() {
        let mut window = Window::default();
        window.push(5);
        for _ in 1..FAILURES_MAX {
            window.fail();
        }
        assert!(window.quantiles().is_some());
        window.fail();
        assert!(window.silent());
        assert_eq!(window.quantiles(), None);
        window.push(6);
        assert_eq!(window.quantiles().unwrap().samples, 2);
    }

    proptest! {
        #[test]
        fn only_the_last_window_counts(times in prop::collection::vec(0_u32..1000, 1..200)) {
            let mut all = Window::default();
            times.iter().for_each(|&us| all.push(us));
            let mut last = Window::default();
            times[times.len().saturating_sub(WINDOW)..].iter().for_each(|&us| last.push(us));
            prop_assert_eq!(all.quantiles(), last.quantiles());
        }

        #[test]
        fn p95_is_at_least_the_median_and_was_measured(
            times in prop::collection::vec(any::<u32>(), 1..64),
        ) {
            let mut window = Window::default();
            times.iter().for_each(|&us| window.push(us));
            let rtt = window.quantiles().unwrap();
            prop_assert!(rtt.p50_us <= rtt.p95_us);
            prop_assert!(times.contains(&rtt.p50_us) && times.contains(&rtt.p95_us));
        }
    }
}
