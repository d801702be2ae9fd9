//! What people and their tools ask for.

use std::time::Duration;

use proto::v1::{self, admin_server::Admin};
use sqlx::Row as _;
use tokio::{sync::mpsc, time::Instant};
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Services};
use crate::{
    admission::Admission,
    books::{self, TaskBook},
    controller::{Admit, Devices, Explain, Placements, Tick, Unmet},
    error::{asked, malformed, state_error, told},
    journal::{self, Event, Filter},
    registry::{self, ApplyTask, QueueJob, RemoveTask, Rollback, Summary, no_task},
    task_file::Task,
    trials,
};

/// How long an admission waits until a device that is there has been measured.
const MEASURED_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it looks.
const MEASURED_POLL: Duration = Duration::from_millis(100);
/// Events that wait for a slow reader.
const EVENTS_WAITING: usize = 64;
/// Corrections that one list gives, newest last.
const CORRECTIONS_MAX: i64 = 10_000;

#[tonic::async_trait]
impl Admin for Services {
    async fn apply_task(
        &self,
        request: Request<v1::ApplyTaskRequest>,
    ) -> Result<Response<v1::ApplyTaskReply>, Status> {
        let toml = request.into_inner().toml;
        let task = Task::parse(&toml).map_err(|error| malformed(&error))?;
        self.admit(&task).await?;
        let name = task.name.clone();
        let applied = asked(self.registry.ask(ApplyTask { task, toml }).await)?;
        // A changed policy is acted on before it is acknowledged.
        told(self.controller.ask(Tick { periodic: false }).await)?;
        let unmet = told(self.controller.ask(Unmet { task: name.clone() }).await)?;
        Ok(Response::new(v1::ApplyTaskReply { task: name, created: applied.created, unmet }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksReply>, Status> {
        let wanted = request.into_inner().task;
        let books = self.vault.books();
        if !wanted.is_empty() && !books.tasks.contains_key(&wanted) {
            return Err(no_task(&wanted).into());
        }
        let mut tasks = Vec::new();
        for (name, book) in &books.tasks {
            if !wanted.is_empty() && *name != wanted {
                continue;
            }
            let unmet = told(self.controller.ask(Unmet { task: name.clone() }).await)?;
            let placed = books.placements.get(name).into_iter().flatten();
            let devices = placed.map(|placed| placed.choice.device.clone()).collect();
            tasks.push(task_view(book, devices, unmet));
        }
        Ok(Response::new(v1::ListTasksReply { tasks }))
    }

    async fn remove_task(
        &self,
        request: Request<v1::RemoveTaskRequest>,
    ) -> Result<Response<v1::RemoveTaskReply>, Status> {
        let task = request.into_inner().task;
        asked(self.registry.ask(RemoveTask { task }).await)?;
        self.nudge.notify_one();
        Ok(Response::new(v1::RemoveTaskReply {}))
    }

    async fn import_samples(
        &self,
        request: Request<Streaming<v1::ImportChunk>>,
    ) -> Result<Response<v1::ImportReply>, Status> {
        self.import(request.into_inner()).await.map(Response::new)
    }

    async fn stat_samples(
        &self,
        request: Request<v1::StatSamplesRequest>,
    ) -> Result<Response<v1::StatSamplesReply>, Status> {
        let book = self.book(&request.into_inner().task)?;
        let schema = &book.task.schema;
        let summaries: Vec<String> =
            sqlx::query_scalar("SELECT summary FROM sample_files WHERE task_id = ? ORDER BY id")
                .bind(book.id)
                .fetch_all(self.vault.state.readers())
                .await
                .map_err(|error| state_error(&error))?;
        let mut all = Summary::new(schema.width(), schema.classes().len());
        for summary in summaries {
            let summary: Summary = serde_json::from_str(&summary)
                .map_err(|_| Status::data_loss("a summary of samples is not understood"))?;
            all = all.with(&summary);
        }
        let groups: i64 =
            sqlx::query_scalar("SELECT count(*) FROM sample_groups WHERE task_id = ?")
                .bind(book.id)
                .fetch_one(self.vault.state.readers())
                .await
                .map_err(|error| state_error(&error))?;
        let columns = if all.rows == 0 { Vec::new() } else { columns(schema.features(), &all) };
        Ok(Response::new(v1::StatSamplesReply {
            rows: all.rows,
            per_class: all.per_class,
            corrections: book.corrections,
            groups: groups.unsigned_abs(),
            columns,
        }))
    }

    async fn start_training(
        &self,
        request: Request<v1::StartTrainingRequest>,
    ) -> Result<Response<v1::StartTrainingReply>, Status> {
        let task = request.into_inner().task;
        let queue = QueueJob { task, reason: "asked for".to_owned(), search: true };
        let job = asked(self.registry.ask(queue).await)?;
        self.nudge.notify_one();
        Ok(Response::new(v1::StartTrainingReply { job }))
    }

    type WatchTrainingStream = Answers<v1::TrainingEvent>;

    async fn watch_training(
        &self,
        request: Request<v1::WatchTrainingRequest>,
    ) -> Result<Response<Self::WatchTrainingStream>, Status> {
        let job = request.into_inner().job;
        let filter = Filter { job: job.clone(), task: String::new() };
        let known = self.read_events(0, &filter, 1).await?;
        if job.is_empty() || known.is_empty() {
            return Err(Status::not_found(format!(
                "there is no job {job:?}; `sensemble train run TASK` starts one"
            )));
        }
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
        let services = self.clone();
        runtime::spawn::named("watch", async move {
            if let Err(status) = services.watch(filter, &sender).await {
                let _the_watcher_is_gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Answers::new(receiver)))
    }

    async fn list_devices(
        &self,
        _: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesReply>, Status> {
        let devices = told(self.controller.ask(Devices).await)?;
        Ok(Response::new(v1::ListDevicesReply { devices }))
    }

    async fn list_placements(
        &self,
        request: Request<v1::ListPlacementsRequest>,
    ) -> Result<Response<v1::ListPlacementsReply>, Status> {
        let task = request.into_inner().task;
        if !task.is_empty() {
            self.book(&task)?;
        }
        let placements = told(self.controller.ask(Placements { task }).await)?;
        Ok(Response::new(v1::ListPlacementsReply { placements }))
    }

    async fn explain_placement(
        &self,
        request: Request<v1::ExplainPlacementRequest>,
    ) -> Result<Response<v1::ExplainPlacementReply>, Status> {
        let task = request.into_inner().task;
        let explained = told(self.controller.ask(Explain { task: task.clone() }).await)?;
        Ok(Response::new(explained.ok_or_else(|| no_task(&task))?))
    }

    async fn list_revisions(
        &self,
        request: Request<v1::ListRevisionsRequest>,
    ) -> Result<Response<v1::ListRevisionsReply>, Status> {
        let task = request.into_inner().task;
        let book = self.book(&task)?;
        let rows = sqlx::query(
            "SELECT revision, digest, bundle_bytes, job, at_ms, report, comparison, rollback_of \
             FROM revisions WHERE task_id = ? ORDER BY revision",
        )
        .bind(book.id)
        .fetch_all(self.vault.state.readers())
        .await
        .map_err(|error| state_error(&error))?;
        let current = book.current.as_ref().map_or(0, |current| current.revision);
        let mut revisions = Vec::with_capacity(rows.len());
        for row in &rows {
            let revision = books::revision(&task, row).map_err(|error| {
                tracing::error!(error = %runtime::Report(&error), "a revision is not understood");
                Status::data_loss(runtime::Report(&error).to_string())
            })?;
            revisions.push(v1::RevisionView {
                task: task.clone(),
                revision: revision.revision,
                digest: revision.digest.to_vec().into(),
                bundle_bytes: revision.bundle_bytes,
                job: revision.job,
                at_ms: revision.at_ms,
                current: revision.revision == current,
                report: Some(revision.report),
                comparison: revision.comparison,
                rollback_of: revision.rollback_of.unwrap_or(0),
            });
        }
        Ok(Response::new(v1::ListRevisionsReply { revisions }))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackReply>, Status> {
        let v1::RollbackRequest { task, revision } = request.into_inner();
        let revision = asked(self.registry.ask(Rollback { task, revision }).await)?;
        told(self.controller.ask(Tick { periodic: false }).await)?;
        Ok(Response::new(v1::RollbackReply { revision }))
    }

    type EventsStream = Answers<v1::Event>;

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let request = request.into_inner();
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
        let services = self.clone();
        runtime::spawn::named("events", async move {
            if let Err(status) = services.follow(request, &sender).await {
                let _the_reader_is_gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Answers::new(receiver)))
    }

    async fn list_corrections(
        &self,
        request: Request<v1::ListCorrectionsRequest>,
    ) -> Result<Response<v1::ListCorrectionsReply>, Status> {
        let task = request.into_inner().task;
        let books = self.vault.books();
        if !task.is_empty() {
            self.book(&task)?;
        }
        let rows = sqlx::query(
            "SELECT * FROM (SELECT c.prediction_id, t.name, c.given, c.label, c.at_ms, \
             c.revision, c.sequence FROM corrections c JOIN tasks t ON t.id = c.task_id \
             WHERE ?1 = '' OR t.name = ?1 ORDER BY c.sequence DESC LIMIT ?2) ORDER BY sequence",
        )
        .bind(&task)
        .bind(CORRECTIONS_MAX)
        .fetch_all(self.vault.state.readers())
        .await
        .map_err(|error| state_error(&error))?;
        let corrections = rows
            .iter()
            .map(|row| {
                let task: String = row.get(1);
                let label = usize::try_from(row.get::<i64, _>(3)).ok();
                let label = books
                    .tasks
                    .get(&task)
                    .and_then(|book| book.task.schema.classes().get(label?).cloned());
                v1::CorrectionView {
                    prediction_id: row.get::<Vec<u8>, _>(0).into(),
                    task,
                    given: row.get(2),
                    label: label.unwrap_or_default(),
                    at_ms: row.get::<i64, _>(4).unsigned_abs(),
                    revision: row.get::<i64, _>(5).unsigned_abs(),
                }
            })
            .collect();
        Ok(Response::new(v1::ListCorrectionsReply { corrections }))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberReply>, Status> {
        self.take_member(request.into_inner()).await.map(Response::new)
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersReply>, Status> {
        self.members_of(&request.into_inner().task).map(Response::new)
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberReply>, Status> {
        let v1::RemoveMemberRequest { task, name } = request.into_inner();
        self.give_up_member(task, name).await?;
        Ok(Response::new(v1::RemoveMemberReply {}))
    }
}

impl Services {
    pub(super) fn book(
        &self,
        task: &str,
    ) -> Result<std::sync::Arc<TaskBook>, registry::RegistryError> {
        self.vault.books().tasks.get(task).cloned().ok_or_else(|| no_task(task))
    }

    /// Refuses a task that no device could hold, with the numbers of each.
    async fn admit(&self, task: &Task) -> Result<(), Status> {
        let until = Instant::now() + MEASURED_WAIT_MAX;
        loop {
            let admitted = told(self.controller.ask(Admit { task: task.clone() }).await)?;
            if let Some(site) = &task.policy.site
                && !admitted.sites.contains(site)
            {
                let known: Vec<&str> = admitted.sites.iter().map(String::as_str).collect();
                return Err(Status::invalid_argument(format!(
                    "policy.latency.site: there is no device at {site:?}; known sites: {}",
                    known.join(", ")
                )));
            }
            match admitted.admission {
                Admission::Admitted | Admission::NoDevice => return Ok(()),
                Admission::Refused(refusal) => {
                    return Err(Status::failed_precondition(refusal.to_string()));
                }
                // Nobody can say no yet; what turns out to be unmet will be said then.
                Admission::Unmeasured if until <= Instant::now() => return Ok(()),
                Admission::Unmeasured => tokio::time::sleep(MEASURED_POLL).await,
            }
        }
    }

    async fn read_events(
        &self,
        after: u64,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Event>, Status> {
        journal::read(self.vault.state.readers(), after, filter, limit)
            .await
            .map_err(|error| state_error(&error))
    }

    /// Sends what has happened, then what happens, until the drain or the end of `limit`.
    async fn follow(
        &self,
        request: v1::EventsRequest,
        sender: &mpsc::Sender<Result<v1::Event, Status>>,
    ) -> Result<(), Status> {
        let v1::EventsRequest { mut after, follow, task, limit } = request;
        let filter = Filter { task, job: String::new() };
        let mut left = if limit == 0 { u64::MAX } else { u64::from(limit) };
        let mut newest = self.vault.newest.subscribe();
        loop {
            newest.borrow_and_update();
            let page = u32::try_from(left).unwrap_or(u32::MAX).min(journal::PAGE);
            let events = self.read_events(after, &filter, page).await?;
            let ended = events.is_empty();
            for event in events {
                after = event.sequence;
                left -= 1;
                if sender.send(Ok(event_view(event))).await.is_err() {
                    return Ok(());
                }
            }
            if left == 0 || (ended && !follow) {
                return Ok(());
            }
            if ended {
                tokio::select! {
                    () = self.drain.wait() => {
                        return Err(Status::unavailable("the scheduler is stopping"));
                    }
                    () = sender.closed() => return Ok(()),
                    changed = newest.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Sends what has happened in a job, then what happens, until it ends.
    async fn watch(
        &self,
        filter: Filter,
        sender: &mpsc::Sender<Result<v1::TrainingEvent, Status>>,
    ) -> Result<(), Status> {
        let mut newest = self.vault.newest.subscribe();
        let mut after = 0;
        loop {
            newest.borrow_and_update();
            let events = self.read_events(after, &filter, journal::PAGE).await?;
            let none = events.is_empty();
            for event in events {
                after = event.sequence;
                let Some(view) = self.training_view(event).await? else { continue };
                let ended = matches!(view.kind.as_str(), "done" | "failed");
                if sender.send(Ok(view)).await.is_err() || ended {
                    return Ok(());
                }
            }
            if none {
                // A task that was removed takes its jobs with it; they end without an event.
                let active = self.vault.books().jobs.contains_key(&filter.job);
                if !active && self.read_events(after, &filter, 1).await?.is_empty() {
                    return Err(Status::aborted("the job ended with its task"));
                }
                tokio::select! {
                    () = self.drain.wait() => {
                        return Err(Status::unavailable("the scheduler is stopping"));
                    }
                    () = sender.closed() => return Ok(()),
                    changed = newest.changed() => {
                        if changed.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// An event of a job as its watchers see it.
    async fn training_view(&self, event: Event) -> Result<Option<v1::TrainingEvent>, Status> {
        let Some(kind) = event.kind.strip_prefix("training.") else { return Ok(None) };
        let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap_or_default();
        let number = |key: &str| detail.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let small = |key: &str| u32::try_from(number(key)).unwrap_or(u32::MAX);
        let revision = number("revision");
        let report = if kind == "released" {
            let rows = sqlx::query(
                "SELECT r.revision, digest, bundle_bytes, job, at_ms, report, comparison, \
                 rollback_of FROM revisions r JOIN tasks t ON t.id = r.task_id \
                 WHERE t.name = ? AND r.revision = ?",
            )
            .bind(&event.task)
            .bind(i64::try_from(revision).unwrap_or(i64::MAX))
            .fetch_optional(self.vault.state.readers())
            .await
            .map_err(|error| state_error(&error))?;
            rows.and_then(|row| books::revision(&event.task, &row).ok()).map(|it| it.report)
        } else {
            None
        };
        Ok(Some(v1::TrainingEvent {
            job: event.job,
            task: event.task,
            kind: kind.to_owned(),
            text: event.text,
            done: small("done"),
            total: small("total"),
            seconds: detail.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or(0.0),
            revision,
            report,
            device: event.device,
            trial: trials::of_detail(&detail),
        }))
    }
}

fn event_view(event: Event) -> v1::Event {
    v1::Event {
        sequence: event.sequence,
        at_ms: event.at_ms,
        kind: event.kind,
        task: event.task,
        device: event.device,
        text: event.text,
        detail: event.detail,
        job: event.job,
    }
}

fn task_view(book: &TaskBook, devices: Vec<String>, unmet: Vec<String>) -> v1::TaskView {
    let task = &book.task;
    let schema = &task.schema;
    let background = schema.background().and_then(|id| schema.classes().get(usize::from(id.0)));
    v1::TaskView {
        name: task.name.clone(),
        features: schema.features().to_vec(),
        classes: schema.classes().to_vec(),
        background: background.cloned().unwrap_or_default(),
        objective: task.policy.objective.name().to_owned(),
        toml: book.toml.clone(),
        samples: book.samples,
        corrections: book.corrections,
        revision: book.current.as_ref().map_or(0, |current| current.revision),
        devices,
        unmet,
        label_ids: task.labels.clone().into_iter().collect(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a mean of f32 values, to be read by people"
)]
fn columns(features: &[String], all: &Summary) -> Vec<v1::ColumnStat> {
    features
        .iter()
        .zip(&all.columns)
        .map(|(name, &(min, sum, max))| v1::ColumnStat {
            name: name.clone(),
            min,
            mean: (sum / all.rows as f64) as f32,
            max,
        })
        .collect()
}
