//! What a collector hears, and what becomes of what it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use proto::{
    otlp::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::{Context, SpanId, TraceId},
};
use tokio::{net::TcpListener, time::Instant};
use tonic::{Code, Request, Response, Status, transport::Server};
use traces::{Attributes as _, Exporter, Process, Settings, Span, SpanKind, Tracer, span};

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Collector {
    heard: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// How often it says this before it listens.
    refuses: Option<(Code, Arc<AtomicUsize>)>,
    /// How many spans of each batch it does not like.
    rejects: i64,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some((code, times)) = &self.refuses
            && times.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            return Err(Status::new(*code, "not now"));
        }
        self.heard.lock().unwrap().push(request.into_inner());
        let partial =
            ExportTracePartialSuccess { rejected_spans: self.rejects, ..Default::default() };
        let partial_success = (0 < self.rejects).then_some(partial);
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

impl Collector {
    async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder().add_service(TraceServiceServer::new(self));
        runtime::spawn::named("collector", server.serve_with_incoming(incoming));
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let heard = self.heard.lock().unwrap();
        let scopes = heard.iter().flat_map(|it| &it.resource_spans).flat_map(|it| &it.scope_spans);
        scopes.flat_map(|it| it.spans.clone()).collect()
    }
}

fn tracer(endpoint: &str, sampler: &str) -> (Arc<Tracer>, Exporter) {
    let settings = Settings::new(endpoint, (sampler, ""), false).unwrap();
    let process = Process { service: "test", instance: "pi".to_owned(), version: "1" };
    Tracer::start(&settings, process).unwrap()
}

fn counts(tracer: &Tracer) -> [u64; 4] {
    tracer.counts().all().map(|(_, _, value)| value)
}

fn parent(sampled: bool) -> Context {
    let (trace, span) = (TraceId::new([3; 16]).unwrap(), SpanId::new([4; 8]).unwrap());
    Context { trace, span, sampled }
}

/// Says one span of a request from `parent`; whether it was said.
fn say(tracer: &Tracer, parent: Option<Context>) -> bool {
    let Some(traced) = tracer.begin(parent, Instant::now()).filter(|it| it.recorded) else {
        return false;
    };
    let ended = Instant::now();
    tracer
        .say(1, move |_| vec![span::of(&traced, "work", SpanKind::Server, ended).with("a", 1_i64)]);
    true
}

const END_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sampled_is_heard_with_its_parent_and_its_process_and_nothing_else() {
    let collector = Collector::default();
    let endpoint = collector.clone().start().await;
    let (tracer, exporter) = tracer(&endpoint, "");
    assert!(say(&tracer, Some(parent(true))));
    assert!(!say(&tracer, Some(parent(false))));
    assert!(!say(&tracer, None), "nobody asked for it");
    let passing = tracer.begin(Some(parent(false)), Instant::now()).unwrap();
    assert_eq!(passing.context, parent(false), "what is not recorded is handed on as it came");
    // What waits when the process ends is sent.
    exporter.end(END_MAX).await;
    let spans = collector.spans();
    let [span] = &*spans else { panic!("{spans:?}") };
    assert_eq!((&*span.trace_id, &*span.parent_span_id), (&[3; 16][..], &[4; 8][..]));
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    assert!(1_600_000_000_000_000_000 < span.start_time_unix_nano, "in nanoseconds since 1970");
    let request = collector.heard.lock().unwrap()[0].clone();
    let resource = format!("{:?}", request.resource_spans[0].resource);
    assert!(resource.contains("sensemble-test") && resource.contains("pi"), "{resource}");
    assert_eq!(counts(&tracer), [1, 0, 0, 0]);
    assert!(say(&tracer, Some(parent(true))));
    assert_eq!(counts(&tracer), [1, 1, 0, 0], "after the end there is no room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_holds_nobody_up_and_costs_a_count() {
    // Bound and not listening to gRPC: it accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (tracer, exporter) = tracer(&endpoint, "always_on");
    let begun = Instant::now();
    let said = (0..50_000).filter(|_| say(&tracer, None)).count();
    let took = begun.elapsed();
    assert_eq!(said, 50_000);
    // Far below what one attempt may take: nobody has waited for one.
    assert!(took < Duration::from_secs(4), "{took:?}");
    let [exported, dropped, lost, _] = counts(&tracer);
    assert_eq!((exported, lost), (0, 0));
    assert!(40_000 < dropped, "the queue is bounded: {dropped}");
    let begun = Instant::now();
    exporter.end(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "the end waits no longer than it was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_now_is_offered_again_and_what_is_refused_for_good_is_not() {
    let refusing = |code, times| Collector {
        refuses: Some((code, Arc::new(AtomicUsize::new(times)))),
        ..Collector::default()
    };
    for (collector, sent, expected) in [
        (refusing(Code::Unavailable, 2), 1, [1, 0, 0, 2]),
        (refusing(Code::InvalidArgument, 1), 0, [0, 0, 1, 1]),
        (Collector { rejects: 7, ..Collector::default() }, 1, [0, 0, 1, 0]),
    ] {
        let endpoint = collector.clone().start().await;
        let (tracer, exporter) = tracer(&endpoint, "always_on");
        assert!(say(&tracer, None));
        let until = Instant::now() + Duration::from_secs(30);
        let [exported, _, lost, _] = expected;
        while counts(&tracer)[0] < exported || counts(&tracer)[2] < lost {
            assert!(Instant::now() < until, "{:?}", counts(&tracer));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        exporter.end(END_MAX).await;
        assert_eq!((counts(&tracer), collector.spans().len()), (expected, sent));
    }
}
