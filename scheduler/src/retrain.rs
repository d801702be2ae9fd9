//! When a task is trained again by itself.

/// What is known of a task's corrections and trainings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// New corrections that start a training; `None` never does.
    pub after_corrections: Option<u64>,
    /// Corrections since the last training was begun.
    pub corrections_since: u64,
    /// Whether a job of the task is queued or running.
    pub active: bool,
    /// Whether anything was released: the first training is an admin's decision.
    pub released: bool,
}

/// Whether a training is due.
///
/// Counted since the last training was *begun*, so that a refused candidate is not tried again on
/// the same corrections for ever.
#[must_use]
pub fn due(facts: Facts) -> bool {
    facts.released
        && !facts.active
        && facts.after_corrections.is_some_and(|enough| enough <= facts.corrections_since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Facts =
        Facts { after_corrections: Some(25), corrections_since: 25, active: false, released: true };

    #[test]
    fn enough_corrections_start_a_training() {
        assert!(due(DUE));
        assert!(!due(Facts { corrections_since: 24, ..DUE }));
    }

    #[test]
    fn it_waits_for_a_job_a_release_and_a_policy_that_wants_it() {
        assert!(!due(Facts { active: true, ..DUE }));
        assert!(!due(Facts { released: false, ..DUE }));
        assert!(!due(Facts { after_corrections: None, ..DUE }));
    }
}
