//! A classifier of one's own, in an ONNX file, takes part in the vote: it is checked, weighed by rows it
//! has not seen, and stays until it is removed.
//!
//! Files and rows are those of training-worker/tests/onnx, which scikit-learn and skl2onnx made.

use std::{fs, path::Path};

use serde_json::Value;
use stories::Sensemble;

const TASK: &str = r#"
[task]
name = "kitchen"
classes = ["idle", "blender", "tap", "microwave"]
background = "idle"
[input]
kind = "features"
features = ["f0", "f1", "f2", "f3", "f4", "f5"]
[policy]
train = { families = ["knn"], trials = 0, lazy = true }
adapt = { after_corrections = 0 }
"#;

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../training-worker/tests/onnx");
    folder.join(name).display().to_string()
}

/// A kitchen with its first rows.
fn kitchen() -> Sensemble {
    let sensemble = Sensemble::up(&[]);
    let task = sensemble.path("kitchen.toml");
    fs::write(&task, TASK).expect("a story may write to its folder");
    let _applied = sensemble.run(&["task", "apply", &task.display().to_string()]).good();
    let early = file("early.csv");
    let _imported =
        sensemble.run(&["data", "import", "kitchen", &early, "--label", "label"]).good();
    sensemble
}

/// What the newest revision says of its members and of those left out: name of the import, weight.
fn members(sensemble: &Sensemble, part: &str) -> Vec<(String, f64)> {
    // A candidate that is worse than what is served is refused, and that is said.
    let trained = sensemble.run(&["train", "run", "kitchen", "--wait"]);
    assert!([0, 2].contains(&trained.code), "{trained}");
    let revisions = sensemble.json(&["model", "list", "kitchen"]);
    let current = revisions.iter().find(|it| it["current"] == true).expect("one is served");
    let members = current["report"][part].as_array().expect("a report lists its members");
    let member = |it: &Value| {
        let name = it["imported"].as_str().unwrap_or_default().to_owned();
        (name, it["weight"].as_f64().unwrap_or_default())
    };
    members.iter().map(member).collect()
}

fn has(members: &[(String, f64)], name: &str) -> bool {
    members.iter().any(|(known, weight)| known == name && 0.0 < *weight)
}

#[test]
fn it_is_compared_weighed_kept_and_given_up() {
    let mut sensemble = kitchen();
    let (onnx, early) = (file("logistic.onnx"), file("early.csv"));
    let (labels, probabilities) = (file("early.expected.csv"), file("early.expected.npy"));
    let import = ["member", "import", "kitchen", &onnx, "--name", "mine", "--trained-on", "none"];
    let compare = ["--data", &early, "--label", "label"];
    let expect = ["--expect", &labels, "--expect", &probabilities];
    let said = sensemble.json(&[&import[..], &compare, &expect].concat()).remove(0);
    assert_eq!(said["member"]["family"], "linear-svm", "{said}");
    let parity = &said["parity"];
    assert_eq!((&parity["compared"], &parity["same"]), (&400.into(), &400.into()), "{said}");
    assert!(parity["probability_difference_max"].as_f64() < Some(1e-5), "{said}");
    assert!(parity["accuracy"].as_f64() > Some(0.8), "{said}");
    // The same again is the same; another one needs another name.
    let _again = sensemble.run(&import).good();
    let tree = file("tree.onnx");
    let other = ["member", "import", "kitchen", &tree, "--name", "mine", "--trained-on", "none"];
    sensemble.run(&other).refused(1, &["member remove kitchen mine"]);

    // A kNN of few rows is worse than a line where lines are right: it is weighed, and counts.
    let first = members(&sensemble, "members");
    assert!(has(&first, "mine"), "{first:?}");
    sensemble.wait_until_served("kitchen");
    let answers = sensemble.json(&["predict", "kitchen", "--input", &early]);
    assert_eq!(answers.len(), 400);
    let listed = sensemble.json(&["member", "list", "kitchen"]);
    assert_eq!((&listed[0]["name"], &listed[0]["weighed"]), (&"mine".into(), &true.into()));
    assert_eq!(listed[0]["samples_seen"], 0, "{listed:?}");

    // The power goes; it is there again, also in the next training.
    let _killed = sensemble.kill_9("up");
    sensemble.start_up(&[]);
    assert_eq!(sensemble.json(&["member", "list", "kitchen"]).len(), 1);
    let second = members(&sensemble, "members");
    assert!(has(&second, "mine"), "{second:?}");

    // Given up, the next training goes without.
    let _removed = sensemble.run(&["member", "remove", "kitchen", "mine"]).good();
    sensemble.run(&["member", "remove", "kitchen", "mine"]).refused(3, &["no imported member"]);
    assert!(sensemble.json(&["member", "list", "kitchen"]).is_empty());
    let _without = members(&sensemble, "members");
    let events = sensemble.json(&["events", "--task", "kitchen"]);
    let last =
        events.iter().rev().find(|it| it["text"].as_str().is_some_and(|it| it.contains("asking")));
    let removed =
        events.iter().find(|it| it["kind"] == "member.removed").expect("it is written down");
    let asked = last.and_then(|it| it["sequence"].as_u64());
    assert!(asked < removed["sequence"].as_u64(), "{events:?}");
}

#[test]
fn what_may_have_learnt_the_rows_by_heart_waits_for_others() {
    let sensemble = kitchen();
    let forest = file("forest.onnx");
    let import = ["member", "import", "kitchen", &forest, "--trained-on", "these"];
    let said = sensemble.json(&import).remove(0);
    assert_eq!(said["member"]["samples_seen"], 400, "{said}");
    let (heard, left) = (members(&sensemble, "members"), members(&sensemble, "left_out"));
    assert!(!heard.iter().chain(&left).any(|(name, _)| name == "forest"), "{heard:?} {left:?}");
    let events = sensemble.json(&["events", "--task", "kitchen"]);
    let why = |it: &Value| it["text"].as_str().is_some_and(|it| it.contains("left out \"forest\""));
    assert!(events.iter().any(why), "{events:?}");

    let late = file("late.csv");
    let _imported = sensemble.run(&["data", "import", "kitchen", &late, "--label", "label"]).good();
    let _trained = sensemble.run(&["train", "run", "kitchen", "--wait"]).good();
    let events = sensemble.json(&["events", "--task", "kitchen"]);
    let asked =
        |it: &Value| it["text"].as_str().is_some_and(|it| it.contains("asking the imported"));
    assert!(events.iter().any(asked), "{events:?}");
}

#[test]
fn what_is_no_member_of_the_task_is_refused_in_words() {
    let sensemble = kitchen();
    let import = |name: &str, more: &[&str]| {
        let onnx = file(name);
        let words = ["member", "import", "kitchen", &onnx];
        sensemble.run(&[&words[..], more].concat())
    };
    import("logistic.onnx", &[]).refused(64, &["--trained-on"]);
    let none = ["--trained-on", "none"];
    import("refused-tanh.onnx", &none).refused(1, &["operator Tanh", "understood are"]);
    import("logistic-binary.onnx", &none)
        .refused(1, &["it has \"3\", \"8\"", "it lacks", "blender"]);
    import("torch-mlp.onnx", &none).refused(1, &["3 outputs without names", "--outputs"]);
    import("early.csv", &none).refused(1, &["cannot be read"]);
    import("absent.onnx", &none).refused(1, &["absent.onnx"]);
    assert!(sensemble.json(&["member", "list", "kitchen"]).is_empty());
    sensemble.run(&["member", "list", "cellar"]).refused(3, &["cellar"]);
}
