//! What was ordered, what of it is served, and what is to be done about the difference. Rules
//! without clock or I/O.
//!
//! An order is obeyed only if its generation is newer than any seen for its task, also when the
//! task was taken away in between.

use std::collections::BTreeMap;

use models::{Coverage, Subset};
use proto::{parse, v1};

/// Most tasks of one worker, and most generations that it remembers.
pub(crate) const TASKS_MAX: usize = 1024;

/// Longest description of raw input: a name for each of the most channels of a window.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// Serve these members of this revision of this task.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wanted {
    pub(crate) task: String,
    pub(crate) generation: u64,
    pub(crate) revision: u64,
    #[serde(with = "crate::identity::hexadecimal")]
    pub(crate) digest: [u8; 32],
    pub(crate) subset: Subset,
    pub(crate) gated: bool,
    /// The class to answer when nobody could be heard in time; empty: there is none.
    #[serde(default)]
    pub(crate) fallback: String,
    /// How often the set of each answer holds the true class, in thousandths; 0: sets are answered
    /// only where they are asked for.
    #[serde(default)]
    pub(crate) coverage_thousandths: u32,
    /// Votes whose confidence is below so many thousandths say that they do not know; 0: none does.
    #[serde(default)]
    pub(crate) abstain_below_thousandths: u32,
    /// How raw samples become features, as JSON; empty when that is not known here. Read by those
    /// who take raw samples.
    #[serde(default)]
    pub(crate) input: String,
}

/// Why an order cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum OrderError {
    /// A task without a name, or with one that no task can have.
    #[error("{name:?} is no name of a task")]
    Name {
        /// What it is called.
        name: String,
    },
    /// No member would vote.
    #[error("task {task}: no member is asked")]
    Nobody {
        /// The task.
        task: String,
    },
    /// A default answer that can be no class.
    #[error("task {task}: the fallback is longer than the name of a class may be")]
    Fallback {
        /// The task.
        task: String,
    },
    /// A coverage that nobody can promise.
    #[error("task {task}: {thousandths} thousandths are no coverage that a set can have")]
    Coverage {
        /// The task.
        task: String,
        /// What was ordered.
        thousandths: u32,
    },
    /// A confidence that nobody can have.
    #[error("task {task}: {thousandths} thousandths are no confidence")]
    Abstain {
        /// The task.
        task: String,
        /// What was ordered.
        thousandths: u32,
    },
    /// A field that does not parse.
    #[error("task {task}")]
    Field {
        /// The task.
        task: String,
        /// What is wrong.
        #[source]
        source: parse::ParseError,
    },
    /// A description of raw input without end.
    #[error(
        "task {task}: its input is described by {bytes} bytes; at most {INPUT_BYTES_MAX} are read"
    )]
    Input {
        /// The task.
        task: String,
        /// How many.
        bytes: usize,
    },
    /// The same task twice.
    #[error("task {task} stands twice in the orders")]
    Twice {
        /// The task.
        task: String,
    },
    /// More than a worker serves.
    #[error("{tasks} tasks are ordered; one worker serves at most {TASKS_MAX}")]
    TooMany {
        /// How many.
        tasks: usize,
    },
}

/// The orders of a node, checked.
///
/// # Errors
///
/// [`OrderError`]; then none of them is obeyed.
pub(crate) fn parse(assignments: Vec<v1::Assignment>) -> Result<Vec<Wanted>, OrderError> {
    if TASKS_MAX < assignments.len() {
        return Err(OrderError::TooMany { tasks: assignments.len() });
    }
    let mut orders = BTreeMap::new();
    for assignment in assignments {
        let v1::Assignment {
            task,
            generation,
            revision,
            digest,
            members,
            gated,
            fallback,
            input,
            coverage_thousandths: thousandths,
            abstain_below_thousandths,
        } = assignment;
        if task.is_empty()
            || models::schema::NAME_BYTES_MAX < task.len()
            || task.chars().any(char::is_control)
        {
            return Err(OrderError::Name { name: task });
        }
        if INPUT_BYTES_MAX < input.len() {
            return Err(OrderError::Input { task, bytes: input.len() });
        }
        let field = |source| OrderError::Field { task: task.clone(), source };
        let digest = parse::digest(&digest).map_err(field)?;
        let subset = parse::subset(&members).map_err(field)?;
        if subset.is_empty() {
            return Err(OrderError::Nobody { task });
        }
        if models::schema::NAME_BYTES_MAX < fallback.len() {
            return Err(OrderError::Fallback { task });
        }
        if 1000 < abstain_below_thousandths {
            let thousandths = abstain_below_thousandths;
            return Err(OrderError::Abstain { task, thousandths });
        }
        if thousandths != 0 && Coverage::of_thousandths(thousandths).is_none() {
            return Err(OrderError::Coverage { task, thousandths });
        }
        let wanted = Wanted {
            task: task.clone(),
            generation,
            revision,
            digest,
            subset,
            gated,
            fallback,
            coverage_thousandths: thousandths,
            abstain_below_thousandths,
            input,
        };
        if orders.insert(task.clone(), wanted).is_some() {
            return Err(OrderError::Twice { task });
        }
    }
    Ok(orders.into_values().collect())
}

