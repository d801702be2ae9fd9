//! Training jobs and the revisions they make.

use std::sync::Arc;

use kameo::message::{Context, Message};
use models::Subset;
use prost::Message as _;
use proto::v1::{PairedComparison, RevisionReport, Trial};
use serde_json::json;

use super::{Change, Registry, RegistryError, signed};
use crate::{
    books::TaskBook,
    jobs::{Baseline, Job, Outcome, State},
    journal::Entry,
    meter::Ended,
    release, trials,
};

/// Queue a training of this task, unless one is under way.
pub struct QueueJob {
    /// The task.
    pub task: String,
    /// Why.
    pub reason: String,
    /// Whether better settings may be searched for; else those that are served are fitted again.
    pub search: bool,
}

/// Give a queued job to a device.
pub struct StartAttempt {
    /// The job.
    pub job: String,
    /// The device.
    pub device: String,
    /// Why this one, with the numbers.
    pub detail: serde_json::Value,
}

/// The running attempt of a job failed.
pub struct FailAttempt {
    /// The job.
    pub job: String,
    /// The attempt; another one is left alone.
    pub attempt: u64,
    /// Why.
    pub fault: String,
}

/// What is to be trained?
pub struct Begin {
    /// The job.
    pub job: String,
    /// The attempt that asks.
    pub attempt: u64,
}

/// The answer to [`Begin`].
pub struct Work {
    /// The job.
    pub job: Job,
    /// Its task.
    pub book: Arc<TaskBook>,
}

/// A job got further.
pub struct RecordStep {
    /// The job.
    pub job: String,
    /// The attempt.
    pub attempt: u64,
    /// What it did.
    pub step: String,
    /// How many steps are done.
    pub done: u32,
    /// Of how many.
    pub total: u32,
}

/// A trial of a job's search has ended.
pub struct RecordTrial {
    /// The job.
    pub job: String,
    /// The attempt.
    pub attempt: u64,
    /// What was tried, and how it did; checked.
    pub trial: Trial,
}

/// Release this bundle, if the rules allow it.
pub struct Publish {
    /// The job.
    pub job: String,
    /// The attempt.
    pub attempt: u64,
    /// The bundle; it is there and was decoded.
    pub digest: [u8; 32],
    /// Its size.
    pub bundle_bytes: u64,
    /// What was measured of it; checked.
    pub report: RevisionReport,
    /// Against the baseline.
    pub comparison: Option<PairedComparison>,
    /// Whether nothing more will come.
    pub last: bool,
    /// Why it fits nowhere although what is served does; `None` when it fits.
    pub unfit: Option<String>,
}

/// What became of a [`Publish`].
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// It is the newest revision now.
    Released(u64),
    /// It is not, and why.
    Refused(String),
}

impl Message<QueueJob> for Registry {
    type Reply = Result<String, RegistryError>;

