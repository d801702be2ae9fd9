//! The app of the demo: asks wherever its task is served, as any app would.

use std::{collections::BTreeMap, time::Duration};

use client::{Admin, ClientError, Predictor};
use futures_util::StreamExt as _;
use proto::v1;
use runtime::backoff::Backoff;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::rows::Rows;
use crate::failure::Failure;

/// How long a task may take to be served where it was placed.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// How long an app asks again before it gives up.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Largest batch, in rows and in bytes.
const BATCH_ROWS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// An app that asks for answers of one task.
#[derive(Clone, Debug)]
pub(crate) struct App {
    admin: Admin,
    task: String,
    /// The device that is asked now.
    device: Option<String>,
    /// Every device that was ever asked: a correction goes to the one that had answered.
    known: BTreeMap<String, (String, Predictor)>,
}

/// An answer, and how it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What was answered.
    pub(crate) reply: v1::PredictReply,
    /// By whom.
    pub(crate) device: String,
    /// From the question to the answer, with every repetition; of the whole for many at once.
    pub(crate) elapsed: Duration,
    /// How often it was asked again.
    pub(crate) again: u32,
}

impl Answer {
    /// The class, as its position among the classes.
    pub(crate) fn class(&self) -> usize {
        usize::try_from(self.reply.class_id).unwrap_or(usize::MAX)
    }
}

impl App {
    /// An app that has not asked yet.
    pub(crate) fn new(admin: Admin, task: &str) -> Self {
        Self { admin, task: task.to_owned(), device: None, known: BTreeMap::new() }
    }

    /// Waits until every device that the task is placed on serves exactly what it was ordered to,
    /// of `revision` or a newer one; gives the placement that is asked from now on.
    pub(crate) async fn settle(&mut self, revision: u64) -> Result<v1::PlacementView, Failure> {
        let deadline = Instant::now() + SERVED_MAX;
        let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_millis(200));
        loop {
            let placements = self.admin.placements(&self.task).await?;
            let enough =
                placements.iter().all(|it| serves_as_ordered(it) && revision <= it.revision);
            if enough && let Some(placement) = placements.first() {
                self.go(placement).await?;
                return Ok(placement.clone());
            }
            if deadline < Instant::now() {
                let state: Vec<String> = placements.iter().map(state).collect();
                let state = if state.is_empty() {
                    "it is placed nowhere".to_owned()
                } else {
                    state.join("; ")
                };
                return Err(Failure::new(format!(
                    "revision {revision} of {:?} is not served after {} s: {state}",
                    self.task,
                    SERVED_MAX.as_secs(),
                )));
            }
            sleep(backoff.wait()).await;
        }
    }

    async fn go(&mut self, placement: &v1::PlacementView) -> Result<(), ClientError> {
        let v1::PlacementView { device, serving_address, .. } = placement;
        if self.known.get(device).is_none_or(|(address, _)| address != serving_address) {
            let predictor = Predictor::connect(serving_address).await?;
            self.known.insert(device.clone(), (serving_address.clone(), predictor));
        }
        self.device = Some(device.clone());
        Ok(())
    }

    /// Looks where the task is served now; whether it is.
    async fn look(&mut self) -> Result<bool, ClientError> {
        let placements = self.admin.placements(&self.task).await?;
        let serving = |it: &&v1::PlacementView| {
            it.observed.as_ref().is_some_and(|at| at.fault.is_empty() && at.revision > 0)
        };
        match placements.iter().find(serving) {
            Some(placement) => self.go(placement).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn predictor(&self) -> Option<(String, Predictor)> {
        let device = self.device.as_ref()?;
        self.known.get(device).map(|(_, predictor)| (device.clone(), predictor.clone()))
    }

    /// One question, one answer. Asks again where the task has moved to, when it has moved.
    pub(crate) async fn ask(&mut self, features: &[f32]) -> Result<Answer, Failure> {
        let task = self.task.clone();
        let begun = Instant::now();
        let (device, reply, again) = self
            .persist(async |predictor: &Predictor| {
                predictor.predict(&task, features.to_vec()).await
            })
            .await?;
        Ok(Answer { reply, device, elapsed: begun.elapsed(), again })
    }

    /// Every row, in batches; the answers in the order of the rows.
    pub(crate) async fn ask_all(&mut self, rows: &Rows) -> Result<Vec<Answer>, Failure> {
        let width = u32::try_from(rows.width)?;
        let by_bytes = BATCH_BYTES_MAX / (rows.width.max(1) * size_of::<f32>());
        let batch = by_bytes.clamp(1, BATCH_ROWS_MAX) * rows.width;
        let mut answers = Vec::with_capacity(rows.len());
        for values in rows.values.chunks(batch.max(1)) {
            let task = self.task.clone();
            let begun = Instant::now();
            let (device, replies, again) = self
                .persist(async |predictor: &Predictor| {
                    predictor.predict_batch(&task, width, values.to_vec()).await
                })
                .await?;
            let elapsed = begun.elapsed();
            answers.extend(replies.into_iter().map(|reply| Answer {
                reply,
                device: device.clone(),
                elapsed,
                again,
            }));
        }
        Ok(answers)
    }

    /// Every row as one stream, each a question of its own; the answers in the order of the rows.
    pub(crate) async fn stream(&mut self, rows: &Rows) -> Result<Vec<Answer>, Failure> {
        let questions: Vec<v1::PredictRequest> = (0..rows.len())
            .map(|row| v1::PredictRequest {
                coverage: None,
                task: self.task.clone(),
                features: rows.row(row).to_vec(),
            })
            .collect();
        let begun = Instant::now();
        let (device, replies, again) = self
            .persist(async |predictor: &Predictor| {
                let questions = futures_util::stream::iter(questions.clone());
                let mut stream = predictor.predict_stream(questions).await?;
                let mut replies = Vec::with_capacity(rows.len());
                while let Some(reply) = stream.next().await {
                    replies.push(reply?);
                }
                Ok(replies)
            })
            .await?;
        if replies.len() != rows.len() {
            return Err(Failure::new(format!(
                "{} questions were answered {} times",
                rows.len(),
                replies.len()
            )));
        }
        let elapsed = begun.elapsed();
        Ok(replies
            .into_iter()
            .map(|reply| Answer { reply, device: device.clone(), elapsed, again })
            .collect())
    }

    /// Asks until there is an answer, an error that asking again will not change, or
    /// [`ANSWER_MAX`] has passed; with the device that answered and how often it was asked again.
    async fn persist<T>(
        &mut self,
        ask: impl AsyncFn(&Predictor) -> Result<T, ClientError>,
    ) -> Result<(String, T, u32), Failure> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        let mut again = 0;
        loop {
            let mut nobody = Failure::new(format!("{:?} is served nowhere", self.task));
            if let Some((device, predictor)) = self.predictor() {
                match ask(&predictor).await {
                    Ok(answer) => return Ok((device, answer, again)),
                    Err(error) if !moved(&error) => return Err(error.into()),
                    Err(error) => nobody = error.into(),
                }
                again += 1;
            }
            if ANSWER_MAX < begun.elapsed() {
                return Err(nobody);
            }
            if !self.look().await? || again > 0 {
                sleep(backoff.wait()).await;
            }
        }
    }

    /// Says what an answer should have been, to the device that gave it. Gives the time until it
    /// was on that device's disk and acknowledged.
    pub(crate) async fn correct(&self, answer: &Answer, label: &str) -> Result<Duration, Failure> {
        let Some((_, predictor)) = self.known.get(&answer.device) else {
            return Err(Failure::new(format!("{} was never asked", answer.device)));
        };
        let begun = Instant::now();
        predictor.correct(answer.reply.prediction_id.clone(), label).await?;
        Ok(begun.elapsed())
    }
}

