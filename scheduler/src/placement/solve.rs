//! The solver: keep what holds, then place the rest, largest first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use models::SubsetMeasure;

use super::{
    choice::{Candidate, Choice, Resident, Residents, barred, burden_ns, cost, load, promise},
    problem::{Device, Offer, Problem, Reach, TaskFacts},
    score::{Near, Score, missed_ppm},
};
use crate::{latency, policy::Objective};

/// Sampling periods in a row for which a promise must be broken before a task moves.
pub const BROKEN_PERIODS: u32 = 2;

/// Where a task was put before, and under which circumstances.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Placed {
    /// The choice.
    pub choice: Choice,
    /// The version of the policy that it was decided under.
    pub version: u64,
    /// The devices that could be compared then: one that is not among them has joined since.
    pub considered: BTreeSet<String>,
    /// Grows with every decision; older orders are never obeyed.
    pub generation: u64,
    /// Sampling periods in a row for which its promise has been broken.
    #[serde(skip)]
    pub broken_periods: u32,
}

/// What was decided before, by task.
pub type Previous = BTreeMap<String, Vec<Placed>>;

/// What was decided, by task. Tasks that nothing can be served of are there too, without choices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By task.
    pub verdicts: BTreeMap<String, Verdict>,
}

/// What was decided about one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Where it is served, best first.
    pub chosen: Vec<Choice>,
    /// Whether that is what was decided before.
    pub kept: bool,
    /// The devices that could be compared.
    pub considered: BTreeSet<String>,
    /// The best of each device. Empty when what was decided before was kept.
    pub candidates: Vec<Candidate>,
    /// What of the policy is not met, in words.
    pub unmet: Vec<String>,
}

/// Places the tasks of `problem`, moving as little of `previous` as possible.
///
/// Total (a task without a device is in the plan without choices), deterministic, and stable:
/// deciding again about an unchanged problem changes nothing.
#[must_use]
pub fn solve(problem: &Problem, previous: &Previous) -> Plan {
    let mut residents = Residents::new();
    let mut plan = Plan::default();

    // Keep. A task stays where it is as long as it holds its promise there.
    for (name, task) in &problem.tasks {
        let Some(offer) = &task.offer else {
            plan.verdicts.insert(name.clone(), Verdict::default());
            continue;
        };
        let before = previous.get(name).map_or(&[][..], Vec::as_slice);
        let kept = kept(problem, name, task, offer, before, &residents);
        for placed in &kept {
            settle(problem, &mut residents, name, task, offer, &placed.choice);
        }
        let whole = kept.len() == before.len() && kept.len() == task.policy.place.replicas;
        if whole {
            let chosen: Vec<Choice> =
                kept.into_iter().map(|placed| placed.choice.clone()).collect();
            let verdict = Verdict {
                unmet: unmet(problem, name, task, &chosen, &[]),
                considered: before.iter().flat_map(|placed| placed.considered.clone()).collect(),
                kept: true,
                candidates: Vec::new(),
                chosen,
            };
            plan.verdicts.insert(name.clone(), verdict);
        }
    }

    // Place. The largest task has the fewest choices, so it chooses first.
    let mut waiting: Vec<(&String, &TaskFacts, &Offer)> = problem
        .tasks
        .iter()
        .filter(|(name, _)| !plan.verdicts.contains_key(*name))
        .filter_map(|(name, task)| Some((name, task, task.offer.as_ref()?)))
        .collect();
    waiting.sort_by_key(|(name, _, offer)| (Reverse(offer.memory_bytes()), *name));
    for (name, task, offer) in waiting {
        let before = previous.get(name).map_or(&[][..], Vec::as_slice);
        for there in residents.values_mut() {
            there.retain(|resident| resident.task != *name);
        }
        let pinned = kept(problem, name, task, offer, before, &residents);
        let verdict = place(problem, name, task, offer, (before, &pinned), &residents);
        for choice in &verdict.chosen {
            settle(problem, &mut residents, name, task, offer, choice);
        }
        plan.verdicts.insert(name.clone(), verdict);
    }
    plan
}

/// The placements of a task that may stay. Empty when the task has to be decided anew.
fn kept<'a>(
    problem: &Problem,
    name: &str,
    task: &TaskFacts,
    offer: &Offer,
    before: &'a [Placed],
    residents: &Residents,
) -> Vec<&'a Placed> {
    let comparable = comparable(problem, task);
    let anew = before.iter().any(|placed| {
        placed.version != task.version
            || placed.choice.revision != offer.revision
            || !comparable.is_subset(&placed.considered)
    });
    if anew {
        return Vec::new();
    }
    before
        .iter()
        .filter(|placed| {
            let Some(device) = problem.devices.get(&placed.choice.device) else { return false };
            placed.broken_periods < BROKEN_PERIODS
                && barred(problem, task, device).is_none()
                && room(device, residents.get(&placed.choice.device), name, offer).is_ok()
        })
        .take(task.policy.place.replicas)
        .collect()
}

