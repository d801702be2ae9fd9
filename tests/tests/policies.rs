//! Policies in the lab: refused with numbers where they cannot be met, and different choices for
//! different wishes.

use serde_json::Value;
use stories::{Blobs, Sensemble, Task, until};

const BLOBS: Blobs<'static> = Blobs {
    seed: 41,
    classes: &["idle", "one", "two", "three"],
    width: 16,
    rows: 200,
    groups: 8,
    distance: 1.6,
    shift: 0.0,
    mirrored: false,
};
/// The machines of the paper.
const DEVICES: usize = 5;

#[test]
fn a_latency_that_no_device_can_keep_is_refused_with_the_numbers_of_each() {
    let sensemble = lab();
    let devices = sensemble.json(&["device", "list"]);
    let task = Task { name: "never", blobs: BLOBS, policy: "latency = { p99_ms = 0.2 }" };
    let file = task.file(&sensemble).display().to_string();
    let outcome = sensemble.run(&["task", "apply", &file]).refused(1, &["ms"]);
    for device in &devices {
        let name = device["device"].as_str().expect("a device has a name");
        let line = outcome.err.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not named: {outcome}"));
        assert!(line.chars().any(|letter| letter.is_ascii_digit()), "no number: {line}");
    }
    assert!(sensemble.json(&["task", "list"]).is_empty(), "nothing was admitted");
}

#[test]
fn two_objectives_choose_different_devices_or_voters_for_the_same_data() {
    let sensemble = lab();
    // How long an answer may take, and nothing else: the most accurate subset, wherever it burdens
    // least. Above a floor: the fastest subset on the nearest device.
    let best = "objective = \"best-effort\"\nlatency = { p99_ms = 1000 }\n\
                accuracy = { missed_events_max = 1.0 }";
    let fast = "objective = \"low-latency\"\nlatency = { p99_ms = 60 }\n\
                accuracy = { min = 0.5, missed_events_max = 1.0 }";
    let best = Task { name: "best", blobs: BLOBS, policy: best };
    let fast = Task { name: "fast", blobs: BLOBS, policy: fast };
    let _said = best.train(&sensemble);
    let _said = fast.train(&sensemble);
    let (best, fast) = (placement(&sensemble, "best"), placement(&sensemble, "fast"));
    let voters = |it: &Value| it["members"].as_array().map_or(0, Vec::len);
    assert!(voters(&best) > voters(&fast), "best effort asks more voters\n{best}\n{fast}");
    assert_ne!(best["device"], fast["device"], "and another device\n{best}\n{fast}");

    // Both say why, with a candidate for each device.
    for task in ["best", "fast"] {
        let why = sensemble.json(&["placement", "explain", task]).remove(0);
        let candidates = why["candidates"].as_array().expect("candidates");
        assert_eq!(candidates.len(), DEVICES, "{why}");
        assert_eq!(candidates.iter().filter(|it| it["chosen"] == true).count(), 1, "{why}");
        for candidate in candidates.iter().filter(|it| it["chosen"] != true) {
            assert_ne!(candidate["refused"], "", "{candidate}");
        }
    }
}

/// The five machines, once their RTT is measured.
fn lab() -> Sensemble {
    let sensemble = Sensemble::up(&["--lab"]);
    until("the RTT of five devices", stories::START_MAX, || {
        let devices = sensemble.json(&["device", "list"]);
        let known = |it: &&Value| {
            it["alive"] == true && it["rtt"].as_array().is_some_and(|rtt| !rtt.is_empty())
        };
        if devices.iter().filter(known).count() == DEVICES { Ok(()) } else { Err(devices) }
    });
    sensemble
}

fn placement(sensemble: &Sensemble, task: &str) -> Value {
    let placements = sensemble.json(&["placement", "list"]);
    let mine = placements.iter().find(|it| it["task"] == task);
    mine.unwrap_or_else(|| panic!("{task} is placed nowhere: {placements:?}")).clone()
}
