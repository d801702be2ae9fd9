//! One trace from the app through every process that had a part in the answer, as a collector hears it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use proto::{
    trace::{Context, SpanId, TraceId},
    v1::{self, serving_client::ServingClient},
};
use serde_json::{Value, json};
use stories::{App, Blobs, Collector, Sensemble, Task, collector::Told, until};
use tonic::{Request, metadata::MetadataValue};

const TASK: Task<'static> = Task {
    name: "traced",
    blobs: Blobs {
        seed: 91,
        classes: &["idle", "one", "two"],
        width: 4,
        rows: 40,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    // At one device and no other, however fast they find each other.
    policy: "latency = { site = \"a\" }\nplace = { on_site = true }\n\
             train = { families = [\"ridge\", \"forest\", \"knn\"] }\n\
             adapt = { after_corrections = 0 }",
};
/// What was said arrives within this, on a busy machine.
const HEARD_MAX: Duration = Duration::from_secs(60);

fn context(byte: u8, sampled: bool) -> Context {
    let ids = (TraceId::new([byte; 16]), SpanId::new([0xaa; 8]));
    Context { trace: ids.0.expect("not zero"), span: ids.1.expect("not zero"), sampled }
}

/// Two devices, one of which serves the task: the addresses of the other one, which passes on, and of
/// the one that serves.
fn two_devices(collector: &Collector, sampler: &str) -> (Sensemble, Value, String) {
    let mut sensemble = Sensemble::nothing();
    sensemble.tell("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    sensemble.tell("OTEL_TRACES_SAMPLER", sampler);
    sensemble.start_scheduler("127.0.0.1:0");
    let sites = [("pi-a", "a"), ("pi-b", "b")];
    let nodes = sites.map(|(device, site)| sensemble.start_node_with(device, &["--site", site]));
    let _said = TASK.train(&sensemble);
    let serving = sensemble.serving_address(TASK.name);
    let other = nodes.into_iter().find(|it| it["grpc"] != serving.as_str());
    let other = other.expect("one of them does not serve it");
    let app = App::connect(text(&other["grpc"])).expect("it answers");
    until("the other device to know the way", HEARD_MAX, || {
        app.predict(TASK.name, &row(1)).map_err(|error| error.to_string())
    });
    (sensemble, other, serving)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is text")
}

/// A sample of a class.
fn row(class: usize) -> Vec<f32> {
    let blobs = Blobs { seed: 92, ..TASK.blobs };
    let table = blobs.table();
    let label = TASK.blobs.classes[class];
    table.rows.iter().find(|it| it.label == label).expect("it is there").features.clone()
}

/// Asks with headers of one's own.
fn ask(address: &str, headers: &[(&'static str, &str)]) -> v1::PredictReply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.expect("a runtime").block_on(async {
        let mut client =
            ServingClient::connect(format!("http://{address}")).await.expect("it answers");
        let features = row(1);
        let mut request = Request::new(v1::PredictRequest {
            task: TASK.name.to_owned(),
            features,
            coverage: None,
        });
        for (name, value) in headers {
            let value = MetadataValue::try_from(*value).expect("a header");
            request.metadata_mut().append(*name, value);
        }
        client.predict(request).await
    });
    asked.expect("a header is never a reason to refuse").into_inner()
}

/// One POST over HTTP; its body.
fn post(address: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// What was told of a trace, once there are so many receipts and server spans in it.
fn heard(collector: &Collector, trace: &[u8], receipts: usize, servers: usize) -> Vec<Told> {
    until("the trace to be told of", HEARD_MAX, || {
        let told = collector.trace(trace);
        let of = |name: &str| told.iter().filter(|it| it.span.name == name).count();
        let kinds = told.iter().filter(|it| it.span.kind == 2).count();
        if (of("receipt"), kinds) == (receipts, servers) {
            return Ok(told);
        }
        Err(told.into_iter().map(|it| (it.instance, it.span.name)).collect::<Vec<_>>())
    })
}

#[track_caller]
fn only<'a>(told: &'a [Told], what: &str, is: impl Fn(&Told) -> bool) -> &'a Told {
    let found: Vec<&Told> = told.iter().filter(|it| is(it)).collect();
    let [one] = *found else { panic!("{} of {what}: {told:?}", found.len()) };
    one
}

