//! From a question to its answers, for both transports.

use std::{sync::Arc, time::Duration};

use super::{
    refusal::{InferError, RequestError, TEXTS_MAX},
    request::Asked,
};
use crate::{
    answer::{Answered, Batch, Desk, Terms},
    deadline,
    relay::Escort,
    urgency::Urgency,
};

/// Asks the desk, unless it is too late by then.
pub(super) async fn infer(
    desk: &Arc<Desk>,
    asked: &mut Asked,
    of_call: Terms,
    escort: &Escort,
) -> Result<Answered, InferError> {
    let rows = asked.values.len() / asked.width.max(1);
    // Where another worker answers, only it knows how many classes there are.
    let classes = desk.served().tasks.get(&asked.model).map(|it| it.schema().classes().len());
    let texts = asked.outputs.iter().map(|it| it.texts(rows, classes.unwrap_or(usize::MAX)));
    if let Some(texts) = texts.max().filter(|&texts| TEXTS_MAX < texts) {
        return Err(refused(desk, &asked.model, RequestError::Texts { texts }));
    }
    let timeout = asked.timeout_us.map(Duration::from_micros);
    let of_request = timeout.and_then(|timeout| of_call.since.checked_add(timeout));
    // The next of a stream is not there before its turn, however urgent it says it is.
    let urgency = match of_call.urgency {
        Urgency::HeldBack => Urgency::HeldBack,
        Urgency::High | Urgency::Usual | Urgency::Low => asked.urgency,
    };
    let batch = Batch {
        task: std::mem::take(&mut asked.model),
        version: std::mem::take(&mut asked.version),
        width: asked.width,
        values: std::mem::take(&mut asked.values),
        set: asked.set,
        terms: Terms {
            urgency,
            deadline: deadline::earlier(of_call.deadline, of_request),
            ..of_call
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