    async fn handle(
        &mut self,
        QueueJob { task: name, reason, search }: QueueJob,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let book = self.task(&name)?;
        if let Some(job) = self.books.active_job(&name) {
            return Ok(job.id.clone());
        }
        if book.samples + book.corrections == 0 {
            return Err(RegistryError::NotNow(format!(
                "{name:?} has no samples; `sensemble data import {name} FILE` first"
            )));
        }
        let baseline = book.current.as_ref().map(|current| {
            let served = self
                .books
                .placements
                .get(&name)
                .into_iter()
                .flatten()
                .map(|placed| &placed.choice)
                .find(|choice| choice.revision == current.revision);
            Baseline {
                revision: current.revision,
                digest: current.digest,
                subset: served
                    .map_or_else(|| Subset::all(current.report.members.len()), |it| it.subset),
                gated: served.map_or(current.report.gate.is_some(), |it| it.gated),
            }
        });
        let mut change = self.change().await?;
        let number = change.next("job").await?;
        let ordinal: i64 = sqlx::query_scalar("SELECT count(*) + 1 FROM jobs WHERE task_id = ?")
            .bind(book.id)
            .fetch_one(&mut *change.transaction)
            .await?;
        let samples_upto: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM sample_files")
            .fetch_one(&mut *change.transaction)
            .await?;
        let corrections_upto: i64 =
            sqlx::query_scalar("SELECT value FROM counters WHERE name = 'correction'")
                .fetch_one(&mut *change.transaction)
                .await?;
        let job = Job {
            id: format!("{name}-{number}"),
            task: name.clone(),
            ordinal: ordinal.unsigned_abs(),
            reason: reason.clone(),
            search,
            state: State::Queued,
            attempt: 0,
            device: None,
            created_ms: change.now_ms,
            started_ms: 0,
            not_before_ms: 0,
            fault: None,
            samples_upto,
            corrections_upto,
            baseline,
            published: None,
        };
        write(&mut change, &job, book.id).await?;
        sqlx::query("UPDATE tasks SET trained_upto = ? WHERE id = ?")
            .bind(corrections_upto)
            .bind(book.id)
            .execute(&mut *change.transaction)
            .await?;
        let against = baseline.map_or_else(
            || "nothing was released yet".to_owned(),
            |baseline| {
                format!("a candidate has to be no worse than revision {}", baseline.revision)
            },
        );
        let entry = about(
            &job,
            "training.queued",
            format!(
                "queued ({reason}): {} samples, {} corrections; {against}",
                book.samples, book.corrections
            ),
            json!({}),
        );
        change.record(&[entry]).await?;
        self.commit(change, &[&name]).await?;
        Ok(job.id)
    }
}

impl Message<StartAttempt> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        StartAttempt { job: id, device, detail }: StartAttempt,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let Some(mut job) =
            self.books.jobs.get(&id).filter(|job| job.state == State::Queued).cloned()
        else {
            return Ok(());
        };
        let book = self.task(&job.task)?;
        let mut change = self.change().await?;
        job.start(&device, change.now_ms);
        write(&mut change, &job, book.id).await?;
        let text = format!("attempt {} starts on {device}", job.attempt);
        change.record(&[about(&job, "training.started", text, detail)]).await?;
        self.commit(change, &[&job.task]).await
    }
}

impl Message<FailAttempt> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        FailAttempt { job: id, attempt, fault }: FailAttempt,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let Some(mut job) = self.books.jobs.get(&id).filter(|job| job.runs(attempt)).cloned()
        else {
            return Ok(());
        };
        let book = self.task(&job.task)?;
        let mut change = self.change().await?;
        let device = job.device.clone().unwrap_or_default();
        let outcome = job.fail(&fault, change.now_ms);
        write(&mut change, &job, book.id).await?;
        let (kind, text) = match outcome {
            Outcome::Retry { not_before_ms } => (
                "training.queued",
                format!(
                    "attempt {attempt} failed: {fault}; tried again in {} s",
                    not_before_ms.saturating_sub(change.now_ms).div_ceil(1000)
                ),
            ),
            Outcome::GaveUp => {
                ("training.failed", format!("attempt {attempt} failed: {fault}; given up"))
            }
        };
        let entry = Entry { device, ..about(&job, kind, text, json!({ "fault": fault })) };
        change.record(&[entry]).await?;
        let took_ms = took_ms(&job, change.now_ms);
        self.commit(change, &[&job.task]).await?;
        if outcome == Outcome::GaveUp {
            self.vault.meter.trained(Ended::Failed, took_ms);
        }
        Ok(())
    }
}

impl Message<Begin> for Registry {
    type Reply = Result<Work, RegistryError>;

    async fn handle(
        &mut self,
        Begin { job: id, attempt }: Begin,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let job = self.running(&id, attempt)?;
        let book = self.task(&job.task)?;
        Ok(Work { job, book })
    }
}

impl Message<RecordStep> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        RecordStep { job: id, attempt, step, done, total }: RecordStep,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let job = self.running(&id, attempt)?;
        let mut change = self.change().await?;
        let seconds = seconds(&job, change.now_ms);
        let detail = json!({ "done": done, "total": total, "seconds": seconds });
        change.record(&[about(&job, "training.step", step, detail)]).await?;
        self.commit(change, &[]).await
    }
}

