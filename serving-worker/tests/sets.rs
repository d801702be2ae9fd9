//! A set of classes stands beside an answer where it is asked for or the policy promises it, and is
//! refused where it cannot be promised.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

mod loopback;

use loopback::{Node, Scheduler, WIDTH, Worker, order, sample};
use models::{Ensemble, Family, Parts, Voting, synthetic};
use proto::v1;
use serde_json::json;
use tonic::Code;

/// Three members that seldom agree, with levels of 0.8, 0.9 and 0.95.
fn divided(seed: u64) -> Ensemble {
    let shape = synthetic::Shape { width: WIDTH, ..synthetic::Shape::SMALL };
    let families = [Family::Ridge, Family::Knn, Family::Mlp];
    let parts = synthetic::ensemble(&families, shape, false, seed).into_parts();
    let confidence = synthetic::voting(families.len(), seed).confidence;
    let voting = Voting { confidence, ..parts.voting };
    synthetic::with_sets(Ensemble::new(Parts { voting, ..parts }).unwrap())
}

fn all(generation: u64, digest: &[u8], coverage_thousandths: u32) -> v1::Assignment {
    let members = vec![0, 1, 2];
    v1::Assignment { members, coverage_thousandths, ..order(generation, generation, digest) }
}

async fn started(dir: &std::path::Path, coverage: u32) -> (Worker, Node, Scheduler) {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let worker = Worker::start(dir).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&divided(3));
    node.serve(all(1, &digest, coverage)).await;
    (worker, node, scheduler)
}

fn samples(count: usize) -> Vec<f32> {
    synthetic::rows(WIDTH, count, 8)[..count].concat()
}

