//! Placing: from what is measured and written down to where tasks are, and what is said about it.

use std::{collections::BTreeSet, sync::Arc};

use kameo::message::{Context, Message};
use serde_json::json;

use super::Controller;
use crate::{
    admission::{self, Admission},
    books::{Books, TaskBook},
    journal::Entry,
    latency::millis,
    placement::{
        Cause, Choice, Offer, Previous, Problem, TaskFacts, Verdict, promise, solve, solve::best_of,
    },
    registry::{Decide, Decided},
    task_file::Task,
};

/// Seconds that a serving worker's quantiles look back: between 30 and 60, as its windows turn.
const SERVICE_WINDOW_S: f64 = 45.0;

/// Could this task be held anywhere?
pub struct Admit {
    /// The task.
    pub task: Task,
}

/// The answer to [`Admit`].
pub struct Admitted {
    /// Whether it could.
    pub admission: Admission,
    /// All sites that are known.
    pub sites: BTreeSet<String>,
}

/// Would this bundle break the latency of its task although what is served keeps it?
pub struct Fits {
    /// The task.
    pub task: String,
    /// What would be served.
    pub offer: Offer,
}

/// What of the policy of a task is not met now?
pub struct Unmet {
    /// The task.
    pub task: String,
}

impl Message<Admit> for Controller {
    type Reply = Box<Admitted>;

    async fn handle(
        &mut self,
        Admit { task }: Admit,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let books = self.desk.vault.books();
        let problem = self.problem(&books);
        let name = task.name.clone();
        let before = books.tasks.get(&name);
        let facts = TaskFacts {
            width: task.schema.width(),
            classes: task.schema.classes().len(),
            policy: task.policy,
            version: 0,
            // Of another schema nothing can be said from what was trained.
            offer: before
                .filter(|before| before.task.schema == task.schema)
                .and_then(|before| Some(before.current.as_ref()?.offer())),
            rate_per_s: 0.0,
            measured: std::collections::BTreeMap::new(),
        };
        let admission = admission::admit(&problem, &name, &facts);
        Box::new(Admitted { admission, sites: self.fleet.sites() })
    }
}

impl Message<Fits> for Controller {
    type Reply = Option<String>;

    async fn handle(
        &mut self,
        Fits { task: name, offer }: Fits,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let books = self.desk.vault.books();
        let mut problem = self.problem(&books);
        let previous = self.previous(&books);
        let max = problem.tasks.get(&name)?.policy.latency_us_max?;
        let served = previous.get(&name)?;
        let keeps = !served.is_empty()
            && served
                .iter()
                .all(|placed| promise(&problem, &name, &placed.choice).broken.is_none());
        if !keeps {
            return None;
        }
        problem.tasks.get_mut(&name)?.offer = Some(offer);
        let best = best_of(&problem, &previous, &name);
        let fastest = best.iter().min_by_key(|choice| choice.cost.total_us())?;
        let total = fastest.cost.total_us();
        (max < total).then(|| {
            format!(
                "no subset of it answers within the {} of the policy; the best is {} on {}",
                millis(max),
                millis(total),
                fastest.device
            )
        })
    }
}

impl Message<Unmet> for Controller {
    type Reply = Vec<String>;

    async fn handle(
        &mut self,
        Unmet { task }: Unmet,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        if self.fleet.present(self.now_ms()).next().is_none() {
            return vec!["no device yet: start one with `sensemble node`".to_owned()];
        }
        self.unmet.get(&task).cloned().unwrap_or_default()
    }
}

impl Controller {
    /// What is known now.
    pub(super) fn problem(&self, books: &Books) -> Problem {
        let now_ms = self.now_ms();
        let tasks = books
            .tasks
            .iter()
            .map(|(name, book)| (name.clone(), self.facts(name, book, now_ms)))
            .collect();
        Problem {
            site: self.desk.limits.site.clone(),
            devices: self.fleet.placeable(now_ms),
            tasks,
        }
    }

    fn facts(&self, name: &str, book: &TaskBook, now_ms: u64) -> TaskFacts {
        let measured = self.fleet.measurements(name, now_ms);
        #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
        let answers: f64 = measured.values().map(|measured| measured.answers as f64).sum();
        TaskFacts {
            policy: book.task.policy.clone(),
            version: book.version,
            width: book.task.schema.width(),
            classes: book.task.schema.classes().len(),
            offer: book.current.as_ref().map(|current| current.offer()),
            rate_per_s: answers / SERVICE_WINDOW_S,
            measured,
        }
    }

    /// What was decided before, with how long its promises have been broken.
    pub(super) fn previous(&self, books: &Books) -> Previous {
        let mut previous = books.placements.clone();
        for (task, placed) in &mut previous {
            for placed in placed {
                let key = (task.clone(), placed.choice.device.clone());
                placed.broken_periods = self.broken.get(&key).copied().unwrap_or(0);
            }
        }
        previous
    }

