//! What `/metrics` says: every name that the board draws, labels that are bounded, numbers that add up.

mod loopback;

use std::collections::BTreeSet;

use loopback::{Scheduler, Worker, config, ensemble, order, sample};
use serving_worker::{Config, mqtt::Place};

const BOARD: &str = include_str!("../../deploy/grafana/sensemble.json");
/// Whose values are tasks, stages, quantiles and buckets: bounded by the number of tasks.
const LABELS: [&str; 4] = ["task", "stage", "quantile", "le"];

/// Every word of `text` that begins with `sensemble_`.
fn names(text: &str) -> BTreeSet<&str> {
    let no_word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(no_word).filter(|it| it.starts_with("sensemble_")).collect()
}

#[tokio::test]
async fn the_board_draws_what_is_there_and_labels_are_bounded() {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let digest = scheduler.put(&ensemble("", 1));
    let dir = tempfile::tempdir().unwrap();
    // A broker and a collector that are not there: their numbers are, and answers do not wait for them.
    let broker = "mqtt://127.0.0.1:1".parse().unwrap();
    let place = Place { broker, site: "home".to_owned(), device: "pi".to_owned() };
    let traces = traces::Settings::new("http://127.0.0.1:1", ("", ""), false).ok();
    let told = Config { mqtt: Some(place), traces, ..config(dir.path()) };
    let worker = Worker::start_with(told).await;
    let mut node = worker.node(&address).await;
    node.serve(order(1, 1, &digest)).await;
    let mut app = worker.app().await;
    for _ in 0..3 {
        app.predict(sample()).await.unwrap();
    }
    let (status, page) = worker.get(worker.presence.metrics, "/metrics").await;
    assert_eq!(status, 200);

    let there = names(&page);
    // The scheduler's are drawn from its own page, and tested there.
    let mut drawn = names(BOARD);
    drawn.retain(|name| !name.starts_with("sensemble_scheduler_"));
    assert!(20 < drawn.len());
    let missing: Vec<_> = drawn.difference(&there).collect();
    assert!(missing.is_empty(), "the board draws what nobody measures: {missing:?}");

    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &samples {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let Some((_, labels)) = name.split_once('{') else { continue };
        for label in labels.trim_end_matches('}').split("\",") {
            let label = label.split_once('=').expect("a label has a value").0;
            assert!(LABELS.contains(&label), "{line}");
        }
    }
    let value = |name: &str| {
        let line = samples.iter().find(|line| line.starts_with(name)).expect("it is there");
        line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()).expect("a number")
    };
    assert_eq!(value("sensemble_requests_total{task=\"kitchen\"}"), 3.0);
    let count = "sensemble_answer_seconds_count{task=\"kitchen\",stage=\"vote\"}";
    let all = "sensemble_answer_seconds_bucket{task=\"kitchen\",stage=\"vote\",le=\"+Inf\"}";
    assert_eq!((value(count), value(all)), (3.0, 3.0));
    assert!(value("sensemble_resident_bytes") > 1e6);
    assert_eq!(value("sensemble_mqtt_connected"), 0.0);
    let _exit = worker.stop().await;
}