impl Message<RecordTrial> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        RecordTrial { job: id, attempt, trial }: RecordTrial,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let job = self.running(&id, attempt)?;
        let mut change = self.change().await?;
        let seconds = seconds(&job, change.now_ms);
        let detail = json!({ "seconds": seconds, "trial": trials::detail(&trial) });
        change.record(&[about(&job, trials::KIND, trials::text(&trial), detail)]).await?;
        self.commit(change, &[]).await
    }
}

impl Message<Publish> for Registry {
    type Reply = Result<Published, RegistryError>;

    async fn handle(
        &mut self,
        publish: Publish,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let mut job = self.running(&publish.job, publish.attempt)?;
        let book = self.task(&job.task)?;
        let verdict = self.verdict(&job, &book, &publish);
        let mut change = self.change().await?;
        let seconds = seconds(&job, change.now_ms);
        let took_ms = took_ms(&job, change.now_ms);

        if let Err(reason) = verdict {
            let text = format!("the candidate is not released: {reason}");
            let detail = json!({ "seconds": seconds, "comparison": counts(&publish) });
            let refused = about(&job, "training.refused", text, detail);
            let text = "ended without a release".to_owned();
            let done = about(&job, "training.done", text, json!({ "seconds": seconds }));
            job.finish();
            write(&mut change, &job, book.id).await?;
            change.record(&[refused, done]).await?;
            self.commit(change, &[&job.task]).await?;
            let released = if job.published.is_some() { Ended::Released } else { Ended::Refused };
            self.vault.meter.trained(released, took_ms);
            self.forget_bundle(publish.digest).await?;
            return Ok(Published::Refused(reason));
        }

        // The same bundle again: the reply to the first one was lost.
        let current = book.current.as_deref();
        let again = current.filter(|it| {
            it.job == job.id && it.digest == publish.digest && job.published == Some(publish.digest)
        });
        let mut entries = Vec::new();
        let revision = if let Some(again) = again {
            again.revision
        } else {
            let revision = current.map_or(0, |current| current.revision) + 1;
            sqlx::query(
                "INSERT INTO revisions (task_id, revision, digest, bundle_bytes, job, at_ms, \
                 report, comparison) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(book.id)
            .bind(signed(revision))
            .bind(publish.digest.as_slice())
            .bind(signed(publish.bundle_bytes))
            .bind(&job.id)
            .bind(signed(change.now_ms))
            .bind(publish.report.encode_to_vec())
            .bind(publish.comparison.as_ref().map(prost::Message::encode_to_vec))
            .execute(&mut *change.transaction)
            .await?;
            job.published = Some(publish.digest);
            let detail = json!({
                "seconds": seconds,
                "revision": revision,
                "done": publish.report.members.len(),
                "comparison": counts(&publish),
            });
            entries.push(about(&job, "training.released", released(revision, &publish), detail));
            revision
        };
        if publish.last {
            let text = format!("done with revision {revision}{}", kept(&publish.report));
            let detail = json!({ "seconds": seconds, "revision": revision });
            entries.push(about(&job, "training.done", text, detail));
            job.finish();
        }
        write(&mut change, &job, book.id).await?;
        change.record(&entries).await?;
        self.commit(change, &[&job.task]).await?;
        if publish.last {
            self.vault.meter.trained(Ended::Released, took_ms);
        }
        Ok(Published::Released(revision))
    }
}

impl Registry {
    fn running(&self, id: &str, attempt: u64) -> Result<Job, RegistryError> {
        self.books
            .jobs
            .get(id)
            .filter(|job| job.runs(attempt))
            .cloned()
            .ok_or_else(|| RegistryError::Fenced { job: id.to_owned(), attempt })
    }