/// The devices that can be compared for this task: those with a measured way to them.
pub(super) fn comparable(problem: &Problem, task: &TaskFacts) -> BTreeSet<String> {
    let site = task.site(problem);
    problem
        .devices
        .iter()
        .filter(|(_, device)| matches!(device.reach(site), Reach::Measured(_)))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Decides about one task anew, all but what is `pinned` of what was decided before.
pub(super) fn place(
    problem: &Problem,
    name: &str,
    task: &TaskFacts,
    offer: &Offer,
    (before, pinned): (&[Placed], &[&Placed]),
    residents: &Residents,
) -> Verdict {
    // Every choice that can be computed, and why a device has none.
    let mut refused: BTreeMap<&str, String> = BTreeMap::new();
    let mut choices: Vec<Choice> = Vec::new();
    for (device_name, device) in &problem.devices {
        let there = residents.get(device_name).map_or(&[][..], Vec::as_slice);
        let possible = possible(problem, name, task, offer, (device_name, device), there);
        match possible {
            Ok(found) => choices.extend(found),
            Err(why) => {
                refused.insert(device_name, why);
            }
        }
    }

    let near = near(task, &choices);
    let stays = |choice: &Choice| before.iter().any(|placed| placed.choice.device == choice.device);
    let mut best: BTreeMap<&str, (Score<'_>, &Choice)> = BTreeMap::new();
    for choice in &choices {
        let score = Score::of(task, choice, near, stays(choice));
        let entry = best.entry(&choice.device).or_insert((score, choice));
        if score < entry.0 {
            *entry = (score, choice);
        }
    }
    let mut ranked: Vec<(Score<'_>, &Choice)> = best.into_values().collect();
    ranked.sort_by_key(|&(score, _)| score);

    let replicas = task.policy.place.replicas;
    let pinned_to = |device: &str| pinned.iter().any(|placed| placed.choice.device == device);
    let free = replicas.saturating_sub(pinned.len());
    let mut chosen: Vec<Choice> = pinned.iter().map(|placed| placed.choice.clone()).collect();
    let others = ranked.iter().filter(|(_, choice)| !pinned_to(&choice.device));
    chosen.extend(others.take(free).map(|(_, choice)| (*choice).clone()));

    let winner = ranked.first().map(|&(_, choice)| choice);
    let mut candidates: Vec<Candidate> = ranked
        .iter()
        .map(|(score, choice)| Candidate {
            device: choice.device.clone(),
            choice: Some((*choice).clone()),
            refused: (!chosen.iter().any(|it| it.device == choice.device))
                .then(|| beaten(task, winner, score, choice)),
        })
        .collect();
    candidates.extend(refused.into_iter().map(|(device, why)| Candidate {
        device: device.to_owned(),
        choice: None,
        refused: Some(why),
    }));

    // A device that is gone may come back, and until then it goes on serving by itself; one that
    // nobody has measured yet is no worse than none. So when nobody can take the task, it stays on
    // paper where it was.
    if chosen.is_empty() {
        let waiting: Vec<&Placed> = before
            .iter()
            .filter(|placed| {
                problem.devices.get(&placed.choice.device).is_none_or(|device| {
                    device.reach(task.site(problem)) == Reach::Unmeasured
                        && barred(problem, task, device).is_none()
                })
            })
            .collect();
        if !waiting.is_empty() {
            let considered = waiting.iter().flat_map(|it| it.considered.clone()).collect();
            let chosen: Vec<Choice> = waiting.iter().map(|placed| placed.choice.clone()).collect();
            let unmet = unmet(problem, name, task, &chosen, &candidates);
            let kept = chosen.len() == before.len();
            return Verdict { chosen, kept, considered, candidates, unmet };
        }
    }

    let same = before.len() == chosen.len()
        && chosen.iter().all(|choice| before.iter().any(|placed| placed.choice.orders_as(choice)));
    Verdict {
        unmet: unmet(problem, name, task, &chosen, &candidates),
        considered: comparable(problem, task),
        kept: same,
        candidates,
        chosen,
    }
}

/// The choices on one device, or why there are none.
fn possible(
    problem: &Problem,
    name: &str,
    task: &TaskFacts,
    offer: &Offer,
    (device_name, device): (&str, &Device),
    there: &[Resident],
) -> Result<Vec<Choice>, String> {
    if let Some(why) = barred(problem, task, device) {
        return Err(why);
    }
    room(device, Some(there), name, offer)?;
    let mut choices = Vec::with_capacity(offer.frontier.len());
    let mut disturbs = None;
    for measure in &offer.frontier {
        let cost = cost(problem, task, device_name, device, measure, there)?;
        if let Some(other) = disturbed(task, device, measure, there) {
            disturbs = Some(other);
            continue;
        }
        choices.push(Choice {
            device: device_name.to_owned(),
            revision: offer.revision,
            digest: offer.digest,
            subset: measure.subset,
            gated: measure.gated,
            accuracy: measure.accuracy,
            missed_events: measure.missed_events,
            cost,
            burden_ns: burden_ns(device, measure),
            fallback: task.policy.fallback.clone().unwrap_or_default(),
            coverage_thousandths: task.policy.coverage.map_or(0, |it| it.thousandths().into()),
            abstain_below_thousandths: task.policy.abstain_below_thousandths.unwrap_or(0),
        });
    }
    match disturbs {
        Some(other) if choices.is_empty() => Err(other),
        Some(_) | None => Ok(choices),
    }
}

/// Whether the bundle fits beside what is there.
fn room<'a>(
    device: &Device,
    there: impl IntoIterator<Item = impl IntoIterator<Item = &'a Resident>>,
    name: &str,
    offer: &Offer,
) -> Result<(), String> {
    let taken = there
        .into_iter()
        .flatten()
        .filter(|resident| resident.task != name)
        .fold(0_u64, |sum, resident| sum.saturating_add(resident.memory_bytes));
    let free = device.room_bytes().saturating_sub(taken);
    if offer.memory_bytes() <= free {
        Ok(())
    } else {
        Err(format!(
            "its bundle needs {} MiB and {} MiB are free",
            offer.memory_bytes().div_ceil(1 << 20),
            free >> 20
        ))
    }
}

/// Whose promise would be broken if the task came here: its load makes the others wait.
fn disturbed(
    task: &TaskFacts,
    device: &Device,
    measure: &SubsetMeasure,
    there: &[Resident],
) -> Option<String> {
    let before: f64 = there.iter().map(|resident| resident.load).sum();
    let after = before + load(task, device, measure);
    there.iter().find_map(|resident| {
        let (max, cost) = (resident.latency_us_max?, resident.cost?);
        let base = cost.total_us() - cost.queue_us;
        let with = |load| base.saturating_add(latency::queue_us(load, cost.service_us));
        (with(before) <= max && max < with(after)).then(|| {
            format!(
                "it would push {:?} from {} past its {}",
                resident.task,
                latency::millis(with(before)),
                latency::millis(max)
            )
        })
    })
}

/// What `balanced` allows: one standard error below the most accurate choice that holds the
/// promise (or that misses it least).
///
/// The rule of one standard error is from Breiman, Friedman, Olshen and Stone, *Classification and
/// Regression Trees*, 1984, section 3.4.3: the simplest tree within one standard error of the best.
fn near(task: &TaskFacts, choices: &[Choice]) -> Near {
    let ceiling_holds = choices.iter().any(|choice| missed_ppm(task, choice) == 0);
    let missed = |choice: &Choice| {
        let nowhere = Near { ceiling_holds, accuracy_min: 0.0 };
        let score = Score::of(task, choice, nowhere, false);
        (score.late_us, score.missed_ppm, score.short_ppm)
    };
    let least = choices.iter().map(missed).min();
    let error = |choice: &Choice| {
        task.offer
            .iter()
            .flat_map(|offer| &offer.frontier)
            .find(|measure| measure.subset == choice.subset && measure.gated == choice.gated)
            .map_or(0.0, |measure| measure.standard_error)
    };
    let best = choices.iter().filter(|choice| Some(missed(choice)) == least).max_by(|a, b| {
        a.accuracy.total_cmp(&b.accuracy).then_with(|| error(b).total_cmp(&error(a)))
    });
    let accuracy_min = best.map_or(0.0, |best| best.accuracy - error(best));
    Near { ceiling_holds, accuracy_min }
}

/// Why a computed choice was not taken.
fn beaten(task: &TaskFacts, winner: Option<&Choice>, score: &Score<'_>, choice: &Choice) -> String {
    let policy = &task.policy;
    if let (Some(max), true) = (policy.latency_us_max, 0 < score.late_us) {
        return format!(
            "{} is above the {} of the policy",
            latency::millis(choice.cost.total_us()),
            latency::millis(max)
        );
    }
    if 0 < score.missed_ppm {
        return format!(
            "misses {:.1} % of events, above the {:.1} % of the policy",
            choice.missed_events * 100.0,
            policy.missed_events_max * 100.0
        );
    }
    if 0 < score.short_ppm {
        return format!(
            "accuracy {:.3} is below the {:.3} of the policy",
            choice.accuracy, policy.accuracy_min
        );
    }
    let Some(winner) = winner else { return "nothing to compare with".to_owned() };
    let (here, there) = (choice.cost.total_us(), winner.cost.total_us());
    let by = if choice.accuracy < winner.accuracy {
        format!("accuracy {:.3} instead of {:.3}", choice.accuracy, winner.accuracy)
    } else if policy.objective == Objective::BestEffort
        && policy.latency_us_max.is_some()
        && winner.burden_ns < choice.burden_ns
    {
        let micros = |ns: u32| f64::from(ns) / 1000.0;
        let (here, there) = (micros(choice.burden_ns), micros(winner.burden_ns));
        format!("busy for {there:.1} us an answer, not {here:.1} us")
    } else if there < here {
        format!("{} instead of {}", latency::millis(here), latency::millis(there))
    } else {
        "not enough faster to be worth a move".to_owned()
    };
    format!("{} is preferred: {by}", winner.device)
}

/// What of the policy is not met by `chosen`, in words.
fn unmet(
    problem: &Problem,
    name: &str,
    task: &TaskFacts,
    chosen: &[Choice],
    candidates: &[Candidate],
) -> Vec<String> {
    let policy = &task.policy;
    let mut unmet = Vec::new();
    if problem.devices.is_empty() {
        unmet.push("no device holds a lease".to_owned());
    } else if chosen.is_empty() {
        unmet.push("no device can serve it".to_owned());
        unmet.extend(candidates.iter().filter_map(|candidate| {
            Some(format!("{}: {}", candidate.device, candidate.refused.as_ref()?))
        }));
    } else if chosen.len() < policy.place.replicas {
        unmet.push(format!("{} of {} replicas", chosen.len(), policy.place.replicas));
    }
    for choice in chosen {
        if !problem.devices.contains_key(&choice.device) {
            unmet.push(format!("the lease of {} has ended", choice.device));
        }
        unmet.extend(promise(problem, name, choice).broken);
        if policy.missed_events_max < choice.missed_events {
            unmet.push(format!(
                "{}: misses {:.1} % of events, the policy allows {:.1} %",
                choice.device,
                choice.missed_events * 100.0,
                policy.missed_events_max * 100.0
            ));
        }
        if choice.accuracy < policy.accuracy_min {
            unmet.push(format!(
                "{}: accuracy {:.3}, the policy asks for {:.3}",
                choice.device, choice.accuracy, policy.accuracy_min
            ));
        }
    }
    unmet
}

/// Books a choice on its device, so that tasks placed later see it.
fn settle(
    problem: &Problem,
    residents: &mut Residents,
    name: &str,
    task: &TaskFacts,
    offer: &Offer,
    choice: &Choice,
) {
    let Some(device) = problem.devices.get(&choice.device) else { return };
    let measure = offer
        .frontier
        .iter()
        .find(|measure| measure.subset == choice.subset && measure.gated == choice.gated);
    residents.entry(choice.device.clone()).or_default().push(Resident {
        task: name.to_owned(),
        memory_bytes: offer.memory_bytes(),
        load: measure.map_or(0.0, |measure| load(task, device, measure)),
        cost: Some(choice.cost),
        latency_us_max: task.policy.latency_us_max,
    });
}

/// The choices of `name` on all devices that may serve it, as if nothing of it were placed.
#[must_use]
pub fn best_of(problem: &Problem, previous: &Previous, name: &str) -> Vec<Choice> {
    let Some((task, offer)) =
        problem.tasks.get(name).and_then(|task| Some((task, task.offer.as_ref()?)))
    else {
        return Vec::new();
    };
    let residents = super::explain::others(problem, previous, name);
    problem
        .devices
        .iter()
        .flat_map(|(device_name, device)| {
            let there = residents.get(device_name).map_or(&[][..], Vec::as_slice);
            possible(problem, name, task, offer, (device_name, device), there).unwrap_or_default()
        })
        .collect()
}