fn batch(coverage: Option<f64>) -> v1::PredictBatchRequest {
    let (task, width, values) = ("kitchen".to_owned(), 3, samples(60));
    v1::PredictBatchRequest { task, width, values, revision: 0, coverage }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_answered_to_who_asks_and_to_everybody_where_the_policy_promises_it() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, scheduler) = started(dir.path(), 0).await;
    let mut app = worker.app().await;
    let plain = app.predict_batch(batch(None)).await.unwrap().into_inner().answers;
    assert!(plain.iter().all(|it| it.set.is_empty() && it.no_set.is_empty()));
    assert!(plain.iter().any(|it| it.voted < it.members), "votes end early");

    // Asked for 0.85, there is 0.9.
    let asked = app.predict_batch(batch(Some(0.85))).await.unwrap().into_inner().answers;
    for (plain, asked) in plain.iter().zip(&asked) {
        assert_eq!((&plain.class, plain.confidence), (&asked.class, asked.confidence));
        assert_eq!((asked.voted, asked.coverage), (3, 0.9));
        assert!(asked.set.contains(&asked.class_id) && asked.set.is_sorted());
        let names: Vec<String> = asked.set.iter().map(|it| format!("class-{it}")).collect();
        assert_eq!(asked.set_classes, names);
    }
    let sizes: std::collections::BTreeSet<usize> = asked.iter().map(|it| it.set.len()).collect();
    assert!(1 < sizes.len(), "{sizes:?}");
    let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
    let classes: usize = asked.iter().map(|it| it.set.len()).sum();
    assert!(metrics.contains("sensemble_answers_with_set_total{task=\"kitchen\"} 60"), "{metrics}");
    assert!(
        metrics.contains(&format!("sensemble_set_classes_total{{task=\"kitchen\"}} {classes}"))
    );

    // What cannot be promised is refused by name.
    for (coverage, why) in [
        (0.96, "this revision can promise at most 0.95, not 0.96"),
        (1.5, "a coverage lies between 0.5 and 0.999, not at 1.5"),
        (f64::NAN, "a coverage lies between 0.5 and 0.999, not at NaN"),
    ] {
        let one = v1::PredictRequest { coverage: Some(coverage), ..sample() };
        let refused = app.predict(one).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), format!("task kitchen answers no such set: {why}"));
    }

    // By the policy; who asks for another still gets that.
    let digest = scheduler.put(&divided(3));
    node.order(vec![all(2, &digest, 950)]).await;
    node.until("the new order", |it| it.tasks[0].generation == 2).await;
    let usual = app.predict(sample()).await.unwrap().into_inner();
    assert_eq!((usual.coverage, usual.voted), (0.95, 3));
    let one = v1::PredictRequest { coverage: Some(0.8), ..sample() };
    assert_eq!(app.predict(one).await.unwrap().into_inner().coverage, 0.8);

    // The receipt knows the set.
    let prediction_id = usual.prediction_id.clone();
    let explain = v1::ExplainRequest { prediction_id, replay: true };
    let explained = app.explain(explain).await.unwrap().into_inner();
    assert_eq!((&explained.set, &explained.set_classes), (&usual.set, &usual.set_classes));
    assert_eq!(explained.coverage, 0.95);
    assert!(explained.replay.unwrap().same);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_the_bundle_cannot_keep_is_a_fault_and_the_old_order_keeps_serving() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, scheduler) = started(dir.path(), 900).await;
    let digest = scheduler.put(&divided(3));
    node.order(vec![all(2, &digest, 990)]).await;
    let report = node.until("the fault", |it| !it.tasks[0].fault.is_empty()).await;
    let wanted = "the policy wants sets with a coverage of 0.99, and the bundle has at most 0.95 for these \
                  members: train again";
    assert_eq!(report.tasks[0].fault, wanted);
    assert_eq!(report.tasks[0].generation, 1);
    let mut app = worker.app().await;
    assert_eq!(app.predict(sample()).await.unwrap().into_inner().coverage, 0.9);

    // Other members than were measured: nothing is promised of them.
    let members = vec![1, 2];
    node.order(vec![v1::Assignment { members, ..all(3, &digest, 900) }]).await;
    node.until("the fault", |it| it.tasks[0].fault.contains("the bundle has none")).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_protocol_answers_a_flag_for_each_class_where_set_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, scheduler) = started(dir.path(), 0).await;
    let infer = "/v2/models/kitchen/infer";
    let message = |coverage: serde_json::Value, outputs: &[&str]| {
        let outputs: Vec<_> = outputs.iter().map(|name| json!({ "name": name })).collect();
        let input = json!({
            "name": "features", "datatype": "FP32", "shape": [20, 3], "data": samples(20),
        });
        json!({ "inputs": [input], "outputs": outputs, "parameters": { "coverage": coverage } })
            .to_string()
            .into_bytes()
    };
    let page = worker.http("POST", infer, "", &message(json!(0.9), &["set", "label"])).await;
    assert_eq!(page.status, 200, "{page:?}");
    let outputs = page.json()["outputs"].clone();
    assert_eq!((&outputs[0]["datatype"], &outputs[0]["shape"]), (&json!("BOOL"), &json!([20, 3])));
    let flags: Vec<bool> = serde_json::from_value(outputs[0]["data"].clone()).unwrap();
    for (row, label) in outputs[1]["data"].as_array().unwrap().iter().enumerate() {
        let class: usize = label.as_str().unwrap()["class-".len()..].parse().unwrap();
        assert!(flags[row * 3 + class], "the class is in its set");
    }
    assert!(flags.iter().filter(|flag| **flag).count() > 20, "{flags:?}");

    // Without a coverage only where the policy says one; beside other outputs it means nothing.
    let page = worker.http("POST", infer, "", &message(json!(null), &["set"])).await;
    assert_eq!(page.status, 400);
    assert!(page.json()["error"].as_str().unwrap().contains("name one, such as 0.9"), "{page:?}");
    let page = worker.http("POST", infer, "", &message(json!(0.99), &["label"])).await;
    assert_eq!(page.status, 200, "{page:?}");
    let page = worker.http("POST", infer, "", &message(json!("much"), &["set"])).await;
    assert!(page.json()["error"].as_str().unwrap().contains("`coverage` is \"much\""), "{page:?}");
    let named = |text: String| text.contains("\"name\":\"set\"");
    assert!(!named(worker.get(worker.presence.http, "/v2/models/kitchen").await.1));

    let digest = scheduler.put(&divided(3));
    node.order(vec![all(2, &digest, 900)]).await;
    node.until("the new order", |it| it.tasks[0].generation == 2).await;
    let page = worker.http("POST", infer, "", &message(json!(null), &["set"])).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(named(worker.get(worker.presence.http, "/v2/models/kitchen").await.1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_unsure_says_so_in_every_protocol_and_in_the_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, scheduler) = started(dir.path(), 0).await;
    let mut app = worker.app().await;
    let sure = app.predict_batch(batch(None)).await.unwrap().into_inner().answers;
    assert!(sure.iter().all(|it| !it.abstained && it.reason.is_empty()));

    let digest = scheduler.put(&divided(3));
    let unsure = v1::Assignment { abstain_below_thousandths: 999, ..all(2, &digest, 0) };
    node.order(vec![unsure]).await;
    node.until("the new order", |it| it.tasks[0].generation == 2).await;
    let answers = app.predict_batch(batch(None)).await.unwrap().into_inner().answers;
    let count = answers.iter().filter(|it| it.abstained).count();
    assert!(10 < count, "{count}");
    for (sure, answer) in sure.iter().zip(&answers) {
        // The guess is what would have been answered. How sure it is depends on who was heard before the vote was
        // decided: members have an order by what they take, which is measured at each load.
        assert_eq!(sure.class_id, answer.class_id);
        assert_eq!(answer.abstained, answer.confidence < 0.999);
        assert_eq!(answer.reason.is_empty(), !answer.abstained);
    }
    let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
    let line = format!("sensemble_answers_abstained_total{{task=\"kitchen\"}} {count}");
    assert!(metrics.contains(&line), "{metrics}");

    let guess = answers.iter().find(|it| it.abstained).unwrap();
    let prediction_id = guess.prediction_id.clone();
    let explain = v1::ExplainRequest { prediction_id, replay: true };
    let explained = app.explain(explain).await.unwrap().into_inner();
    assert!(explained.abstained && explained.set.is_empty());
    assert_eq!((&explained.class, &explained.reason), (&guess.class, &guess.reason));
    assert!(explained.replay.unwrap().same);

    let input = json!({
        "name": "features", "datatype": "FP32", "shape": [60, 3], "data": samples(60),
    });
    let body = json!({ "inputs": [input] }).to_string().into_bytes();
    let page = worker.http("POST", "/v2/models/kitchen/infer", "", &body).await;
    assert_eq!(page.json()["parameters"]["abstained"], count, "{page:?}");
    let outputs = page.json()["outputs"].clone();
    let labels = outputs[0]["data"].as_array().unwrap();
    for (label, answer) in labels.iter().zip(&answers) {
        assert_eq!(label, if answer.abstained { "" } else { &answer.class });
    }
    worker.stop().await;
}
