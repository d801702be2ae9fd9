//! How many times longer the work ahead takes than its computing, measured by who waited for it.
//!
//! The cores that compute also read, refuse and write. Under a flood that is a third of their time and
//! more: a line whose computing takes an eighth of a second was waited for a third of one, and who had
//! been let in to be answered in time was answered too late.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// In thousandths, at the least: nothing takes less time than its computing.
const LEAST: u64 = 1000;
/// At the most: a machine that stood still says nothing of the next minute.
const MOST: u64 = 8 * LEAST;
/// A new measurement moves the mean by this part of the difference.
const PART: u64 = 16;

/// Shorter work than this says that nobody is in its way, never that somebody is: the wait for a moment
/// would be many times as long.
const SHORT: Duration = Duration::from_millis(1);

/// The mean, newer ones counting more. Threads add to it without waiting for each other.
#[derive(Debug)]
pub(crate) struct Drag(AtomicU64);

impl Default for Drag {
    fn default() -> Self {
        Self(AtomicU64::new(LEAST))
    }
}

impl Drag {
    /// What was to take `computing` took `time`.
    pub(crate) fn add(&self, time: Duration, computing: Duration) {
        let thousand = time.as_nanos() * u128::from(LEAST);
        let Some(new) = thousand.checked_div(computing.as_nanos()) else { return };
        let new = u64::try_from(new).unwrap_or(MOST).clamp(LEAST, MOST);
        let mean = self.0.load(Relaxed);
        if mean < new && computing < SHORT {
            return;
        }
        let moved = if mean < new {
            mean + (new - mean).div_ceil(PART)
        } else {
            mean - (mean - new).div_ceil(PART)
        };
        self.0.store(moved, Relaxed);
    }

    /// How long `computing` takes, all things considered.
    pub(crate) fn of(&self, computing: Duration) -> Duration {
        let thousandths = u32::try_from(self.0.load(Relaxed)).expect("at most MOST");
        let least = u32::try_from(LEAST).expect("a thousand");
        computing.saturating_mul(thousandths) / least
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPUTING: Duration = Duration::from_millis(10);

    #[test]
    fn it_follows_what_is_measured_up_and_down() {
        let drag = Drag::default();
        assert_eq!(drag.of(COMPUTING), COMPUTING);
        (0..100).for_each(|_| drag.add(3 * COMPUTING, COMPUTING));
        let thrice = drag.of(COMPUTING);
        assert!(29 * COMPUTING / 10 < thrice && thrice <= 3 * COMPUTING, "{thrice:?}");
        (0..200).for_each(|_| drag.add(COMPUTING, COMPUTING));
        assert_eq!(drag.of(COMPUTING), COMPUTING, "a crowd that has gone is forgotten");
        drag.add(COMPUTING, Duration::ZERO);
        assert_eq!(drag.of(COMPUTING), COMPUTING, "no work says nothing");
    }

    #[test]
    fn short_work_tells_of_no_crowd_but_that_it_is_gone() {
        let (drag, short) = (Drag::default(), Duration::from_micros(10));
        (0..100).for_each(|_| drag.add(100 * short, short));
        assert_eq!(drag.of(COMPUTING), COMPUTING);
        (0..100).for_each(|_| drag.add(3 * COMPUTING, COMPUTING));
        (0..200).for_each(|_| drag.add(short, short));
        assert_eq!(drag.of(COMPUTING), COMPUTING);
    }

    proptest! {
        #[test]
        fn it_is_never_below_one_nor_above_its_bound(
            measured in prop::collection::vec((any::<u64>(), any::<u64>()), 0..200),
        ) {
            let drag = Drag::default();
            for (time, computing) in measured {
                drag.add(Duration::from_nanos(time), Duration::from_nanos(computing));
            }
            let of = drag.of(COMPUTING);
            prop_assert!(COMPUTING <= of && of <= 8 * COMPUTING);
        }
    }
}
