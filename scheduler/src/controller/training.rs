//! Training: jobs get a device, and another one when that is lost.

use kameo::message::{Context, Message};
use proto::v1;
use serde_json::json;

use super::Controller;
use crate::{
    jobs::{self, SILENCE_MAX_MS, State},
    registry::{FailAttempt, QueueJob, StartAttempt},
    retrain, trainer,
};

/// A training worker was heard of.
pub struct JobHeard {
    /// Its job.
    pub job: String,
    /// Its attempt.
    pub attempt: u64,
}

impl Message<JobHeard> for Controller {
    type Reply = ();

    async fn handle(&mut self, JobHeard { job, attempt }: JobHeard, _: &mut Context<Self, ()>) {
        let now_ms = self.now_ms();
        self.heard.insert(job, (attempt, now_ms));
    }
}

impl Controller {
    /// Ends the attempts that cannot succeed any more.
    pub(super) async fn tend_jobs(&mut self) {
        let books = self.desk.vault.books();
        self.heard.retain(|job, _| books.jobs.contains_key(job));
        let now_ms = self.now_ms();
        for job in books.jobs.values().filter(|job| job.state == State::Running) {
            let Some(device) = &job.device else { continue };
            let Some(fault) = self.fault(job, device, now_ms) else { continue };
            let fail = FailAttempt { job: job.id.clone(), attempt: job.attempt, fault };
            self.heard.remove(&job.id);
            self.consume("end an attempt", self.desk.registry.ask(fail).await);
        }
    }

    /// Why the running attempt cannot succeed any more; `None` while it may.
    fn fault(&mut self, job: &jobs::Job, device: &str, now_ms: u64) -> Option<String> {
        if !self.fleet.alive(device, now_ms) {
            return Some(jobs::lost(device, job.attempt));
        }
        let report = self.fleet.devices().get(device).and_then(|it| it.report.as_ref());
        let seen = report
            .into_iter()
            .flat_map(|report| &report.jobs)
            .find(|seen| seen.job == job.id && seen.attempt == job.attempt);
        if let Some(seen) = seen {
            if seen.state == i32::from(v1::JobState::Failed) {
                let fault =
                    if seen.fault.is_empty() { "it ended without a word" } else { &seen.fault };
                return Some(crate::journal::cut(fault));
            }
            if seen.state == i32::from(v1::JobState::Done) {
                return Some("it ended without its last bundle".to_owned());
            }
        }
        // Nobody has mentioned this attempt yet: from now on it has its time to be mentioned.
        let (attempt, last_ms) = *self.heard.entry(job.id.clone()).or_insert((job.attempt, now_ms));
        if attempt != job.attempt {
            self.heard.insert(job.id.clone(), (job.attempt, now_ms));
            return None;
        }
        (SILENCE_MAX_MS < now_ms.saturating_sub(last_ms)).then(|| {
            format!(
                "nothing was heard of attempt {} on {device} for {} s",
                job.attempt,
                SILENCE_MAX_MS / 1000
            )
        })
    }

    /// Queues a training for each task whose users have said enough.
    pub(super) async fn start_due_trainings(&mut self) {
        let books = self.desk.vault.books();
        for (name, book) in &books.tasks {
            let facts = retrain::Facts {
                after_corrections: book.task.policy.adapt.after_corrections,
                corrections_since: book.corrections_since,
                active: books.active_job(name).is_some(),
                released: book.current.is_some(),
            };
            if retrain::due(facts) {
                let reason = format!("{} new corrections", book.corrections_since);
                let queue = QueueJob { task: name.clone(), reason, search: false };
                self.consume("queue a training", self.desk.registry.ask(queue).await);
            }
        }
    }

    /// Gives queued jobs to the devices that are free for the most work.
    pub(super) async fn start_queued_jobs(&mut self) {
        let books = self.desk.vault.books();
        let unix_ms = runtime::clock::unix_ms();
        for job in books.jobs.values().filter(|job| job.waits(unix_ms)) {
            let Some(book) = books.tasks.get(&job.task) else { continue };
            let place = &book.task.policy.place;
            let site = book.task.policy.site.as_ref().unwrap_or(&self.desk.limits.site);
            // Read again each time: a job that was just started counts.
            let now = self.desk.vault.books();
            let candidates = self
                .fleet
                .present(self.now_ms())
                // What keeps the data on site keeps the training there too.
                .filter(|(_, device, _)| !place.on_site || device.facts.site == *site)
                .map(|(name, device, report)| trainer::Candidate {
                    device: name.clone(),
                    cores_free: device.facts.cpu_cores * (1.0 - report.cpu_used.clamp(0.0, 1.0)),
                    memory_free_bytes: report.memory_free_bytes.min(device.facts.memory_bytes),
                    madd_ns: device.facts.speed.madd_ns,
                    jobs: now
                        .jobs
                        .values()
                        .filter(|job| job.device.as_deref() == Some(name.as_str()))
                        .count(),
                })
                .collect();
            let ranked = trainer::rank(candidates);
            let Some(best) = ranked.first() else { continue };
            let detail = json!({
                "candidates": ranked.iter().map(|candidate| json!({
                    "device": candidate.device,
                    "cores_free": candidate.cores_free,
                    "memory_free_bytes": candidate.memory_free_bytes,
                    "madd_ns": candidate.madd_ns,
                    "jobs": candidate.jobs,
                    "value": candidate.value(),
                })).collect::<Vec<_>>(),
            });
            let start = StartAttempt { job: job.id.clone(), device: best.device.clone(), detail };
            self.consume("start an attempt", self.desk.registry.ask(start).await);
        }
    }
}