    /// Decides where tasks are to be, and writes down what changed.
    pub(super) async fn place(&mut self, periodic: bool) {
        let books = self.desk.vault.books();
        let problem = self.problem(&books);
        if periodic {
            self.sample_promises(&problem, &books);
        }
        let previous = self.previous(&books);
        let plan = solve(&problem, &previous);

        let mut decided = Vec::new();
        let mut entries = Vec::new();
        let mut causes = Vec::new();
        for (name, verdict) in plan.verdicts {
            let Some(task) = problem.tasks.get(&name) else { continue };
            let before = previous.get(&name).map_or(&[][..], Vec::as_slice);
            let was_unmet = self.unmet.insert(name.clone(), verdict.unmet.clone());
            let was_unmet = was_unmet.unwrap_or_default();
            let nowhere = before.is_empty() && verdict.chosen.is_empty();
            let moved = !(verdict.kept || nowhere);
            if moved {
                let cause = Cause::of(&problem, task, before, &verdict.chosen);
                causes.push(cause);
                entries.push(decision(&problem, &name, task, (&verdict, cause), before));
            } else if task.offer.is_some() && was_unmet.is_empty() != verdict.unmet.is_empty() {
                entries.push(Entry {
                    kind: if verdict.unmet.is_empty() {
                        "placement.met"
                    } else {
                        "placement.unmet"
                    },
                    task: name.clone(),
                    text: if verdict.unmet.is_empty() {
                        "the policy is met again".to_owned()
                    } else {
                        verdict.unmet.join("; ")
                    },
                    ..Entry::default()
                });
            }
            let stale = before.iter().any(|placed| {
                placed.version != task.version || placed.considered != verdict.considered
            });
            if stale || moved {
                decided.push(Decided {
                    task: name,
                    chosen: verdict.chosen,
                    version: task.version,
                    considered: verdict.considered,
                });
            }
        }
        self.unmet.retain(|task, _| problem.tasks.contains_key(task));
        if decided.is_empty() && entries.is_empty() {
            return;
        }
        let asked = self.desk.registry.ask(Decide { decided, entries }).await;
        if self.consume("write down a decision", asked).is_some() {
            causes.into_iter().for_each(|cause| self.desk.vault.meter.placed(cause));
        }
    }

    /// Counts for how many sampling periods in a row each promise has been broken.
    fn sample_promises(&mut self, problem: &Problem, books: &Arc<Books>) {
        let mut broken = std::collections::BTreeMap::new();
        for (task, placed) in &books.placements {
            for placed in placed {
                let promise = promise(problem, task, &placed.choice);
                if let Some(why) = promise.broken {
                    let key = (task.clone(), placed.choice.device.clone());
                    let periods = self.broken.get(&key).copied().unwrap_or(0).saturating_add(1);
                    tracing::debug!(
                        task.id = task,
                        device.id = key.1,
                        periods,
                        why,
                        "promise broken"
                    );
                    broken.insert(key, periods);
                }
            }
        }
        self.broken = broken;
    }
}

/// A decision as the journal keeps it: what, instead of what, and the numbers of all candidates.
fn decision(
    problem: &Problem,
    name: &str,
    task: &TaskFacts,
    (verdict, cause): (&Verdict, Cause),
    before: &[crate::placement::Placed],
) -> Entry {
    let members = task.offer.as_ref().map_or(0, |offer| offer.families.len());
    let words = |choice: &Choice| {
        format!(
            "{} (revision {}, {} of {members} members{}, accuracy {:.3}, p99 {})",
            choice.device,
            choice.revision,
            choice.subset.len(),
            if choice.gated { " behind the gate" } else { "" },
            choice.accuracy,
            millis(choice.cost.total_us())
        )
    };
    let list = |choices: Vec<String>| {
        if choices.is_empty() { "nowhere".to_owned() } else { choices.join(", ") }
    };
    let mut text = list(verdict.chosen.iter().map(words).collect());
    if !before.is_empty() {
        let before = before.iter().map(|placed| {
            format!("{} (revision {})", placed.choice.device, placed.choice.revision)
        });
        text.push_str(&format!("; before: {}", list(before.collect())));
    }
    if !verdict.unmet.is_empty() {
        text.push_str(&format!("; unmet: {}", verdict.unmet.join("; ")));
    }
    let candidates: Vec<serde_json::Value> = verdict
        .candidates
        .iter()
        .map(|candidate| {
            json!({
                "device": candidate.device,
                "choice": candidate.choice.as_ref().map(numbers),
                "refused": candidate.refused,
            })
        })
        .collect();
    Entry {
        kind: "placement.decided",
        task: name.to_owned(),
        device: verdict.chosen.first().map(|choice| choice.device.clone()).unwrap_or_default(),
        text,
        detail: json!({
            "objective": task.policy.objective,
            "latency_us_max": task.policy.latency_us_max,
            "accuracy_min": task.policy.accuracy_min,
            "missed_events_max": task.policy.missed_events_max,
            "site": task.site(problem),
            "replicas": task.policy.place.replicas,
            "rate_per_s": task.rate_per_s,
            "chosen": verdict.chosen.iter().map(numbers).collect::<Vec<_>>(),
            "candidates": candidates,
            "unmet": verdict.unmet,
            "cause": cause.name(),
        }),
        ..Entry::default()
    }
}

fn numbers(choice: &Choice) -> serde_json::Value {
    json!({
        "device": choice.device,
        "revision": choice.revision,
        "members": choice.subset.members().collect::<Vec<_>>(),
        "gated": choice.gated,
        "accuracy": choice.accuracy,
        "missed_events": choice.missed_events,
        "rtt_us": choice.cost.rtt_us,
        "transfer_us": choice.cost.transfer_us,
        "queue_us": choice.cost.queue_us,
        "service_us": choice.cost.service_us,
        "measured": choice.cost.measured,
        "total_us": choice.cost.total_us(),
    })
}
