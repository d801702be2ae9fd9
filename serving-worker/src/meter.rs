//! How long answers take and how many there were: counters that requests add to without waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use models::Stage;
use proto::v1;
use runtime::exposition::Histogram;

/// Values below this have a bucket each; above, eight buckets share each doubling.
const EXACT: u64 = 16;
/// 16 exact ones and 8 for each doubling from 16 µs up to 2³² µs, more than an hour.
const BUCKETS: usize = 16 + 28 * 8;

/// Upper bounds of the exported histogram, in microseconds.
const BOUNDS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Which bucket a time belongs to.
fn bucket(us: u64) -> usize {
    let us = us.min(u64::from(u32::MAX));
    let index = if us < EXACT {
        us
    } else {
        let doubling = u64::from(us.ilog2());
        EXACT + (doubling - 4) * 8 + ((us >> (doubling - 3)) & 7)
    };
    usize::try_from(index).expect("at most BUCKETS")
}

/// The longest time that belongs to a bucket.
fn longest(bucket: usize) -> u32 {
    let bucket = u64::try_from(bucket).expect("at most BUCKETS");
    let us = if bucket < EXACT {
        bucket
    } else {
        let (doubling, eighth) = ((bucket - EXACT) / 8 + 4, (bucket - EXACT) % 8);
        ((8 + eighth + 1) << (doubling - 3)) - 1
    };
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Window {
    times: [AtomicU64; BUCKETS],
    gated: AtomicU64,
    failed: AtomicU64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            times: [const { AtomicU64::new(0) }; BUCKETS],
            gated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Window {
    fn clear(&self) {
        self.times.iter().chain([&self.gated, &self.failed]).for_each(|it| it.store(0, Relaxed));
    }
}

/// How long the answers of one stage took since the worker started.
#[derive(Debug)]
struct Totals(Histogram<{ BOUNDS_US.len() }>);

impl Default for Totals {
    fn default() -> Self {
        Self(Histogram::new(&BOUNDS_US))
    }
}

/// What was counted of requests that were answered, of one sample or of many.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) count: AtomicU64,
    /// From when they were read until they were begun, in nanoseconds.
    pub(crate) queue_ns: AtomicU64,
    /// From then until they were answered.
    pub(crate) compute_ns: AtomicU64,
    /// When the last one was answered, Unix milliseconds.
    pub(crate) last_ms: AtomicU64,
}

/// The counters of one task, over all its revisions.
///
/// Quantiles are of the last one to two periods between two calls of [`turn`](Self::turn), and never
/// more than an eighth above the truth.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    windows: [Window; 2],
    /// Which window is being written.
    current: AtomicUsize,
    gate: Totals,
    vote: Totals,
    failed: AtomicU64,
    requests: Requests,
    crowd: Crowd,
    /// Votes that a deadline ended before they were decided.
    pub(crate) cut_short: AtomicU64,
    /// Answers that the policy names, given because nobody could be heard in time.
    pub(crate) fallbacks: AtomicU64,
    /// Answers that say that they do not know.
    pub(crate) abstained: AtomicU64,
    /// Answers with a set of classes, the classes in all of them, and answers without one although one
    /// was wanted.
    pub(crate) sets: AtomicU64,
    pub(crate) set_classes: AtomicU64,
    pub(crate) without_set: AtomicU64,
    /// Requests refused because too many were there before them.
    pub(crate) shed: AtomicU64,
}

/// What is in flight of one task.
#[derive(Debug, Default)]
struct Crowd {
    requests: AtomicUsize,
    samples: AtomicU64,
}

/// A request of a task and its samples, in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    meter: Arc<Meter>,
    samples: u64,
    /// Requests of the same task that were in flight when this one came, and their samples.
    pub(crate) before: (usize, u64),
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Crowd { requests, samples } = &self.meter.crowd;
        requests.fetch_sub(1, Relaxed);
        samples.fetch_sub(self.samples, Relaxed);
    }
}

impl Meter {
    /// A request of so many samples is in flight from now on.
    pub(crate) fn enter(meter: &Arc<Self>, samples: u64) -> Inside {
        let crowd = &meter.crowd;
        let requests = crowd.requests.fetch_add(1, Relaxed);
        let before = (requests, crowd.samples.fetch_add(samples, Relaxed));
        Inside { meter: Arc::clone(meter), samples, before }
    }

