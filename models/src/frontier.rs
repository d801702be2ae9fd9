//! Which members are asked, and what is known of that choice before it serves.

use crate::work::Work;

/// A choice of members: bit `i` set means member `i` votes. At most 64 members.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Subset(pub u64);

impl Subset {
    /// The first `members` members.
    #[must_use]
    pub fn all(members: usize) -> Self {
        if members < 64 { Self((1 << members) - 1) } else { Self(u64::MAX) }
    }

    /// Whether member `index` votes.
    #[must_use]
    pub fn has(self, index: usize) -> bool {
        index < 64 && self.0 >> index & 1 == 1
    }

    /// The members that vote, in order.
    pub fn members(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |&index| self.has(index))
    }

    /// How many members vote.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether nobody votes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What validation rows say of a subset, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubsetMeasure {
    /// The members.
    pub subset: Subset,
    /// Whether the gate stands in front of them.
    pub gated: bool,
    /// Share of rows answered rightly.
    pub accuracy: f64,
    /// Mean of the recalls of the classes that occur.
    pub balanced_accuracy: f64,
    /// Share of events answered "background"; 0 without a background class.
    pub missed_events: f64,
    /// Standard error of `accuracy`.
    pub standard_error: f64,
    /// Mean work of one answer; with a gate, weighted by how many samples pass it.
    pub work: Work,
}
