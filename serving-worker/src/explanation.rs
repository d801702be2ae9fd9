//! How an answer came about, and whether the same revision still says the same of the same input.

use std::sync::Arc;

use models::{ClassId, Ensemble, Subset};
use proto::{
    parse,
    v1::{self, serving_client::ServingClient},
};
use store::blobs::{BlobError, Blobs};
use tokio::sync::Semaphore;
use tonic::{Response, transport::Channel};

use crate::{
    correction::Corrections,
    error::{CorrectError, PredictError},
    receipt::{Mark, Receipt},
    relay::{Escort, Relay},
    served::Snapshot,
};

/// Replays at the same time: each may read a bundle from the disk and hold it in memory.
const REPLAYS_MAX: usize = 1;
/// When to try again while another replay runs.
const REPLAY_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Explains answers.
#[derive(Debug)]
pub(crate) struct Explanations {
    snapshot: Snapshot,
    corrections: Arc<Corrections>,
    blobs: Arc<Blobs>,
    replays: Arc<Semaphore>,
}

impl Explanations {
    pub(crate) fn new(
        snapshot: Snapshot,
        corrections: Arc<Corrections>,
        blobs: Arc<Blobs>,
    ) -> Self {
        Self { snapshot, corrections, blobs, replays: Arc::new(Semaphore::new(REPLAYS_MAX)) }
    }

    /// [`Explanations::explain`], by whoever gave the answer when that was not this worker.
    ///
    /// # Errors
    ///
    /// As [`Explanations::explain`]; [`CorrectError::Elsewhere`] with what the other worker said.
    pub(crate) async fn explain_anywhere(
        &self,
        request: v1::ExplainRequest,
        relay: &Relay,
        escort: &Escort,
    ) -> Result<v1::ExplainReply, CorrectError> {
        match self.explain(request.clone()).await {
            Err(CorrectError::Unknown) => {}
            done => return done,
        }
        let call = async |mut it: ServingClient<Channel>, request| it.explain(request).await;
        let call = ("Explain", call);
        let asked = Box::pin(relay.ask_giver(&request.prediction_id, &request, escort, call)).await;
        let reply = asked.ok_or(CorrectError::Unknown)?;
        reply.map(Response::into_inner).map_err(|it| CorrectError::Elsewhere(Box::new(it)))
    }

    /// What is remembered of an answer and, if `replay` is set, the class computed again.
    ///
    /// # Errors
    ///
    /// [`CorrectError`]: `Id`, `Unknown`, `Receipt`, `Busy` and `Broken`. That a revision is not here
    /// any more is no error but part of the explanation.
    pub(crate) async fn explain(
        &self,
        request: v1::ExplainRequest,
    ) -> Result<v1::ExplainReply, CorrectError> {
        let v1::ExplainRequest { prediction_id, replay } = request;
        let id = parse::prediction_id(&prediction_id).map_err(CorrectError::Id)?;
        let (receipt, mark) = self.corrections.look_up(id).await?;
        let served = self.served(&receipt);
        if !replay {
            return Ok(explained(&receipt, mark, served.as_deref()));
        }
        let Ok(turn) = Arc::clone(&self.replays).try_acquire_owned() else {
            let full = PredictError::Busy { in_flight: REPLAYS_MAX, retry: REPLAY_RETRY };
            return Err(CorrectError::Busy(Box::new(full)));
        };
        let blobs = Arc::clone(&self.blobs);
        let replayed = tokio::task::spawn_blocking(move || {
            let _until_replayed = turn;
            let ensemble = match served {
                Some(ensemble) => Ok(ensemble),
                None => kept(&blobs, &receipt).map(Arc::new),
            };
            let replay = ensemble.as_ref().map_err(Clone::clone).and_then(|it| again(it, &receipt));
            let replay =
                replay.unwrap_or_else(|fault| v1::Replay { fault, ..v1::Replay::default() });
            let mut reply = explained(&receipt, mark, ensemble.ok().as_deref());
            reply.replay = Some(replay);
            reply
        });
        replayed.await.map_err(|_| CorrectError::Broken)
    }

