//! A worker is asked for a task that another one serves.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

mod loopback;

use std::time::Duration;

use loopback::{Node, Worker, ensemble, lay, order_of, sample};
use models::{Family, synthetic};
use proto::v1;
use tokio::{net::TcpListener, time::Instant};
use tonic::{Code, Request};

fn peer(device: &str, address: impl ToString) -> v1::Peer {
    v1::Peer { device: device.to_owned(), serving_address: address.to_string() }
}

fn route(places: Vec<v1::Peer>) -> Vec<v1::Route> {
    vec![v1::Route { task: "kitchen".to_owned(), places }]
}

/// A worker that serves `kitchen`.
async fn server(dir: &std::path::Path) -> (Worker, Node) {
    let digest = lay(dir, &ensemble("-1", 1));
    let worker = Worker::start(dir).await;
    let mut node = worker.node("").await;
    node.serve(order_of("kitchen", 1, &digest)).await;
    (worker, node)
}

/// A worker that serves nothing and knows where `kitchen` is.
async fn front(dir: &std::path::Path, routes: Vec<v1::Route>) -> (Worker, Node) {
    let worker = Worker::start(dir).await;
    let mut node = worker.node("").await;
    node.order_routes(vec![], routes).await;
    let mut app = worker.app().await;
    loopback::until("the routes to be known", || {
        let mut app = app.clone();
        async move {
            let status = app.predict(sample()).await.err();
            status.is_none_or(|it| it.code() != Code::NotFound).then_some(())
        }
    })
    .await;
    let _warm = app.describe(v1::DescribeRequest {}).await.unwrap();
    node.report().await.unwrap();
    (worker, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_from_elsewhere_and_its_correction_goes_there() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _node) = server(dirs.0.path()).await;
    let (front, node) = front(dirs.1.path(), route(vec![peer("pi", server.presence.grpc)])).await;
    let mut app = front.app().await;
    let reply = app.predict(sample()).await.unwrap().into_inner();
    assert_eq!((&*reply.class, reply.revision), ("class1-1", 1));
    let batch = v1::PredictBatchRequest {
        task: "kitchen".to_owned(),
        width: 3,
        values: loopback::SAMPLE.repeat(5),
        revision: 0,
        coverage: None,
    };
    assert_eq!(app.predict_batch(batch).await.unwrap().into_inner().answers.len(), 5);
    let body =
        br#"{"inputs":[{"name":"features","datatype":"FP32","shape":[1,3],"data":[0.5,2,-1]}]}"#;
    let page = front.http("POST", "/v2/models/kitchen/infer", "", body).await;
    assert_eq!(page.status, 200, "{:?}", String::from_utf8_lossy(&page.body));
    assert_eq!(page.json()["outputs"][0]["data"][0], "class1-1");
    assert_eq!(page.json()["model_version"], "1");

    // What is wrong with the request is said by who serves it.
    let narrow =
        v1::PredictRequest { task: "kitchen".to_owned(), features: vec![1.0], coverage: None };
    let status = app.predict(narrow).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("pi serves this task and says: "), "{status:?}");

    let prediction_id = reply.prediction_id.clone();
    let explain = v1::ExplainRequest { prediction_id: prediction_id.clone(), replay: true };
    let explained = app.explain(explain).await.unwrap().into_inner();
    assert!(explained.replay.unwrap().same);
    let label = "class2-1".to_owned();
    let taken = app.correct(v1::CorrectRequest { prediction_id, label }).await.unwrap();
    assert_eq!(taken.into_inner().given, "class1-1");
    let waiting = server.get(server.presence.metrics, "/metrics").await.1;
    assert!(waiting.contains("sensemble_outbox_records 1"), "durable where it was given");
    let stranger = v1::CorrectRequest { prediction_id: vec![9; 16].into(), label: "x".to_owned() };
    assert_eq!(app.correct(stranger).await.unwrap_err().code(), Code::NotFound);

    // Known again after a restart, with nobody there to say it.
    drop(node);
    assert_eq!(front.stop().await, runtime::Exit::Drained);
    let front = Worker::start(dirs.1.path()).await;
    let reply = front.app().await.predict(sample()).await.unwrap().into_inner();
    assert_eq!(&*reply.class, "class1-1");
    front.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_and_a_guess_come_from_elsewhere_as_they_are() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shape = synthetic::Shape { width: loopback::WIDTH, ..synthetic::Shape::SMALL };
    let families = [Family::Ridge, Family::Knn, Family::Mlp];
    let digest =
        lay(dirs.0.path(), &synthetic::with_sets(synthetic::ensemble(&families, shape, false, 3)));
    let server = Worker::start(dirs.0.path()).await;
    let mut node = server.node("").await;
    let order = v1::Assignment {
        members: vec![0, 1, 2],
        abstain_below_thousandths: 1000,
        ..order_of("kitchen", 1, &digest)
    };
    node.serve(order).await;
    let (front, _node) = front(dirs.1.path(), route(vec![peer("pi", server.presence.grpc)])).await;
    let (mut here, mut there) = (front.app().await, server.app().await);

    let one = v1::PredictRequest { coverage: Some(0.9), ..sample() };
    let direct = there.predict(one.clone()).await.unwrap().into_inner();
    let passed = here.predict(one).await.unwrap().into_inner();
    assert_eq!((direct.coverage, direct.abstained), (0.9, direct.confidence < 1.0));
    let parts = |it: &v1::PredictReply| (it.set.clone(), it.set_classes.clone(), it.coverage);
    assert_eq!((parts(&direct), direct.abstained), (parts(&passed), passed.abstained));
    let plain = here.predict(sample()).await.unwrap().into_inner();
    assert!(plain.set.is_empty() && plain.no_set.is_empty());

    // Who names `set` without a coverage is refused here as there, also though only they know.
    let infer = "/v2/models/kitchen/infer";
    let body = |parameters: &str| {
        let input = r#"{"name":"features","datatype":"FP32","shape":[1,3],"data":[0.5,2,-1]}"#;
        format!(r#"{{"inputs":[{input}],"outputs":[{{"name":"set"}}]{parameters}}}"#).into_bytes()
    };
    let page = front.http("POST", infer, "", &body(r#","parameters":{"coverage":0.9}"#)).await;
    assert_eq!(page.status, 200, "{page:?}");
    let flags: Vec<bool> =
        serde_json::from_value(page.json()["outputs"][0]["data"].clone()).unwrap();
    let classes: Vec<u32> =
        (0..).zip(&flags).filter(|(_, flag)| **flag).map(|(class, _)| class).collect();
    assert_eq!(classes, direct.set);
    for worker in [&front, &server] {
        let page = worker.http("POST", infer, "", &body("")).await;
        assert_eq!(page.status, 400, "{page:?}");
        let error = page.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("its policy names no coverage"), "{error}");
    }
    let most = v1::PredictRequest { coverage: Some(0.96), ..sample() };
    let refused = here.predict(most).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("at most 0.95, not 0.96"), "{refused:?}");
    front.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_dead_or_silent_is_left_for_the_next_within_the_deadline() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _node) = server(dirs.0.path()).await;
    // One refuses connections, one accepts them and never says a word.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let places = vec![
        peer("dead", dead),
        peer("silent", silent.local_addr().unwrap()),
        peer("pi", server.presence.grpc),
    ];
    let (front, _node) = front(dirs.1.path(), route(places)).await;
    let mut app = front.app().await;
    let begun = Instant::now();
    let mut request = Request::new(sample());
    request.set_timeout(Duration::from_secs(8));
    let reply = app.predict(request).await.unwrap().into_inner();
    assert_eq!(&*reply.class, "class1-1");
    assert!(begun.elapsed() < Duration::from_secs(8));
    // They are asked last from now on, for a while.
    let begun = Instant::now();
    app.predict(sample()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(900), "nobody waited for the silent one");
    let metrics = front.get(front.presence.metrics, "/metrics").await.1;
    assert!(!metrics.contains("sensemble_passing_on_failures_total 0"), "{metrics}");

    // When all are away, the caller hears it in time, and that it may come back.
    server.stop().await;
    let mut request = Request::new(sample());
    request.set_timeout(Duration::from_secs(4));
    let status = app.predict(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable), "{status:?}");
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_send_to_each_other_do_not_go_in_circles() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = Worker::start(dirs.0.path()).await;
    let other = Worker::start(dirs.1.path()).await;
    let (mut of_one, mut of_other) = (one.node("").await, other.node("").await);
    of_one.order_routes(vec![], route(vec![peer("other", other.presence.grpc)])).await;
    of_other.order_routes(vec![], route(vec![peer("one", one.presence.grpc)])).await;
    let mut app = one.app().await;
    let status = loopback::until("the routes to be known", || {
        let mut app = app.clone();
        async move {
            let status = app.predict(sample()).await.unwrap_err();
            (status.code() == Code::Unavailable).then_some(status)
        }
    })
    .await;
    assert!(status.message().contains("is not served here"), "the other said so: {status:?}");
    of_one.report().await.unwrap();
    of_other.report().await.unwrap();
    let stranger = v1::CorrectRequest { prediction_id: vec![9; 16].into(), label: "x".to_owned() };
    assert_eq!(app.correct(stranger).await.unwrap_err().code(), Code::NotFound);
    one.stop().await;
    other.stop().await;
}