/// Whether the task may be served elsewhere, or soon: worth asking again.
fn moved(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Code::NotFound | Code::Unavailable | Code::FailedPrecondition | Code::ResourceExhausted
    )
}

/// Whether the device reports exactly what it was ordered to serve.
fn serves_as_ordered(placement: &v1::PlacementView) -> bool {
    placement.observed.as_ref().is_some_and(|at| {
        at.fault.is_empty()
            && at.generation == placement.generation
            && at.revision == placement.revision
            && at.members == placement.members
            && at.gated == placement.gated
    })
}

fn state(placement: &v1::PlacementView) -> String {
    let observed = match &placement.observed {
        None => "serves nothing".to_owned(),
        Some(served) if served.fault.is_empty() => format!("serves revision {}", served.revision),
        Some(served) => served.fault.clone(),
    };
    format!("{}: {observed}", placement.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_is_served_when_the_device_reports_what_was_ordered() {
        let observed = v1::ServedTask {
            generation: 4,
            revision: 2,
            members: vec![0, 1],
            ..v1::ServedTask::default()
        };
        let placement = v1::PlacementView {
            generation: 4,
            revision: 2,
            members: vec![0, 1],
            observed: Some(observed.clone()),
            ..v1::PlacementView::default()
        };
        assert!(serves_as_ordered(&placement));
        let older = v1::ServedTask { generation: 3, ..observed.clone() };
        let faulty = v1::ServedTask { fault: "no such bundle".to_owned(), ..observed };
        for observed in [None, Some(older), Some(faulty)] {
            assert!(!serves_as_ordered(&v1::PlacementView { observed, ..placement.clone() }));
        }
    }
}
