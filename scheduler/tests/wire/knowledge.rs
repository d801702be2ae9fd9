//! What a training hears of earlier ones.

use std::time::Duration;

use proto::v1;

use crate::stage::{Node, Stage, bundle, chunk, import, task, train};

const LEASE: Duration = Duration::from_secs(10);

/// A task with samples, in training.
async fn begin(stage: &Stage, node: &mut Node, name: &str) -> v1::TrainingOrder {
    let toml = task("").replace("kitchen", name);
    stage.admin().apply_task(v1::ApplyTaskRequest { toml }).await.unwrap();
    let values: Vec<f32> = (0..40_u8).map(f32::from).collect();
    let labels: Vec<u32> = (0..20).map(|row| row % 2).collect();
    let rows = v1::ImportChunk { task: name.to_owned(), ..chunk(&values, &labels) };
    import(stage, vec![rows]).await.unwrap();
    let start = v1::StartTrainingRequest { task: name.to_owned() };
    let job = stage.admin().start_training(start).await.unwrap().into_inner().job;
    let orders = node.orders(|it| it.jobs.iter().any(|order| order.job == job)).await;
    orders.jobs.into_iter().find(|order| order.job == job).unwrap()
}

async fn heard(stage: &Stage, order: &v1::TrainingOrder) -> Vec<v1::EarlierTraining> {
    let begin = v1::BeginRequest {
        job: order.job.clone(),
        attempt: order.attempt,
        device: "pi".to_owned(),
    };
    stage.training().begin(begin).await.unwrap().into_inner().earlier
}

#[tokio::test]
async fn a_training_hears_what_earlier_ones_measured_and_not_what_it_publishes() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), LEASE).await;
    let mut node = Node::join(&stage, "pi", 0.1).await;
    let hall = begin(&stage, &mut node, "hall").await;
    assert_eq!(heard(&stage, &hall).await, []);
    train(&stage, &hall, &bundle(2, 1.0), 2, None, true).await;

    let kitchen = begin(&stage, &mut node, "kitchen").await;
    let first = heard(&stage, &kitchen).await;
    let [of_hall] = &first[..] else { panic!("{first:?}") };
    let families: Vec<&str> = of_hall.families.iter().map(|it| it.family.as_str()).collect();
    assert_eq!(families, ["ridge", "linear-svm"]);
    assert_eq!((of_hall.own, of_hall.width, of_hall.classes), (false, 2, 2));
    train(&stage, &kitchen, &bundle(2, 2.0), 2, None, false).await;
    assert_eq!(heard(&stage, &kitchen).await, first, "every attempt at a job hears the same");
    train(&stage, &kitchen, &bundle(2, 2.0), 2, None, true).await;

    let again = begin(&stage, &mut node, "kitchen").await;
    let own: Vec<bool> = heard(&stage, &again).await.iter().map(|it| it.own).collect();
    assert_eq!(own, [true, false], "its own first");
    stage.stop().await;
}
