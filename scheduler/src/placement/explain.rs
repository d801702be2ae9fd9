//! Why a task is where it is: every device with its best subset, and the reasons in words.

use super::{
    choice::{Candidate, Choice, Resident, Residents, cost, load, promise},
    problem::{Problem, TaskFacts},
    solve::{Placed, Previous, place},
};
use crate::latency;

/// What `placement explain` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Every device: the chosen ones first, with what they cost now, then the others.
    pub candidates: Vec<Candidate>,
    /// In words, one line each.
    pub why: Vec<String>,
}

/// Explains where `name` is, by comparing all devices as they are now.
#[must_use]
pub fn explain(problem: &Problem, previous: &Previous, name: &str) -> Explanation {
    let Some(task) = problem.tasks.get(name) else { return Explanation::default() };
    let mut why = vec![wish(problem, task)];
    let Some(offer) = &task.offer else {
        why.push("nothing was released yet, so nothing is placed".to_owned());
        return Explanation { candidates: Vec::new(), why };
    };
    let before = previous.get(name).map_or(&[][..], Vec::as_slice);
    let verdict =
        place(problem, name, task, offer, (before, &[]), &others(problem, previous, name));

    let mut candidates: Vec<Candidate> =
        before.iter().map(|placed| current(problem, name, placed)).collect();
    for placed in before {
        why.extend(line(problem, name, &placed.choice, offer.frontier.len()));
    }
    for mut candidate in verdict.candidates {
        if before.iter().any(|placed| placed.choice.device == candidate.device) {
            continue;
        }
        candidate.refused = candidate.refused.or_else(|| {
            Some(if before.is_empty() {
                "to be placed with the next decision".to_owned()
            } else {
                "would be chosen now; what is placed is kept while it holds its promise".to_owned()
            })
        });
        candidates.push(candidate);
    }
    why.extend(verdict.unmet);
    Explanation { candidates, why }
}

fn wish(problem: &Problem, task: &TaskFacts) -> String {
    let policy = &task.policy;
    let latency = policy.latency_us_max.map_or_else(
        || "no latency limit".to_owned(),
        |max| format!("p99 within {} as seen from {:?}", latency::millis(max), task.site(problem)),
    );
    let floor = if 0.0 < policy.accuracy_min {
        format!(", accuracy at least {:.3}", policy.accuracy_min)
    } else {
        String::new()
    };
    let meaning = match policy.objective {
        crate::policy::Objective::BestEffort => "the most accurate that fits",
        crate::policy::Objective::Balanced => {
            "the fastest within one standard error of the most accurate that fits"
        }
        crate::policy::Objective::LowLatency => "the fastest above the accuracy floor",
    };
    format!("{} takes {meaning}: {latency}{floor}", policy.objective.name())
}

fn line(problem: &Problem, name: &str, choice: &Choice, subsets: usize) -> Option<String> {
    let cost = promise(problem, name, choice).cost.unwrap_or(choice.cost);
    Some(format!(
        "{} with {}{}: accuracy {:.3}, rtt p95 {} + transfer {} + queue {} + service p99 {} \
         ({}) = {}; {} subsets were compared",
        choice.device,
        match choice.subset.len() {
            1 => "1 member".to_owned(),
            count => format!("{count} members"),
        },
        if choice.gated { " behind the gate" } else { "" },
        choice.accuracy,
        latency::millis(cost.rtt_us),
        latency::millis(cost.transfer_us),
        latency::millis(cost.queue_us),
        latency::millis(cost.service_us),
        if cost.measured { "measured" } else { "predicted" },
        latency::millis(cost.total_us()),
        subsets,
    ))
}

/// A chosen device with what it costs now.
fn current(problem: &Problem, name: &str, placed: &Placed) -> Candidate {
    let cost = promise(problem, name, &placed.choice).cost.unwrap_or(placed.choice.cost);
    Candidate {
        device: placed.choice.device.clone(),
        choice: Some(Choice { cost, ..placed.choice.clone() }),
        refused: None,
    }
}

/// The other tasks, where they are.
pub(super) fn others(problem: &Problem, previous: &Previous, name: &str) -> Residents {
    let mut residents = Residents::new();
    for (other, placed) in previous.iter().filter(|(other, _)| *other != name) {
        let Some((task, offer)) =
            problem.tasks.get(other).and_then(|task| Some((task, task.offer.as_ref()?)))
        else {
            continue;
        };
        for Placed { choice, .. } in placed {
            let Some(device) = problem.devices.get(&choice.device) else { continue };
            let measure = offer
                .frontier
                .iter()
                .find(|measure| measure.subset == choice.subset && measure.gated == choice.gated);
            residents.entry(choice.device.clone()).or_default().push(Resident {
                task: other.clone(),
                memory_bytes: offer.memory_bytes(),
                load: measure.map_or(0.0, |measure| load(task, device, measure)),
                cost: measure.and_then(|measure| {
                    cost(problem, task, &choice.device, device, measure, &[]).ok()
                }),
                latency_us_max: task.policy.latency_us_max,
            });
        }
    }
    residents
}
