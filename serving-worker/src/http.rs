//! HTTP: whether this worker lives, whether it is ready, what users say back, and its metrics.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use proto::v1;
use runtime::Drain;
use tokio::time::Instant;

use crate::{
    answer::Desk, correction::Corrections, error::CorrectError, intake::Intake, metrics::Numbers,
    refused::Refused, relay::Escort, traced::Call,
};

/// `/livez` and `/readyz`.
pub(crate) fn probes(desk: Arc<Desk>, leaving: Drain) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((desk, leaving))
}

/// `/v1/feedback`: a user's true label for an answer, as `Correct` over gRPC.
pub(crate) fn feedback(desk: Arc<Desk>, corrections: Arc<Corrections>, intake: Intake) -> Router {
    Router::new().route("/v1/feedback", post(correct)).with_state((desk, corrections, intake))
}

/// What a user says of an answer.
#[derive(Debug, serde::Deserialize)]
struct Feedback {
    /// 32 hexadecimal digits.
    prediction_id: String,
    label: String,
}

async fn correct(
    State((desk, corrections, intake)): State<(Arc<Desk>, Arc<Corrections>, Intake)>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Refused> {
    let since = Instant::now();
    let read = intake.read(&headers, body).await?;
    let Feedback { prediction_id, label } =
        serde_json::from_slice(&read.bytes).map_err(|error| {
            Refused::new(StatusCode::BAD_REQUEST, format!("send {{prediction_id, label}}: {error}"))
        })?;
    let _admitted = desk.admit().map_err(|full| CorrectError::Busy(Box::new(full)))?;
    // What is not hexadecimal is no id of 16 bytes either, and is refused as that.
    let prediction_id = runtime::secret::unhex(&prediction_id).unwrap_or_default().into();
    let request = v1::CorrectRequest { prediction_id, label };
    let escort = Escort::of_headers(&headers);
    let (escort, opened) = desk.open(escort, Call::Http("/v1/feedback"), since);
    let taken = corrections.correct_anywhere(request, &desk.relay, &escort).await;
    let v1::CorrectReply { task, given, first } = opened.http(taken.map_err(Refused::from))?;
    Ok(Json(serde_json::json!({ "task": task, "given": given, "first": first })))
}

/// `/metrics`.
pub(crate) fn metrics(numbers: Numbers) -> Router {
    Router::new().route("/metrics", get(page)).with_state(numbers)
}

/// 200 when all that was ordered is served as ordered, else 503 and what is missing.
async fn ready(State((desk, leaving)): State<(Arc<Desk>, Drain)>) -> impl IntoResponse {
    if leaving.asked() {
        return (StatusCode::SERVICE_UNAVAILABLE, "told to stop\n".to_owned());
    }
    let set = desk.served();
    if set.ready() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    if !set.ordered {
        return (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first orders\n".to_owned());
    }
    let mut text = String::new();
    for (task, (wanted, fault)) in &set.missing {
        let fault = if fault.is_empty() { "loading" } else { fault };
        text.push_str(&format!("{task}: revision {}: {fault}\n", wanted.revision));
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn page(State(numbers): State<Numbers>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, runtime::exposition::CONTENT_TYPE)], numbers.page())
}
