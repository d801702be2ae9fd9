//! From the jobs that should run and the jobs that do: what to start, what to stop.

use std::collections::{BTreeMap, BTreeSet};

use crate::orders::Train;

/// One run of one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    /// The job.
    pub(crate) job: String,
    /// Which run of it.
    pub(crate) attempt: u64,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its process lives.
    Running,
    /// Its process was told to end and still lives.
    Stopping,
    /// It said that it had finished.
    Done,
    /// It ended without having finished.
    Failed(String),
}

impl State {
    /// Whether its process lives.
    pub(crate) fn lives(&self) -> bool {
        match self {
            Self::Running | Self::Stopping => true,
            Self::Done | Self::Failed(_) => false,
        }
    }
}

/// What to do about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Tell its process to end.
    Stop(Run),
    /// Nobody asks any more how it ended.
    Forget(Run),
    /// Start its process.
    Start(Run),
}

/// The difference between what is `wanted` and what is `seen`.
///
/// A run that ended is not started again: another attempt is the scheduler's decision. A run is
/// started when no older run of its job lives: two of them would publish into each other.
pub(crate) fn commands(
    wanted: &BTreeMap<String, Train>,
    seen: &BTreeMap<Run, State>,
) -> Vec<Command> {
    let is_wanted =
        |run: &Run| wanted.get(&run.job).is_some_and(|train| train.attempt == run.attempt);
    let mut commands = Vec::new();
    for (run, state) in seen.iter().filter(|(run, _)| !is_wanted(run)) {
        match state {
            State::Running => commands.push(Command::Stop(run.clone())),
            State::Stopping => {}
            State::Done | State::Failed(_) => commands.push(Command::Forget(run.clone())),
        }
    }
    let busy: BTreeSet<&str> =
        seen.iter().filter(|(_, state)| state.lives()).map(|(run, _)| run.job.as_str()).collect();
    for (job, train) in wanted {
        let run = Run { job: job.clone(), attempt: train.attempt };
        if !busy.contains(job.as_str()) && !seen.contains_key(&run) {
            commands.push(Command::Start(run));
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted() -> impl Strategy<Value = BTreeMap<String, Train>> {
        let train = (0_u64..4).prop_map(|attempt| Train { attempt, task: "t".to_owned() });
        prop::collection::btree_map("[abc]", train, 0..4)
    }

    fn seen() -> impl Strategy<Value = BTreeMap<Run, State>> {
        let run = ("[abc]", 0_u64..4).prop_map(|(job, attempt)| Run { job, attempt });
        let state = prop_oneof![
            Just(State::Running),
            Just(State::Stopping),
            Just(State::Done),
            Just(State::Failed("x".to_owned())),
        ];
        prop::collection::btree_map(run, state, 0..8)
    }

    /// Does what the commands say.
    fn apply(seen: &mut BTreeMap<Run, State>, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Stop(run) => seen.insert(run, State::Stopping),
                Command::Forget(run) => seen.remove(&run),
                Command::Start(run) => seen.insert(run, State::Running),
            };
        }
    }

    proptest! {
        #[test]
        fn done_once_there_is_nothing_left_to_do(wanted in wanted(), mut seen in seen()) {
            let first = commands(&wanted, &seen);
            apply(&mut seen, first);
            prop_assert_eq!(commands(&wanted, &seen), vec![]);
        }

        #[test]
        fn no_run_is_started_twice_or_beside_another_of_its_job(
            wanted in wanted(), seen in seen(),
        ) {
            for command in commands(&wanted, &seen) {
                if let Command::Start(run) = command {
                    prop_assert!(!seen.contains_key(&run));
                    prop_assert!(!seen.iter().any(|(it, state)| it.job == run.job && state.lives()));
                }
            }
        }

        #[test]
        fn only_what_is_not_wanted_is_stopped_or_forgotten(wanted in wanted(), seen in seen()) {
            for command in commands(&wanted, &seen) {
                let (Command::Stop(run) | Command::Forget(run)) = command else { continue };
                prop_assert!(wanted.get(&run.job).is_none_or(|train| train.attempt != run.attempt));
            }
        }

        #[test]
        fn once_what_was_stopped_has_ended_exactly_the_wanted_is_left(
            wanted in wanted(), mut seen in seen(),
        ) {
            for _ in 0..3 {
                let step = commands(&wanted, &seen);
                apply(&mut seen, step);
                // Every process that was told to end ends.
                for state in seen.values_mut().filter(|state| **state == State::Stopping) {
                    *state = State::Done;
                }
            }
            let left: Vec<(&str, u64)> =
                seen.keys().map(|run| (run.job.as_str(), run.attempt)).collect();
            let should: Vec<(&str, u64)> =
                wanted.iter().map(|(job, train)| (job.as_str(), train.attempt)).collect();
            prop_assert_eq!(left, should);
        }
    }
}
