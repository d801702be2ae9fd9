//! What a collector is told of a request that is passed on: the gate and every voter, each within the other.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

mod loopback;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use loopback::{Node, Worker, config, lay, order_of, until};
use models::{Family, synthetic};
use proto::{
    otlp::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        any_value::Value,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::{Context, SpanId, TraceId},
    v1,
};
use serving_worker::Config;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use traces::{Settings, Span};

/// Keeps the spans that it is told of.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let said = request.into_inner().resource_spans;
        let scopes = said.into_iter().flat_map(|it| it.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|it| it.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> Settings {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        let server = server.serve_with_incoming(TcpIncoming::from(listener));
        runtime::spawn::named("collector", server);
        Settings::new(&address, ("", ""), false).unwrap()
    }

    /// The spans of a trace, once there are as many receipts.
    async fn trace(&self, context: Context, receipts: usize) -> Vec<Span> {
        until("the trace to be told of", || async {
            let mut told = self.0.lock().unwrap().clone();
            told.retain(|it| it.trace_id[..] == context.trace.bytes()[..]);
            let found = told.iter().filter(|it| it.name == "receipt").count();
            let app = told.iter().any(|it| it.parent_span_id[..] == context.span.bytes()[..]);
            (found == receipts && app).then_some(told)
        })
        .await
    }
}

fn context(byte: u8) -> Context {
    let (trace, span) = (TraceId::new([byte; 16]).unwrap(), SpanId::new([byte; 8]).unwrap());
    Context { trace, span, sampled: true }
}

fn traced<T>(message: T, context: Context) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", context.header().parse().unwrap());
    request
}

/// The text, number or yes of an attribute.
fn said(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(yes) => yes.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
    })
}

/// Those that `span` has caused; each lies within it.
fn parts<'a>(told: &'a [Span], span: &Span) -> Vec<&'a Span> {
    let parts: Vec<&Span> = told.iter().filter(|it| it.parent_span_id == span.span_id).collect();
    for part in &parts {
        assert!(span.start_time_unix_nano <= part.start_time_unix_nano, "{told:?}");
        assert!(part.start_time_unix_nano <= part.end_time_unix_nano, "{told:?}");
        assert!(part.end_time_unix_nano <= span.end_time_unix_nano, "{told:?}");
    }
    parts
}

/// The only span that `parent` has caused.
#[track_caller]
fn only<'a>(told: &'a [Span], parent: &[u8]) -> &'a Span {
    let found: Vec<&Span> = told.iter().filter(|it| it.parent_span_id == parent).collect();
    let [one] = *found else { panic!("{found:?} of {told:?}") };
    one
}

struct Pair {
    front: Worker,
    server: Worker,
    _nodes: (Node, Node),
    _dirs: (tempfile::TempDir, tempfile::TempDir),
}

