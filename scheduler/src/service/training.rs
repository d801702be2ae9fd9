//! What training workers ask for and offer.

use std::sync::Arc;

use models::Ensemble;
use proto::v1::{self, training_server::Training};
use sqlx::Row as _;
use store::samples::SamplesReader;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Answers, Services};
use crate::{
    books::{TaskBook, offer},
    controller::{Fits, JobHeard},
    error::{asked, bundle_error, malformed, state_error, told},
    jobs::Job,
    journal, knowledge,
    registry::{Begin, FailAttempt, Publish, Published, RecordStep, RecordTrial, Work},
    task_file::TRIALS_MAX,
    trainer, trials,
};

/// Chunks that wait for a slow receiver.
const CHUNKS_WAITING: usize = 4;
/// Corrections in one chunk.
const CORRECTIONS_PER_CHUNK: i64 = 500;
/// Subsets that a report may list.
const FRONTIER_MAX: usize = 4_096;

#[tonic::async_trait]
impl Training for Services {
    async fn begin(
        &self,
        request: Request<v1::BeginRequest>,
    ) -> Result<Response<v1::TrainingJob>, Status> {
        let v1::BeginRequest { job, attempt, .. } = request.into_inner();
        let Work { job, book } = self.work(&job, attempt).await?;
        let (samples, corrections) = self.amounts(&job, &book).await?;
        let cores = job
            .device
            .as_ref()
            .and_then(|device| Some(self.vault.books().devices.get(device)?.cpu_cores));
        let policy = &book.task.policy;
        let schema = &book.task.schema;
        let served = job.baseline.and(book.current.as_ref());
        let baseline_settings = served.into_iter().flat_map(|it| &it.report.members);
        let baseline_settings = baseline_settings
            .map(|member| v1::Settings {
                family: member.family.clone(),
                settings: member.settings.clone(),
            })
            .collect();
        let bytes = |digest: Option<[u8; 32]>| {
            digest.map(|digest| digest.to_vec().into()).unwrap_or_default()
        };
        Ok(Response::new(v1::TrainingJob {
            task: job.task.clone(),
            features: schema.features().to_vec(),
            classes: schema.classes().to_vec(),
            background: schema.background().map(|id| u32::from(id.0)),
            families: policy.train.families.iter().map(|it| it.name().to_owned()).collect(),
            missed_events_max: policy.missed_events_max,
            lazy: policy.train.lazy,
            budget_s: policy.train.budget_s,
            // One for all trainings of a task: rows are parted by it, and a row that the served revision
            // was trained on must never be held out of its candidate.
            seed: book.id.unsigned_abs(),
            samples,
            corrections,
            resume_digest: bytes(job.published),
            baseline_digest: bytes(job.baseline.map(|baseline| baseline.digest)),
            baseline_members: job
                .baseline
                .map(|baseline| proto::parse::members(baseline.subset))
                .unwrap_or_default(),
            baseline_gated: job.baseline.is_some_and(|baseline| baseline.gated),
            threads: trainer::threads(cores.unwrap_or(1.0)),
            trials_max: if job.search { policy.train.trials } else { 0 },
            trials: self.trials(&job).await?,
            baseline_settings,
            // What came later waits for the next job: every attempt has the same.
            imported: book
                .members
                .iter()
                .filter(|member| member.at_ms <= job.created_ms)
                .map(|member| v1::ImportedMember {
                    name: member.name.clone(),
                    digest: member.digest.to_vec().into(),
                    samples_seen: member.samples_seen,
                    corrections_seen: member.corrections_seen,
                })
                .collect(),
            coverage_thousandths: policy.coverage.map_or(0, |it| it.thousandths().into()),
            earlier: knowledge::earlier(&self.vault.books(), &job.task, job.created_ms),
        }))
    }

    type SamplesStream = Answers<v1::SampleChunk>;