/// What is to be done after orders came.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Obeyed {
    /// To be loaded, then told to [`Orders::loaded`].
    pub(crate) load: Vec<Wanted>,
    /// No longer served.
    pub(crate) dropped: Vec<String>,
    /// Not obeyed: older than what was seen. With the newest generation seen.
    pub(crate) stale: Vec<(Wanted, u64)>,
}

/// What is wanted of each task, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Orders {
    /// The newest order of each task that is to be served.
    pub(crate) wanted: BTreeMap<String, Wanted>,
    /// What last loaded well, and is served until something newer loads.
    pub(crate) good: BTreeMap<String, Wanted>,
    /// The newest generation seen of each task, those included that are no longer served.
    pub(crate) fences: BTreeMap<String, u64>,
    /// Why the newest order is not served, in words. Not kept on disk: a new start tries again.
    #[serde(skip)]
    pub(crate) faults: BTreeMap<String, String>,
}

impl Orders {
    /// Takes over the whole of what should be served.
    pub(crate) fn obey(&mut self, orders: Vec<Wanted>) -> Obeyed {
        let mut obeyed = Obeyed::default();
        let named: Vec<String> = orders.iter().map(|wanted| wanted.task.clone()).collect();
        for wanted in orders {
            let fence = self.fences.get(&wanted.task).copied();
            let known = self.wanted.get(&wanted.task);
            if known == Some(&wanted) {
                continue;
            }
            if let Some(fence) = fence
                && wanted.generation <= fence
            {
                obeyed.stale.push((wanted, fence));
                continue;
            }
            self.fences.insert(wanted.task.clone(), wanted.generation);
            self.faults.remove(&wanted.task);
            self.wanted.insert(wanted.task.clone(), wanted.clone());
            obeyed.load.push(wanted);
        }
        let gone = |task: &&String| !named.contains(task);
        obeyed.dropped = self.wanted.keys().filter(gone).cloned().collect();
        for task in &obeyed.dropped {
            self.wanted.remove(task);
            self.good.remove(task);
            self.faults.remove(task);
        }
        self.forget_fences();
        obeyed
    }

    /// Something was loaded: whether it is to be served. It is not when it was overtaken by a newer
    /// order or is no longer wanted.
    pub(crate) fn loaded(&mut self, wanted: &Wanted) -> bool {
        if !self.is_wanted(wanted) {
            return false;
        }
        self.faults.remove(&wanted.task);
        self.good.insert(wanted.task.clone(), wanted.clone());
        true
    }

    /// Something did not load: whether it is still wanted, and to be tried again.
    pub(crate) fn failed(&mut self, wanted: &Wanted, fault: String) -> bool {
        if !self.is_wanted(wanted) {
            return false;
        }
        self.faults.insert(wanted.task.clone(), fault);
        true
    }

    pub(crate) fn is_wanted(&self, wanted: &Wanted) -> bool {
        self.wanted.get(&wanted.task) == Some(wanted)
    }

