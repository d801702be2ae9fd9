//! What was done since the scheduler started: counted where it is done, and read by `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proto::v1;
use runtime::exposition::Histogram;

use crate::{journal::KINDS, placement::Cause};

/// Bounds of how long a change of the state takes to be durable, in microseconds.
const WRITE_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];
/// … and of how long a training takes.
const TRAINING_BOUNDS_US: [u64; 10] = [
    1_000_000,
    5_000_000,
    15_000_000,
    30_000_000,
    60_000_000,
    180_000_000,
    600_000_000,
    1_800_000_000,
    7_200_000_000,
    28_800_000_000,
];

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a release.
    Released,
    /// With a candidate that was no better.
    Refused,
    /// Given up.
    Failed,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Released, Self::Refused, Self::Failed];

    /// As it stands in a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// How long trainings took.
type Trainings = Histogram<{ TRAINING_BOUNDS_US.len() }>;

/// The counters; nobody waits for another to add to them.
#[derive(Debug)]
pub struct Meter {
    /// Of [`KINDS`], in their order.
    events: [AtomicU64; KINDS.len()],
    /// Of [`Cause::ALL`], in their order.
    causes: [AtomicU64; Cause::ALL.len()],
    /// Of [`Ended::ALL`], in their order.
    trainings: [Trainings; Ended::ALL.len()],
    /// Corrections that were taken in: applied, known before, refused for good.
    corrections: [AtomicU64; 3],
    /// From when a change was begun until it was durable.
    pub(crate) writes: Histogram<{ WRITE_BOUNDS_US.len() }>,
    /// Changes that could not be made durable.
    pub(crate) write_failures: AtomicU64,
}

/// What becomes of a correction, in the order of its counters.
pub(crate) const CORRECTIONS: [&str; 3] = ["applied", "repeated", "refused"];

impl Default for Meter {
    fn default() -> Self {
        Self {
            events: [const { AtomicU64::new(0) }; KINDS.len()],
            causes: [const { AtomicU64::new(0) }; Cause::ALL.len()],
            trainings: [const { Histogram::new(&TRAINING_BOUNDS_US) }; Ended::ALL.len()],
            corrections: [const { AtomicU64::new(0) }; 3],
            writes: Histogram::new(&WRITE_BOUNDS_US),
            write_failures: AtomicU64::new(0),
        }
    }
}

impl Meter {
    /// An event of this kind was written down.
    pub(crate) fn event(&self, kind: &str) {
        if let Some(at) = KINDS.iter().position(|&it| it == kind) {
            self.events[at].fetch_add(1, Relaxed);
        }
    }

    /// A task was placed anew.
    pub(crate) fn placed(&self, cause: Cause) {
        if let Some(at) = Cause::ALL.iter().position(|&it| it == cause) {
            self.causes[at].fetch_add(1, Relaxed);
        }
    }

    /// A training has ended, so many milliseconds after it was first started.
    pub(crate) fn trained(&self, ended: Ended, took_ms: u64) {
        if let Some(at) = Ended::ALL.iter().position(|&it| it == ended) {
            self.trainings[at].add(took_ms.saturating_mul(1_000));
        }
    }

    /// Corrections were taken in.
    pub(crate) fn corrected(&self, reply: &v1::SubmitCorrectionsReply) {
        let refused = u64::try_from(reply.refused.len()).unwrap_or(u64::MAX);
        let counts = [u64::from(reply.applied), u64::from(reply.repeated), refused];
        for (counter, count) in self.corrections.iter().zip(counts) {
            counter.fetch_add(count, Relaxed);
        }
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().zip(self.events.iter().map(|it| it.load(Relaxed)))
    }

    pub(crate) fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Cause::ALL.map(Cause::name).into_iter().zip(self.causes.iter().map(|it| it.load(Relaxed)))
    }

    pub(crate) fn trainings(&self) -> impl Iterator<Item = (&'static str, &Trainings)> {
        Ended::ALL.map(Ended::name).into_iter().zip(&self.trainings)
    }

    pub(crate) fn corrections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CORRECTIONS.into_iter().zip(self.corrections.iter().map(|it| it.load(Relaxed)))
    }
}