    async fn samples(
        &self,
        request: Request<v1::SamplesRequest>,
    ) -> Result<Response<Self::SamplesStream>, Status> {
        let v1::SamplesRequest { job, attempt } = request.into_inner();
        let work = self.work(&job, attempt).await?;
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let services = self.clone();
        runtime::spawn::named("samples", async move {
            if let Err(status) = services.send_samples(work, &sender).await {
                let _the_worker_is_gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Answers::new(receiver)))
    }

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishReply>, Status> {
        let message = request.into_inner();
        let Work { book, .. } = self.work(&message.job, message.attempt).await?;
        let digest = proto::parse::digest(&message.digest).map_err(|error| malformed(&error))?;
        let report = message
            .report
            .ok_or_else(|| Status::invalid_argument("a bundle is published with its report"))?;
        let (ensemble, bundle_bytes) = self.open_bundle(digest).await?;
        check(&ensemble, &book, &report).map_err(Status::invalid_argument)?;
        drop(ensemble);

        let fits =
            Fits { task: book.task.name.clone(), offer: offer(0, digest, bundle_bytes, &report) };
        let unfit = told(self.controller.ask(fits).await)?;
        let publish = Publish {
            job: message.job,
            attempt: message.attempt,
            digest,
            bundle_bytes,
            report: v1::RevisionReport { bundle_bytes, ..report },
            comparison: message.comparison,
            last: message.last,
            unfit,
        };
        let published = asked(self.registry.ask(publish).await)?;
        self.nudge.notify_one();
        let outcome = match published {
            Published::Released(revision) => {
                v1::publish_reply::Outcome::Released(v1::Released { revision })
            }
            Published::Refused(reason) => {
                v1::publish_reply::Outcome::Refused(v1::Refused { reason })
            }
        };
        Ok(Response::new(v1::PublishReply { outcome: Some(outcome) }))
    }

    async fn progress(
        &self,
        request: Request<v1::ProgressRequest>,
    ) -> Result<Response<v1::ProgressReply>, Status> {
        let message = request.into_inner();
        let v1::ProgressRequest { job, attempt, .. } = message;
        let runs = self.vault.books().jobs.get(&job).is_some_and(|job| job.runs(attempt));
        if !runs {
            return Ok(Response::new(v1::ProgressReply { stop: true }));
        }
        told(self.controller.ask(JobHeard { job: job.clone(), attempt }).await)?;
        for trial in message.trials {
            trials::check(&trial).map_err(Status::invalid_argument)?;
            asked(self.registry.ask(RecordTrial { job: job.clone(), attempt, trial }).await)?;
        }
        if message.fault.is_empty() && message.step.is_empty() {
            return Ok(Response::new(v1::ProgressReply { stop: false }));
        }
        if message.fault.is_empty() {
            let step = RecordStep {
                job,
                attempt,
                step: journal::cut(&message.step),
                done: message.done,
                total: message.total,
            };
            asked(self.registry.ask(step).await)?;
            return Ok(Response::new(v1::ProgressReply { stop: false }));
        }
        let fault = journal::cut(&message.fault);
        asked(self.registry.ask(FailAttempt { job, attempt, fault }).await)?;
        self.nudge.notify_one();
        Ok(Response::new(v1::ProgressReply { stop: true }))
    }
}

impl Services {
    /// The work of an attempt that runs; `ABORTED` for one that was replaced.
    async fn work(&self, job: &str, attempt: u64) -> Result<Work, Status> {
        let work = asked(self.registry.ask(Begin { job: job.to_owned(), attempt }).await)?;
        told(self.controller.ask(JobHeard { job: job.to_owned(), attempt }).await)?;
        Ok(work)
    }

    /// The trials that attempts at `job` have made, in the order in which they were made.
    async fn trials(&self, job: &Job) -> Result<Vec<v1::Trial>, Status> {
        let details: Vec<String> = sqlx::query_scalar(
            "SELECT detail FROM events WHERE job = ? AND kind = ? ORDER BY sequence LIMIT ?",
        )
        .bind(&job.id)
        .bind(trials::KIND)
        .bind(TRIALS_MAX)
        .fetch_all(self.vault.state.readers())
        .await
        .map_err(|error| state_error(&error))?;
        let read = |detail: &String| trials::of_detail(&serde_json::from_str(detail).ok()?);
        Ok(details.iter().filter_map(read).collect())
    }

    async fn amounts(&self, job: &Job, book: &TaskBook) -> Result<(u64, u64), Status> {
        let row = sqlx::query(
            "SELECT (SELECT coalesce(sum(rows), 0) FROM sample_files \
             WHERE task_id = ?1 AND id <= ?2), \
             (SELECT count(*) FROM corrections WHERE task_id = ?1 AND sequence <= ?3)",
        )
        .bind(book.id)
        .bind(job.samples_upto)
        .bind(job.corrections_upto)
        .fetch_one(self.vault.state.readers())
        .await
        .map_err(|error| state_error(&error))?;
        Ok((row.get::<i64, _>(0).unsigned_abs(), row.get::<i64, _>(1).unsigned_abs()))
    }

