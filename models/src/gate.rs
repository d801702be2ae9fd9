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
