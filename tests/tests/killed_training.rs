//! kill -9 in the middle of a training: of its worker, of the node above it, of the scheduler. It is
//! taken up again without a hand, and ends.

use stories::{Blobs, Sensemble, Task, admin, until};

/// All nine families on enough rows to be killed in the middle of it.
const LONG: Task<'static> = Task {
    name: "long",
    blobs: Blobs {
        seed: 61,
        classes: &["idle", "one", "two"],
        width: 24,
        rows: 1_500,
        groups: 6,
        distance: 2.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "",
};

#[test]
fn its_worker_is_killed_and_another_goes_on() {
    let (mut sensemble, job) = in_the_middle();
    assert_eq!(sensemble.kill_9("training-worker"), 1);
    ends(&sensemble, &job);
}

#[test]
fn the_node_is_killed_and_the_next_one_goes_on() {
    let (mut sensemble, job) = in_the_middle();
    let _killed = sensemble.kill_9("node");
    until("the training to end with its node", stories::START_MAX, || {
        let left = sensemble.processes("training-worker");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let _addresses = sensemble.start_node("pi");
    ends(&sensemble, &job);
}

#[test]
fn the_scheduler_is_killed_and_the_next_one_knows_of_it() {
    let (mut sensemble, job) = in_the_middle();
    let listen = sensemble.scheduler().to_owned();
    let _killed = sensemble.kill_9("scheduler");
    sensemble.start_scheduler(&listen);
    ends(&sensemble, &job);
}

/// A training that has released its first revision and is not at its end; the name of its job.
fn in_the_middle() -> (Sensemble, String) {
    let sensemble = Sensemble::fleet_of_one("pi");
    LONG.prepare(&sensemble);
    let run = sensemble.json(&["train", "run", "long"]);
    let job = run[0]["job"].as_str().expect("a training has a name").to_owned();
    until("the first revision", stories::TRAIN_MAX, || {
        let list =
            admin(sensemble.scheduler(), |admin| async move { admin.revisions("long").await });
        let revisions = list.expect("the scheduler says").len();
        if revisions > 0 { Ok(()) } else { Err(revisions) }
    });
    let running = sensemble.json(&["train", "status", "long"]);
    assert_eq!(running[0]["state"], "running", "{running:?}");
    (sensemble, job)
}

/// The same job ends, and what all members came to is served.
fn ends(sensemble: &Sensemble, job: &str) {
    until("the training to end", stories::TRAIN_MAX, || {
        let jobs = sensemble.json(&["train", "status", "long"]);
        let done = jobs.iter().any(|it| it["job"] == job && it["state"] == "done");
        if done { Ok(()) } else { Err(jobs) }
    });
    let _served = sensemble.wait_until_served("long");
    let revisions = sensemble.json(&["model", "list", "long"]);
    let members = |it: &serde_json::Value| it["report"]["members"].as_array().map_or(0, Vec::len);
    assert_eq!(revisions.iter().map(members).max(), Some(9), "{revisions:?}");
}
