//! The whole path over the wire: apply, import, train, place, correct, retrain, roll back, restart.

use std::time::Duration;

use crate::stage::{
    Node, Stage, bundle, chunk, correction, import, report, submit, task, train, until,
};
use proto::v1::{self, admin_client::AdminClient, publish_reply::Outcome};
use tonic::{Code, transport::Channel};

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_task_lives_through_training_corrections_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    let mut node = Node::join(&stage, "pi", 10.0).await;
    let mut admin = stage.admin();

    // Apply.
    let apply = v1::ApplyTaskRequest { toml: task("adapt = { after_corrections = 3 }") };
    let applied = until("the device", || async {
        let reply = admin.clone().apply_task(apply.clone()).await.unwrap().into_inner();
        reply.unmet.is_empty().then_some(reply)
    })
    .await;
    assert_eq!(applied.task, "kitchen");

    // Import, and look at it.
    let imported =
        import(&stage, vec![chunk(&[0.0, 1.0, 2.0, 3.0], &[0, 1]), chunk(&[4.0, -5.0], &[1])]);
    assert_eq!(imported.await.unwrap(), v1::ImportReply { rows: 3, total: 3 });
    let stat = v1::StatSamplesRequest { task: "kitchen".into() };
    let stat = admin.stat_samples(stat).await.unwrap().into_inner();
    assert_eq!((stat.rows, stat.per_class), (3, vec![1, 2]));
    assert_eq!((stat.columns[1].min, stat.columns[1].max), (-5.0, 3.0));

    // Train, lazily: two revisions from one job.
    let start = v1::StartTrainingRequest { task: "kitchen".into() };
    let job = admin.start_training(start.clone()).await.unwrap().into_inner().job;
    assert_eq!(admin.start_training(start).await.unwrap().into_inner().job, job, "joined");
    let watching = runtime::spawn::named("watch", watch(stage.admin(), job.clone()));
    let order = node.job(1).await;
    assert_eq!(order.job, job);
    let begin = v1::BeginRequest { job: job.clone(), attempt: 1, device: "pi".into() };
    let begun = stage.training().begin(begin).await.unwrap().into_inner();
    assert_eq!((begun.samples, begun.corrections, begun.threads), (3, 0, 2));
    assert!(begun.baseline_digest.is_empty());
    let step = v1::ProgressRequest {
        job: job.clone(),
        attempt: 1,
        step: "ridge".into(),
        done: 1,
        total: 2,
        ..v1::ProgressRequest::default()
    };
    assert!(!stage.training().progress(step).await.unwrap().into_inner().stop);
    let released = |revision| Outcome::Released(v1::Released { revision });
    let first = train(&stage, &order, &bundle(1, 1.0), 1, None, false).await;
    assert_eq!(first, released(1));
    let again = train(&stage, &order, &bundle(1, 1.0), 1, None, false).await;
    assert_eq!(again, released(1), "the same bundle twice is one revision");
    assert_eq!(train(&stage, &order, &bundle(2, 1.0), 2, None, true).await, released(2));

    // Who watched from the start and who watches late see the same.
    let all = ["queued", "started", "step", "released", "released", "done"];
    assert_eq!(watching.await.unwrap(), all);
    assert_eq!(watch(stage.admin(), job.clone()).await, all);

    // Placed, as the most accurate subset; the node can fetch what it is ordered to serve.
    let orders = node.orders(|it| it.serving.iter().any(|task| task.revision == 2)).await;
    assert_eq!(orders.serving[0].members, [0, 1]);
    assert!(orders.jobs.is_empty());
    let get = v1::GetBundleRequest { digest: orders.serving[0].digest.clone() };
    let mut chunks = stage.bundles().get_bundle(get).await.unwrap().into_inner();
    let mut fetched = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        fetched.extend_from_slice(&chunk.data);
    }
    assert_eq!(fetched, bundle(2, 1.0));
    let explain = v1::ExplainPlacementRequest { task: "kitchen".into() };
    let explained = admin.explain_placement(explain).await.unwrap().into_inner();
    assert!(explained.candidates[0].chosen && 0 < explained.candidates[0].rtt_us);
    assert!(explained.why.iter().any(|line| line.contains("service p99")), "{explained:?}");

    // Correct: applied once, refused for good where it must be.
    let wrong_label = correction(9, "asleep", 1);
    let wrong_task = v1::Correction { task: "garden".into(), ..correction(8, "busy", 1) };
    let wrong_width =
        v1::Correction { features: proto::parse::pack(&[1.0]), ..correction(7, "busy", 1) };
    let reply = submit(
        &stage,
        vec![
            correction(1, "busy", 5),
            correction(1, "busy", 5),
            wrong_label,
            wrong_task,
            wrong_width,
        ],
    )
    .await;
    assert_eq!((reply.applied, reply.repeated, reply.refused.len()), (1, 1, 3));
    let reply = submit(
        &stage,
        vec![correction(1, "idle", 4), correction(1, "idle", 6), correction(2, "busy", 6)],
    )
    .await;
    assert_eq!((reply.applied, reply.repeated), (2, 1), "newer labels replace older ones");
    let list = v1::ListCorrectionsRequest { task: "kitchen".into() };
    let listed = admin.list_corrections(list.clone()).await.unwrap().into_inner().corrections;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].label, "idle");

    // Enough of them start a training by themselves; a worse candidate is refused.
    submit(&stage, vec![correction(3, "busy", 7)]).await;
    let order =
        node.orders(|it| it.jobs.iter().any(|order| order.job != job)).await.jobs[0].clone();
    let begin = v1::BeginRequest { job: order.job.clone(), attempt: 1, device: "pi".into() };
    let begun = stage.training().begin(begin).await.unwrap().into_inner();
    assert_eq!(begun.corrections, 3);
    assert_eq!(begun.baseline_digest, models::bundle::digest(&bundle(2, 1.0)).as_slice());
    assert_eq!(begun.baseline_members, [0, 1]);
    let request = v1::SamplesRequest { job: order.job.clone(), attempt: 1 };
    let mut chunks = stage.training().samples(request).await.unwrap().into_inner();
    let (mut rows, mut keys) = (0, 0);
    while let Some(chunk) = chunks.message().await.unwrap() {
        let samples = proto::parse::samples(chunk.width, &chunk.values).unwrap();
        assert_eq!(samples.len(), chunk.labels.len());
        assert_eq!(chunk.corrections, !chunk.keys.is_empty());
        rows += samples.len();
        keys += chunk.keys.len();
    }
    assert_eq!((rows, keys), (6, 3));
    let worse = v1::PairedComparison {
        rows: 100,
        both_right: 50,
        only_candidate_right: 1,
        only_baseline_right: 20,
        ..v1::PairedComparison::default()
    };
    let outcome = train(&stage, &order, &bundle(2, 2.0), 2, Some(worse), true).await;
    let Outcome::Refused(refused) = outcome else { panic!("released") };
    assert!(refused.reason.contains("worse on held-out rows"), "{}", refused.reason);

    // A better one is released.
    let more = (4..7).map(|id| correction(id, "busy", 8)).collect();
    submit(&stage, more).await;
    let before = order.job;
    let order = node
        .orders(|it| it.jobs.iter().any(|order| order.job != job && order.job != before))
        .await
        .jobs[0]
        .clone();
    let better = v1::PairedComparison {
        only_candidate_right: 20,
        only_baseline_right: 1,
        corrections: 6,
        corrections_candidate_right: 6,
        corrections_baseline_right: 1,
        ..worse_base()
    };
    let outcome = train(&stage, &order, &bundle(2, 3.0), 2, Some(better), true).await;
    assert_eq!(outcome, released(3));
    node.orders(|it| it.serving.iter().any(|task| task.revision == 3)).await;

    // Back to what was before, as a new revision.
    let rollback = v1::RollbackRequest { task: "kitchen".into(), revision: 1 };
    assert_eq!(admin.rollback(rollback).await.unwrap().into_inner().revision, 4);
    let orders = node.orders(|it| it.serving.iter().any(|task| task.revision == 4)).await;
    assert_eq!(orders.serving[0].digest, models::bundle::digest(&bundle(1, 1.0)).as_slice());
    let missing = v1::RollbackRequest { task: "kitchen".into(), revision: 77 };
    assert_eq!(admin.rollback(missing).await.unwrap_err().code(), Code::NotFound);

    // Everything is still there after a restart, and the node is told the same again.
    node.vanish();
    stage.stop().await;
    let stage = Stage::start(folder.path(), LEASE).await;
    let mut admin = stage.admin();
    let tasks = admin.list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner().tasks;
    assert_eq!((tasks[0].samples, tasks[0].corrections, tasks[0].revision), (3, 6, 4));
    assert_eq!(tasks[0].devices, ["pi"]);
    let revisions = v1::ListRevisionsRequest { task: "kitchen".into() };
    let revisions = admin.list_revisions(revisions).await.unwrap().into_inner().revisions;
    let of: Vec<(u64, u64, bool)> =
        revisions.iter().map(|it| (it.revision, it.rollback_of, it.current)).collect();
    assert_eq!(of, [(1, 0, false), (2, 0, false), (3, 0, false), (4, 1, true)]);
    assert_eq!(
        revisions[0].report,
        Some(v1::RevisionReport { bundle_bytes: revisions[0].bundle_bytes, ..report(1) })
    );
    let mut node = Node::join(&stage, "pi", 10.0).await;
    let after = node.orders(|it| !it.serving.is_empty()).await;
    assert_eq!(after.serving, orders.serving);
    assert!(orders.generation < after.generation, "a new scheduler is not an old order");

    let events = v1::EventsRequest { task: "kitchen".into(), ..v1::EventsRequest::default() };
    let mut events = admin.events(events).await.unwrap().into_inner();
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    while let Some(event) = events.message().await.unwrap() {
        assert!(last < event.sequence);
        last = event.sequence;
        seen.insert(event.kind);
    }
    for kind in [
        "task.applied",
        "samples.imported",
        "placement.decided",
        "training.refused",
        "correction.applied",
        "revision.rolled-back",
    ] {
        assert!(seen.contains(kind), "{kind} is not in {seen:?}");
    }
    stage.stop().await;
}

/// The kinds of all events of a job, until it ends.
async fn watch(mut admin: AdminClient<Channel>, job: String) -> Vec<String> {
    let watch = v1::WatchTrainingRequest { job };
    let mut watched = admin.watch_training(watch).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    while let Some(event) = watched.message().await.unwrap() {
        assert_eq!(event.report.is_some(), event.kind == "released");
        kinds.push(event.kind);
    }
    kinds
}

fn worse_base() -> v1::PairedComparison {
    v1::PairedComparison { rows: 100, both_right: 50, ..v1::PairedComparison::default() }
}
