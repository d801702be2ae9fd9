//! An answer can be explained, and given again, for as long as it is remembered.

mod loopback;

use loopback::{SAMPLE, Scheduler, Worker, ensemble, order, sample};
use proto::v1;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_explained_and_replayed_also_by_a_revision_that_is_not_served_any_more() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node(&address).await;
    let one = scheduler.put(&ensemble("-1", 3));
    node.serve(v1::Assignment { members: vec![0, 2], ..order(4, 1, &one) }).await;
    let mut app = worker.app().await;
    let reply = app.predict(sample()).await.unwrap().into_inner();
    let explain =
        |replay| v1::ExplainRequest { prediction_id: reply.prediction_id.clone(), replay };

    let explained = app.explain(explain(false)).await.unwrap().into_inner();
    assert_eq!((&*explained.task, explained.revision, explained.generation), ("kitchen", 1, 4));
    assert_eq!((&*explained.class, explained.confidence), (&*reply.class, reply.confidence));
    assert_eq!(explained.digest, one);
    assert_eq!(explained.assigned, [0, 2]);
    assert_eq!(explained.features, SAMPLE);
    assert_eq!((explained.gate_us, explained.vote_us), (reply.gate_us, reply.vote_us));
    assert!(explained.replay.is_none() && explained.corrected.is_empty());
    // Both of equal weight: the second is asked too, since it could have drawn level.
    let votes: Vec<_> =
        explained.votes.iter().map(|it| (it.member, &*it.family, &*it.class, it.weight)).collect();
    assert_eq!(votes.len(), reply.voted as usize);
    assert_eq!(votes[0], (0, "ridge", "class1-1", 0.5));

    // Another revision serves; the one that answered is on the disk.
    let two = scheduler.put(&ensemble("-2", 3));
    node.serve(order(5, 2, &two)).await;
    let label = "class2-2".to_owned();
    let prediction_id = reply.prediction_id.clone();
    app.correct(v1::CorrectRequest { prediction_id, label: label.clone() }).await.unwrap();
    let explained = app.explain(explain(true)).await.unwrap().into_inner();
    let replay = explained.replay.unwrap();
    assert_eq!((&*replay.class, replay.same, &*replay.fault), ("class1-1", true, ""));
    assert_eq!(explained.corrected, label);
    assert_eq!(explained.votes[0].class, "class1-1", "of the revision that answered");

    // When its bundle is gone, what is remembered is still said.
    let blobs = store::blobs::Blobs::open(dir.path().join("bundles"), 1 << 30).unwrap();
    blobs.remove(&one.try_into().unwrap()).unwrap();
    let explained = app.explain(explain(true)).await.unwrap().into_inner();
    assert!(explained.replay.unwrap().fault.contains("not kept here any more"));
    assert_eq!(explained.class, "class1-1");
    assert_eq!((explained.votes[0].class_id, &*explained.votes[0].family), (1, ""));

    let stranger = v1::ExplainRequest { prediction_id: vec![7; 16].into(), replay: false };
    assert_eq!(app.explain(stranger).await.unwrap_err().code(), Code::NotFound);
    let short = v1::ExplainRequest { prediction_id: vec![7; 15].into(), replay: false };
    assert_eq!(app.explain(short).await.unwrap_err().code(), Code::InvalidArgument);
    worker.stop().await;
}
