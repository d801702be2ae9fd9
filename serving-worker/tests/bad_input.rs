//! Bad input of every kind: a named error that says what to do, and good requests go on.

mod loopback;

use loopback::{SAMPLE, Scheduler, Worker, ensemble, order, sample};
use proto::v1;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_bad_sample_has_its_name() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(1, 1, &digest)).await;
    let mut app = worker.app().await;

    let of = |features: &[f32]| v1::PredictRequest { features: features.to_vec(), ..sample() };
    let not = "the request is not a sample of task kitchen";
    let cases = [
        (of(&SAMPLE[..2]), format!("{not}: a sample has 2 values; the task has 3 features")),
        (of(&[]), format!("{not}: a sample has 0 values; the task has 3 features")),
        (
            of(&[1.0, f32::NAN, 0.0]),
            format!("{not}: the value in row 0, column 1 is not a finite number"),
        ),
        (
            of(&[1.0, 0.0, f32::NEG_INFINITY]),
            format!("{not}: the value in row 0, column 2 is not a finite number"),
        ),
    ];
    for (request, message) in cases {
        let status = app.predict(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*message));
    }
    let unknown = v1::PredictRequest { task: "cellar".to_owned(), ..sample() };
    let status = app.predict(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("\"cellar\" is not served here (served: kitchen)"));

    let batch = |width, values| v1::PredictBatchRequest {
        task: sample().task,
        width,
        values,
        ..Default::default()
    };
    let status = app.predict_batch(batch(3, vec![1.0; 7])).await.unwrap_err();
    assert_eq!(status.message(), format!("{not}: 7 values do not fill rows of 3"));
    let status = app.predict_batch(batch(0, vec![])).await.unwrap_err();
    assert_eq!(status.message(), format!("{not}: a sample has 0 values; the task has 3 features"));
    let status = app.predict_batch(batch(3, vec![1.0; 3 * 500_000])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("send at most"), "{}", status.message());
    assert!(app.predict_batch(batch(3, vec![])).await.unwrap().into_inner().answers.is_empty());

    let oversize = of(&vec![0.0; proto::MESSAGE_BYTES_MAX / 4 + 1]);
    let status = app.predict(oversize).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("too large"), "{}", status.message());

    // A stream is answered up to the bad sample, which ends it.
    let samples = tokio_stream::iter(vec![sample(), of(&[1.0]), sample()]);
    let mut stream = app.predict_stream(samples).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().class, "class1");
    assert_eq!(stream.message().await.unwrap_err().code(), Code::InvalidArgument);

    assert_eq!(app.predict(sample()).await.unwrap().into_inner().class, "class1");
    let served = app.describe(v1::DescribeRequest {}).await.unwrap().into_inner().tasks;
    let service = served[0].service.unwrap();
    assert_eq!((service.answers, service.failed), (2, 8));
    assert!(0 < service.p50_us && service.p50_us <= service.p99_us);
    let (_, page) = worker.get(worker.presence.metrics, "/metrics").await;
    assert!(page.contains("\nsensemble_answers_failed_total{task=\"kitchen\"} 8\n"), "{page}");
    let count = "\nsensemble_answer_seconds_count{task=\"kitchen\",stage=\"vote\"} 2\n";
    assert!(page.contains(count), "{page}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_named_and_change_nothing() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(1, 1, &digest)).await;
    node.order(vec![order(2, 2, &digest), order(2, 2, &digest[1..])]).await;
    let status = loop {
        if let Err(status) = node.report().await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "task kitchen: a digest has 32 bytes, not 31");
    let mut app = worker.app().await;
    assert_eq!(app.predict(sample()).await.unwrap().into_inner().revision, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_token_or_beyond_loopback_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = loopback::config(dir.path());
    let bare = serving_worker::Config { token: String::new(), ..config.clone() };
    let error = serving_worker::run(bare, runtime::Drain::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the control token is empty");
    let open = serving_worker::Config { grpc: ([0, 0, 0, 0], 0).into(), ..config };
    let error = serving_worker::run(open, runtime::Drain::new()).await.unwrap_err();
    assert!(runtime::Report(&error).to_string().contains("not a loopback address"), "{error:?}");
}