/// A worker that serves `kitchen` behind a gate, and one that passes on to it.
async fn pair(settings: &Settings) -> Pair {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let families = [Family::Ridge, Family::Knn, Family::Mlp];
    let ensemble = synthetic::ensemble(&families, synthetic::Shape::SMALL, true, 5);
    let digest = lay(dirs.0.path(), &ensemble);
    let told = |dir| Config { traces: Some(settings.clone()), ..config(dir) };
    let server = Worker::start_with(told(dirs.0.path())).await;
    let mut serving = server.node("").await;
    serving.serve(v1::Assignment { gated: true, ..order_of("kitchen", 3, &digest) }).await;
    let front = Worker::start_with(told(dirs.1.path())).await;
    let node = front.node("").await;
    let address = server.presence.grpc.to_string();
    let places = vec![v1::Peer { device: "pi".to_owned(), serving_address: address }];
    node.order_routes(vec![], vec![v1::Route { task: "kitchen".to_owned(), places }]).await;
    let app = front.app().await;
    until("the way to be known", || {
        let mut app = app.clone();
        async move {
            let status = app.predict(v1::PredictRequest::default()).await.unwrap_err();
            let narrow =
                v1::PredictRequest { task: "kitchen".to_owned(), features: vec![], coverage: None };
            let known = app.predict(narrow).await.unwrap_err().code() == Code::InvalidArgument;
            (known && status.code() == Code::NotFound).then_some(())
        }
    })
    .await;
    Pair { front, server, _nodes: (serving, node), _dirs: dirs }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_and_every_voter_lie_within_the_way_from_one_worker_to_the_other() {
    let collector = Collector::default();
    let settings = collector.start().await;
    let pair = pair(&settings).await;
    let mut app = pair.front.app().await;
    let mut explainer = pair.server.app().await;
    let mut stages = BTreeSet::new();
    let rows = synthetic::rows(synthetic::Shape::SMALL.width, 100, 11);
    for (features, byte) in rows.into_iter().zip(1..) {
        if stages.len() == 2 {
            break;
        }
        let request = v1::PredictRequest { task: "kitchen".to_owned(), features, coverage: None };
        let reply = app.predict(traced(request, context(byte))).await.unwrap().into_inner();
        if !stages.insert(reply.stage().as_str_name()) {
            continue;
        }
        let told = collector.trace(context(byte), 1).await;
        let first = only(&told, context(byte).span.bytes());
        let way = only(&told, &first.span_id);
        let last = only(&told, &way.span_id);
        assert_eq!([first.kind, way.kind, last.kind], [2, 3, 2]);
        assert_eq!((parts(&told, first).len(), parts(&told, way).len()), (1, 1));
        let parts = parts(&told, last);
        assert_eq!(told.len(), 3 + parts.len(), "nothing else is told: {told:?}");

        let gate = parts.iter().find(|it| it.name == "gate").expect("it was asked first");
        let stopped = reply.stage() == v1::Stage::Gate;
        assert_eq!(said(gate, "sensemble.gate.background"), Some(stopped.to_string()));
        let votes: BTreeSet<_> = parts
            .iter()
            .filter_map(|it| {
                let of = |key| said(it, key);
                Some((
                    of("sensemble.member")?,
                    it.name.strip_prefix("vote ")?.to_owned(),
                    of("sensemble.vote")?,
                ))
            })
            .collect();
        let prediction_id = reply.prediction_id.clone();
        let explain = v1::ExplainRequest { prediction_id, replay: false };
        let explained = explainer.explain(explain).await.unwrap().into_inner();
        assert_eq!(explained.trace_id[..], context(byte).trace.bytes()[..]);
        let explained = explained.votes.into_iter();
        let explained = explained.map(|it| (it.member.to_string(), it.family, it.class));
        assert_eq!(votes, explained.collect(), "every voter, and what it said");
        assert_eq!(
            (votes.is_empty(), votes.len()),
            (stopped, usize::try_from(reply.voted).unwrap())
        );
        let rest = parts.len() - votes.len();
        assert_eq!(rest, 3, "waiting, the gate, the receipt: {parts:?}");
        // One after the other: the gate, then one member after the other.
        let mut asked: Vec<&&Span> =
            parts.iter().filter(|it| it.name == "gate" || it.name.starts_with("vote ")).collect();
        asked.sort_by_key(|it| it.start_time_unix_nano);
        assert_eq!(asked[0].name, "gate");
        for two in asked.windows(2) {
            assert!(two[0].end_time_unix_nano <= two[1].start_time_unix_nano, "{parts:?}");
        }
    }
    assert_eq!(stages, ["STAGE_GATE", "STAGE_VOTE"].into());
    pair.front.stop().await;
    pair.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_the_first_samples_are_told_of_and_a_refusal_is_a_fault_of_who_made_it() {
    let collector = Collector::default();
    let settings = collector.start().await;
    let pair = pair(&settings).await;
    let mut app = pair.server.app().await;
    let width = synthetic::Shape::SMALL.width;
    let rows = synthetic::rows(width, 12, 3);
    let (values, asked) = (rows.concat(), rows.len());
    let width = u32::try_from(width).unwrap();
    let batch = v1::PredictBatchRequest {
        task: "kitchen".to_owned(),
        width,
        values,
        revision: 0,
        coverage: None,
    };
    app.predict_batch(traced(batch, context(1))).await.unwrap();
    let told = collector.trace(context(1), 1).await;
    let request = only(&told, context(1).span.bytes());
    let parts = parts(&told, request);
    let rows: BTreeSet<_> = parts.iter().filter_map(|it| said(it, "sensemble.row")).collect();
    assert_eq!(rows, (0..8).map(|row| row.to_string()).collect(), "not of all {asked}");
    assert_eq!(parts.iter().filter(|it| it.name == "gate").count(), 8);
    let receipt = parts.iter().find(|it| it.name == "receipt").unwrap();
    assert_eq!(said(receipt, "sensemble.rows").as_deref(), Some(&*asked.to_string()));

    let narrow =
        v1::PredictRequest { task: "kitchen".to_owned(), features: vec![1.0], coverage: None };
    let mut front = pair.front.app().await;
    front.predict(traced(narrow, context(2))).await.unwrap_err();
    let told = until("the refusal to be told of", || async {
        let told = collector.0.lock().unwrap().clone();
        let of_it = told.into_iter().filter(|it| it.trace_id[..] == [2; 16]);
        let of_it: Vec<Span> = of_it.collect();
        (of_it.len() == 3).then_some(of_it)
    })
    .await;
    let first = only(&told, context(2).span.bytes());
    let way = only(&told, &first.span_id);
    let last = only(&told, &way.span_id);
    for span in [first, way, last] {
        assert_eq!(said(span, "rpc.grpc.status_code").as_deref(), Some("3"), "INVALID_ARGUMENT");
    }
    let failed = [first, way, last].map(|it| it.status.is_some());
    assert_eq!(failed, [false, true, false], "a server did what it should; its client did not");
    pair.front.stop().await;
    pair.server.stop().await;
}
