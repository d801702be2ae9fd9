//! The first stage: background or not.

use crate::member::Member;

/// A cheap member with two classes, 0 for background and 1 for event, and a threshold.
///
/// A sample is answered "background" without a vote when `score[1] - score[0] < threshold`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The binary member.
    pub member: Member,
    /// Chosen on validation rows so that the share of events below it keeps the policy's ceiling.
    pub threshold: f32,
}

impl Gate {
    /// Whether a sample with this margin is answered "background" without a vote.
    ///
    /// A margin that is not a number stops nothing: when in doubt, the members are asked.
    #[must_use]
    pub fn stops(&self, margin: f32) -> bool {
        stops(margin, self.threshold)
    }
}

/// The rule of [`Gate::stops`], for margins that were computed before.
#[must_use]
pub fn stops(margin: f32, threshold: f32) -> bool {
    margin < threshold
}
