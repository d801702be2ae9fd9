//! The whole path, as the README walks it: from a CSV file to answers that improve.

use std::fs;

use serde_json::Value;
use stories::{Blobs, Sensemble};

const BLOBS: Blobs<'static> = Blobs {
    seed: 1,
    classes: &["idle", "blender", "tap", "microwave"],
    width: 9,
    rows: 60,
    groups: 6,
    distance: 5.0,
    shift: 0.0,
    mirrored: false,
};

/// What the user says: 25 times for each class, and then it is time to learn again.
const SAID: usize = 100;

#[test]
fn from_a_csv_file_to_answers_that_improve_and_back() {
    let sensemble = Sensemble::up(&[]);
    let csv = BLOBS.table().write(sensemble.folder(), "kitchen.csv").display().to_string();
    let file = sensemble.path("kitchen.toml").display().to_string();

    // A task file that a person can edit.
    let init = ["task", "init", "kitchen", "--from", &csv, "--label", "label", "--group", "group"];
    let init = [&init[..], &["--background", "idle", "--output", &file]].concat();
    let _written = sensemble.run(&init).good();
    let text = fs::read_to_string(&file).expect("task init wrote the file");
    assert!(text.contains("blender") && text.contains("\"f8\""), "{text}");
    let edited = text.replace("after_corrections = 25", &format!("after_corrections = {SAID}"));
    assert_ne!(edited, text, "task init writes what is usually edited");
    fs::write(&file, edited).expect("a story may write to its folder");

    let _applied = sensemble.run(&["task", "apply", &file]).good();
    let imported = sensemble.json(&["data", "import", "kitchen", &csv, "--label", "label"]);
    assert_eq!(imported[0]["rows"], 240, "{imported:?}");
    let _trained = sensemble.run(&["train", "run", "kitchen", "--wait"]).good();
    let first = sensemble.wait_until_served("kitchen");
    assert!(first > 1, "a lazy training releases more than one revision: {first}");

    // Answers, and how good they are on rows that nobody has seen.
    let unseen = Blobs { seed: 2, rows: 25, ..BLOBS }.table();
    let unseen = unseen.write(sensemble.folder(), "unseen.csv").display().to_string();
    let answers = sensemble.json(&["predict", "kitchen", "--input", &unseen]);
    assert_eq!(answers.len(), 100);
    for key in ["prediction_id", "class", "confidence", "stage", "voted", "members", "revision"] {
        assert!(!answers[0][key].is_null(), "{key} is missing: {}", answers[0]);
    }
    let before = evaluate(&sensemble, &unseen);
    assert!(share(&before, "accuracy") > 0.9, "{before}");
    for key in ["balanced_accuracy", "missed_events", "interval", "confusion"] {
        assert!(!before[key].is_null(), "{key} is missing: {before}");
    }

    // Somebody moves the sensor: answers are wrong now, and a user says what it was.
    let table = Blobs { seed: 3, shift: 4.0, rows: 40, ..BLOBS }.table();
    let moved = table.write(sensemble.folder(), "moved.csv").display().to_string();
    let wrong = evaluate(&sensemble, &moved);
    assert!(share(&wrong, "accuracy") < 0.8, "{wrong}");
    let answers = sensemble.json(&["predict", "kitchen", "--input", &moved]);
    for (answer, row) in answers.iter().zip(&table.rows).take(SAID) {
        let id = answer["prediction_id"].as_str().expect("an id is text");
        let _acknowledged = sensemble.run(&["feedback", "send", id, &row.label]).good();
    }

    // Enough corrections train again without a hand; the journal says what was decided.
    let decided = stories::until("a decision about the candidate", stories::TRAIN_MAX, || {
        let events = sensemble.json(&["events", "--task", "kitchen"]);
        let decided = events.iter().rev().find(|it| is(it, "released") || is(it, "refused"));
        let decided = decided.filter(|it| it["sequence"].as_u64() > Some(first)).cloned();
        let revisions = sensemble.json(&["model", "list", "kitchen"]);
        let newest = revisions.iter().filter_map(|it| it["revision"].as_u64()).max();
        match decided {
            Some(decided) if newest > Some(first) || is(&decided, "refused") => Ok(decided),
            _ => Err(format!("{newest:?}")),
        }
    });
    assert!(is(&decided, "released"), "what the user said is worth a revision: {decided}");
    let second = sensemble.wait_until_served("kitchen");
    assert!(second > first);
    let after = evaluate(&sensemble, &moved);
    assert!(share(&after, "accuracy") > share(&wrong, "accuracy"), "{wrong}\n{after}");

    // Rolling back is a newer revision with the older answers.
    let back = ["model", "rollback", "kitchen", &first.to_string()];
    let _rolled_back = sensemble.run(&back).good();
    let third = sensemble.wait_until_served("kitchen");
    assert!(third > second, "revisions only grow: {third} after {second}");
    let again = evaluate(&sensemble, &unseen);
    assert_eq!(again["confusion"], before["confusion"]);

    let _placements = sensemble.json(&["placement", "list"]);
    let _why = sensemble.json(&["placement", "explain", "kitchen"]);
    let _devices = sensemble.json(&["device", "list"]);
}

fn evaluate(sensemble: &Sensemble, file: &str) -> Value {
    sensemble.json(&["evaluate", "kitchen", file, "--label", "label"]).remove(0)
}

fn share(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {report}"))
}

fn is(event: &Value, word: &str) -> bool {
    event["kind"].as_str().is_some_and(|kind| kind.contains(word))
}
