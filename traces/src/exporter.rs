//! The exporter: takes what is said of requests to the collector, in batches, and never holds up those
//! who say it.
//!
//! What finds no room in its queue is left out; what the collector does not take in a few attempts is
//! lost. Both are counted, and neither is ever waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proto::otlp::{
    ExportTraceServiceRequest, InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span,
    trace_service_client::TraceServiceClient,
};
use runtime::{Drain, backoff::Backoff};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{ids::Ids, span::attribute, tracer::Process};

/// What may wait to be told: of some hundred requests.
pub(crate) const QUEUE_MAX: usize = 2048;
/// What is told at a time, and how long is waited for as much to come together.
const BATCH: (usize, Duration) = (512, Duration::from_secs(1));
/// How long the collector may take to accept a connection or a batch.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often a batch is offered before it is given up, and the first and the longest wait in between.
const ATTEMPTS_MAX: u32 = 4;
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// Who measures: the name of what the spans are of.
const SCOPE: &str = "sensemble";

/// Something to be told, made into spans when it is its turn.
pub(crate) struct Saying {
    /// How many at most.
    pub(crate) spans: u64,
    pub(crate) build: Build,
}

/// Makes spans of what was noted.
pub(crate) type Build = Box<dyn FnOnce(&Ids) -> Vec<Span> + Send>;

impl std::fmt::Debug for Saying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saying").field("spans", &self.spans).finish_non_exhaustive()
    }
}

/// What became of spans since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

impl Counts {
    pub(crate) fn drop_spans(&self, spans: u64) {
        self.dropped.fetch_add(spans, Relaxed);
    }

    /// Name, help and value of each, to stand on a page of metrics.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &'static str, u64); 4] {
        let of = |count: &AtomicU64| count.load(Relaxed);
        [
            (
                "trace_spans_exported_total",
                "Spans that the collector has taken.",
                of(&self.exported),
            ),
            (
                "trace_spans_dropped_total",
                "Spans left out because too many waited to be sent.",
                of(&self.dropped),
            ),
            ("trace_spans_lost_total", "Spans that the collector did not take.", of(&self.lost)),
            (
                "trace_export_failures_total",
                "Attempts at sending spans that failed.",
                of(&self.failures),
            ),
        ]
    }
}

/// The running exporter. It ends by [`Exporter::end`]; dropped, what waits is not sent.
#[derive(Debug)]
pub struct Exporter {
    drain: Drain,
    running: JoinHandle<()>,
}

impl Exporter {
    pub(crate) fn start(
        endpoint: &str,
        process: Process,
        sayings: mpsc::Receiver<Saying>,
        (ids, counts): (Arc<Ids>, Arc<Counts>),
    ) -> Self {
        let drain = Drain::new();
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .expect("it was checked when it was given")
            .connect_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .connect_lazy();
        let line = Line {
            collector: TraceServiceClient::new(channel),
            resource: resource(&process),
            ids,
            counts,
            failing: false,
            drain: drain.clone(),
        };
        let running = runtime::spawn::named("traces", line.live(sayings));
        Self { drain, running }
    }

    /// Sends what waits, within `wait_max`; what is left then is given up.
    pub async fn end(self, wait_max: Duration) {
        let Self { drain, mut running } = self;
        drain.ask();
        if timeout(wait_max, &mut running).await.is_err() {
            running.abort();
            tracing::warn!(?wait_max, "the collector did not take the last traces in time");
        }
    }
}

/// What the collector knows of this process.
fn resource(process: &Process) -> Resource {
    let Process { service, instance, version } = process;
    Resource {
        attributes: vec![
            attribute("service.name", format!("sensemble-{service}")),
            attribute("service.version", *version),
            attribute("service.instance.id", instance.as_str()),
            attribute("process.pid", u64::from(std::process::id())),
        ],
    }
}

/// The line to the collector.
struct Line {
    collector: TraceServiceClient<Channel>,
    resource: Resource,
    ids: Arc<Ids>,
    counts: Arc<Counts>,
    failing: bool,
    drain: Drain,
}

impl Line {
    async fn live(mut self, mut sayings: mpsc::Receiver<Saying>) {
        let drain = self.drain.clone();
        loop {
            let first = tokio::select! {
                said = sayings.recv() => said,
                () = drain.wait() => None,
            };
            let Some(first) = first else { break };
            let batch = self.gather(first, &mut sayings).await;
            self.deliver(batch).await;
        }
        // Told to end: what waits is told once more, and nothing new is taken.
        sayings.close();
        let mut batch = Vec::new();
        while let Ok(said) = sayings.try_recv() {
            batch.extend(self.built(said));
        }
        self.deliver(batch).await;
    }

    /// The spans of `first` and of what comes soon after it.
    async fn gather(&self, first: Saying, sayings: &mut mpsc::Receiver<Saying>) -> Vec<Span> {
        let mut batch = self.built(first);
        let until = Instant::now() + BATCH.1;
        while batch.len() < BATCH.0 {
            let next = tokio::select! {
                said = timeout_at(until, sayings.recv()) => said,
                () = self.drain.wait() => break,
            };
            let Ok(Some(said)) = next else { break };
            batch.extend(self.built(said));
        }
        batch
    }

    fn built(&self, said: Saying) -> Vec<Span> {
        let spans = (said.build)(&self.ids);
        debug_assert!(u64::try_from(spans.len()).is_ok_and(|count| count <= said.spans));
        spans
    }

    async fn deliver(&mut self, mut spans: Vec<Span>) {
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(BATCH.0));
            self.offer(std::mem::replace(&mut spans, rest)).await;
        }
    }

    /// Offers a batch until it is taken, refused for good, or was offered often enough.
    async fn offer(&mut self, spans: Vec<Span>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let scope = InstrumentationScope { name: SCOPE.to_owned(), version: String::new() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let spans = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![spans] };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for left in (0..ATTEMPTS_MAX).rev() {
            let asked = timeout(SILENCE_MAX, self.collector.export(request.clone())).await;
            let asked = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("it was silent")));
            let status = match asked {
                Ok(reply) => {
                    let refused = reply
                        .into_inner()
                        .partial_success
                        .map_or(0, |it| u64::try_from(it.rejected_spans).unwrap_or(0).min(count));
                    self.counts.exported.fetch_add(count - refused, Relaxed);
                    self.counts.lost.fetch_add(refused, Relaxed);
                    if self.failing {
                        tracing::info!("traces are sent again");
                        self.failing = false;
                    }
                    return;
                }
                Err(status) => status,
            };
            self.counts.failures.fetch_add(1, Relaxed);
            if !self.failing {
                tracing::warn!(error = %status, "the collector does not take traces");
                self.failing = true;
            }
            if left == 0 || !may_be_taken_later(status.code()) || self.drain.asked() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                () = self.drain.wait() => {}
            }
        }
        self.counts.lost.fetch_add(count, Relaxed);
    }
}

/// Whether OTLP has the same batch offered again.
fn may_be_taken_later(code: Code) -> bool {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    }
}
