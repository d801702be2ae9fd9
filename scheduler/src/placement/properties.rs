//! What is true of every plan, in both directions: it never does the wrong thing, and it leaves
//! something out only when it must.

use proptest::prelude::*;

use super::{
    Device, Problem, Reach, cases::*, choice::barred, explain, promise, solve,
    solve::BROKEN_PERIODS,
};
use crate::policy::{Objective, Policy};

fn policy(objective: Objective) -> Policy {
    Policy { objective, ..Policy::default() }
}

fn limited(objective: Objective, ms: u32) -> Policy {
    Policy { latency_us_max: Some(ms * 1000), ..policy(objective) }
}

/// Device and members of the only choice of the only task.
fn chosen(problem: &Problem) -> (String, u32) {
    let plan = solve(problem, &Default::default());
    let verdict = plan.verdicts.values().next().unwrap();
    let choice = &verdict.chosen[0];
    (choice.device.clone(), choice.subset.len())
}

/// Two ways to have it: three members far away on a fast machine, or one near on a slow one.
fn dial(policy: Policy) -> Problem {
    let frontier = vec![measure(1, 0.90, 100), measure(2, 0.935, 1_000), measure(3, 0.94, 4_000)];
    problem(
        [("far", device(0.1, 12_000)), ("near", device(1.0, 500))],
        [("t", task(policy, frontier))],
    )
}

#[test]
fn the_dial_turns_from_accurate_to_fast() {
    // Near, three members take 8 ms; far, 0.8 ms and the way there.
    assert_eq!(chosen(&dial(policy(Objective::BestEffort))), ("near".into(), 3));
    assert_eq!(chosen(&dial(policy(Objective::Balanced))), ("near".into(), 2));
    assert_eq!(chosen(&dial(policy(Objective::LowLatency))), ("near".into(), 1));
}

#[test]
fn the_most_accurate_that_fits_is_taken_and_no_more() {
    assert_eq!(chosen(&dial(limited(Objective::BestEffort, 3))), ("near".into(), 2));
    assert_eq!(chosen(&dial(limited(Objective::BestEffort, 1))), ("near".into(), 1));
}

#[test]
fn a_heavy_ensemble_goes_where_it_is_fast() {
    let frontier = vec![measure(8, 0.95, 40_000)];
    let devices = [("far", device(0.1, 12_000)), ("near", device(1.0, 500))];
    let heavy = task(policy(Objective::BestEffort), frontier);
    assert_eq!(chosen(&problem(devices, [("t", heavy)])).0, "far");
}

#[test]
fn within_a_stated_limit_the_least_burdened_device_serves_best_effort() {
    let frontier = || vec![measure(1, 0.9, 100)];
    let small = Device { cores: 0.1, ..device(1.0, 3_000) };
    let large = Device { cores: 16.0, ..device(1.0, 84_000) };
    let lab = |policy| {
        problem([("a-pi", small.clone()), ("vm", large.clone())], [("t", task(policy, frontier()))])
    };
    assert_eq!(chosen(&lab(limited(Objective::BestEffort, 500))).0, "vm");
    assert_eq!(chosen(&lab(limited(Objective::LowLatency, 500))).0, "a-pi");
    assert_eq!(chosen(&lab(limited(Objective::BestEffort, 50))).0, "a-pi", "the limit comes first");
    assert_eq!(chosen(&lab(policy(Objective::BestEffort))).0, "a-pi", "no limit: sooner is better");
}

/// Two devices that are burdened alike were once told apart by their names.
#[test]
fn of_equally_burdened_devices_the_nearer_one_serves() {
    let frontier = vec![measure(1, 0.9, 100)];
    let devices = [("a", device(1.0, 900)), ("b", device(1.0, 500))];
    let wish = task(limited(Objective::BestEffort, 50), frontier);
    assert_eq!(chosen(&problem(devices, [("t", wish)])).0, "b");
}

#[test]
fn low_latency_keeps_the_accuracy_floor() {
    let floor = Policy { accuracy_min: 0.93, ..policy(Objective::LowLatency) };
    assert_eq!(chosen(&dial(floor)), ("near".into(), 2));
}

#[test]
fn missed_events_bound_the_choice_and_what_cannot_be_met_is_said() {
    let mut frontier = vec![measure(1, 0.90, 100), measure(2, 0.95, 100)];
    frontier[1].missed_events = 0.03;
    let one = |frontier| {
        problem([("pi", device(1.0, 500))], [("t", task(policy(Objective::BestEffort), frontier))])
    };
    assert_eq!(chosen(&one(frontier.clone())).1, 1);
    frontier[0].missed_events = 0.04;
    let problem = one(frontier);
    assert_eq!(chosen(&problem).1, 2, "one that misses too much is better than none");
    let plan = solve(&problem, &Default::default());
    assert!(plan.verdicts["t"].unmet[0].contains("misses 3.0 % of events"));
}

