//! What is served changes only as ordered, only to what is sound, and never in the middle of a request.

mod loopback;

use std::fs;

use loopback::{CLASSES, Node, SAMPLE, Scheduler, WIDTH, Worker, ensemble, order, sample, until};
use proto::v1;
use tonic::Code;

fn batch(rows: usize) -> v1::PredictBatchRequest {
    v1::PredictBatchRequest {
        task: "kitchen".to_owned(),
        width: u32::try_from(WIDTH).expect("a sample is narrow"),
        values: SAMPLE.repeat(rows),
        revision: 0,
        coverage: None,
    }
}

/// The class belongs to the revision that the answer names.
fn is_whole(reply: &v1::PredictReply) -> bool {
    reply.class == format!("class1-{}", reply.revision) && reply.scores.len() == CLASSES
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_predictions_while_revisions_are_swapped_neither_fail_nor_mix() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("-1", 1));
    node.serve(order(1, 1, &digest)).await;

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut apps = Vec::new();
    for app in 0..3 {
        let mut client = worker.app().await;
        let stopped = stopped.clone();
        apps.push(runtime::spawn::named("app", async move {
            let mut revisions = Vec::new();
            while !(*stopped.borrow() && 1000 <= revisions.len()) {
                let replies = match app {
                    0 => vec![client.predict(sample()).await.unwrap().into_inner()],
                    1 => client.predict_batch(batch(20)).await.unwrap().into_inner().answers,
                    _ => {
                        let samples = tokio_stream::iter(vec![sample(); 20]);
                        let stream = client.predict_stream(samples).await.unwrap();
                        let mut stream = stream.into_inner();
                        let mut replies = Vec::new();
                        while let Some(reply) = stream.message().await.unwrap() {
                            replies.push(reply);
                        }
                        assert_eq!(replies.len(), 20);
                        replies
                    }
                };
                assert!(replies.iter().all(is_whole), "{replies:?}");
                if app == 1 {
                    assert!(replies.iter().all(|it| it.revision == replies[0].revision));
                }
                revisions.extend(replies.iter().map(|it| it.revision));
            }
            revisions
        }));
    }
    for revision in 2..=500 {
        let digest = scheduler.put(&ensemble(&format!("-{revision}"), 1));
        node.serve(order(revision, revision, &digest)).await;
    }
    stop.send(true).unwrap();
    for app in apps {
        let revisions = app.await.unwrap();
        assert!(1000 <= revisions.len());
        assert!(revisions.is_sorted(), "a later request is never answered by an older revision");
        let mut seen = revisions;
        seen.dedup();
        assert!(5 < seen.len(), "the swaps happened under load: {seen:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_generation_is_not_obeyed() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let (one, two) = (scheduler.put(&ensemble("-1", 1)), scheduler.put(&ensemble("-2", 1)));
    node.serve(order(7, 2, &two)).await;
    node.order(vec![order(6, 1, &one)]).await;
    // What comes after it on the same line is obeyed, so the older one was looked at by then.
    let mut other = order(1, 1, &one);
    other.task = "hall".to_owned();
    node.order(vec![order(7, 2, &two), other]).await;
    let report = node.until("the other task", |it| it.tasks.len() == 2).await;
    let kitchen = report.tasks.iter().find(|it| it.task == "kitchen").unwrap();
    assert_eq!((kitchen.generation, kitchen.revision, &*kitchen.fault), (7, 2, ""));

    // Taken away and given again: still only by a newer order.
    node.order(vec![]).await;
    node.until("nothing to be served", |it| it.tasks.is_empty()).await;
    let mut app = worker.app().await;
    assert_eq!(app.predict(sample()).await.unwrap_err().code(), Code::NotFound);
    node.order(vec![order(7, 2, &two)]).await;
    node.serve(order(8, 1, &one)).await;
    assert!(is_whole(&app.predict(sample()).await.unwrap().into_inner()));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_answers_its_golden_rows_otherwise_is_refused_and_the_old_one_keeps_serving()
{
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    // Without golden rows, as bundles were before version 4.
    let one = scheduler.put(&ensemble("-1", 2));
    node.serve(order(1, 1, &one)).await;

    let golden = |mark| {
        ensemble(mark, 2).with_golden([&SAMPLE, &[3.0, 1.0, 0.0]].map(|it| &it[..]).into_iter())
    };
    let mut parts = golden("-2").unwrap().into_parts();
    parts.golden[1].sums.swap(0, 2);
    let two = scheduler.put(&models::Ensemble::new(parts).unwrap());
    node.order(vec![order(2, 2, &two)]).await;
    let report = node.until("the fault", |it| !it.tasks[0].fault.is_empty()).await;
    let wanted = "the bundle does not answer its golden rows as it did where it was trained: \
                  golden row 1 is answered \"class0-2\", not \"class2-2\"";
    assert_eq!(report.tasks[0].fault, wanted);
    assert_eq!(report.tasks[0].revision, 1);
    let mut app = worker.app().await;
    assert!(is_whole(&app.predict(sample()).await.unwrap().into_inner()));

    // Untouched, it serves.
    let three = scheduler.put(&golden("-3").unwrap());
    node.serve(order(3, 3, &three)).await;
    assert_eq!(app.predict(sample()).await.unwrap().into_inner().revision, 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_bundle_is_refused_and_the_old_one_keeps_serving_until_it_is_repaired() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let one = scheduler.put(&ensemble("-1", 2));
    node.serve(order(1, 1, &one)).await;

    let two = scheduler.put(&ensemble("-2", 2));
    scheduler.change(&two, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    node.order(vec![order(2, 2, &two)]).await;
    let report = node.until("the fault", |it| !it.tasks[0].fault.is_empty()).await;
    assert_eq!(report.tasks[0].fault, "the scheduler gave other bytes than the digest says");
    assert_eq!(report.tasks[0].revision, 1);
    let mut app = worker.app().await;
    assert_eq!(app.predict(sample()).await.unwrap().into_inner().revision, 1);
    let (status, text) = worker.get(worker.presence.http, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.starts_with("kitchen: revision 2: the scheduler gave other bytes"), "{text}");

    // A word too much under its own digest: whole on the way, and no bundle.
    let mut bytes = models::bundle::encode(&ensemble("-3", 2));
    bytes.extend(b"more");
    let three = scheduler.put_bytes(bytes);
    node.order(vec![order(3, 3, &three)]).await;
    node.until("the fault", |it| it.tasks[0].fault.starts_with("the bundle cannot be decoded"))
        .await;

    // Members and a gate that it does not have.
    let four = scheduler.put(&ensemble("-4", 2));
    node.order(vec![v1::Assignment { members: vec![0, 2], ..order(4, 4, &four) }]).await;
    node.until("the fault", |it| it.tasks[0].fault.starts_with("the bundle has 2 members")).await;
    node.order(vec![v1::Assignment { gated: true, ..order(5, 4, &four) }]).await;
    node.until("the fault", |it| it.tasks[0].fault.contains("no gate")).await;
    assert_eq!(app.predict(sample()).await.unwrap().into_inner().revision, 1);

    // It is tried again without being told to.
    node.order(vec![order(6, 2, &two)]).await;
    node.until("the fault", |it| it.tasks[0].fault.starts_with("the scheduler gave")).await;
    scheduler.change(&two, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    node.until("the repaired one", |it| it.tasks[0].revision == 2).await;
    assert_eq!(worker.get(worker.presence.http, "/readyz").await, (200, "ok\n".to_owned()));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_without_a_scheduler_the_last_good_revision_serves() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    assert_eq!(worker.get(worker.presence.http, "/readyz").await.0, 503, "no orders yet");
    assert_eq!(worker.get(worker.presence.http, "/livez").await.0, 200);
    let mut node = worker.node(&address).await;
    let one = scheduler.put(&ensemble("-1", 1));
    node.serve(order(1, 1, &one)).await;
    // Ordered and not to be had: after the restart the last good one serves, and this one is missing.
    scheduler.set_down(true);
    let two = scheduler.put(&ensemble("-2", 1));
    node.order(vec![order(2, 2, &two)]).await;
    node.until("the fault", |it| it.tasks[0].fault.contains("does not give")).await;
    worker.stop().await;
    assert!(!dir.path().join("serving.json").exists());

    let worker = Worker::start(dir.path()).await;
    let mut app = worker.app().await;
    let reply = app.predict(sample()).await.unwrap().into_inner();
    assert_eq!((reply.revision, &*reply.class), (1, "class1-1"));
    assert_eq!(worker.get(worker.presence.http, "/readyz").await.0, 503);
    // And an order from before the restart is still an old one.
    let mut node = worker.node(&address).await;
    node.order(vec![order(1, 1, &one)]).await;
    scheduler.set_down(false);
    node.order(vec![order(2, 2, &two)]).await;
    node.until("the newer one", |it| it.tasks[0].revision == 2).await;
    worker.stop().await;

    // A bundle damaged on disk is fetched again.
    for entry in fs::read_dir(dir.path().join("bundles")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    node.until("it to be fetched again", |it| it.tasks[0].revision == 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gives_no_orders_and_a_new_node_replaces_the_old() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut first = worker.node(&address).await;
    first.report().await.unwrap();

    for token in ["", "00112233445566778899aabbccddeefe", "00112233445566778899aabbccddeeff0"] {
        let mut stranger = Node::attach(worker.channel().await, &address, token).await;
        assert_eq!(stranger.report().await.unwrap_err().code(), Code::PermissionDenied);
    }
    first.report().await.expect("a stranger replaces nobody");

    let mut second = worker.node(&address).await;
    second.report().await.unwrap();
    let end = until("the first to be told", || {
        let report = futures_util::FutureExt::now_or_never(first.report());
        async move { report?.err() }
    })
    .await;
    assert_eq!(end.code(), Code::Aborted);
    let digest = scheduler.put(&ensemble("-1", 1));
    second.serve(order(1, 1, &digest)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_its_node_and_ends_when_nobody_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let wait = std::time::Duration::from_millis(400);
    let worker = Worker::start_with(serving_worker::Config {
        orphan_wait: wait,
        ..loopback::config(dir.path())
    })
    .await;
    let begun = tokio::time::Instant::now();
    let mut node = worker.node("").await;
    while begun.elapsed() < wait * 3 {
        node.report().await.expect("with a node it stays, longer than it would alone");
    }
    drop(node);
    let left = tokio::time::Instant::now();
    assert_eq!(worker.ended().await, runtime::Exit::Drained);
    assert!(wait / 2 < left.elapsed());
    assert!(!dir.path().join("serving.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_never_run_on_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let second = serving_worker::run(loopback::config(dir.path()), runtime::Drain::new()).await;
    let error = second.unwrap_err();
    assert!(
        runtime::Report(&error).to_string().contains("another serving worker uses"),
        "{error:?}"
    );
    assert!(dir.path().join("serving.json").exists(), "the first one's is untouched");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_heard_by_who_watches_and_ends_open_streams() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };

    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("-1", 1));
    node.serve(order(1, 1, &digest)).await;

    let mut health = HealthClient::new(worker.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    let (samples, outgoing) = tokio::sync::mpsc::channel(4);
    samples.send(sample()).await.unwrap();
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut app = worker.app().await;
    let mut answers = app.predict_stream(outgoing).await.unwrap().into_inner();
    assert!(is_whole(&answers.message().await.unwrap().unwrap()));

    let begun = tokio::time::Instant::now();
    let stopping = runtime::spawn::named("stop", worker.stop());
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::NotServing);
    assert!(matches!(answers.message().await, Ok(None)), "the stream ends without an error");
    assert_eq!(stopping.await.unwrap(), runtime::Exit::Drained);
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "nobody was cut off");
}
