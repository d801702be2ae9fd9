//! What is refused, and that nothing of it is half-applied.

use std::time::Duration;

use crate::stage::{Node, Stage, bundle, chunk, import, put, report, task};
use proto::v1;
use tonic::Code;

const LEASE: Duration = Duration::from_secs(10);

async fn applied(stage: &Stage) {
    let apply = v1::ApplyTaskRequest { toml: task("") };
    stage.admin().apply_task(apply).await.unwrap();
}

#[tokio::test]
async fn a_latency_that_no_device_can_keep_is_refused_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    // Ten milliseconds for a comparison: no answer within five.
    let mut node = Node::join(&stage, "pi4", 10_000_000.0).await;
    node.orders(|it| !it.peers.is_empty()).await;
    let apply = v1::ApplyTaskRequest { toml: task("latency = { p99_ms = 5 }") };
    let refused = stage.admin().apply_task(apply).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let text = refused.message();
    assert!(text.contains("pi4: rtt p95 ") && text.contains("service ≥ 20 ms"), "{text}");
    assert!(text.contains("> 5 ms"), "{text}");
    let tasks = stage.admin().list_tasks(v1::ListTasksRequest::default()).await.unwrap();
    assert!(tasks.into_inner().tasks.is_empty());

    let apply = v1::ApplyTaskRequest { toml: task("latency = { p99_ms = 5000 }") };
    stage.admin().apply_task(apply).await.unwrap();

    let site = "latency = { p99_ms = 5000, site = \"attic\" }";
    let apply = v1::ApplyTaskRequest { toml: task(site) };
    let refused = stage.admin().apply_task(apply).await.unwrap_err();
    assert!(refused.message().contains("known sites: home"), "{refused}");
    stage.stop().await;
}

#[tokio::test]
async fn a_task_file_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    let apply = v1::ApplyTaskRequest { toml: task("objectve = \"balanced\"") };
    let refused = stage.admin().apply_task(apply).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("line 8: unknown field"), "{refused}");
    stage.stop().await;
}

#[tokio::test]
async fn an_import_with_one_bad_row_imports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    applied(&stage).await;
    let good = || chunk(&[0.0, 1.0], &[0]);
    let grouped = |groups: &[&str]| v1::ImportChunk {
        groups: groups.iter().map(ToString::to_string).collect(),
        ..good()
    };
    let cases: Vec<(&str, Vec<v1::ImportChunk>)> = vec![
        ("row 2", vec![good(), chunk(&[0.0, f32::NAN], &[0])]),
        ("row 3: label 2", vec![good(), chunk(&[0.0, 1.0, 2.0, 3.0], &[0, 2])]),
        ("2 labels", vec![good(), chunk(&[0.0, 1.0], &[0, 1])]),
        ("do not fill rows", vec![good(), chunk(&[0.0, 1.0, 2.0], &[0])]),
        ("3 values; the task has 2", vec![v1::ImportChunk { width: 3, ..good() }]),
        ("width changes", vec![good(), v1::ImportChunk { width: 3, ..good() }]),
        ("4-byte", vec![v1::ImportChunk { values: vec![0; 7].into(), ..good() }]),
        ("groups", vec![grouped(&["a"]), good()]),
        ("groups", vec![good(), grouped(&["a"])]),
        ("a group has", vec![grouped(&[""])]),
        ("no rows", vec![chunk(&[], &[])]),
        ("at least one chunk", vec![]),
        ("no task", vec![v1::ImportChunk { task: "attic".into(), ..good() }]),
    ];
    for (part, chunks) in cases {
        let refused = import(&stage, chunks).await.unwrap_err();
        assert!(refused.message().contains(part), "{part}: {refused}");
        assert!(matches!(refused.code(), Code::InvalidArgument | Code::NotFound), "{refused}");
    }
    let stat = v1::StatSamplesRequest { task: "kitchen".into() };
    let stat = stage.admin().stat_samples(stat).await.unwrap().into_inner();
    assert_eq!((stat.rows, stat.per_class, stat.columns.len()), (0, vec![0, 0], 0));
    let left: usize = std::fs::read_dir(folder.path().join("samples"))
        .map(|folders| {
            folders.flatten().map(|it| std::fs::read_dir(it.path()).unwrap().count()).sum()
        })
        .unwrap_or(0);
    assert_eq!(left, 0, "no file is left behind");
    stage.stop().await;
}

