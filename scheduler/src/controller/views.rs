//! What people see of the fleet and of placements.

use kameo::message::{Context, Message};
use proto::v1;

use super::Controller;
use crate::{
    fleet::{Device, Report},
    placement::{Candidate, Choice, Reach, explain, promise},
};

/// All devices that were ever heard of.
pub struct Devices;

/// How many devices there are, and how many tasks are not well.
pub struct Census;

/// The answer to [`Census`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, kameo::Reply)]
pub struct Counted {
    /// Devices that hold their lease.
    pub present: usize,
    /// Devices that were not heard of since the scheduler started, and have time left.
    pub awaited: usize,
    /// Devices whose lease has ended.
    pub lost: usize,
    /// Tasks whose policy is not met.
    pub unmet: usize,
}

/// Where tasks are.
pub struct Placements {
    /// Only this task, unless empty.
    pub task: String,
}

/// Why a task is where it is.
pub struct Explain {
    /// The task.
    pub task: String,
}

impl Message<Devices> for Controller {
    type Reply = Vec<v1::DeviceView>;

    async fn handle(&mut self, _: Devices, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let now_ms = self.now_ms();
        self.fleet
            .devices()
            .iter()
            .map(|(name, device)| self.device_view(name, device, now_ms))
            .collect()
    }
}

impl Message<Census> for Controller {
    type Reply = Counted;

    async fn handle(&mut self, _: Census, _: &mut Context<Self, Counted>) -> Counted {
        let now_ms = self.now_ms();
        let present = self.fleet.present(now_ms).count();
        let devices = self.fleet.devices();
        let alive = devices.keys().filter(|it| self.fleet.alive(it, now_ms)).count();
        Counted {
            present,
            awaited: alive.saturating_sub(present),
            lost: devices.len() - alive,
            unmet: self.unmet.values().filter(|unmet| !unmet.is_empty()).count(),
        }
    }
}

impl Message<Placements> for Controller {
    type Reply = Vec<v1::PlacementView>;

    async fn handle(
        &mut self,
        Placements { task }: Placements,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let books = self.desk.vault.books();
        let problem = self.problem(&books);
        let mut views = Vec::new();
        for (name, placed) in &books.placements {
            if !task.is_empty() && *name != task {
                continue;
            }
            for placed in placed {
                let choice = &placed.choice;
                let device = self.fleet.devices().get(&choice.device);
                let observed = device
                    .and_then(|device| device.report.as_ref())
                    .and_then(|report| report.serving.iter().find(|it| it.task == *name))
                    .cloned();
                let cost = promise(&problem, name, choice).cost.unwrap_or(choice.cost);
                views.push(v1::PlacementView {
                    task: name.clone(),
                    device: choice.device.clone(),
                    serving_address: device
                        .map(|device| device.facts.serving_address.clone())
                        .unwrap_or_default(),
                    generation: placed.generation,
                    revision: choice.revision,
                    families: families(&books, name, choice),
                    members: proto::parse::members(choice.subset),
                    gated: choice.gated,
                    predicted_p99_us: cost.total_us(),
                    predicted_accuracy: choice.accuracy,
                    observed,
                });
            }
        }
        views
    }
}

impl Message<Explain> for Controller {
    type Reply = Option<v1::ExplainPlacementReply>;

