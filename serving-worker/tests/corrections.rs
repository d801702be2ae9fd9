//! A correction that was acknowledged arrives, once in effect, whatever happens in between.

mod loopback;

use std::fs;

use loopback::{SAMPLE, Scheduler, Worker, ensemble, order, sample, until};
use proto::v1;
use tonic::Code;

fn correct(id: &[u8], label: &str) -> v1::CorrectRequest {
    v1::CorrectRequest { prediction_id: id.to_vec().into(), label: label.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_corrections_survive_the_process_and_are_applied_once() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(1, 1, &digest)).await;

    scheduler.set_down(true);
    let mut app = worker.app().await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        let reply = app.predict(sample()).await.unwrap().into_inner();
        let id = reply.prediction_id.to_vec();
        let reply = app.correct(correct(&id, "class2")).await.unwrap().into_inner();
        assert_eq!((&*reply.task, &*reply.given, reply.first), ("kitchen", "class1", true));
        ids.push(id);
    }
    // The same again is harmless; another label replaces it.
    assert!(!app.correct(correct(&ids[0], "class2")).await.unwrap().into_inner().first);
    assert!(!app.correct(correct(&ids[1], "class0")).await.unwrap().into_inner().first);
    node.until("them to wait", |it| it.outbox_waiting == 101).await;
    worker.stop().await;
    assert_eq!(scheduler.applied(), 0);

    // Nobody attaches after the restart: it remembers where the scheduler is.
    scheduler.set_down(false);
    let worker = Worker::start(dir.path()).await;
    until("all corrections to arrive", || async { (scheduler.applied() == 101).then_some(()) })
        .await;
    let mut expected: std::collections::BTreeMap<_, _> =
        ids.iter().map(|id| (id.clone(), "class2".to_owned())).collect();
    expected.insert(ids[1].clone(), "class0".to_owned());
    assert_eq!(scheduler.corrections(), expected);
    let one = scheduler.correction(&ids[2]).unwrap();
    assert_eq!(one.features, proto::parse::pack(&SAMPLE));
    assert_eq!((&*one.task, &*one.given, one.revision), ("kitchen", "class1", 1));

    // An answer from before the restart can still be corrected, and knows that it was.
    let mut app = worker.app().await;
    assert!(!app.correct(correct(&ids[5], "class0")).await.unwrap().into_inner().first);
    until("the new label", || async {
        (scheduler.corrections()[&ids[5]] == "class0").then_some(())
    })
    .await;
    worker.stop().await;

    // The cursor was kept too: nothing is sent again.
    let sent = scheduler.applied();
    let worker = Worker::start(dir.path()).await;
    let (_, page) = worker.get(worker.presence.metrics, "/metrics").await;
    assert!(page.contains("\nsensemble_outbox_records 0\n"), "{page}");
    assert_eq!(scheduler.applied(), sent);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_scheduler_refuses_for_good_is_set_aside_and_holds_up_nothing() {
    let scheduler = Scheduler::default();
    scheduler.refuse("class0");
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(1, 1, &digest)).await;
    let mut app = worker.app().await;
    let mut ids = Vec::new();
    for label in ["class0", "class2"] {
        let reply = app.predict(sample()).await.unwrap().into_inner();
        app.correct(correct(&reply.prediction_id, label)).await.unwrap();
        ids.push(reply.prediction_id);
    }
    // Not by its reports: one from before the corrections also says that nothing waits.
    let settled = ["corrections_forwarded_total 1", "outbox_records 0"];
    let page = until("one to be forwarded and none to wait", || async {
        let (_, page) = worker.get(worker.presence.metrics, "/metrics").await;
        let all = settled.iter().all(|it| page.contains(&format!("\nsensemble_{it}\n")));
        all.then_some(page)
    })
    .await;
    assert!(page.contains("\nsensemble_corrections_refused_total 1\n"), "{page}");
    assert_eq!(scheduler.corrections().into_keys().collect::<Vec<_>>(), [ids[1].to_vec()]);
    let aside = fs::read_to_string(dir.path().join("refused.jsonl")).unwrap();
    let aside: serde_json::Value = serde_json::from_str(aside.trim()).unwrap();
    assert_eq!(aside["prediction_id"], runtime::secret::hex(&ids[0]));
    assert_eq!(aside["reason"], "this label is no class");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_that_cannot_be_taken_says_why() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(1, 1, &digest)).await;
    let mut app = worker.app().await;
    let id = app.predict(sample()).await.unwrap().into_inner().prediction_id;

    let short = app.correct(correct(&id[..15], "class1")).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    assert!(short.message().contains("a prediction id has 16 bytes"), "{}", short.message());
    let unknown = app.correct(correct(&[7; 16], "class1")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("data import"), "{}", unknown.message());
    let label = app.correct(correct(&id, "toaster")).await.unwrap_err();
    assert_eq!(label.code(), Code::InvalidArgument);
    assert_eq!(
        label.message(),
        "\"toaster\" is no class of task kitchen; the classes are class0, class1, class2"
    );
    // Not even the mark of a correction can be corrected.
    app.correct(correct(&id, "class2")).await.unwrap();
    let mark: Vec<u8> = id.iter().map(|byte| !byte).collect();
    let mark = app.correct(correct(&mark, "class1")).await.unwrap_err();
    assert_eq!(mark.code(), Code::NotFound);
    until("the good one", || async { (scheduler.applied() == 1).then_some(()) }).await;
    worker.stop().await;
}
