//! How long an answer of a revision takes here, measured; and where it is computed because of that.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Work up to this is done where the request was read, and at once: it holds up for so long whatever else
/// that thread would have read.
const HERE_MAX: Duration = Duration::from_micros(500);
/// A new answer moves the mean by this part of the difference.
const PART: u64 = 16;

/// The mean time of an answer, newer ones counting more.
///
/// Threads add to it without waiting for each other: one of two that come at the same moment may be
/// lost, which a mean does not mind.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU64);

/// Where something is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// On the thread that read the request, at once.
    Here,
    /// There too, a slice at a time, when it has its turn: what has come meanwhile goes first, which no
    /// operating system would do as soon.
    Slices,
    /// On a thread of its own, when it has its turn: already one answer takes too long to wait for.
    Apart,
}

impl Pace {
    /// Begins with what was measured before it served.
    pub(crate) fn new(answer: Duration) -> Self {
        Self(AtomicU64::new(nanos(answer)))
    }

    /// `answers` took `time` together.
    pub(crate) fn add(&self, answers: u64, time: Duration) {
        let Some(new) = nanos(time).checked_div(answers) else { return };
        let mean = self.0.load(Relaxed);
        let moved = if mean < new {
            mean.saturating_add((new - mean).div_ceil(PART))
        } else {
            mean - (mean - new) / PART
        };
        self.0.store(moved, Relaxed);
    }

    /// How long so many answers take, one after the other.
    pub(crate) fn of(&self, answers: u64) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed).saturating_mul(answers))
    }
}

/// Where work is done of which `one` answer takes so long, and `all` of them.
pub(crate) fn place(one: Duration, all: Duration) -> Where {
    if all <= HERE_MAX {
        Where::Here
    } else if one <= HERE_MAX {
        Where::Slices
    } else {
        Where::Apart
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_short_stays_and_what_turned_long_leaves() {
        let pace = Pace::new(Duration::from_micros(20));
        let of = |answers| place(pace.of(1), pace.of(answers));
        assert_eq!(of(1), Where::Here);
        assert_eq!(of(25), Where::Here);
        assert_eq!(of(26), Where::Slices, "many short ones are long together");
        (0..100).for_each(|_| pace.add(1, Duration::from_millis(3)));
        assert_eq!(of(1), Where::Apart);
        (0..200).for_each(|_| pace.add(10, Duration::from_micros(100)));
        assert_eq!(of(1), Where::Here);
        pace.add(0, Duration::from_secs(9));
        assert_eq!(of(1), Where::Here, "no answers say nothing");
        let endless = Pace::new(Duration::MAX);
        assert_eq!(place(endless.of(1), endless.of(u64::MAX)), Where::Apart);
    }

    proptest! {
        #[test]
        fn a_mean_moves_towards_what_was_measured_and_never_beyond(
            from in 0_u64..1 << 40, to in 0_u64..1 << 40,
        ) {
            let pace = Pace::new(Duration::from_nanos(from));
            pace.add(1, Duration::from_nanos(to));
            let now = u64::try_from(pace.of(1).as_nanos()).unwrap();
            prop_assert!(from.min(to) <= now && now <= from.max(to));
            prop_assert!(now.abs_diff(to) <= from.abs_diff(to));
        }
    }
}
