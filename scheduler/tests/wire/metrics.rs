//! `/metrics`: every name that the board draws, labels that are bounded, numbers that add up.

use std::{collections::BTreeSet, time::Duration};

use proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::stage::{Node, Stage, bundle, chunk, correction, import, submit, task, train, until};

const BOARD: &str = include_str!("../../../deploy/grafana/sensemble.json");
const PREFIX: &str = "sensemble_scheduler_";
/// Whose values are of short lists.
const LABELS: [&str; 8] = ["state", "cause", "ended", "fate", "kind", "method", "code", "le"];

/// Every word of `text` that is a name of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let no_word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(no_word).filter(|it| it.starts_with(PREFIX)).collect()
}

/// The page, as a scraper of HTTP/1.1 gets it on the port of everything else.
async fn scrape(stage: &Stage) -> String {
    let mut stream = TcpStream::connect(&stage.address).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("text/plain; version=0.0.4"), "{head}");
    page.to_owned()
}

fn value(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[tokio::test]
async fn what_was_done_is_counted_and_what_is_drawn_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::start(folder.path(), Duration::from_secs(10)).await;
    let mut node = Node::join(&stage, "pi", 10.0).await;
    let mut admin = stage.admin();
    let apply = v1::ApplyTaskRequest { toml: task("adapt = { after_corrections = 0 }") };
    until("the device", || async {
        let reply = admin.clone().apply_task(apply.clone()).await.unwrap().into_inner();
        reply.unmet.is_empty().then_some(())
    })
    .await;
    let nothing = admin.start_training(v1::StartTrainingRequest { task: "garden".into() }).await;
    assert!(nothing.is_err());
    import(&stage, vec![chunk(&[0.0, 1.0, 2.0, 3.0], &[0, 1])]).await.unwrap();
    let start = v1::StartTrainingRequest { task: "kitchen".into() };
    let _job = admin.start_training(start).await.unwrap();
    let order = node.job(1).await;
    let begin = v1::BeginRequest { job: order.job.clone(), attempt: 1, device: "pi".into() };
    stage.training().begin(begin).await.unwrap();
    let _first = train(&stage, &order, &bundle(1, 1.0), 1, None, true).await;
    node.orders(|it| it.serving.iter().any(|task| task.revision == 1)).await;
    let wrong = correction(9, "asleep", 1);
    submit(&stage, vec![correction(1, "busy", 5), correction(1, "busy", 5), wrong]).await;

    let page = scrape(&stage).await;
    let (there, drawn) = (names(&page), names(BOARD));
    assert!(10 < drawn.len());
    let missing: Vec<_> = drawn.difference(&there).collect();
    assert!(missing.is_empty(), "the board draws what nobody measures: {missing:?}");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let Some((_, labels)) = name.split_once('{') else { continue };
        for label in labels.trim_end_matches('}').split("\",") {
            assert!(LABELS.contains(&label.split_once('=').unwrap().0), "{line}");
        }
    }

    let is = |name: &str, expected: f64| assert_eq!(value(&page, name), expected, "{name}");
    is("devices{state=\"present\"}", 1.0);
    is("devices{state=\"lost\"}", 0.0);
    is("tasks", 1.0);
    is("placements", 1.0);
    is("placements_decided_total{cause=\"first\"}", 1.0);
    is("placements_decided_total{cause=\"revision\"}", 0.0);
    is("training_seconds_count{ended=\"released\"}", 1.0);
    is("training_seconds_count{ended=\"failed\"}", 0.0);
    is("jobs{state=\"running\"}", 0.0);
    is("corrections_total{fate=\"applied\"}", 1.0);
    is("corrections_total{fate=\"repeated\"}", 1.0);
    is("corrections_total{fate=\"refused\"}", 1.0);
    is("events_total{kind=\"training.released\"}", 1.0);
    is("events_total{kind=\"samples.imported\"}", 1.0);
    is("events_total{kind=\"device.joined\"}", 1.0);
    is("grpc_calls_total{method=\"Corrections/Submit\",code=\"Ok\"}", 1.0);
    is("grpc_calls_total{method=\"Admin/StartTraining\",code=\"NotFound\"}", 1.0);
    is("grpc_calls_total{method=\"Training/Publish\",code=\"Ok\"}", 1.0);
    is("write_failures_total", 0.0);
    assert!(5.0 < value(&page, "write_seconds_count"));
    assert!(0.0 < value(&page, "write_seconds_sum"), "a sync takes its time");
    assert_eq!(
        value(&page, "write_seconds_bucket{le=\"+Inf\"}"),
        value(&page, "write_seconds_count")
    );
    let _nothing = node;
    stage.stop().await;
}
