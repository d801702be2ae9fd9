//! The protocol's pages over HTTP.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use runtime::{Drain, Report};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    about, body,
    infer::{infer, refused},
    refusal::{InferError, RequestError},
    reply,
    request::Asked,
};
use crate::{
    answer::{Desk, Terms},
    error::PredictError,
    intake::{Intake, Read},
    refused::Refused,
    relay::Escort,
    served::Served,
    traced::Call,
};

#[derive(Clone, Debug)]
struct Pages {
    desk: Arc<Desk>,
    intake: Intake,
    drain: Drain,
}

/// A model, and its version where the path has one.
#[derive(Debug, serde::Deserialize)]
struct Model {
    model: String,
    #[serde(default)]
    version: String,
}

/// What the index is asked for.
#[derive(Debug, Default, serde::Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

/// `/v2/…`.
pub(crate) fn routes(desk: Arc<Desk>, intake: Intake, drain: Drain) -> Router {
    let model = |rest: Router<Pages>| {
        Router::new()
            .nest("/v2/models/{model}", rest.clone())
            .nest("/v2/models/{model}/versions/{version}", rest)
    };
    let pages = Router::new()
        .route("/", get(metadata))
        .route("/ready", get(model_ready))
        .route("/config", get(config))
        .route("/stats", get(statistics))
        .route("/infer", post(inferred));
    Router::new()
        .route("/v2", get(async || Json(reply::server(&about::server()))))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(not_here))
        .route("/v2/repository/models/{model}/unload", post(not_here))
        .merge(model(pages))
        .with_state(Pages { desk, intake, drain })
}

impl Pages {
    fn find(&self, Model { model, version }: &Model) -> Result<Arc<Served>, PredictError> {
        self.desk.find(model, version)
    }
}

impl From<InferError> for Refused {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Request(error) => {
                Self::new(StatusCode::BAD_REQUEST, Report(&error).to_string())
            }
            InferError::Predict(error) => error.into(),
        }
    }
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    let ready = pages.desk.served().ready() && !pages.drain.asked();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready })))
}

async fn model_ready(
    State(pages): State<Pages>,
    Path(model): Path<Model>,
) -> Result<Json<Value>, Refused> {
    pages.find(&model)?;
    Ok(Json(json!({ "name": model.model, "ready": true })))
}

async fn metadata(
    State(pages): State<Pages>,
    Path(model): Path<Model>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(reply::metadata(&about::metadata(&*pages.find(&model)?))))
}

async fn config(
    State(pages): State<Pages>,
    Path(model): Path<Model>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(reply::config(&about::config(&*pages.find(&model)?))))
}

async fn statistics(
    State(pages): State<Pages>,
    Path(model): Path<Model>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(reply::statistics(&[about::statistics(&*pages.find(&model)?)])))
}

async fn all_statistics(State(pages): State<Pages>) -> Json<Value> {
    let set = pages.desk.served();
    let all: Vec<_> = set.tasks.values().map(|served| about::statistics(served)).collect();
    Json(reply::statistics(&all))
}

async fn index(
    State(pages): State<Pages>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let read = pages.intake.read(&headers, body).await?;
    // Without a body all is asked for.
    let IndexRequest { ready } = if read.bytes.is_empty() {
        IndexRequest::default()
    } else {
        serde_json::from_slice(&read.bytes)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?
    };
    Ok(Json(reply::index(&about::index(&pages.desk.served(), ready))))
}

async fn not_here() -> Refused {
    Refused::new(StatusCode::NOT_IMPLEMENTED, about::NOT_HERE)
}

/// The question in a body: read here when that takes next to nothing, else on a blocking thread.
async fn parsed(
    model: &str,
    version: String,
    header: Option<&[u8]>,
    read: &Read,
) -> Result<Result<(Asked, Vec<bool>), RequestError>, PredictError> {
    let model = model.to_owned();
    if read.is_small() {
        return Ok(body::parse(model, version, header, &read.bytes));
    }
    let (header, bytes) = (header.map(<[u8]>::to_vec), read.bytes.clone());
    let parse = move || body::parse(model, version, header.as_deref(), &bytes);
    tokio::task::spawn_blocking(parse).await.map_err(|_| PredictError::Broken)
}

async fn inferred(
    State(pages): State<Pages>,
    Path(Model { model, version }): Path<Model>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let since = Instant::now();
    let Pages { desk, intake, .. } = pages;
    let read = intake.read(&headers, body).await?;
    let _admitted = desk.admit()?;
    let header = headers.get(reply::HEADER_LENGTH).map(|it| it.as_bytes());
    let (mut asked, binary) = parsed(&model, version, header, &read)
        .await?
        .map_err(|error| refused(&desk, &model, error))?;
    let escort = Escort::of_headers(&headers);
    let (escort, opened) = desk.open(escort, Call::Http("/v2/models/{model}/infer"), since);
    let answered = infer(&desk, &mut asked, Terms::new(since, None), &escort).await;
    let answered = opened.http(answered.map_err(Refused::from))?;
    Ok(reply::inferred(&asked, &answered, &binary))
}