    /// The ensemble that answered, if it is still served.
    fn served(&self, receipt: &Receipt) -> Option<Arc<Ensemble>> {
        let set = self.snapshot.load();
        let mut served = set.tasks.values();
        let found = served.find(|served| receipt.digest == served.wanted.digest.as_slice())?;
        Some(Arc::clone(&found.ensemble))
    }
}

/// The ensemble that answered, from the disk.
fn kept(blobs: &Blobs, receipt: &Receipt) -> Result<Ensemble, String> {
    let digest = parse::digest(&receipt.digest).map_err(|_| {
        "the receipt is of an older worker, which did not note the bundle".to_owned()
    })?;
    let bytes = blobs.get(&digest).map_err(|error| match error {
        BlobError::NotFound { .. } => {
            format!("the bundle of revision {} is not kept here any more", receipt.revision)
        }
        error @ (BlobError::Damaged { .. } | BlobError::Full { .. } | BlobError::Disk { .. }) => {
            runtime::Report(&error).to_string()
        }
    })?;
    models::bundle::decode_named(&bytes, &|| ())
        .map_err(|error| runtime::Report(&error).to_string())
}

/// The same members asked about the same input.
fn again(ensemble: &Ensemble, receipt: &Receipt) -> Result<v1::Replay, String> {
    let fits = |error: models::ShapeError| runtime::Report(&error).to_string();
    let row = receipt.row().ok_or("the sample of the receipt is damaged")?;
    if receipt.stage() == v1::Stage::Fallback {
        return Err("nobody was heard: the class is the one that the policy names".to_owned());
    }
    let subset = if receipt.cut_short { receipt.asked } else { receipt.assigned };
    let asking = ensemble.asking(Subset(subset)).map_err(fits)?;
    // Who was cut short was heard to the end of those who were heard.
    let asking = if receipt.cut_short { asking.to_the_end() } else { asking };
    let gated = receipt.gated && !receipt.cut_short;
    let mut scratch = ensemble.scratch();
    let answer = ensemble.answer_timed(&row, &asking, gated, &mut scratch, |_| ()).map_err(fits)?;
    let class = ensemble.schema().classes()[answer.class.index()].clone();
    let same = class == receipt.class;
    Ok(v1::Replay { class, same, fault: String::new() })
}

fn explained(
    receipt: &Receipt,
    mark: Option<Mark>,
    ensemble: Option<&Ensemble>,
) -> v1::ExplainReply {
    let total: f32 = ensemble.map_or(0.0, |ensemble| {
        let assigned = Subset(receipt.assigned).members();
        assigned.filter_map(|it| ensemble.members().get(it)).map(|it| it.weight).sum()
    });
    let name = |class_id: u32| {
        let class = ClassId(u16::try_from(class_id).ok()?);
        ensemble?.schema().classes().get(class.index()).cloned()
    };
    let vote = |(member, class_id): (usize, u32)| {
        let weighted = ensemble.and_then(|it| it.members().get(member));
        v1::MemberVote {
            member: u32::try_from(member).unwrap_or(u32::MAX),
            class_id,
            family: weighted.map(|it| it.member.family.name().to_owned()).unwrap_or_default(),
            class: name(class_id).unwrap_or_default(),
            weight: weighted.filter(|_| 0.0 < total).map_or(0.0, |it| it.weight / total),
        }
    };
    v1::ExplainReply {
        task: receipt.task.clone(),
        revision: receipt.revision,
        generation: receipt.generation,
        digest: receipt.digest.clone(),
        at_ms: receipt.at_ms,
        class: receipt.class.clone(),
        confidence: receipt.confidence,
        stage: receipt.stage,
        gated: receipt.gated,
        assigned: parse::members(Subset(receipt.assigned)),
        votes: receipt.heard().map(vote).collect(),
        cut_short: receipt.cut_short,
        reason: receipt.reason.clone(),
        queue_us: receipt.queue_us,
        gate_us: receipt.gate_us,
        vote_us: receipt.vote_us,
        features: receipt.row().unwrap_or_default(),
        corrected: mark.map(|mark| mark.label).unwrap_or_default(),
        replay: None,
        set_classes: receipt.set.iter().map(|&class| name(class).unwrap_or_default()).collect(),
        set: receipt.set.clone(),
        coverage: receipt.coverage,
        abstained: receipt.abstained,
        trace_id: receipt.trace_id.clone(),
    }
}
