//! What is served now: an immutable set that requests read and only the engine replaces.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use models::{Asking, ClassId, Coverage, Ensemble, Level, Schema};
use proto::v1;

use crate::{drag::Drag, meter::Meter, orders::Wanted, pace::Pace, routes::Routes};

/// A task that is answered: one revision of it, never half of two.
#[derive(Debug)]
pub(crate) struct Served {
    /// What was ordered and is now done.
    pub(crate) wanted: Wanted,
    /// Its name, to be handed on without copying it.
    pub(crate) task: Arc<str>,
    /// What answers.
    pub(crate) ensemble: Arc<Ensemble>,
    /// The least that each of its members was seen to take here, in microseconds; infinite where nobody asked it.
    pub(crate) micros: Vec<f64>,
    /// In which order the members are asked on this device.
    pub(crate) asking: Asking,
    /// The same order, to the end of every vote: what a set of classes takes.
    pub(crate) asking_all: Asking,
    /// The set of each answer, if the policy wants one.
    pub(crate) level: Option<Level>,
    /// How many members may be asked.
    pub(crate) members: u32,
    /// What is answered when nobody could be heard in time.
    pub(crate) fallback: Option<ClassId>,
    /// How long an answer takes.
    pub(crate) pace: Pace,
    /// How much longer the answers ahead take than that.
    pub(crate) drag: Drag,
    /// Times and counts of this task, over all its revisions.
    pub(crate) meter: Arc<Meter>,
}

impl Served {
    pub(crate) fn schema(&self) -> &Schema {
        self.ensemble.schema()
    }

    /// What the members that serve here can promise of sets of classes: at least `coverage`.
    pub(crate) fn promised(&self, coverage: Coverage) -> Option<Level> {
        let Wanted { subset, gated, .. } = self.wanted;
        self.ensemble.voting().sets.ladder(subset, gated)?.level(coverage)
    }

    /// The largest coverage that they can promise.
    pub(crate) fn most_promised(&self) -> Option<Coverage> {
        let Wanted { subset, gated, .. } = self.wanted;
        self.ensemble.voting().sets.ladder(subset, gated)?.most()
    }
}

/// Everything that is served, and what is not although it was ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedSet {
    /// By task.
    pub(crate) tasks: BTreeMap<String, Arc<Served>>,
    /// Ordered, not (or not yet) served as ordered, and why in words; empty while it is loading.
    pub(crate) missing: BTreeMap<String, (Wanted, String)>,
    /// Where the tasks are served that are not served here.
    pub(crate) routes: Arc<Routes>,
    /// Whether anybody, or the disk, has said what is to be served.
    pub(crate) ordered: bool,
}

impl ServedSet {
    /// Whether all that was ordered is served as ordered.
    pub(crate) fn ready(&self) -> bool {
        self.ordered && self.missing.is_empty()
    }

    /// What is served, and what is wrong with what is not, for whoever asks.
    pub(crate) fn report(&self) -> Vec<v1::ServedTask> {
        let served = self.tasks.values().map(|served| {
            let fault = self.missing.get(&served.wanted.task).map(|(_, fault)| fault.clone());
            v1::ServedTask {
                fault: fault.unwrap_or_default(),
                service: Some(served.meter.quantiles()),
                ..describe(&served.wanted)
            }
        });
        let missing = self.missing.iter().filter(|(task, _)| !self.tasks.contains_key(*task));
        let missing = missing.map(|(task, (_, fault))| v1::ServedTask {
            task: task.clone(),
            fault: fault.clone(),
            ..v1::ServedTask::default()
        });
        served.chain(missing).collect()
    }
}

fn describe(wanted: &Wanted) -> v1::ServedTask {
    v1::ServedTask {
        task: wanted.task.clone(),
        generation: wanted.generation,
        revision: wanted.revision,
        digest: wanted.digest.to_vec().into(),
        members: proto::parse::members(wanted.subset),
        gated: wanted.gated,
        fault: String::new(),
        service: None,
    }
}

/// What requests read: lock-free, and never half of two revisions.
pub(crate) type Snapshot = Arc<ArcSwap<ServedSet>>;

#[cfg(test)]
pub(crate) mod tests {
    use models::{Family, Subset, synthetic};

    use super::*;

    /// Something that is served, made up.
    pub(crate) fn served(families: &[Family], gated: bool) -> Served {
        let ensemble = synthetic::ensemble(families, synthetic::Shape::SMALL, gated, 5);
        let subset = Subset::all(families.len());
        Served {
            micros: vec![f64::INFINITY; ensemble.members().len()],
            wanted: Wanted {
                task: "kitchen".to_owned(),
                generation: 300,
                revision: 7,
                digest: [9; 32],
                subset,
                gated,
                fallback: String::new(),
                coverage_thousandths: 0,
                abstain_below_thousandths: 0,
                input: String::new(),
            },
            task: Arc::from("kitchen"),
            asking: ensemble.asking(subset).unwrap(),
            asking_all: ensemble.asking(subset).unwrap().to_the_end(),
            level: None,
            members: subset.len(),
            ensemble: Arc::new(ensemble),
            fallback: None,
            pace: Pace::new(std::time::Duration::ZERO),
            drag: Drag::default(),
            meter: Arc::default(),
        }
    }
}
