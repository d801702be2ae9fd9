//! Problems and plans for the tests of the placement: small enough that things collide.

use std::collections::{BTreeMap, BTreeSet};

use models::{Speed, Subset, SubsetMeasure, Work};
use proptest::prelude::*;

use super::{Device, Offer, Placed, Previous, Problem, Reach, TaskFacts, Verdict};
use crate::{
    policy::{Objective, Place, Policy},
    rtt::Rtt,
};

/// A device at home with a measured way to it.
pub(crate) fn device(madd_ns: f64, rtt_us: u32) -> Device {
    let rtt = Rtt { p50_us: rtt_us / 2, p95_us: rtt_us, samples: 20 };
    Device {
        site: "home".to_owned(),
        arch: "x86_64".to_owned(),
        cores: 2.0,
        memory_bytes: 256 << 20,
        speed: Speed { madd_ns, byte_ns: 1.0, node_ns: 1.0, exp_ns: 1.0, call_ns: 0.0 },
        reach: BTreeMap::from([("home".to_owned(), Reach::Measured(rtt))]),
    }
}

/// A subset of the first `members`, which does so many thousand multiply-adds.
pub(crate) fn measure(members: usize, accuracy: f64, thousands: u64) -> SubsetMeasure {
    SubsetMeasure {
        subset: Subset::all(members),
        gated: false,
        accuracy,
        balanced_accuracy: accuracy,
        missed_events: 0.0,
        standard_error: 0.01,
        work: Work { madds: thousands * 1_000, ..Work::default() },
    }
}

pub(crate) fn task(policy: Policy, frontier: Vec<SubsetMeasure>) -> TaskFacts {
    let families = vec!["ridge".to_owned(); 8];
    TaskFacts {
        policy,
        version: 1,
        width: 4,
        classes: 2,
        offer: Some(Offer {
            revision: 1,
            digest: [1; 32],
            bundle_bytes: 1 << 20,
            families,
            frontier,
        }),
        rate_per_s: 0.0,
        measured: BTreeMap::new(),
    }
}

pub(crate) fn problem(
    devices: impl IntoIterator<Item = (&'static str, Device)>,
    tasks: impl IntoIterator<Item = (&'static str, TaskFacts)>,
) -> Problem {
    let named = |name: &str| name.to_owned();
    Problem {
        site: named("home"),
        devices: devices.into_iter().map(|(name, device)| (named(name), device)).collect(),
        tasks: tasks.into_iter().map(|(name, task)| (named(name), task)).collect(),
    }
}

/// What the books would say after a plan was written down.
pub(crate) fn written(problem: &Problem, verdicts: &BTreeMap<String, Verdict>) -> Previous {
    verdicts
        .iter()
        .filter(|(_, verdict)| !verdict.chosen.is_empty())
        .map(|(name, verdict)| {
            let placed = verdict
                .chosen
                .iter()
                .map(|choice| Placed {
                    choice: choice.clone(),
                    version: problem.tasks[name].version,
                    considered: verdict.considered.clone(),
                    generation: 1,
                    broken_periods: 0,
                })
                .collect();
            (name.clone(), placed)
        })
        .collect()
}

fn devices() -> impl Strategy<Value = BTreeMap<String, Device>> {
    let reach = prop_oneof![
        6 => (0_u32..20_000).prop_map(|us| Reach::Measured(Rtt {
            p50_us: us / 2, p95_us: us, samples: 20
        })),
        1 => Just(Reach::Unmeasured),
        1 => Just(Reach::Silent),
    ];
    let device = (1_u32..50, 64_u64..128, 0_usize..2, 0_usize..2, reach).prop_map(
        |(speed, mib, site, arch, reach)| Device {
            site: ["home", "kitchen"][site].to_owned(),
            arch: ["x86_64", "aarch64"][arch].to_owned(),
            memory_bytes: mib << 20,
            reach: BTreeMap::from([("home".to_owned(), reach)]),
            ..device(f64::from(speed), 0)
        },
    );
    prop::collection::btree_map("d[0-5]", device, 0..6)
}

fn policies() -> impl Strategy<Value = Policy> {
    let objective = prop_oneof![
        Just(Objective::BestEffort),
        Just(Objective::Balanced),
        Just(Objective::LowLatency)
    ];
    (
        objective,
        prop::option::of(1_000_u32..30_000),
        prop_oneof![Just(0.0), Just(0.7), Just(0.85)],
        any::<bool>(),
        prop::option::of(Just("aarch64".to_owned())),
        1_usize..3,
    )
        .prop_map(|(objective, latency_us_max, accuracy_min, on_site, arch, replicas)| {
            Policy {
                objective,
                latency_us_max,
                accuracy_min,
                place: Place { on_site, arch, replicas },
                ..Policy::default()
            }
        })
}

fn tasks() -> impl Strategy<Value = BTreeMap<String, TaskFacts>> {
    let frontier = prop::collection::vec((0.5_f64..1.0, 1_u64..500, 0.0_f64..0.05), 1..5);
    let task = (policies(), frontier, 1_u64..24, 0_u32..200, any::<bool>()).prop_map(
        |(policy, frontier, mib, rate, trained)| {
            let frontier = frontier
                .into_iter()
                .zip(1..)
                .map(|((accuracy, thousands, missed_events), members)| SubsetMeasure {
                    missed_events,
                    ..measure(members, accuracy, thousands)
                })
                .collect();
            let mut task = task(policy, frontier);
            task.rate_per_s = f64::from(rate);
            match &mut task.offer {
                Some(offer) if trained => offer.bundle_bytes = mib << 20,
                offer => *offer = None,
            }
            task
        },
    );
    prop::collection::btree_map("t[0-3]", task, 0..4)
}

/// Any problem.
pub(crate) fn problems() -> impl Strategy<Value = Problem> {
    (devices(), tasks()).prop_map(|(devices, tasks)| Problem {
        site: "home".to_owned(),
        devices,
        tasks,
    })
}

/// Two problems with the same tasks, so that what was decided for one is a past of the other.
pub(crate) fn pasts() -> impl Strategy<Value = (Problem, Problem)> {
    (devices(), devices(), tasks()).prop_map(|(before, now, tasks)| {
        let site = "home".to_owned();
        (
            Problem { site: site.clone(), devices: before, tasks: tasks.clone() },
            Problem { site, devices: now, tasks },
        )
    })
}

/// The devices of a plan, by task.
pub(crate) fn places(verdicts: &BTreeMap<String, Verdict>) -> BTreeMap<String, BTreeSet<String>> {
    verdicts
        .iter()
        .map(|(name, verdict)| {
            (name.clone(), verdict.chosen.iter().map(|choice| choice.device.clone()).collect())
        })
        .collect()
}