    /// Whether the rules allow a release.
    fn verdict(&self, job: &Job, book: &TaskBook, publish: &Publish) -> Result<(), String> {
        let Some(baseline) = &job.baseline else { return Ok(()) };
        let current = book.current.as_ref().map(|current| current.digest);
        if current != Some(baseline.digest) && job.published.is_none() {
            return Err(format!(
                "it was compared with revision {}, which is no longer what is served",
                baseline.revision
            ));
        }
        let Some(comparison) = &publish.comparison else {
            return Err(format!("it was not compared with revision {}", baseline.revision));
        };
        let classes = comparison.class_only_candidate_right.len();
        if classes != 0 && classes != book.task.schema.classes().len() {
            return Err(format!(
                "the comparison has {classes} classes, the task {}",
                book.task.schema.classes().len()
            ));
        }
        release::judge(comparison, book.task.policy.adapt.min_gain)
            .map_err(|refusal| named(&refusal, book))?;
        match &publish.unfit {
            Some(unfit) => Err(unfit.clone()),
            None => Ok(()),
        }
    }
}

/// A refusal with the name of the class instead of its number.
fn named(refusal: &release::Refusal, book: &TaskBook) -> String {
    let text = refusal.to_string();
    if let release::Refusal::WorseClass { class, .. } = refusal
        && let Some(name) = book.task.schema.classes().get(*class)
    {
        return text.replacen(&format!("class {class}"), &format!("class {name:?}"), 1);
    }
    text
}

fn released(revision: u64, publish: &Publish) -> String {
    let report = &publish.report;
    let best = report.frontier.iter().map(|subset| subset.accuracy).fold(0.0, f64::max);
    let held_out = report.held_out.as_ref().map_or_else(String::new, |measured| {
        format!(", {:.4} on held-out rows (all members)", measured.accuracy)
    });
    let families: Vec<String> = report
        .members
        .iter()
        .map(|it| match &*it.imported {
            "" => it.family.clone(),
            name => format!("{name} ({})", it.family),
        })
        .collect();
    format!(
        "revision {revision} released: {}; accuracy {best:.4} on validation rows{held_out}",
        families.join(" + ")
    )
}

/// How much of a training had been computed by an earlier one; empty when nothing had.
fn kept(report: &RevisionReport) -> String {
    let RevisionReport { steps_computed: computed, steps_kept: kept, .. } = *report;
    match kept {
        0 => String::new(),
        kept => format!("; {kept} of {} steps were kept", u64::from(kept) + u64::from(computed)),
    }
}

fn counts(publish: &Publish) -> serde_json::Value {
    publish.comparison.as_ref().map_or(serde_json::Value::Null, |it| {
        json!({
            "rows": it.rows,
            "both_right": it.both_right,
            "only_candidate_right": it.only_candidate_right,
            "only_baseline_right": it.only_baseline_right,
            "corrections": it.corrections,
            "corrections_candidate_right": it.corrections_candidate_right,
            "corrections_baseline_right": it.corrections_baseline_right,
        })
    })
}

/// Seconds since the job was first started.
#[expect(clippy::cast_precision_loss, reason = "a duration of seconds to weeks")]
fn seconds(job: &Job, now_ms: u64) -> f64 {
    took_ms(job, now_ms) as f64 / 1000.0
}

fn took_ms(job: &Job, now_ms: u64) -> u64 {
    let began = if job.started_ms == 0 { job.created_ms } else { job.started_ms };
    now_ms.saturating_sub(began)
}

fn about(job: &Job, kind: &'static str, text: String, detail: serde_json::Value) -> Entry {
    Entry {
        kind,
        task: job.task.clone(),
        device: job.device.clone().unwrap_or_default(),
        job: job.id.clone(),
        text,
        detail,
    }
}

async fn write(change: &mut Change<'_>, job: &Job, task_id: i64) -> Result<(), RegistryError> {
    let body = serde_json::to_string(job)
        .map_err(|error| RegistryError::State(sqlx::Error::Encode(error.into())))?;
    sqlx::query(
        "INSERT INTO jobs (id, task_id, active, body) VALUES (?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET active = excluded.active, body = excluded.body",
    )
    .bind(&job.id)
    .bind(task_id)
    .bind(job.active())
    .bind(body)
    .execute(&mut *change.transaction)
    .await?;
    Ok(())
}
