//! An answer in time is worth more than a vote to its end.

mod loopback;

use std::time::Duration;

use loopback::{SLOW_WIDTH, Worker, lay, order_of, slow_ensemble};
use proto::{inference as open, v1};
use tonic::Code;

const MEMBERS: u32 = 6;

fn sample(task: &str) -> v1::PredictRequest {
    v1::PredictRequest { task: task.to_owned(), features: vec![0.25; SLOW_WIDTH], coverage: None }
}

/// A worker that serves six slow members as `slow`, and as `safe` with a fallback.
async fn start(dir: &std::path::Path) -> Worker {
    let digest = lay(dir, &slow_ensemble(6, 20_000));
    let worker = Worker::start(dir).await;
    let mut node = worker.node("").await;
    let safe =
        v1::Assignment { fallback: "class-2".to_owned(), ..order_of("safe", MEMBERS, &digest) };
    node.order(vec![order_of("slow", MEMBERS, &digest), safe]).await;
    node.until("both tasks", |it| it.tasks.iter().filter(|it| it.revision == 1).count() == 2).await;
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_middle_of_a_vote_is_answered_with_the_votes_so_far() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    let mut app = worker.app().await;
    let full = app.predict(sample("slow")).await.unwrap().into_inner();
    assert!(!full.cut_short, "nobody hurried");

    // Half of what it took is somewhere in the middle; how long it takes changes, so it is asked for
    // again until it was.
    let mut half_us = full.vote_us / 2;
    let cut = loopback::until("a vote to be cut short", || {
        let mut app = app.clone();
        let mut request = tonic::Request::new(sample("slow"));
        let timeout = Duration::from_micros(u64::from(half_us));
        request.metadata_mut().insert("grpc-timeout", format!("{half_us}u").parse().unwrap());
        half_us = if half_us < full.vote_us * 2 { half_us + half_us / 8 } else { half_us / 4 };
        async move {
            let begun = tokio::time::Instant::now();
            match app.predict(request).await {
                Ok(reply) => Some(reply.into_inner()).filter(|reply| reply.cut_short),
                Err(status) => {
                    let late = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
                    assert!(late, "{status:?} after {:?} of {timeout:?}", begun.elapsed());
                    None
                }
            }
        }
    })
    .await;
    assert!(0 < cut.voted && cut.voted < cut.members, "{cut:?}");
    assert_eq!(cut.members, MEMBERS);
    assert_eq!(cut.stage(), v1::Stage::Vote);
    assert!((0.0..=1.0).contains(&cut.confidence));

    // The receipt knows it, and the same members say the same again.
    let request = v1::ExplainRequest { prediction_id: cut.prediction_id.clone(), replay: true };
    let explained = app.explain(request).await.unwrap().into_inner();
    assert!(explained.cut_short);
    assert_eq!(explained.votes.len(), cut.voted as usize);
    assert_eq!(explained.assigned.len(), MEMBERS as usize);
    let replay = explained.replay.unwrap();
    assert_eq!((&*replay.class, replay.same, &*replay.fault), (&*cut.class, true, ""));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_could_be_heard_the_policys_answer_is_given_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    // One microsecond is over before anything begins, and the protocol's time-out is the worker's
    // alone: no timer of the client races with it.
    let request = |task: &str| open::ModelInferRequest {
        model_name: task.to_owned(),
        parameters: [(
            "timeout".to_owned(),
            open::InferParameter {
                parameter_choice: Some(open::infer_parameter::ParameterChoice::Int64Param(1)),
            },
        )]
        .into(),
        inputs: vec![open::model_infer_request::InferInputTensor {
            name: "features".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 64],
            ..Default::default()
        }],
        raw_input_contents: vec![vec![0; 4 * SLOW_WIDTH].into()],
        ..Default::default()
    };
    let mut client = open::grpc_inference_service_client::GrpcInferenceServiceClient::new(
        worker.channel().await,
    );
    let late = client.model_infer(request("slow")).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let given = client.model_infer(request("safe")).await.unwrap().into_inner();
    assert_eq!(&*given.raw_output_contents[0], b"\x07\0\0\0class-2");
    assert!(given.parameters.contains_key("cut_short"));

    // It can be corrected and explained like any other answer.
    let id =
        runtime::secret::unhex(std::str::from_utf8(&given.raw_output_contents[2][4..]).unwrap());
    let mut app = worker.app().await;
    let prediction_id: prost::bytes::Bytes = id.unwrap().into();
    let request = v1::ExplainRequest { prediction_id: prediction_id.clone(), replay: true };
    let explained = app.explain(request).await.unwrap().into_inner();
    assert_eq!(explained.stage(), v1::Stage::Fallback);
    assert_eq!(explained.reason, "the deadline came before anybody was heard");
    assert!(explained.votes.is_empty());
    assert!(explained.replay.unwrap().fault.contains("nobody was heard"));
    let label = "class-1".to_owned();
    let taken = app.correct(v1::CorrectRequest { prediction_id, label }).await.unwrap();
    assert_eq!(taken.into_inner().given, "class-2");
    let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
    assert!(metrics.contains("sensemble_answers_fallback_total{task=\"safe\"} 1"), "{metrics}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_is_no_class_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let digest = lay(dir.path(), &slow_ensemble(1, 10));
    let worker = Worker::start(dir.path()).await;
    let mut node = worker.node("").await;
    let fallback = "toaster".to_owned();
    node.order(vec![v1::Assignment { fallback, ..order_of("slow", 1, &digest) }]).await;
    node.until("the fault", |it| {
        it.tasks.first().is_some_and(|it| it.fault.contains("\"toaster\" is no class"))
    })
    .await;
    worker.stop().await;
}