    /// What is wanted and not served as it is wanted.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.values().filter(|wanted| self.good.get(&wanted.task) != Some(wanted))
    }

    /// Digests that are served or will be.
    pub(crate) fn digests(&self) -> impl Iterator<Item = [u8; 32]> {
        self.wanted.values().chain(self.good.values()).map(|wanted| wanted.digest)
    }

    /// Generations of tasks that are gone are remembered up to a bound.
    fn forget_fences(&mut self) {
        while 2 * TASKS_MAX < self.fences.len() {
            let gone = self.fences.keys().find(|task| !self.wanted.contains_key(*task)).cloned();
            let Some(gone) = gone else { break };
            self.fences.remove(&gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(task: &str, generation: u64) -> Wanted {
        Wanted {
            task: task.to_owned(),
            generation,
            revision: generation,
            digest: [7; 32],
            subset: Subset(1),
            gated: false,
            fallback: String::new(),
            coverage_thousandths: 0,
            abstain_below_thousandths: 0,
            input: String::new(),
        }
    }

    #[test]
    fn an_older_generation_is_not_obeyed_even_after_the_task_was_gone() {
        let mut orders = Orders::default();
        assert_eq!(orders.obey(vec![wanted("a", 5)]).load, [wanted("a", 5)]);
        assert_eq!(orders.obey(vec![wanted("a", 4)]).stale, [(wanted("a", 4), 5)]);
        assert_eq!(orders.wanted["a"], wanted("a", 5));
        assert_eq!(orders.obey(vec![]).dropped, ["a"]);
        let obeyed = orders.obey(vec![wanted("a", 5)]);
        assert_eq!((obeyed.load, obeyed.stale), (vec![], vec![(wanted("a", 5), 5)]));
        assert_eq!(orders.obey(vec![wanted("a", 6)]).load, [wanted("a", 6)]);
    }

    #[test]
    fn the_same_orders_again_change_nothing() {
        let mut orders = Orders::default();
        orders.obey(vec![wanted("a", 1), wanted("b", 1)]);
        let before = orders.clone();
        assert_eq!(orders.obey(vec![wanted("a", 1), wanted("b", 1)]), Obeyed::default());
        assert_eq!(orders, before);
    }

    #[test]
    fn what_was_overtaken_while_it_loaded_is_not_served() {
        let mut orders = Orders::default();
        orders.obey(vec![wanted("a", 1)]);
        orders.obey(vec![wanted("a", 2)]);
        assert!(!orders.loaded(&wanted("a", 1)));
        assert!(!orders.failed(&wanted("a", 1), "late".to_owned()));
        assert!(orders.loaded(&wanted("a", 2)));
        assert_eq!(orders.missing().count(), 0);
    }

    #[test]
    fn a_failed_load_leaves_the_good_one() {
        let mut orders = Orders::default();
        orders.obey(vec![wanted("a", 1)]);
        orders.loaded(&wanted("a", 1));
        orders.obey(vec![wanted("a", 2)]);
        assert!(orders.failed(&wanted("a", 2), "damaged".to_owned()));
        assert_eq!(orders.good["a"], wanted("a", 1));
        assert_eq!(orders.missing().collect::<Vec<_>>(), [&wanted("a", 2)]);
        assert_eq!(orders.faults["a"], "damaged");
    }

    #[test]
    fn each_way_an_order_is_wrong_has_its_name() {
        let good = || v1::Assignment {
            task: "a".to_owned(),
            generation: 1,
            revision: 1,
            digest: vec![7; 32].into(),
            members: vec![0],
            gated: false,
            fallback: String::new(),
            coverage_thousandths: 0,
            abstain_below_thousandths: 0,
            input: String::new(),
        };
        assert_eq!(parse(vec![good()]), Ok(vec![wanted("a", 1)]));
        let wrong = |change: fn(&mut v1::Assignment)| {
            let mut assignment = good();
            change(&mut assignment);
            parse(vec![assignment]).unwrap_err().to_string()
        };
        assert_eq!(wrong(|it| it.task.clear()), "\"\" is no name of a task");
        assert_eq!(wrong(|it| it.members.clear()), "task a: no member is asked");
        assert_eq!(wrong(|it| it.members.push(64)), "task a");
        assert_eq!(wrong(|it| it.digest.clear()), "task a");
        let coverage = wrong(|it| it.coverage_thousandths = 1000);
        assert!(coverage.starts_with("task a: 1000 thousandths are no coverage"), "{coverage}");
        let abstain = wrong(|it| it.abstain_below_thousandths = 1001);
        assert_eq!(abstain, "task a: 1001 thousandths are no confidence");
        assert!(matches!(parse(vec![good(), good()]), Err(OrderError::Twice { .. })));
    }

    proptest! {
        #[test]
        fn generations_of_what_is_wanted_only_grow(
            steps in proptest::collection::vec(
                proptest::collection::btree_map("[a-c]", 0_u64..6, 0..3), 1..20
            ),
        ) {
            let mut orders = Orders::default();
            let mut newest: BTreeMap<String, u64> = BTreeMap::new();
            for step in steps {
                let step: Vec<Wanted> =
                    step.iter().map(|(task, &generation)| wanted(task, generation)).collect();
                let obeyed = orders.obey(step.clone());
                for load in &obeyed.load {
                    let before = newest.insert(load.task.clone(), load.generation);
                    prop_assert!(before.is_none_or(|before| before < load.generation));
                }
                // In both directions: what is newer is never left out.
                for wanted in &step {
                    prop_assert!(wanted.generation <= newest[&wanted.task]);
                }
                for task in orders.wanted.keys() {
                    prop_assert!(step.iter().any(|wanted| wanted.task == *task));
                }
            }
        }
    }
}