#[test]
fn one_trace_goes_from_the_app_over_a_forward_to_every_voter_and_the_scheduler() {
    let collector = Collector::start();
    let (sensemble, other, serving) = two_devices(&collector, "");
    let passes_on = text(&other["grpc"]);
    // Nobody asks for a trace, or says that there is none: nothing of it is told.
    let silent = App::connect(passes_on).expect("it answers");
    let unsampled = App::connect(passes_on).expect("it answers").in_trace(context(9, false));
    for _ in 0..10 {
        let _none = silent.predict(TASK.name, &row(1)).expect("it answers");
        let _none = unsampled.predict(TASK.name, &row(1)).expect("it answers");
    }
    let quiet = unsampled.predict(TASK.name, &row(1)).expect("it answers");
    let begun = context(1, true);
    let state = "vendor=1,other=2";
    let reply = ask(passes_on, &[("traceparent", &begun.header()), ("tracestate", state)]);
    let told = heard(&collector, begun.trace.bytes(), 1, 2);

    // Who passed it on, and the way to who answered.
    let first = only(&told, "server span of the app", |it| it.span.parent_span_id == [0xaa; 8][..]);
    let way = only(&told, "way", |it| it.span.kind == 3);
    let last = only(&told, "server span of the way", |it| {
        it.span.kind == 2 && it.span.parent_span_id == way.span.span_id
    });
    assert_eq!(way.span.parent_span_id, first.span.span_id);
    assert_eq!([&*first.service, &*last.service], ["sensemble-serving-worker"; 2]);
    assert!(first.pid == way.pid && first.pid != last.pid, "two processes");
    assert!(first.instance != last.instance && first.holds(way) && way.holds(last), "{told:?}");
    for span in [first, way, last] {
        assert_eq!(span.span.name, "sensemble.v1.Serving/Predict");
        assert_eq!(span.span.trace_state, state);
        let said = span.attributes();
        assert_eq!((&*said["rpc.system"], &*said["rpc.method"]), ("grpc", "Predict"));
        assert_eq!(said["rpc.grpc.status_code"], "0");
    }

    // Where the time went there: everything lies within the request, and nothing twice.
    let parts: Vec<&Told> =
        told.iter().filter(|it| it.span.parent_span_id == last.span.span_id).collect();
    assert_eq!(told.len(), 3 + parts.len(), "all the rest are parts of the request: {told:?}");
    assert!(parts.iter().all(|part| last.holds(part) && part.pid == last.pid), "{told:?}");
    let explained =
        sensemble.json(&["explain", &hex(&reply.prediction_id), "--address", &serving])[0].clone();
    assert_eq!(explained["trace_id"], hex(begun.trace.bytes()));
    let votes = |told: &Told| {
        let said = told.attributes();
        let said = |name: &str| said.get(name).cloned();
        Some((said("sensemble.member")?, said("sensemble.member.family")?, said("sensemble.vote")?))
    };
    let told_votes: BTreeSet<_> = parts.iter().filter_map(|it| votes(it)).collect();
    let explained_votes = explained["votes"].as_array().expect("a list").iter().map(|it| {
        let of = |name: &str| text(&it[name]).to_owned();
        (it["member"].to_string(), of("family"), of("class"))
    });
    assert_eq!(told_votes, explained_votes.collect(), "every voter and its vote");
    assert_eq!(u32::try_from(told_votes.len()), Ok(reply.voted));
    let mut names: Vec<&str> = parts.iter().map(|it| it.span.name.as_str()).collect();
    names.retain(|name| !name.starts_with("vote "));
    names.sort_unstable();
    let gate: &[&str] = if explained["gated"] == json!(true) { &["gate"] } else { &[] };
    assert_eq!(names, [gate, &["queue", "receipt"]].concat());
    let vote_us: u64 = parts
        .iter()
        .filter_map(|it| it.attributes().get("sensemble.member.us")?.parse::<u64>().ok())
        .sum();
    let all_us = explained["vote_us"].as_u64().expect("a number");
    assert!(vote_us <= all_us + 1, "{vote_us} of {all_us}");

    // Over HTTP, too, and at the one that serves: no way between.
    let over_http = context(2, true);
    let features = row(0).iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    let infer = format!(
        "{{\"inputs\":[{{\"name\":\"features\",\"datatype\":\"FP32\",\"shape\":[1,4],\
         \"data\":[{features}]}}]}}"
    );
    let path = format!("/v2/models/{}/infer", TASK.name);
    let headers = format!("traceparent: {}\r\n", over_http.header());
    let _answer = post(text(&other["http"]), &path, &headers, &infer);
    let told = heard(&collector, over_http.trace.bytes(), 1, 2);
    let page = only(&told, "page", |it| it.span.parent_span_id == [0xaa; 8][..]);
    assert_eq!(page.span.name, "POST /v2/models/{model}/infer");
    assert_eq!(page.attributes()["http.response.status_code"], "200");

    // A correction goes on to the scheduler in the trace of whoever made it.
    let correcting = context(3, true);
    let app = App::connect(passes_on).expect("it answers").in_trace(correcting);
    let _taken = app.correct(&reply, "two").expect("it is taken");
    let told = heard(&collector, correcting.trace.bytes(), 0, 3);
    let arrived = only(&told, "arrival", |it| it.service == "sensemble-scheduler");
    let sent = only(&told, "way to it", |it| it.span.span_id == arrived.span.parent_span_id);
    let taken = only(&told, "taking", |it| it.span.span_id == sent.span.parent_span_id);
    assert_eq!(sent.span.name, "sensemble.v1.Corrections/Submit");
    assert_eq!((&*taken.span.name, &taken.pid), ("sensemble.v1.Serving/Correct", &last.pid));
    assert_eq!(arrived.attributes()["sensemble.prediction_id"], hex(&reply.prediction_id));

    // What was asked before has been told of by now, or never will be.
    let known: BTreeSet<Vec<u8>> =
        collector.told().iter().map(|it| it.span.trace_id.to_vec()).collect();
    assert_eq!(known, [1, 2, 3].map(|byte| vec![byte; 16]).into_iter().collect());
    // It is in the receipt all the same: an app that logs it finds the answer by it.
    let words = ["explain", &hex(&quiet.prediction_id), "--address", &serving];
    assert_eq!(sensemble.json(&words)[0]["trace_id"], hex(&[9; 16]));
}