    /// Requests in flight, and their samples.
    pub(crate) fn inside(&self) -> (usize, u64) {
        (self.crowd.requests.load(Relaxed), self.crowd.samples.load(Relaxed))
    }

    /// An answer was given, `us` microseconds after it was asked for.
    pub(crate) fn answered(&self, stage: Stage, us: u64) {
        let window = &self.windows[self.current.load(Relaxed) & 1];
        window.times[bucket(us)].fetch_add(1, Relaxed);
        match stage {
            Stage::Gate => {
                window.gated.fetch_add(1, Relaxed);
                self.gate.0.add(us);
            }
            Stage::Vote => self.vote.0.add(us),
        }
    }

    /// A request for this task was not answered, for a reason of ours or of its caller.
    pub(crate) fn failed(&self) {
        self.windows[self.current.load(Relaxed) & 1].failed.fetch_add(1, Relaxed);
        self.failed.fetch_add(1, Relaxed);
    }

    /// All samples of a request were answered.
    pub(crate) fn finished(&self, queue: Duration, compute: Duration, at_ms: u64) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let Requests { count, queue_ns, compute_ns, last_ms } = &self.requests;
        count.fetch_add(1, Relaxed);
        queue_ns.fetch_add(ns(queue), Relaxed);
        compute_ns.fetch_add(ns(compute), Relaxed);
        last_ms.store(at_ms, Relaxed);
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Begins a new window, forgetting the one before the last. Called by the one owner.
    pub(crate) fn turn(&self) {
        let next = 1 - (self.current.load(Relaxed) & 1);
        self.windows[next].clear();
        self.current.store(next, Relaxed);
    }

    pub(crate) fn totals(&self, stage: Stage) -> &Histogram<{ BOUNDS_US.len() }> {
        match stage {
            Stage::Gate => &self.gate.0,
            Stage::Vote => &self.vote.0,
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Quantiles and counts of the last window.
    pub(crate) fn quantiles(&self) -> v1::ServiceQuantiles {
        let [one, two] = &self.windows;
        let times: Vec<u64> = one
            .times
            .iter()
            .zip(&two.times)
            .map(|(a, b)| a.load(Relaxed) + b.load(Relaxed))
            .collect();
        let answers: u64 = times.iter().sum();
        let quantile = |percent: u64| {
            // The smallest time that at least so many answers kept.
            let rank = (answers * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let at = times.iter().position(|count| {
                seen += count;
                rank <= seen
            });
            at.map_or(0, longest)
        };
        v1::ServiceQuantiles {
            answers,
            p50_us: quantile(50),
            p95_us: quantile(95),
            p99_us: quantile(99),
            gated: one.gated.load(Relaxed) + two.gated.load(Relaxed),
            failed: one.failed.load(Relaxed) + two.failed.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_time_and_is_at_most_an_eighth_wide(us in 0_u64..1 << 31) {
            let longest = u64::from(longest(bucket(us)));
            prop_assert!(us <= longest);
            prop_assert!(longest <= us + us / 8);
            prop_assert_eq!(bucket(longest), bucket(us));
            prop_assert_eq!(bucket(longest + 1), bucket(us) + 1);
        }
    }

    #[test]
    fn quantiles_are_of_the_last_windows() {
        let meter = Meter::default();
        assert_eq!(meter.quantiles(), v1::ServiceQuantiles::default());
        (1..=100).for_each(|us| meter.answered(Stage::Vote, us * 10));
        meter.answered(Stage::Gate, u64::MAX);
        let now = meter.quantiles();
        assert_eq!((now.answers, now.gated), (101, 1));
        assert!((510..=574).contains(&now.p50_us), "{}", now.p50_us);
        assert!((1000..=1125).contains(&now.p99_us), "{}", now.p99_us);
        meter.turn();
        assert_eq!(meter.quantiles().answers, 101);
        meter.turn();
        assert_eq!(meter.quantiles().answers, 0);
        assert_eq!(meter.totals(Stage::Vote).count(), 100, "totals are not forgotten");
        assert_eq!(meter.totals(Stage::Vote).accumulated().nth(4), Some((1_000, 100)));
    }
}
