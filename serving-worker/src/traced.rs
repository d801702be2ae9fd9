//! What is said of a request that is traced: how it came, where its time went, and who voted for what.
//!
//! While it is answered, times are noted; spans are made of them later, by the exporter.

use std::sync::Arc;

use axum::http::StatusCode;
use models::{Stage, Votes};
use tokio::time::Instant;
use tonic::{Code, Status};
use traces::{Attributes as _, Ids, Span, SpanKind, Traced, Tracer, span};

use crate::{answer::Desk, refused::Refused, relay::Escort, routes::Place, served::Served};

/// Samples of one request that are told of member by member; of the others, that they were there.
pub(crate) const ROWS_MAX: usize = 8;

/// How a request came, or goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// To a method of a gRPC service.
    Grpc(&'static str, &'static str),
    /// As a POST to a page.
    Http(&'static str),
    /// At a broker, of this kind.
    Mqtt(&'static str),
}

/// The service that apps and other workers call.
pub(crate) const SERVING: &str = "sensemble.v1.Serving";
/// … and the protocol's.
pub(crate) const INFERENCE: &str = "inference.GRPCInferenceService";

/// How it ended.
#[derive(Debug)]
enum Outcome {
    /// Nobody waited for it any more.
    Left,
    Well,
    Code(Code, String),
    Page(StatusCode, String),
    Words(String),
}

/// A traced request that is being worked on, or one that was sent on. It is told of when it is closed,
/// or dropped. Nothing at all when it is not traced.
#[derive(Debug)]
#[must_use]
pub(crate) struct Opened(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    tracer: Arc<Tracer>,
    traced: Traced,
    kind: SpanKind,
    call: Call,
    state: String,
    /// Where it was sent on to.
    place: Option<Place>,
    outcome: Outcome,
}

impl Desk {
    /// A request that was read at `since`: from here on, `escort` knows where it stands in its trace.
    pub(crate) fn open(&self, escort: Escort, call: Call, since: Instant) -> (Escort, Opened) {
        let trace = match (&self.tracer, escort.parent) {
            (None, None) => return (escort, Opened(None)),
            (None, Some(context)) => Some(Traced::passing(context, since)),
            (Some(tracer), parent) => tracer.begin(parent, since),
        };
        let escort = Escort { trace, ..escort };
        let kind = match call {
            Call::Grpc(..) | Call::Http(_) => SpanKind::Server,
            Call::Mqtt(_) => SpanKind::Consumer,
        };
        let opened = Opened::new(self.tracer.as_ref(), &escort, (kind, call));
        (escort, opened)
    }
}

impl Opened {
    /// A request of which nothing is said.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    fn new(tracer: Option<&Arc<Tracer>>, escort: &Escort, (kind, call): (SpanKind, Call)) -> Self {
        let traced = escort.trace.filter(|it| it.recorded);
        let (Some(tracer), Some(traced)) = (tracer, traced) else { return Self(None) };
        let state = escort.state.as_ref().and_then(|it| it.to_str().ok()).unwrap_or_default();
        Self(Some(Box::new(Open {
            tracer: Arc::clone(tracer),
            traced,
            kind,
            call,
            state: state.to_owned(),
            place: None,
            outcome: Outcome::Left,
        })))
    }

    /// The same request as it is sent on to `place`: from there on, the escort says so.
    pub(crate) fn leg(
        tracer: Option<&Arc<Tracer>>,
        escort: &Escort,
        method: &'static str,
        place: &Place,
    ) -> (Option<Traced>, Self) {
        let mut leg = Self::new(tracer, escort, (SpanKind::Client, Call::Grpc(SERVING, method)));
        let Some(open) = &mut leg.0 else { return (escort.trace, leg) };
        open.traced = open.tracer.leg(&open.traced);
        open.place = Some(place.clone());
        (Some(open.traced), leg)
    }

    /// It ended so, over gRPC.
    pub(crate) fn grpc<T>(self, outcome: Result<T, Status>) -> Result<T, Status> {
        if let Some(mut open) = self.0 {
            open.outcome = match &outcome {
                Ok(_) => Outcome::Well,
                Err(status) => Outcome::Code(status.code(), status.message().to_owned()),
            };
        }
        outcome
    }

    /// It ended so, over HTTP.
    pub(crate) fn http<T>(self, outcome: Result<T, Refused>) -> Result<T, Refused> {
        if let Some(mut open) = self.0 {
            open.outcome = match &outcome {
                Ok(_) => Outcome::Well,
                Err(refused) => Outcome::Page(refused.status(), refused.text().to_owned()),
            };
        }
        outcome
    }

    /// It ended so, at a broker.
    pub(crate) fn mqtt<T, E>(self, outcome: Result<T, E>) -> Result<T, E>
    where
        E: std::error::Error + 'static,
    {
        if let Some(mut open) = self.0 {
            open.outcome = match &outcome {
                Ok(_) => Outcome::Well,
                Err(error) => Outcome::Words(runtime::Report(error).to_string()),
            };
        }
        outcome
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let ended = Instant::now();
        let (traced, kind, call) = (self.traced, self.kind, self.call);
        let (state, place) = (std::mem::take(&mut self.state), self.place.take());
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Left);
        self.tracer.say(1, move |_| {
            let span = span::of(&traced, name(call), kind, ended);
            let mut span = about(Span { trace_state: state, ..span }, call);
            if let Some(Place { device, address }) = place {
                let address = address.strip_prefix("http://").unwrap_or(&address);
                let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
                span = span.with("sensemble.device", device).with("server.address", host);
                if let Ok(port) = port.parse::<u64>() {
                    span = span.with("server.port", port);
                }
            }
            vec![concluded(span, call, outcome)]
        });
    }
}

