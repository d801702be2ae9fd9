//! What is served now: an immutable set that requests read and only the engine replaces.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use models::{Asking, Ensemble, Schema, Work};
use proto::v1;

use crate::{meter::Meter, orders::Wanted};

/// A task that is answered: one revision of it, never half of two.
#[derive(Debug)]
pub(crate) struct Served {
    /// What was ordered and is now done.
    pub(crate) wanted: Wanted,
    /// What answers.
    pub(crate) ensemble: Arc<Ensemble>,
    /// In which order the members are asked on this device.
    pub(crate) asking: Asking,
    /// How many members may be asked.
    pub(crate) members: u32,
    /// About how long an answer of all of them takes, in multiply-adds.
    pub(crate) effort: u64,
    /// Times and counts of this task, over all its revisions.
    pub(crate) meter: Arc<Meter>,
}

impl Served {
    pub(crate) fn new(
        wanted: Wanted,
        ensemble: Arc<Ensemble>,
        asking: Asking,
        meter: Arc<Meter>,
    ) -> Self {
        let members = wanted.subset.len();
        let gate =
            if wanted.gated { ensemble.gate_work().unwrap_or_default() } else { Work::default() };
        let effort = effort(gate + ensemble.work(wanted.subset));
        Self { wanted, ensemble, asking, members, effort, meter }
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.ensemble.schema()
    }
}

/// Work in one unit, roughly: enough to tell an answer of microseconds from one of milliseconds.
fn effort(work: Work) -> u64 {
    let Work { madds, bytes, nodes, exps, calls } = work;
    madds
        .saturating_add(bytes / 4)
        .saturating_add(nodes.saturating_mul(4))
        .saturating_add(exps.saturating_mul(16))
        .saturating_add(calls.saturating_mul(64))
}

/// Everything that is served, and what is not although it was ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedSet {
    /// By task.
    pub(crate) tasks: BTreeMap<String, Arc<Served>>,
    /// Ordered, not (or not yet) served as ordered, and why in words; empty while it is loading.
    pub(crate) missing: BTreeMap<String, (Wanted, String)>,
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