/// On thirteen classes of HAPT no subset keeps 2 % of missed events; the one that came nearest, with
/// 6 %, was served although others were a point more accurate.
#[test]
fn a_ceiling_that_nothing_keeps_costs_no_accuracy() {
    let mut frontier = vec![measure(1, 0.90, 100), measure(2, 0.95, 100)];
    frontier[0].missed_events = 0.04;
    frontier[1].missed_events = 0.05;
    let policy = policy(Objective::BestEffort);
    let problem = problem([("pi", device(1.0, 500))], [("t", task(policy, frontier))]);
    assert_eq!(chosen(&problem).1, 2);
    let plan = solve(&problem, &Default::default());
    assert!(plan.verdicts["t"].unmet[0].contains("misses 5.0 % of events"));
}

#[test]
fn a_promise_is_broken_twice_before_a_task_moves() {
    let frontier = vec![measure(1, 0.9, 100)];
    let mut problem = problem(
        [("a", device(1.0, 500)), ("b", device(1.0, 900))],
        [("t", task(limited(Objective::BestEffort, 5), frontier))],
    );
    let mut previous = written(&problem, &solve(&problem, &Default::default()).verdicts);
    assert_eq!(previous["t"][0].choice.device, "a");
    // The way to it gets slower, but not too slow: nothing moves for a faster device.
    problem.devices.insert("a".into(), device(1.0, 4_000));
    assert!(solve(&problem, &previous).verdicts["t"].kept);
    // Too slow: it moves, but not at once.
    problem.devices.insert("a".into(), device(1.0, 9_000));
    assert!(promise(&problem, "t", &previous["t"][0].choice).broken.is_some());
    previous.get_mut("t").unwrap()[0].broken_periods = BROKEN_PERIODS - 1;
    assert_eq!(solve(&problem, &previous).verdicts["t"].chosen[0].device, "a");
    previous.get_mut("t").unwrap()[0].broken_periods = BROKEN_PERIODS;
    assert_eq!(solve(&problem, &previous).verdicts["t"].chosen[0].device, "b");
}

#[test]
fn a_new_revision_stays_where_a_little_faster_is_not_worth_a_move() {
    let frontier = vec![measure(1, 0.9, 100)];
    let devices = [("a", device(1.0, 1_000)), ("b", device(1.0, 1_500))];
    let mut problem = problem(devices, [("t", task(policy(Objective::BestEffort), frontier))]);
    let previous = written(&problem, &solve(&problem, &Default::default()).verdicts);
    problem.devices.insert("b".into(), device(1.0, 900));
    problem.tasks.get_mut("t").unwrap().offer.as_mut().unwrap().revision = 2;
    assert_eq!(solve(&problem, &previous).verdicts["t"].chosen[0].device, "a");
    problem.devices.insert("b".into(), device(1.0, 100));
    assert_eq!(solve(&problem, &previous).verdicts["t"].chosen[0].device, "b");
}

#[test]
fn a_device_that_joins_is_considered() {
    let frontier = vec![measure(1, 0.9, 10_000)];
    let mut problem = problem(
        [("slow", device(10.0, 500))],
        [("t", task(policy(Objective::BestEffort), frontier))],
    );
    let previous = written(&problem, &solve(&problem, &Default::default()).verdicts);
    problem.devices.insert("quick".into(), device(0.1, 500));
    assert_eq!(solve(&problem, &previous).verdicts["t"].chosen[0].device, "quick");
}

#[test]
fn a_task_does_not_push_another_past_its_promise() {
    let slow = measure(1, 0.9, 1_000);
    let mut busy = task(policy(Objective::BestEffort), vec![slow]);
    busy.rate_per_s = 900.0;
    let promised = Policy { latency_us_max: Some(20_000), ..policy(Objective::BestEffort) };
    let mut problem = problem(
        [("a", device(1.0, 500)), ("b", device(4.0, 5_000))],
        [("kept", task(promised, vec![slow]))],
    );
    for device in problem.devices.values_mut() {
        device.cores = 1.0;
    }
    let previous = written(&problem, &solve(&problem, &Default::default()).verdicts);
    assert_eq!(previous["kept"][0].choice.device, "a");
    problem.tasks.insert("busy".into(), busy);
    let plan = solve(&problem, &previous);
    assert_eq!(plan.verdicts["busy"].chosen[0].device, "b");
    let refused = plan.verdicts["busy"].candidates.iter().find(|it| it.device == "a").unwrap();
    let why = refused.refused.as_ref().unwrap();
    assert!(why.contains("it would push \"kept\""), "{why}");
}