    /// Sends every sample in the order it was imported, then every correction in the order it was
    /// applied: each attempt of a job gets the same.
    async fn send_samples(
        &self,
        Work { job, book }: Work,
        sender: &mpsc::Sender<Result<v1::SampleChunk, Status>>,
    ) -> Result<(), Status> {
        let files: Vec<String> = sqlx::query_scalar(
            "SELECT file FROM sample_files WHERE task_id = ? AND id <= ? ORDER BY id",
        )
        .bind(book.id)
        .bind(job.samples_upto)
        .fetch_all(self.vault.state.readers())
        .await
        .map_err(|error| state_error(&error))?;
        let width = book.task.schema.width();
        let wire_width = u32::try_from(width).unwrap_or(u32::MAX);
        for file in files {
            let path = self.vault.samples_file(book.id, &file);
            let sender = sender.clone();
            let read = tokio::task::spawn_blocking(move || {
                for chunk in SamplesReader::open(&path, width)? {
                    let chunk = chunk?;
                    let message = v1::SampleChunk {
                        width: wire_width,
                        values: proto::parse::pack(&chunk.values),
                        labels: chunk.labels.into_iter().map(u32::from).collect(),
                        groups: chunk.groups,
                        corrections: false,
                        keys: Vec::new(),
                    };
                    if sender.blocking_send(Ok(message)).is_err() {
                        break;
                    }
                }
                Ok::<(), store::samples::SamplesError>(())
            });
            read.await.map_err(|_| Status::internal("the samples could not be read"))?.map_err(
                |error| {
                    tracing::error!(error = %runtime::Report(&error), "samples could not be read");
                    Status::data_loss(runtime::Report(&error).to_string())
                },
            )?;
        }

        let mut after = 0_i64;
        loop {
            let rows = sqlx::query(
                "SELECT sequence, prediction_id, label, features FROM corrections \
                 WHERE task_id = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
            )
            .bind(book.id)
            .bind(after)
            .bind(job.corrections_upto)
            .bind(CORRECTIONS_PER_CHUNK)
            .fetch_all(self.vault.state.readers())
            .await
            .map_err(|error| state_error(&error))?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.get(0);
            let mut message = v1::SampleChunk {
                width: wire_width,
                corrections: true,
                ..v1::SampleChunk::default()
            };
            let mut values = Vec::with_capacity(rows.len() * width * size_of::<f32>());
            for row in &rows {
                message.keys.push(row.get::<Vec<u8>, _>(1).into());
                message.labels.push(u32::try_from(row.get::<i64, _>(2)).unwrap_or(u32::MAX));
                values.extend_from_slice(row.get::<&[u8], _>(3));
            }
            message.values = values.into();
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Reads and decodes a bundle: what is published must be what a serving worker can serve.
    async fn open_bundle(&self, digest: [u8; 32]) -> Result<(Ensemble, u64), Status> {
        let bundles = Arc::clone(&self.vault.bundles);
        tokio::task::spawn_blocking(move || {
            let bytes = bundles.get(&digest).map_err(|error| bundle_error(&error))?;
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let ensemble = models::bundle::decode(&bytes).map_err(|error| malformed(&error))?;
            // What is not answered here as where it was trained would be refused by every worker.
            ensemble.check_golden(&mut ensemble.scratch()).map_err(|fault| malformed(&fault))?;
            Ok((ensemble, length))
        })
        .await
        .map_err(|_| Status::internal("the bundle could not be read"))?
    }
}

/// Whether a bundle and its report belong to the task and to each other.
fn check(ensemble: &Ensemble, book: &TaskBook, report: &v1::RevisionReport) -> Result<(), String> {
    let schema = &book.task.schema;
    if ensemble.schema().hash() != schema.hash() {
        return Err(format!(
            "the bundle was trained for other features or classes than those of {:?}",
            book.task.name
        ));
    }
    let members = ensemble.members().len();
    if report.members.len() != members {
        return Err(format!(
            "the report names {} members, the bundle has {members}",
            report.members.len()
        ));
    }
    if report.frontier.is_empty() || FRONTIER_MAX < report.frontier.len() {
        return Err(format!(
            "the report lists {} subsets; 1 to {FRONTIER_MAX} are needed",
            report.frontier.len()
        ));
    }
    let all = models::Subset::all(members);
    for subset in &report.frontier {
        if subset.members == 0 || subset.members & !all.0 != 0 {
            return Err(format!("a subset names members beyond the {members} of the bundle"));
        }
        if subset.gated && ensemble.gate().is_none() {
            return Err("a subset is gated, but the bundle has no gate".to_owned());
        }
        let shares = [subset.accuracy, subset.balanced_accuracy, subset.missed_events];
        let error = subset.accuracy_standard_error;
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || !(0.0..=1.0).contains(&error)
        {
            return Err("a share in the report is not between 0 and 1".to_owned());
        }
    }
    let classes = schema.classes().len();
    if let Some(held_out) = &report.held_out
        && !held_out.confusion.is_empty()
        && held_out.confusion.len() != classes * classes
    {
        return Err(format!(
            "the confusion of the report has {} cells for {classes} classes",
            held_out.confusion.len()
        ));
    }
    Ok(())
}
