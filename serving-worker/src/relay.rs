//! Requests for tasks that are served elsewhere: there and back, within the time that their caller
//! waits, once and never in a circle.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proto::{
    trace::{self, Context},
    v1::{self, serving_client::ServingClient},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use traces::{Traced, Tracer};

use crate::{
    error::PredictError,
    routes::{Health, Place, in_order, patience},
    served::Snapshot,
    traced::Opened,
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
/// From how many workers answers are remembered, so that their corrections go straight there.
const GIVERS_MAX: usize = 1024;
/// How long one place may take to say whether it knows an answer.
const KNOWS_MAX: Duration = Duration::from_secs(1);

/// What of a call goes with it when it is passed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Escort {
    /// Whether it was passed on to us.
    pub(crate) passed_on: bool,
    /// Where in a trace its caller says that it comes from.
    pub(crate) parent: Option<Context>,
    /// What other systems say of that trace.
    pub(crate) state: Option<MetadataValue<Ascii>>,
    /// Where in a trace it stands here, once it was opened.
    pub(crate) trace: Option<Traced>,
}

impl Escort {
    /// Of a call over gRPC.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let passed_on = metadata.contains_key(MARK);
        let mut parents = metadata.get_all(trace::PARENT).iter();
        // Of two, neither is to be believed.
        let parent = parents.next().filter(|_| parents.next().is_none());
        let parent = parent.and_then(|it| Context::parse(it.as_bytes()));
        // Without the one, the other means nothing.
        let state = parent.and_then(|_| metadata.get(trace::STATE));
        let state = state.filter(|it| it.len() <= trace::STATE_BYTES_MAX).cloned();
        Self { passed_on, parent, state, trace: None }
    }

    /// Of a request over HTTP.
    pub(crate) fn of_headers(headers: &axum::http::HeaderMap) -> Self {
        let known = [trace::PARENT, trace::STATE, MARK];
        Self::of(&MetadataMap::from_headers(
            headers
                .iter()
                .filter(|(name, _)| known.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ))
    }

    /// Of a message at a broker, by its user properties.
    pub(crate) fn of_properties(properties: &[(String, String)]) -> Self {
        let all = |name: &'static str| properties.iter().filter(move |(it, _)| it == name);
        let mut parents = all(trace::PARENT);
        let parent = parents.next().filter(|_| parents.next().is_none());
        let parent = parent.and_then(|(_, it)| Context::parse(it.as_bytes()));
        let state = parent.and_then(|_| all(trace::STATE).next()).map(|(_, it)| it);
        let state = state.filter(|it| it.len() <= trace::STATE_BYTES_MAX);
        let state = state.and_then(|it| MetadataValue::try_from(it).ok());
        Self { parent, state, ..Self::default() }
    }

    /// Where in a trace what this causes comes from.
    pub(crate) fn context(&self) -> Option<Context> {
        self.trace.map(|it| it.context)
    }

    /// What an answer at a broker says of its trace, as user properties.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        let parent = self.context().map(|it| (trace::PARENT.to_owned(), it.header()));
        let state = self.state.as_ref().filter(|_| parent.is_some());
        let state = state.and_then(|it| it.to_str().ok());
        parent.into_iter().chain(state.map(|it| (trace::STATE.to_owned(), it.to_owned()))).collect()
    }

    /// `message` as it is passed on, as what `leg` has caused.
    fn request<T>(&self, message: T, patience: Duration, leg: Option<Traced>) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(patience);
        let metadata = request.metadata_mut();
        metadata.insert(MARK, MetadataValue::from_static("1"));
        let parent = leg.and_then(|it| MetadataValue::try_from(it.context.header()).ok());
        if let Some(parent) = parent {
            metadata.insert(trace::PARENT, parent);
            if let Some(state) = &self.state {
                metadata.insert(trace::STATE, state.clone());
            }
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
    tracer: Option<Arc<Tracer>>,
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
    pub(crate) fn new(snapshot: Snapshot, tracer: Option<Arc<Tracer>>) -> Self {
        Self {
            snapshot,
            tracer,
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
            let (traced, leg) = Opened::leg(self.tracer.as_ref(), escort, R::METHOD, place);
            let asked = async {
                let client = self.client(place)?;
                call(client, escort.request(message.clone(), patience, traced)).await
            };
            let answer = timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("it did not answer in time")));
            match leg.grpc(answer) {
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
                        task.id = task, peer = place.device, error = %status,
                        trace_id = escort.context().map(|it| tracing::field::display(it.trace)),
                        "a place is left for the next"
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
        (method, call): (
            &'static str,
            impl AsyncFn(ServingClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
        ),
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
            let (traced, leg) = Opened::leg(self.tracer.as_ref(), escort, method, place);
            let asked = async {
                let client = self.client(place)?;
                call(client, escort.request(message.clone(), KNOWS_MAX, traced)).await
            };
            let answer = timeout(KNOWS_MAX, asked)
                .await
                .unwrap_or_else(|_| Err(Status::unavailable("it did not answer in time")));
            match leg.grpc(answer) {
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) if is_about_the_place(status.code()) => away = Some(status),
                known => return Some(known),
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
    /// The method that gives it.
    const METHOD: &'static str;

    /// The id of an answer in it.
    fn id(&self) -> Option<&[u8]>;
}

impl Given for v1::PredictReply {
    const METHOD: &'static str = "Predict";

    fn id(&self) -> Option<&[u8]> {
        Some(&self.prediction_id)
    }
}

impl Given for v1::PredictBatchReply {
    const METHOD: &'static str = "PredictBatch";

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

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn of_a_message_at_a_broker_one_place_in_a_trace_is_believed_and_of_two_neither() {
        let of = |said: &[(&str, &str)]| {
            let said: Vec<_> =
                said.iter().map(|&(name, it)| (name.to_owned(), it.to_owned())).collect();
            let Escort { parent, state, .. } = Escort::of_properties(&said);
            (parent.map(|it| it.header()), state.and_then(|it| it.to_str().map(str::to_owned).ok()))
        };
        let (parent, state) = (("traceparent", PARENT), ("tracestate", "a=b"));
        let whole = (Some(PARENT.to_owned()), Some("a=b".to_owned()));
        assert_eq!(of(&[state, ("other", "x"), parent]), whole);
        assert_eq!(of(&[parent]), (whole.0, None));
        let long = "x".repeat(trace::STATE_BYTES_MAX + 1);
        assert_eq!(of(&[parent, ("tracestate", &long)]).1, None, "it is not handed on");
        for nothing in [&[state][..], &[("traceparent", "x"), state], &[parent, parent, state]] {
            assert_eq!(of(nothing), (None, None), "{nothing:?}");
        }
    }
}
