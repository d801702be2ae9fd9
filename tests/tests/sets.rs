//! Sets of classes and "I don't know", from the policy to the figures of an evaluation.

use serde_json::Value;
use stories::{Blobs, Sensemble, Task};

/// Twelve people, ten of whom calibrate: enough for 0.9, too few for 0.95. Classes overlap.
const BLOBS: Blobs<'static> = Blobs {
    seed: 51,
    classes: &["idle", "one", "two", "three"],
    width: 6,
    rows: 96,
    groups: 12,
    distance: 1.8,
    shift: 0.0,
    mirrored: false,
};
const POLICY: &str = "accuracy = { missed_events_max = 1.0 }\n\
                      train = { families = [\"ridge\", \"knn\", \"forest\"] }\n";

#[test]
fn a_policy_with_a_coverage_is_kept_and_who_is_unsure_says_so() {
    let sensemble = Sensemble::up(&[]);
    let policy = format!("{POLICY}coverage = 0.9\nabstain_below = 0.7");
    let task = Task { name: "kitchen", blobs: BLOBS, policy: &policy };
    let said = task.train(&sensemble);
    let report = said.iter().rev().find(|it| !it["report"].is_null()).expect("a report");
    let sets = report["report"]["sets"].as_array().expect("sets");
    let promised: Vec<f64> = sets.iter().filter_map(|it| it["promised"].as_f64()).collect();
    assert_eq!(promised, [0.8, 0.9], "{report}");

    let unseen = Blobs { seed: 52, ..BLOBS }.table().write(sensemble.folder(), "unseen.csv");
    let unseen = unseen.display().to_string();
    let (mut larger, mut unsure) = (0, 0);
    for answer in sensemble.json(&["predict", "kitchen", "--input", &unseen]) {
        let set = answer["set"].as_array().expect("the policy wants a set");
        assert!(set.contains(&answer["class"]), "{answer}");
        assert_eq!(answer["coverage"], 0.9, "{answer}");
        larger += usize::from(1 < set.len());
        let confidence = answer["confidence"].as_f64().expect("a confidence");
        let abstained = answer["stage"] == "vote" && confidence < 0.7;
        assert_eq!(answer["abstained"], abstained, "{answer}");
        unsure += u64::from(abstained);
    }
    assert!(10 < larger && 10 < unsure, "{larger} {unsure}");

    let figures = evaluate(&sensemble, &unseen, &[]);
    let number = |it: &Value| it.as_f64().unwrap_or_else(|| panic!("{figures}"));
    let sets = &figures["sets"];
    assert_eq!(sets["promised"], 0.9, "{figures}");
    assert!(0.9 <= number(&sets["interval"][1]), "{figures}");
    assert!(1.0 < number(&sets["mean_size"]) && number(&sets["mean_size"]) < 3.0, "{figures}");
    let answered = &figures["answered"];
    assert_eq!(answered["abstained"], unsure, "{figures}");
    assert!(number(&figures["accuracy"]) < number(&answered["accuracy"]), "{figures}");

    // Who asks for less gets smaller sets; what nobody can promise is refused.
    let less = evaluate(&sensemble, &unseen, &["--coverage", "0.8"]);
    assert!(number(&less["sets"]["mean_size"]) <= number(&sets["mean_size"]), "{less}");
    let evaluate = ["evaluate", "kitchen", &unseen, "--label", "label", "--coverage", "0.95"];
    let _said = sensemble.run(&evaluate).refused(1, &["at most 0.9, not 0.95"]);
}

#[test]
fn a_coverage_that_the_samples_cannot_show_fails_the_training_with_both_numbers() {
    let sensemble = Sensemble::up(&[]);
    let policy = format!("{POLICY}coverage = 0.95");
    let task = Task { name: "kitchen", blobs: BLOBS, policy: &policy };
    task.prepare(&sensemble);
    let wanted = "a coverage of 0.95 takes 19 groups or stretches of time to measure it on, and there are 10";
    let outcome = sensemble.run(&["train", "run", "kitchen", "--wait"]);
    let said = outcome.refused(2, &[]);
    assert!(said.out.contains(wanted), "{said}");
}

fn evaluate(sensemble: &Sensemble, file: &str, more: &[&str]) -> Value {
    let evaluate = ["evaluate", "kitchen", file, "--label", "label"];
    sensemble.json(&[&evaluate[..], more].concat()).remove(0)
}
