//! A choice: one device, one subset, and what it would cost.

use std::collections::BTreeMap;

use models::{Subset, SubsetMeasure};

use super::problem::{Device, Measured, Problem, Reach, TaskFacts};
use crate::latency::{self, Cost};

/// A device and members for a task, with the numbers it was chosen by.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    /// The device.
    pub device: String,
    /// The revision.
    pub revision: u64,
    /// SHA-256 of its bundle.
    pub digest: [u8; 32],
    /// The members.
    pub subset: Subset,
    /// Whether the gate stands in front of them.
    pub gated: bool,
    /// Share of validation rows answered rightly.
    pub accuracy: f64,
    /// Share of events called background, on validation rows.
    pub missed_events: f64,
    /// Predicted time.
    pub cost: Cost,
    /// How long an answer keeps all cores of the device busy, in nanoseconds.
    #[serde(default)]
    pub burden_ns: u32,
    /// The class to answer when nobody could be heard in time; empty: there is none.
    #[serde(default)]
    pub fallback: String,
    /// How often the set of each answer holds the true class, in thousandths; 0: sets are answered
    /// only where they are asked for.
    #[serde(default)]
    pub coverage_thousandths: u32,
    /// Votes whose confidence is below so many thousandths say that they do not know; 0: none does.
    #[serde(default)]
    pub abstain_below_thousandths: u32,
}

impl Choice {
    /// Whether both are the same order to the same device, whatever is predicted of them.
    #[must_use]
    pub fn orders_as(&self, other: &Self) -> bool {
        self.device == other.device
            && self.revision == other.revision
            && self.digest == other.digest
            && self.subset == other.subset
            && self.gated == other.gated
            && self.fallback == other.fallback
            && self.coverage_thousandths == other.coverage_thousandths
            && self.abstain_below_thousandths == other.abstain_below_thousandths
    }
}

/// The best choice of one device, or why there is none, or why it was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The device.
    pub device: String,
    /// Its best subset; `None` when nothing could be computed.
    pub choice: Option<Choice>,
    /// Why it was not chosen; `None` for the chosen ones.
    pub refused: Option<String>,
}

/// Whether a choice holds what the policy promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// What it costs now; `None` while that is not known.
    pub cost: Option<Cost>,
    /// What is broken; `None` while nothing is known to be.
    pub broken: Option<String>,
}

/// A task that is on a device already: what another one there may disturb.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) task: String,
    pub(super) memory_bytes: u64,
    /// Share of the device's cores that it keeps busy.
    pub(super) load: f64,
    pub(super) cost: Option<Cost>,
    pub(super) latency_us_max: Option<u32>,
}

/// Who is where while a plan is made.
pub(super) type Residents = BTreeMap<String, Vec<Resident>>;

/// What a subset costs on a device beside `residents`, or why that cannot be said.
pub(super) fn cost(
    problem: &Problem,
    task: &TaskFacts,
    name: &str,
    device: &Device,
    measure: &SubsetMeasure,
    residents: &[Resident],
) -> Result<Cost, String> {
    let site = task.site(problem);
    let rtt = match device.reach(site) {
        Reach::Unmeasured => return Err(format!("its rtt from {site:?} is not measured yet")),
        Reach::Silent => return Err(format!("it does not answer {site:?}")),
        Reach::Measured(rtt) => rtt,
    };
    let measured = task.measured.get(name).filter(|measured| speaks_for(measured, task, measure));
    let service_us = match measured {
        Some(measured) => measured.p99_us,
        None => latency::service_us(&device.speed, measure.work),
    };
    // A measured time includes the wait for other answers of the same worker.
    let queue_us = if measured.is_some() {
        0
    } else {
        let others: f64 = residents.iter().map(|resident| resident.load).sum();
        latency::queue_us(others + load(task, device, measure), service_us)
    };
    Ok(Cost {
        rtt_us: rtt.p95_us,
        transfer_us: latency::transfer_us(task.width, task.classes),
        queue_us,
        service_us,
        measured: measured.is_some(),
    })
}

/// Whether enough was measured of this very subset of this very revision.
fn speaks_for(measured: &Measured, task: &TaskFacts, measure: &SubsetMeasure) -> bool {
    latency::ANSWERS_MIN <= measured.answers
        && task.offer.as_ref().is_some_and(|offer| offer.revision == measured.revision)
        && measured.subset == measure.subset
        && measured.gated == measure.gated
}

/// Share of the device's cores that the task would keep busy.
pub(super) fn load(task: &TaskFacts, device: &Device, measure: &SubsetMeasure) -> f64 {
    let busy = task.rate_per_s * device.speed.micros(measure.work) / 1e6;
    busy / device.cores.max(0.01)
}

/// How long one answer keeps all cores of the device busy, in nanoseconds.
pub(super) fn burden_ns(device: &Device, measure: &SubsetMeasure) -> u32 {
    let ns = device.speed.micros(measure.work) * 1000.0 / device.cores.max(0.01);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what 32 bits hold"
    )]
    let ns = ns.clamp(0.0, f64::from(u32::MAX)).round() as u32;
    ns
}

/// Why a device may not serve the task at all, whatever it costs.
pub(super) fn barred(problem: &Problem, task: &TaskFacts, device: &Device) -> Option<String> {
    let site = task.site(problem);
    if task.policy.place.on_site && device.site != site {
        return Some(format!("it stands at {:?} and the policy keeps to {site:?}", device.site));
    }
    match &task.policy.place.arch {
        Some(arch) if *arch != device.arch => {
            Some(format!("it is {} and the policy requires {arch}", device.arch))
        }
        Some(_) | None => None,
    }
}

/// Whether a placed choice holds its promise now.
///
/// What is not known breaks no promise: after a restart of the scheduler nothing moves until
/// something was measured.
#[must_use]
pub fn promise(problem: &Problem, name: &str, choice: &Choice) -> Promise {
    let unknown = Promise { cost: None, broken: None };
    let (Some(task), Some(device)) = (problem.tasks.get(name), problem.devices.get(&choice.device))
    else {
        return unknown;
    };
    if device.reach(task.site(problem)) == Reach::Silent {
        let broken = format!("{} does not answer {:?}", choice.device, task.site(problem));
        return Promise { cost: None, broken: Some(broken) };
    }
    let measure = task.offer.as_ref().and_then(|offer| {
        offer
            .frontier
            .iter()
            .find(|measure| measure.subset == choice.subset && measure.gated == choice.gated)
    });
    let Some(Ok(cost)) =
        measure.map(|measure| cost(problem, task, &choice.device, device, measure, &[]))
    else {
        return unknown;
    };
    let broken = task.policy.latency_us_max.filter(|&max| max < cost.total_us()).map(|max| {
        format!(
            "{}: {} {} is above the {} of the policy",
            choice.device,
            if cost.measured { "measured" } else { "predicted" },
            latency::millis(cost.total_us()),
            latency::millis(max)
        )
    });
    Promise { cost: Some(cost), broken }
}
