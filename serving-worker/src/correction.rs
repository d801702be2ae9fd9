//! From a user's word to a durable correction.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prost::Message as _;
use proto::{
    parse,
    v1::{self, serving_client::ServingClient},
};
use store::{outbox::Outbox, ring::Ring};
use tonic::{Response, transport::Channel};

use crate::{
    answer::{names, shortened},
    error::CorrectError,
    receipt::{Mark, Receipt},
    relay::{Escort, Relay},
    served::Snapshot,
};

/// Takes corrections.
#[derive(Debug)]
pub(crate) struct Corrections {
    snapshot: Snapshot,
    receipts: Arc<Ring>,
    outbox: Outbox,
    /// Taken since the worker started.
    pub(crate) taken: AtomicU64,
}

impl Corrections {
    pub(crate) fn new(snapshot: Snapshot, receipts: Arc<Ring>, outbox: Outbox) -> Self {
        Self { snapshot, receipts, outbox, taken: AtomicU64::new(0) }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// [`Corrections::correct`], by whoever gave the answer when that was not this worker: then it is
    /// as durable there.
    ///
    /// # Errors
    ///
    /// As [`Corrections::correct`]; [`CorrectError::Elsewhere`] with what the other worker said.
    pub(crate) async fn correct_anywhere(
        &self,
        request: v1::CorrectRequest,
        relay: &Relay,
        escort: &Escort,
    ) -> Result<v1::CorrectReply, CorrectError> {
        match self.correct(request.clone(), escort).await {
            Err(CorrectError::Unknown) => {}
            done => return done,
        }
        let call = async |mut it: ServingClient<Channel>, request| it.correct(request).await;
        let call = ("Correct", call);
        let asked = Box::pin(relay.ask_giver(&request.prediction_id, &request, escort, call)).await;
        let reply = asked.ok_or(CorrectError::Unknown)?;
        reply.map(Response::into_inner).map_err(|it| CorrectError::Elsewhere(Box::new(it)))
    }

    /// Takes a user's true label for an answer, durably.
    ///
    /// The same label again changes nothing; another label counts from now on, also when the clock
    /// was set back in between.
    ///
    /// # Errors
    ///
    /// Every variant of [`CorrectError`] but `Busy`; then nothing was taken.
    pub(crate) async fn correct(
        &self,
        request: v1::CorrectRequest,
        escort: &Escort,
    ) -> Result<v1::CorrectReply, CorrectError> {
        let v1::CorrectRequest { prediction_id, label } = request;
        let id = parse::prediction_id(&prediction_id).map_err(CorrectError::Id)?;
        let (receipt, mark) = self.look_up(id).await?;
        self.check(&receipt.task, &label)?;

        let reply = v1::CorrectReply {
            task: receipt.task.clone(),
            given: receipt.class.clone(),
            first: mark.is_none(),
        };
        if mark.as_ref().is_some_and(|mark| mark.label == label) {
            return Ok(reply);
        }
        let after = mark.map_or(0, |mark| mark.at_ms.saturating_add(1));
        let at_ms = runtime::clock::unix_ms().max(after);
        let correction = v1::Correction {
            prediction_id,
            task: receipt.task,
            label: label.clone(),
            given: receipt.class,
            revision: receipt.revision,
            at_ms,
            features: receipt.features,
            // The scheduler goes on with it, whenever it hears of it.
            traceparent: escort.context().map(|it| it.header()).unwrap_or_default(),
        };
        self.outbox.append(correction.encode_to_vec()).await.map_err(CorrectError::Outbox)?;
        // A mark that is not kept makes the same correction count as new: harmless, the scheduler
        // knows it by its id.
        let mark = Mark { label, at_ms }.encode_to_vec();
        if let Err(error) = self.receipts.put(vec![(Mark::key(id), mark)]) {
            tracing::debug!(error = %runtime::Report(&error), "the mark of a correction is not kept");
        }
        self.taken.fetch_add(1, Relaxed);
        Ok(reply)
    }

    /// What is remembered of an answer, and what its user said.
    ///
    /// # Errors
    ///
    /// [`CorrectError::Unknown`], [`CorrectError::Receipt`] and [`CorrectError::Broken`].
    pub(crate) async fn look_up(
        &self,
        id: [u8; 16],
    ) -> Result<(Receipt, Option<Mark>), CorrectError> {
        let receipts = Arc::clone(&self.receipts);
        let looked_up = tokio::task::spawn_blocking(move || {
            Ok((receipts.get(&id)?, receipts.get(&Mark::key(id))?))
        });
        let (receipt, mark) =
            looked_up.await.map_err(|_| CorrectError::Broken)?.map_err(CorrectError::Receipt)?;
        let receipt = receipt.and_then(|bytes| Receipt::parse(&bytes));
        let mark = mark.and_then(|bytes| Mark::decode(&*bytes).ok());
        Ok((receipt.ok_or(CorrectError::Unknown)?, mark))
    }

    /// Whether `label` is a class, as far as that is known here: of a task that has moved away since,
    /// the scheduler knows.
    fn check(&self, task: &str, label: &str) -> Result<(), CorrectError> {
        let set = self.snapshot.load();
        let classes = set.tasks.get(task).map(|served| served.schema());
        match classes {
            Some(schema) if schema.class(label).is_none() => Err(CorrectError::Label {
                label: shortened(label),
                task: task.to_owned(),
                classes: names(schema.classes().iter()),
            }),
            None if label.is_empty() || models::schema::NAME_BYTES_MAX < label.len() => {
                Err(CorrectError::Label {
                    label: shortened(label),
                    task: task.to_owned(),
                    classes: "not known here any more".to_owned(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }
}
