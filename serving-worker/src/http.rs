//! HTTP: whether this worker lives, whether it is ready, and its metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use crate::{answer::Desk, metrics::Numbers};

/// `/livez` and `/readyz`.
pub(crate) fn probes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(desk)
}

/// `/metrics`.
pub(crate) fn metrics(numbers: Numbers) -> Router {
    Router::new().route("/metrics", get(page)).with_state(numbers)
}

/// 200 when all that was ordered is served as ordered, else 503 and what is missing.
async fn ready(State(desk): State<Arc<Desk>>) -> impl IntoResponse {
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
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], numbers.page())
}