#[test]
fn a_header_that_is_none_begins_a_trace_and_the_command_line_begins_its_own() {
    let collector = Collector::start();
    let (sensemble, other, _serving) = two_devices(&collector, "always_on");
    let passes_on = text(&other["grpc"]);
    let good = context(5, true).header();
    let zeros = good.replace("05", "00");
    for wrong in ["", "nonsense", &good.to_uppercase(), &good[1..], &zeros, &"x".repeat(4_000)] {
        let _answer = ask(passes_on, &[("traceparent", wrong), ("tracestate", "a=b")]);
    }
    let _of_two = ask(passes_on, &[("traceparent", &good), ("traceparent", &good)]);
    let fresh = until("as many traces", HEARD_MAX, || {
        let mut traces: BTreeMap<Vec<u8>, Vec<Told>> = BTreeMap::new();
        for told in collector.told() {
            traces.entry(told.span.trace_id.to_vec()).or_default().push(told);
        }
        // Passed on, answered, and put away: then it is whole.
        traces.retain(|_, told| told.iter().any(|it| it.span.name == "receipt"));
        traces.retain(|_, told| told.iter().filter(|it| it.span.kind == 2).count() == 2);
        if traces.len() < 7 { Err(traces.len()) } else { Ok(traces) }
    });
    assert!(!fresh.contains_key(&vec![5; 16]), "neither of two is believed");
    for told in fresh.values() {
        let root = only(told, "root", |it| it.span.parent_span_id.is_empty());
        assert_eq!((root.span.kind, &*root.span.trace_state), (2, ""));
    }

    let table = TASK.blobs.table();
    // Each sample of the stream is a request, up to a hundred.
    let asked = table.rows.len().min(100);
    let samples = table.write(sensemble.folder(), "ask.csv");
    let samples = samples.display().to_string();
    let words = ["predict", TASK.name, "--input", &samples, "--address", passes_on, "--trace"];
    let outcome = sensemble.run(&words).good();
    let id = outcome.err.lines().find_map(|it| it.strip_prefix("trace ").map(str::to_owned));
    let id = id.expect("its id is said");
    until("the trace of the command", HEARD_MAX, || {
        let told = collector.told();
        let told: Vec<&Told> = told.iter().filter(|it| hex(&it.span.trace_id) == id).collect();
        let root = told.iter().find(|it| it.span.parent_span_id.is_empty());
        let of_root = |root: &&&Told| {
            told.iter().filter(|it| it.span.parent_span_id == root.span.span_id).count()
        };
        match root.as_ref().map(of_root) {
            Some(count)
                if count == asked && root.is_some_and(|it| it.service == "sensemble-cli") =>
            {
                Ok(())
            }
            other => Err(other),
        }
    });
}
