//! Requests for tasks that are served elsewhere: there and back, within the time that their caller
//! waits, once and never in a circle.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proto::v1::{self, serving_client::ServingClient};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    error::PredictError,
    routes::{Health, Place, in_order, patience},
    served::Snapshot,
};

/// Requests passed on at the same time: half of what may be in flight, so that a place that does not
/// answer leaves room for what is answered here.
const PASSED_ON_MAX: usize = crate::admission::IN_FLIGHT_MAX / 2;
/// When to try again when there is no room for another.
const ROOM_RETRY: Duration = Duration::from_millis(100);
/// When to try again when no place has answered.
const AWAY_RETRY: Duration = Duration::from_secs(1);
/// Marks what was passed on: it is not passed on again.
const MARK: &str = "sensemble-passed-on";
/// What a trace is continued by (W3C Trace Context).
const TRACE: [&str; 2] = ["traceparent", "tracestate"];
/// Longest header of a trace that is passed on.
const TRACE_BYTES_MAX: usize = 512;
/// From how many workers answers are remembered, so that their corrections go straight there.
const GIVERS_MAX: usize = 1024;
/// How long one place may take to say whether it knows an answer.
const KNOWS_MAX: Duration = Duration::from_secs(1);

/// What of a call goes with it when it is passed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Escort {
    /// Whether it was passed on to us.
    passed_on: bool,
    trace: Vec<(&'static str, MetadataValue<Ascii>)>,
}

impl Escort {
    /// Of a call over gRPC.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let trace = TRACE.into_iter().filter_map(|name| {
            let value = metadata.get(name).filter(|it| it.len() <= TRACE_BYTES_MAX)?;
            Some((name, value.clone()))
        });
        Self { passed_on: metadata.contains_key(MARK), trace: trace.collect() }
    }

    /// Of a request over HTTP.
    pub(crate) fn of_headers(headers: &axum::http::HeaderMap) -> Self {
        Self::of(&MetadataMap::from_headers(
            headers
                .iter()
                .filter(|(name, _)| TRACE.contains(&name.as_str()) || name.as_str() == MARK)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ))
    }

    fn request<T>(&self, message: T, patience: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(patience);
        request.metadata_mut().insert(MARK, MetadataValue::from_static("1"));
        for (name, value) in &self.trace {
            request.metadata_mut().insert(*name, value.clone());
        }
        request
    }
}

/// Passes requests on.
#[derive(Debug)]
pub(crate) struct Relay {
    snapshot: Snapshot,
    room: Semaphore,
    state: Mutex<State>,
    pub(crate) passed_on: AtomicU64,
    /// Attempts at a place that did not answer.
    pub(crate) failures: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By address; only those that routes name.
    channels: BTreeMap<String, Channel>,
    health: BTreeMap<String, Health>,
    /// Who gave answers, by the part of their ids that every process has for itself.
    givers: BTreeMap<[u8; 8], String>,
}

