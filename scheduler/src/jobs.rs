//! Training jobs: queued, running, done or failed, with attempts that fence each other.
//!
//! ```text
//! queued ──start──▶ running ──last bundle──▶ done
//!    ▲                 │
//!    └──retry, later───┤ the attempt failed, or its device was lost
//!                      └──too often, or twice the same fault──▶ failed
//! ```

use models::Subset;

/// Attempts of one job: a third of them may be bad luck, five are not.
pub const ATTEMPTS_MAX: u64 = 5;
/// The wait after the first failed attempt; it doubles.
pub const RETRY_FIRST_MS: u64 = 1_000;
/// The longest wait between attempts.
pub const RETRY_LONGEST_MS: u64 = 30_000;
/// How long a running attempt may go unmentioned by its node and itself.
pub const SILENCE_MAX_MS: u64 = 30_000;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for a device, or for the end of a back-off.
    Queued,
    /// A device has it.
    Running,
    /// Ended as it should, with a release or a refused candidate.
    Done,
    /// Given up.
    Failed,
}

/// What a candidate has to be no worse than.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Baseline {
    /// The revision.
    pub revision: u64,
    /// Its bundle.
    pub digest: [u8; 32],
    /// The members that are served of it.
    pub subset: Subset,
    /// Whether a gate stands in front of them.
    pub gated: bool,
}

/// One training of one task.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Unique.
    pub id: String,
    /// The task.
    pub task: String,
    /// The how-many-th job of the task.
    pub ordinal: u64,
    /// Why it was begun.
    pub reason: String,
    /// Whether better settings may be searched for.
    #[serde(default)]
    pub search: bool,
    /// Where it stands.
    pub state: State,
    /// Grows with every start; 0 before the first.
    pub attempt: u64,
    /// Who has it, while it runs.
    pub device: Option<String>,
    /// When it was asked for.
    pub created_ms: u64,
    /// When it was first started; 0 before.
    pub started_ms: u64,
    /// Not to be started before.
    pub not_before_ms: u64,
    /// What the last failed attempt said.
    pub fault: Option<String>,
    /// The last samples file that belongs to it: every attempt trains on the same rows.
    pub samples_upto: i64,
    /// The last correction that belongs to it.
    pub corrections_upto: i64,
    /// What a candidate is compared with; `None` for a first training.
    pub baseline: Option<Baseline>,
    /// The bundle that it published last.
    pub published: Option<[u8; 32]>,
}

/// What became of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It will be tried again, not before this time.
    Retry {
        /// Unix milliseconds.
        not_before_ms: u64,
    },
    /// It will not be tried again.
    GaveUp,
}

impl Job {
    /// Whether it is still to be done.
    #[must_use]
    pub fn active(&self) -> bool {
        matches!(self.state, State::Queued | State::Running)
    }

    /// Whether `attempt` is the one that runs: all others are fenced off (A-6).
    #[must_use]
    pub fn runs(&self, attempt: u64) -> bool {
        self.state == State::Running && self.attempt == attempt
    }

    /// Whether a device may be looked for now.
    #[must_use]
    pub fn waits(&self, now_ms: u64) -> bool {
        self.state == State::Queued && self.not_before_ms <= now_ms
    }

    /// Gives it to a device, as a new attempt. Does nothing unless it is queued.
    pub fn start(&mut self, device: &str, now_ms: u64) {
        if self.state != State::Queued {
            return;
        }
        self.state = State::Running;
        self.attempt += 1;
        self.device = Some(device.to_owned());
        if self.started_ms == 0 {
            self.started_ms = now_ms;
        }
    }

    /// Its running attempt failed.
    ///
    /// Tried again a few times, except when the same fault comes twice in a row: that is not bad
    /// luck, and a third time would take as long and say the same.
    pub fn fail(&mut self, fault: &str, now_ms: u64) -> Outcome {
        let same = self.fault.as_deref() == Some(fault);
        self.fault = Some(fault.to_owned());
        self.device = None;
        if same || ATTEMPTS_MAX <= self.attempt {
            self.state = State::Failed;
            return Outcome::GaveUp;
        }
        let doublings = u32::try_from(self.attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let wait_ms = (RETRY_FIRST_MS << doublings).min(RETRY_LONGEST_MS);
        self.state = State::Queued;
        self.not_before_ms = now_ms.saturating_add(wait_ms);
        Outcome::Retry { not_before_ms: self.not_before_ms }
    }

    /// It ended as it should.
    pub fn finish(&mut self) {
        self.state = State::Done;
        self.device = None;
        self.fault = None;
    }
}

/// The fault of an attempt whose device was lost, which says nothing about the job: the attempt is
/// named in it, so that two losses are two faults.
#[must_use]
pub fn lost(device: &str, attempt: u64) -> String {
    format!("{device} was lost during attempt {attempt}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job() -> Job {
        Job {
            id: "t-1".into(),
            task: "t".into(),
            ordinal: 1,
            reason: "asked for".into(),
            search: true,
            state: State::Queued,
            attempt: 0,
            device: None,
            created_ms: 0,
            started_ms: 0,
            not_before_ms: 0,
            fault: None,
            samples_upto: 0,
            corrections_upto: 0,
            baseline: None,
            published: None,
        }
    }

    #[test]
    fn a_failed_attempt_waits_and_is_fenced_off() {
        let mut job = job();
        job.start("pi", 10);
        assert!(job.runs(1));
        let outcome = job.fail("killed", 1_000);
        assert_eq!(outcome, Outcome::Retry { not_before_ms: 2_000 });
        assert!(!job.runs(1) && !job.waits(1_999) && job.waits(2_000));
        job.start("nuc", 2_000);
        assert!(job.runs(2) && !job.runs(1));
        assert_eq!(job.started_ms, 10);
    }

    #[test]
    fn the_same_fault_twice_is_not_bad_luck() {
        let mut job = job();
        job.start("pi", 0);
        job.fail("one class only", 0);
        job.start("pi", 5_000);
        assert_eq!(job.fail("one class only", 5_000), Outcome::GaveUp);
        assert_eq!(job.state, State::Failed);
    }

    #[test]
    fn lost_devices_are_bad_luck_until_it_is_too_often() {
        let mut job = job();
        for attempt in 1..=ATTEMPTS_MAX {
            job.start("pi", 0);
            let outcome = job.fail(&lost("pi", attempt), 0);
            assert_eq!(outcome == Outcome::GaveUp, attempt == ATTEMPTS_MAX);
        }
    }

    proptest! {
        #[test]
        fn attempts_only_grow_and_end(faults in prop::collection::vec("[a-c]", 1..20)) {
            let mut job = job();
            let mut last = 0;
            for fault in faults {
                job.start("pi", 0);
                if job.active() {
                    prop_assert!(last < job.attempt);
                    last = job.attempt;
                    job.fail(&fault, 0);
                }
                prop_assert!(job.attempt <= ATTEMPTS_MAX);
            }
        }
    }
}
