//! Why a task was placed anew, in one word: for counters and the journal.

use super::{Choice, Placed, Problem, TaskFacts};

/// The first that holds of these, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Nothing can serve it any more.
    Nowhere,
    /// It was nowhere before.
    First,
    /// A device that had it is not there.
    DeviceLost,
    /// Another revision was released.
    Revision,
    /// Its policy was changed.
    Policy,
    /// A promise has been broken.
    Promise,
    /// Somewhere else it is better off.
    Better,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Nowhere,
        Self::First,
        Self::DeviceLost,
        Self::Revision,
        Self::Policy,
        Self::Promise,
        Self::Better,
    ];

    /// As it stands in a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::First => "first",
            Self::DeviceLost => "device_lost",
            Self::Revision => "revision",
            Self::Policy => "policy",
            Self::Promise => "promise",
            Self::Better => "better",
        }
    }

    /// Why a task that was placed as `before` is placed as `chosen` now.
    #[must_use]
    pub fn of(problem: &Problem, task: &TaskFacts, before: &[Placed], chosen: &[Choice]) -> Self {
        let revision = task.offer.as_ref().map(|offer| offer.revision);
        if chosen.is_empty() {
            Self::Nowhere
        } else if before.is_empty() {
            Self::First
        } else if before.iter().any(|it| !problem.devices.contains_key(&it.choice.device)) {
            Self::DeviceLost
        } else if before.iter().any(|it| Some(it.choice.revision) != revision) {
            Self::Revision
        } else if before.iter().any(|it| it.version != task.version) {
            Self::Policy
        } else if before.iter().any(|it| 0 < it.broken_periods) {
            Self::Promise
        } else {
            Self::Better
        }
    }
}
