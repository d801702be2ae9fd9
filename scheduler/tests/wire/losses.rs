//! What is lost, and that the rest goes on: attempts, devices.

use std::time::Duration;

use crate::stage::{Node, Stage, bundle, chunk, import, task, train, until};
use proto::v1::{self, publish_reply::Outcome};
use tonic::Code;

async fn queued(stage: &Stage, policy: &str) {
    let mut admin = stage.admin();
    admin.apply_task(v1::ApplyTaskRequest { toml: task(policy) }).await.unwrap();
    import(stage, vec![chunk(&[0.0, 1.0, 2.0, 3.0], &[0, 1])]).await.unwrap();
    admin.start_training(v1::StartTrainingRequest { task: "kitchen".into() }).await.unwrap();
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_another_and_fenced_off() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), Duration::from_secs(10)).await;
    let mut node = Node::join(&stage, "pi", 10.0).await;
    queued(&stage, "").await;
    let order = node.job(1).await;
    node.report.lock().unwrap().jobs = vec![v1::JobObservation {
        job: order.job.clone(),
        attempt: 1,
        state: v1::JobState::Failed.into(),
        fault: "killed by signal 9".into(),
    }];
    let second = node.job(2).await;
    assert_eq!(second.job, order.job);
    let begin = |attempt| v1::BeginRequest { job: order.job.clone(), attempt, device: "pi".into() };
    let refused = stage.training().begin(begin(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    stage.training().begin(begin(2)).await.unwrap();
    let late = v1::ProgressRequest {
        job: order.job.clone(),
        attempt: 1,
        step: "late".into(),
        ..v1::ProgressRequest::default()
    };
    assert!(stage.training().progress(late).await.unwrap().into_inner().stop);
    let outcome = train(&stage, &second, &bundle(1, 1.0), 1, None, true).await;
    assert_eq!(outcome, Outcome::Released(v1::Released { revision: 1 }));
    stage.stop().await;
}

#[tokio::test]
async fn the_same_fault_twice_ends_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), Duration::from_secs(10)).await;
    let mut node = Node::join(&stage, "pi", 10.0).await;
    queued(&stage, "").await;
    for attempt in 1..=2 {
        let order = node.job(attempt).await;
        let fault = v1::ProgressRequest {
            job: order.job,
            attempt,
            fault: "there is one class only".into(),
            ..v1::ProgressRequest::default()
        };
        assert!(stage.training().progress(fault).await.unwrap().into_inner().stop);
    }
    let order = node.orders(|it| it.jobs.is_empty()).await;
    assert!(order.serving.is_empty());
    let events = v1::EventsRequest { task: "kitchen".into(), ..v1::EventsRequest::default() };
    let mut events = stage.admin().events(events).await.unwrap().into_inner();
    let mut failed = None;
    while let Some(event) = events.message().await.unwrap() {
        if event.kind == "training.failed" {
            failed = Some(event.text);
        }
    }
    assert!(failed.unwrap().contains("there is one class only"));
    stage.stop().await;
}

#[tokio::test]
async fn a_lost_device_gives_its_task_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), Duration::from_secs(2)).await;
    let mut fast = Node::join(&stage, "fast", 1.0).await;
    let mut slow = Node::join(&stage, "slow", 1_000_000.0).await;
    slow.orders(|it| it.peers.len() == 2).await;
    // Both have to be measured, or the first one that is gets the task.
    until("both ways", || async {
        let devices = stage.admin().list_devices(v1::ListDevicesRequest {}).await.unwrap();
        devices.into_inner().devices.iter().all(|it| !it.rtt.is_empty()).then_some(())
    })
    .await;
    queued(&stage, "").await;
    let order = fast.job(1).await;
    train(&stage, &order, &bundle(1, 1.0), 1, None, true).await;
    fast.orders(|it| !it.serving.is_empty()).await;
    assert!(slow.orders.borrow().serving.is_empty());
    fast.vanish();
    let taken = slow.orders(|it| !it.serving.is_empty()).await;
    assert_eq!(taken.serving[0].revision, 1);
    let devices = stage.admin().list_devices(v1::ListDevicesRequest {}).await.unwrap().into_inner();
    let alive: Vec<(&str, bool)> =
        devices.devices.iter().map(|it| (it.device.as_str(), it.alive)).collect();
    assert_eq!(alive, [("fast", false), ("slow", true)]);
    stage.stop().await;
}

#[tokio::test]
async fn the_only_device_keeps_its_task_while_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), Duration::from_secs(1)).await;
    let mut node = Node::join(&stage, "pi", 1.0).await;
    queued(&stage, "").await;
    let order = node.job(1).await;
    train(&stage, &order, &bundle(1, 1.0), 1, None, true).await;
    let before = node.orders(|it| !it.serving.is_empty()).await;
    node.vanish();
    until("the end of the lease", || async {
        let tasks = stage.admin().list_tasks(v1::ListTasksRequest::default()).await.unwrap();
        let tasks = tasks.into_inner().tasks;
        let lost = !tasks[0].unmet.is_empty();
        assert_eq!(tasks[0].devices, ["pi"]);
        lost.then_some(())
    })
    .await;
    let mut back = Node::join(&stage, "pi", 1.0).await;
    let after = back.orders(|it| !it.serving.is_empty()).await;
    assert_eq!(after.serving, before.serving, "it goes on with what it has");
    stage.stop().await;
}
