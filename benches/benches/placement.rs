//! Deciding where everything is served: a hundred devices, a hundred tasks.
//!
//! Made-up devices from a Pi to a server at three sites, tasks with all objectives, each with a
//! frontier of twenty choices of members. First nothing is placed yet; then everything is, and a
//! new look changes nothing; then one device has gone.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use models::{Speed, Subset, SubsetMeasure, Work};
use scheduler::{
    placement::{Device, Offer, Placed, Plan, Previous, Problem, Reach, TaskFacts, solve},
    policy::{Objective, Policy},
    rtt::Rtt,
};

const DEVICES: u32 = 100;
const TASKS: u32 = 100;
const CHOICES: u32 = 20;
const SITES: [&str; 3] = ["kitchen", "workshop", "office"];

fn device(number: u32) -> Device {
    let slowness = f64::from(1 + number % 7);
    let reach = |site: u32| {
        let p50_us = 300 + 2_000 * ((number + site) % 3);
        Reach::Measured(Rtt { p50_us, p95_us: 2 * p50_us, samples: 20 })
    };
    Device {
        site: SITES[number as usize % 3].to_owned(),
        arch: if number.is_multiple_of(2) { "aarch64" } else { "x86_64" }.to_owned(),
        cores: 4.0,
        memory_bytes: u64::from(1 + number % 4) << 30,
        speed: Speed {
            madd_ns: 0.05 * slowness,
            byte_ns: 0.05 * slowness,
            node_ns: 3.0 * slowness,
            exp_ns: 2.0 * slowness,
            call_ns: 30.0 * slowness,
        },
        reach: (0..).zip(SITES).map(|(at, site)| (site.to_owned(), reach(at))).collect(),
    }
}

fn task(number: u32) -> TaskFacts {
    let objectives = [Objective::BestEffort, Objective::Balanced, Objective::LowLatency];
    let choice = |at: u32| {
        let accuracy = 0.8 + 0.18 * f64::from(at) / f64::from(CHOICES);
        SubsetMeasure {
            subset: Subset(u64::from(at + 1)),
            gated: at.is_multiple_of(2),
            accuracy,
            balanced_accuracy: accuracy - 0.02,
            missed_events: 0.01,
            standard_error: 0.004,
            work: Work {
                madds: 4_000 << (at / 2),
                bytes: 1_000 << (at / 2),
                nodes: 50 * u64::from(at),
                exps: 100 * u64::from(at),
                calls: u64::from(1 + at / 3),
            },
        }
    };
    TaskFacts {
        policy: Policy {
            objective: objectives[number as usize % 3],
            latency_us_max: Some(10_000 + 1_000 * (number % 5)),
            site: Some(SITES[number as usize / 3 % 3].to_owned()),
            accuracy_min: 0.82,
            ..Policy::default()
        },
        version: 1,
        width: 561,
        classes: 6,
        offer: Some(Offer {
            revision: 1,
            digest: [1; 32],
            bundle_bytes: 6 << 20,
            families: vec!["ridge".to_owned(); 7],
            frontier: (0..CHOICES).map(choice).collect(),
        }),
        rate_per_s: f64::from(number % 10),
        measured: BTreeMap::new(),
    }
}

/// What the books say after a plan was written down.
fn written(plan: &Plan) -> Previous {
    let placed = plan.verdicts.iter().map(|(name, verdict)| {
        let placed = verdict.chosen.iter().map(|choice| Placed {
            choice: choice.clone(),
            version: 1,
            considered: verdict.considered.clone(),
            generation: 1,
            broken_periods: 0,
        });
        (name.clone(), placed.collect())
    });
    placed.collect()
}

fn decide(criterion: &mut Criterion) {
    let problem = Problem {
        site: SITES[0].to_owned(),
        devices: (0..DEVICES).map(|it| (format!("device-{it:03}"), device(it))).collect(),
        tasks: (0..TASKS).map(|it| (format!("task-{it:03}"), task(it))).collect(),
    };
    let nothing = Previous::new();
    let plan = solve(&problem, &nothing);
    let placed = plan.verdicts.values().filter(|verdict| !verdict.chosen.is_empty()).count();
    assert_eq!(placed, TASKS as usize, "every task finds a device");
    let before = written(&plan);
    let mut without = problem.clone();
    let gone = plan.verdicts.values().find_map(|verdict| verdict.chosen.first());
    without.devices.remove(&gone.expect("a task is placed").device);

    let mut group = criterion.benchmark_group("placement/100x100");
    group.sample_size(10);
    for (name, problem, previous) in [
        ("from nothing", &problem, &nothing),
        ("unchanged", &problem, &before),
        ("a device has gone", &without, &before),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| solve(black_box(problem), black_box(previous)));
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