    async fn handle(
        &mut self,
        Explain { task: name }: Explain,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let books = self.desk.vault.books();
        let problem = self.problem(&books);
        let task = problem.tasks.get(&name)?;
        let explanation = explain(&problem, &self.previous(&books), &name);
        let placed = books.placements.get(&name);
        let mut candidates: Vec<v1::Candidate> = explanation
            .candidates
            .into_iter()
            .map(|candidate| {
                let chosen = placed
                    .into_iter()
                    .flatten()
                    .any(|placed| placed.choice.device == candidate.device);
                let families = candidate
                    .choice
                    .as_ref()
                    .map(|choice| families(&books, &name, choice))
                    .unwrap_or_default();
                candidate_view(candidate, chosen, families)
            })
            .collect();
        // Devices that were lost are part of the answer too.
        for device in self.fleet.devices().keys() {
            if !candidates.iter().any(|candidate| candidate.device == *device)
                && !problem.devices.contains_key(device)
            {
                candidates.push(v1::Candidate {
                    device: device.clone(),
                    refused: "its lease has ended".to_owned(),
                    ..v1::Candidate::default()
                });
            }
        }
        Some(v1::ExplainPlacementReply {
            task: name.clone(),
            objective: task.policy.objective.name().to_owned(),
            latency_p99_max_us: task.policy.latency_us_max.unwrap_or(0),
            accuracy_min: task.policy.accuracy_min,
            site: task.site(&problem).to_owned(),
            candidates,
            why: explanation.why,
        })
    }
}

impl Controller {
    fn device_view(&self, name: &str, device: &Device, now_ms: u64) -> v1::DeviceView {
        let facts = &device.facts;
        let report = device.report.as_ref();
        let rtt = self
            .fleet
            .reach(name, now_ms)
            .into_iter()
            .filter_map(|(site, reach)| match reach {
                Reach::Measured(rtt) => Some(v1::SiteRtt {
                    site,
                    p50_us: rtt.p50_us,
                    p95_us: rtt.p95_us,
                    samples: rtt.samples,
                }),
                Reach::Unmeasured | Reach::Silent => None,
            })
            .collect();
        let read = |of: fn(&Report) -> f64| report.map_or(0.0, of);
        v1::DeviceView {
            device: name.to_owned(),
            site: facts.site.clone(),
            arch: facts.arch.clone(),
            serving_address: facts.serving_address.clone(),
            // A remembered device has time to report, but is not seen yet.
            alive: report.is_some() && self.fleet.alive(name, now_ms),
            seen_ms_ago: now_ms.saturating_sub(device.seen_ms),
            capacity: Some(v1::Capacity {
                cpu_cores: facts.cpu_cores,
                cpu_used: read(|report| report.cpu_used),
                memory_bytes: facts.memory_bytes,
                memory_free_bytes: report.map_or(0, |report| report.memory_free_bytes),
                cpu_share: facts.cpu_share,
                cpu_share_by: facts.cpu_share_by.clone(),
            }),
            speed: Some(facts.speed.into()),
            rtt,
            serving: report.map(|report| report.serving.clone()).unwrap_or_default(),
            jobs: report.map(|report| report.jobs.clone()).unwrap_or_default(),
            notes: report.map(|report| report.notes.clone()).unwrap_or_default(),
        }
    }
}

fn families(books: &crate::books::Books, task: &str, choice: &Choice) -> Vec<String> {
    let Some(current) = books.tasks.get(task).and_then(|book| book.current.as_ref()) else {
        return Vec::new();
    };
    // The families of another revision may be others.
    if current.revision != choice.revision {
        return Vec::new();
    }
    choice
        .subset
        .members()
        .filter_map(|member| current.report.members.get(member))
        .map(|member| member.family.clone())
        .collect()
}

fn candidate_view(candidate: Candidate, chosen: bool, families: Vec<String>) -> v1::Candidate {
    let Candidate { device, choice, refused } = candidate;
    let refused = if chosen { String::new() } else { refused.unwrap_or_default() };
    let Some(choice) = choice else {
        return v1::Candidate { device, chosen, refused, ..v1::Candidate::default() };
    };
    v1::Candidate {
        device,
        chosen,
        families,
        members: proto::parse::members(choice.subset),
        accuracy: choice.accuracy,
        rtt_us: choice.cost.rtt_us,
        transfer_us: choice.cost.transfer_us,
        queue_us: choice.cost.queue_us,
        service_us: choice.cost.service_us,
        total_us: choice.cost.total_us(),
        refused,
    }
}