#[tokio::test]
async fn only_a_whole_bundle_of_the_task_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    let mut node = Node::join(&stage, "pi", 10.0).await;
    applied(&stage).await;
    import(&stage, vec![chunk(&[0.0, 1.0], &[0])]).await.unwrap();
    let start = v1::StartTrainingRequest { task: "kitchen".into() };
    stage.admin().start_training(start).await.unwrap();
    let order = node.job(1).await;

    // Bytes that do not have the digest that was announced.
    let bytes = bundle(1, 1.0);
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let lying = v1::BundleChunk {
        digest: models::bundle::digest(&bytes).to_vec().into(),
        length: u64::try_from(flipped.len()).unwrap(),
        data: flipped.clone().into(),
    };
    for (part, chunk) in [
        ("the bytes have the digest", lying.clone()),
        ("instead of the", v1::BundleChunk { length: 1 << 20, ..lying.clone() }),
        ("more bytes than", v1::BundleChunk { length: 3, ..lying.clone() }),
        ("at most", v1::BundleChunk { length: u64::MAX, ..lying.clone() }),
        ("32 bytes", v1::BundleChunk { digest: vec![1].into(), ..lying }),
    ] {
        let refused = stage.bundles().put_bundle(tokio_stream::iter([chunk])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{part}: {refused}");
    }

    // Bytes that are put well, and are no bundle; and reports that do not belong to the bundle.
    let damaged = put(&stage, &flipped).await;
    let whole = put(&stage, &bytes).await;
    let publish = |digest: &[u8], report| v1::PublishRequest {
        job: order.job.clone(),
        attempt: order.attempt,
        digest: digest.to_vec().into(),
        report,
        last: true,
        ..v1::PublishRequest::default()
    };
    let mut gated = report(1);
    gated.frontier[0].gated = true;
    let mut beyond = report(1);
    beyond.frontier[0].members = 2;
    let mut nan = report(1);
    nan.frontier[0].accuracy = f64::NAN;
    for (code, digest, report) in [
        (Code::InvalidArgument, &damaged, Some(report(1))),
        (Code::InvalidArgument, &whole, None),
        (Code::InvalidArgument, &whole, Some(report(2))),
        (Code::InvalidArgument, &whole, Some(gated)),
        (Code::InvalidArgument, &whole, Some(beyond)),
        (Code::InvalidArgument, &whole, Some(nan)),
        (Code::NotFound, &vec![7; 32], Some(report(1))),
    ] {
        let refused = stage.training().publish(publish(digest, report)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
    let stranger = v1::PublishRequest { attempt: 9, ..publish(&whole, Some(report(1))) };
    let refused = stage.training().publish(stranger).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let revisions = v1::ListRevisionsRequest { task: "kitchen".into() };
    let revisions = stage.admin().list_revisions(revisions).await.unwrap().into_inner();
    assert!(revisions.revisions.is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn a_message_beyond_its_limit_is_refused_and_the_scheduler_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    let apply = v1::ApplyTaskRequest { toml: "#".repeat(proto::MESSAGE_BYTES_MAX + 1) };
    let refused = stage.admin().apply_task(apply).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
    let long = v1::ApplyTaskRequest { toml: "#".repeat(5 << 20) };
    assert_eq!(stage.admin().apply_task(long).await.unwrap_err().code(), Code::InvalidArgument);
    applied(&stage).await;
    stage.stop().await;
}