fn name(call: Call) -> String {
    match call {
        Call::Grpc(service, method) => format!("{service}/{method}"),
        Call::Http(route) => format!("POST {route}"),
        Call::Mqtt(about) => format!("process {about}"),
    }
}

/// By the semantic conventions of OpenTelemetry.
fn about(span: Span, call: Call) -> Span {
    match call {
        Call::Grpc(service, method) => {
            span.with("rpc.system", "grpc").with("rpc.service", service).with("rpc.method", method)
        }
        Call::Http(route) => span
            .with("http.request.method", "POST")
            .with("http.route", route)
            .with("url.scheme", "http"),
        Call::Mqtt(about) => span
            .with("messaging.system", "mqtt")
            .with("messaging.operation.type", "process")
            .with("messaging.operation.name", about),
    }
}

fn concluded(span: Span, call: Call, outcome: Outcome) -> Span {
    match (outcome, call) {
        (Outcome::Well, Call::Grpc(..)) => span.with("rpc.grpc.status_code", 0_i64),
        (Outcome::Well, Call::Http(_)) => span.with("http.response.status_code", 200_i64),
        (Outcome::Well, Call::Mqtt(_)) => span,
        (Outcome::Code(code, text), _) => {
            let said = span.with("rpc.grpc.status_code", i64::from(i32::from(code)));
            // Who asked for what cannot be is the one who failed, unless it was us.
            let ours = said.kind() == SpanKind::Client || is_ours(code);
            if ours { said.failed(&text) } else { said }
        }
        (Outcome::Page(status, text), _) => {
            let said = span.with("http.response.status_code", i64::from(status.as_u16()));
            if status.is_server_error() { said.failed(&text) } else { said }
        }
        (Outcome::Words(text), _) => span.failed(&text),
        (Outcome::Left, _) => span.failed("nobody waited for the answer any more"),
    }
}

/// Whether a code says that the server failed.
fn is_ours(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// When things happened while one sample was answered.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When the gate had said what it says.
    pub(crate) gate: Option<Instant>,
    /// When each member was begun to be asked, in the order of asking.
    pub(crate) members: Vec<Instant>,
}

/// How one sample was answered.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: [u8; 16],
    pub(crate) begun: Instant,
    pub(crate) watch: Watch,
    pub(crate) ended: Instant,
    /// `None` when nobody was heard.
    pub(crate) answer: Option<(Stage, Votes)>,
}

/// How a traced request was answered.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) traced: Traced,
    pub(crate) served: Arc<Served>,
    /// When its turn had come.
    pub(crate) begun: Instant,
    /// The first of its samples.
    pub(crate) rows: Vec<Row>,
    pub(crate) rows_all: usize,
    /// From when until when the receipts were put away.
    pub(crate) kept: (Instant, Instant),
}

impl Account {
    pub(crate) fn tell(self, tracer: &Tracer) {
        // Waiting, receipts, and of each sample the gate and whoever was heard.
        let of_rows = self.rows.iter().map(|row| 1 + row.watch.members.len()).sum::<usize>();
        let spans = u64::try_from(2 + of_rows).unwrap_or(u64::MAX);
        tracer.say(spans, move |ids| self.spans(ids));
    }

    fn spans(self, ids: &Ids) -> Vec<Span> {
        let Self { traced, served, begun, rows, rows_all, kept } = self;
        let since = traced.began();
        let mut spans = vec![span::within(&traced, ids.span(), "queue", (since, begun))];
        let many = 1 < rows_all;
        for (at, row) in rows.iter().enumerate() {
            let id = runtime::secret::hex(&row.id);
            tracing::debug!(
                trace_id = %traced.context.trace, request.id = id, task.id = %served.task, "answered"
            );
            for said in row.spans(&traced, &served, ids) {
                let said = said.with("sensemble.prediction_id", id.as_str());
                spans.push(if many { said.with("sensemble.row", number(at)) } else { said });
            }
        }
        let mut receipt = span::within(&traced, ids.span(), "receipt", kept)
            .with("sensemble.task", &*served.task)
            .with("sensemble.revision", served.wanted.revision)
            .with("sensemble.rows", number(rows_all));
        if let (false, Some(row)) = (many, rows.first()) {
            receipt = receipt.with("sensemble.prediction_id", runtime::secret::hex(&row.id));
        }
        spans.push(receipt);
        spans
    }
}

impl Row {
    /// The gate, and each member that was heard.
    fn spans<'a>(
        &'a self,
        traced: &'a Traced,
        served: &'a Served,
        ids: &'a Ids,
    ) -> impl Iterator<Item = Span> + 'a {
        let stopped = self.answer.is_some_and(|(stage, _)| stage == Stage::Gate);
        let gate = self.watch.gate.map(|ended| {
            span::within(traced, ids.span(), "gate", (self.begun, ended))
                .with("sensemble.gate.background", stopped)
        });
        let votes = self.answer.map(|(_, votes)| votes);
        let starts = &self.watch.members;
        // A member was asked until the next one was, and the last one to the end.
        let ends = starts.iter().skip(1).copied().chain([self.ended]);
        let times = starts.iter().copied().zip(ends);
        let members = served.asking.members().zip(times).filter_map(move |(member, (from, to))| {
            let class = votes.as_ref()?.get(member)?;
            let family = served.ensemble.members().get(member)?.member.family.name();
            let us = u64::try_from(to.saturating_duration_since(from).as_micros()).ok()?;
            let vote = served.schema().classes().get(class.index())?.as_str();
            Some(
                span::within(traced, ids.span(), format!("vote {family}"), (from, to))
                    .with("sensemble.member", number(member))
                    .with("sensemble.member.family", family)
                    .with("sensemble.member.us", us)
                    .with("sensemble.vote", vote),
            )
        });
        gate.into_iter().chain(members)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