#[test]
fn an_explanation_names_every_device_with_its_numbers() {
    let problem = dial(limited(Objective::BestEffort, 3));
    let previous = written(&problem, &solve(&problem, &Default::default()).verdicts);
    let explanation = explain(&problem, &previous, "t");
    let [near, far] = &explanation.candidates[..] else { panic!("{explanation:?}") };
    assert_eq!((near.device.as_str(), &near.refused), ("near", &None));
    assert!(far.refused.as_ref().unwrap().contains("is above the 3 ms of the policy"));
    assert!(explanation.why[0].contains("best-effort takes the most accurate that fits"));
    assert!(explanation.why[1].contains("rtt p95 0.5 ms"), "{explanation:?}");
}

proptest! {
    #[test]
    fn every_choice_is_allowed_and_fits(problem in problems()) {
        let plan = solve(&problem, &Default::default());
        for (name, verdict) in &plan.verdicts {
            let task = &problem.tasks[name];
            prop_assert!(verdict.chosen.len() <= task.policy.place.replicas);
            for choice in &verdict.chosen {
                let device = &problem.devices[&choice.device];
                prop_assert_eq!(barred(&problem, task, device), None);
                prop_assert!(matches!(device.reach("home"), Reach::Measured(_)));
                let offer = task.offer.as_ref().unwrap();
                prop_assert!(offer.frontier.iter().any(|it| it.subset == choice.subset));
            }
        }
        for (name, device) in &problem.devices {
            let taken: u64 = plan
                .verdicts
                .iter()
                .filter(|(_, verdict)| verdict.chosen.iter().any(|it| it.device == *name))
                .map(|(task, _)| problem.tasks[task].offer.as_ref().unwrap().memory_bytes())
                .sum();
            prop_assert!(taken <= device.room_bytes());
        }
    }

    #[test]
    fn a_task_is_left_out_only_when_every_device_refuses_it(problem in problems()) {
        let plan = solve(&problem, &Default::default());
        for (name, task) in &problem.tasks {
            let verdict = &plan.verdicts[name];
            if task.offer.is_none() || task.policy.place.replicas <= verdict.chosen.len() {
                continue;
            }
            for device in problem.devices.keys() {
                let candidate = verdict.candidates.iter().find(|it| it.device == *device).unwrap();
                let chosen = verdict.chosen.iter().any(|it| it.device == *device);
                prop_assert!(chosen || candidate.refused.is_some() && candidate.choice.is_none());
            }
        }
    }

    #[test]
    fn a_promise_is_missed_only_when_no_free_choice_would_keep_it(problem in problems()) {
        // One task alone, so that nobody else takes the room.
        for (name, task) in &problem.tasks {
            let alone = Problem {
                tasks: [(name.clone(), task.clone())].into(),
                ..problem.clone()
            };
            let plan = solve(&alone, &Default::default());
            let Some(choice) = plan.verdicts[name].chosen.first() else { continue };
            let Some(max) = task.policy.latency_us_max else { continue };
            if max < choice.cost.total_us() {
                let all = super::solve::best_of(&alone, &Default::default(), name);
                prop_assert!(all.iter().all(|other| max < other.cost.total_us()));
            }
        }
    }

    #[test]
    fn is_stable((before, now) in pasts()) {
        let past = written(&before, &solve(&before, &Default::default()).verdicts);
        let once = solve(&now, &past);
        let again = solve(&now, &written(&now, &once.verdicts));
        for (name, verdict) in &again.verdicts {
            prop_assert_eq!(&verdict.chosen, &once.verdicts[name].chosen);
            prop_assert!(verdict.kept || verdict.chosen.is_empty());
        }
    }

    #[test]
    fn names_do_not_matter_but_for_ties(problem in problems()) {
        // The same problem with all devices renamed in reverse order: same devices, unless the
        // names had to break a tie.
        let flip = |name: &str| -> String {
            let digit = name[1..].parse::<u8>().unwrap();
            format!("d{}", 9 - digit)
        };
        let mut flipped = problem.clone();
        flipped.devices =
            problem.devices.iter().map(|(name, device)| (flip(name), device.clone())).collect();
        for (name, task) in &problem.tasks {
            let one = |problem: &Problem| {
                let alone = Problem {
                    tasks: [(name.clone(), task.clone())].into(),
                    ..problem.clone()
                };
                solve(&alone, &Default::default()).verdicts.remove(name).unwrap()
            };
            let (straight, turned) = (one(&problem), one(&flipped));
            let costs = |verdict: &super::Verdict| -> Vec<u32> {
                verdict.chosen.iter().map(|choice| choice.cost.total_us()).collect()
            };
            prop_assert_eq!(costs(&straight), costs(&turned));
        }
    }

    #[test]
    fn a_past_costs_nobody_their_service((before, now) in pasts()) {
        let past = written(&before, &solve(&before, &Default::default()).verdicts);
        let fresh = places(&solve(&now, &Default::default()).verdicts);
        let alone = now.tasks.len() == 1;
        for (name, devices) in places(&solve(&now, &past).verdicts) {
            // With several tasks, one that was kept may have the room of another.
            prop_assert!(!alone || fresh[&name].is_empty() || !devices.is_empty());
        }
    }
}
