//! From a question to its answers, for both transports.

use std::{sync::Arc, time::Duration};

use proto::v1::PredictReply;
use tokio::time::Instant;

use super::{
    refusal::{InferError, RequestError},
    request::Asked,
};
use crate::{
    answer::{Batch, Desk},
    deadline,
    served::Served,
};

/// The answers to one question, all by the same revision.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) served: Arc<Served>,
    pub(super) answers: Vec<PredictReply>,
}

impl Answered {
    pub(super) fn classes(&self) -> usize {
        self.served.schema().classes().len()
    }

    pub(super) fn version(&self) -> String {
        self.served.wanted.revision.to_string()
    }
}

/// Asks the desk, unless it is too late by then.
pub(super) async fn infer(
    desk: &Arc<Desk>,
    asked: &mut Asked,
    since: Instant,
    of_call: Option<Instant>,
) -> Result<Answered, InferError> {
    let timeout = asked.timeout_us.map(Duration::from_micros);
    let of_request = timeout.and_then(|timeout| since.checked_add(timeout));
    let batch = Batch {
        task: std::mem::take(&mut asked.model),
        version: std::mem::take(&mut asked.version),
        width: asked.width,
        values: std::mem::take(&mut asked.values),
        since,
        deadline: deadline::earlier(of_call, of_request),
    };
    let (served, answers) = desk.answer_batch(batch).await?;
    Ok(Answered { served, answers })
}

/// Counts a request that was not understood, where its task is served.
pub(super) fn refused(desk: &Desk, model: &str, error: RequestError) -> InferError {
    if let Some(served) = desk.served().tasks.get(model) {
        served.meter.failed();
    }
    error.into()
}