impl Relay {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            room: Semaphore::new(PASSED_ON_MAX),
            state: Mutex::default(),
            passed_on: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Asks for `task` where it is served; `None` when that is nowhere, or the request has been
    /// passed on before.
    ///
    /// # Errors
    ///
    /// [`PredictError::Elsewhere`] with what the place said, [`PredictError::Unreachable`] when none
    /// answered in time, [`PredictError::Busy`].
    pub(crate) async fn pass_on<M, R>(
        &self,
        task: &str,
        message: &M,
        escort: &Escort,
        until: Option<Instant>,
        call: impl AsyncFn(ServingClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Option<Result<R, PredictError>>
    where
        M: Clone,
        R: Given,
    {
        let places = self.snapshot.load().routes.get(task).filter(|_| !escort.passed_on)?.clone();
        let Ok(_room) = self.room.try_acquire() else {
            let full = PredictError::Busy { in_flight: PASSED_ON_MAX, retry: ROOM_RETRY };
            return Some(Err(full));
        };
        let places = in_order(&places, &self.lock().health, Instant::now());
        let mut last = String::new();
        for (at, place) in places.iter().enumerate() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let patience = patience(left, places.len() - at - 1);
            if patience.is_zero() {
                break;
            }
            let asked = async {
                let client = self.client(place)?;
                call(client, escort.request(message.clone(), patience)).await
            };
            let answer = timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("it did not answer in time")));
            match answer {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    let mut state = self.lock();
                    if let Some(health) = state.health.get_mut(&place.address) {
                        health.answered();
                    }
                    state.note(reply.id(), &place.address);
                    self.passed_on.fetch_add(1, Relaxed);
                    return Some(Ok(reply));
                }
                Err(status) if is_about_the_place(status.code()) => {
                    self.failures.fetch_add(1, Relaxed);
                    tracing::debug!(
                        task.id = task, peer = place.device, error = %status, "a place is left for the next"
                    );
                    // One that is full, or does not serve the task any more, is well.
                    if !matches!(status.code(), Code::ResourceExhausted | Code::NotFound) {
                        let mut state = self.lock();
                        state
                            .health
                            .entry(place.address.clone())
                            .or_default()
                            .failed(Instant::now());
                    }
                    last = format!("{}: {}", place.device, status.message());
                }
                Err(status) => {
                    let (device, status) = (place.device.clone(), Box::new(status));
                    return Some(Err(PredictError::Elsewhere { device, status }));
                }
            }
        }
        let (task, retry) = (task.to_owned(), AWAY_RETRY);
        Some(Err(PredictError::Unreachable { task, last, retry }))
    }

    /// Asks who may have given an answer that was not given here, one after the other, the giver
    /// first where it is known; `None` when nobody knows it.
    pub(crate) async fn ask_giver<M: Clone, R>(
        &self,
        prediction_id: &[u8],
        message: &M,
        escort: &Escort,
        call: impl AsyncFn(ServingClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Option<Result<Response<R>, Status>> {
        if escort.passed_on {
            return None;
        }
        let mut places: Vec<Place> =
            self.snapshot.load().routes.values().flatten().cloned().collect();
        places.sort_unstable();
        places.dedup_by(|a, b| a.address == b.address);
        let giver = {
            let state = self.lock();
            let known = prediction_id.first_chunk().and_then(|it| state.givers.get(it)).cloned();
            places = in_order(&places, &state.health, Instant::now());
            known
        };
        places.sort_by_key(|it| Some(&it.address) != giver.as_ref());
        let mut away = None;
        for place in &places {
            let asked = async {
                let client = self.client(place)?;
                call(client, escort.request(message.clone(), KNOWS_MAX)).await
            };
            match timeout(KNOWS_MAX, asked).await {
                Ok(Err(status)) if status.code() == Code::NotFound => {}
                Ok(Err(status)) if is_about_the_place(status.code()) => away = Some(status),
                Err(_) => away = Some(Status::unavailable("it did not answer in time")),
                Ok(known) => return Some(known),
            }
        }
        // It may be known by one that is away: then to ask again is of use.
        away.map(|status| {
            Err(Status::unavailable(format!(
                "the answer was not given here, and a place where it may have been given is away: {}",
                status.message()
            )))
        })
    }

    fn client(&self, place: &Place) -> Result<ServingClient<Channel>, Status> {
        let mut state = self.lock();
        let channel = match state.channels.get(&place.address) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(place.address.clone())
                    .map_err(|error| Status::unavailable(error.to_string()))?
                    .connect_timeout(KNOWS_MAX)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(Duration::from_secs(10))
                    .keep_alive_timeout(Duration::from_secs(5));
                // Those that no route names any more go.
                let routes = self.snapshot.load();
                let named = |address: &str| {
                    routes.routes.values().flatten().any(|place| place.address == address)
                };
                state.channels.retain(|address, _| named(address));
                state.health.retain(|address, _| named(address));
                let channel = endpoint.connect_lazy();
                state.channels.insert(place.address.clone(), channel.clone());
                channel
            }
        };
        Ok(ServingClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the guard can be dropped by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Remembers who gave the answer `id`.
    fn note(&mut self, id: Option<&[u8]>, address: &str) {
        let Some(process) = id.and_then(|id| id.first_chunk::<8>()) else { return };
        if self.givers.get(process).is_some_and(|known| known == address) {
            return;
        }
        while GIVERS_MAX <= self.givers.len() {
            // Any of them: it is only a short cut.
            self.givers.pop_first();
        }
        self.givers.insert(*process, address.to_owned());
    }
}

/// An answer that came from elsewhere.
pub(crate) trait Given {
    /// The id of an answer in it.
    fn id(&self) -> Option<&[u8]>;
}

impl Given for v1::PredictReply {
    fn id(&self) -> Option<&[u8]> {
        Some(&self.prediction_id)
    }
}

impl Given for v1::PredictBatchReply {
    fn id(&self) -> Option<&[u8]> {
        self.answers.first().map(|it| &*it.prediction_id)
    }
}

/// Whether another place may do better; else the request is what is wrong.
fn is_about_the_place(code: Code) -> bool {
    match code {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unknown
        | Code::Aborted
        | Code::DataLoss
        | Code::Unimplemented => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}
