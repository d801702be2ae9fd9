//! From a question to its answers, for both transports.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    refusal::{InferError, RequestError},
    request::Asked,
};
use crate::{
    answer::{Answered, Batch, Desk, Terms},
    deadline,
    relay::Escort,
};

/// Asks the desk, unless it is too late by then.
pub(super) async fn infer(
    desk: &Arc<Desk>,
    asked: &mut Asked,
    since: Instant,
    of_call: Option<Instant>,
    escort: &Escort,
) -> Result<Answered, InferError> {
    let timeout = asked.timeout_us.map(Duration::from_micros);
    let of_request = timeout.and_then(|timeout| since.checked_add(timeout));
    let batch = Batch {
        task: std::mem::take(&mut asked.model),
        version: std::mem::take(&mut asked.version),
        width: asked.width,
        values: std::mem::take(&mut asked.values),
        set: asked.set,
        terms: Terms {
            urgency: asked.urgency,
            ..Terms::new(since, deadline::earlier(of_call, of_request))
        },
    };
    Ok(desk.answer_batch(batch, escort).await?)
}

/// Counts a request that was not understood, where its task is served.
pub(super) fn refused(desk: &Desk, model: &str, error: RequestError) -> InferError {
    if let Some(served) = desk.served().tasks.get(model) {
        served.meter.failed();
    }
    error.into()
}
