//! kill -9 of the scheduler, of the node, of the serving worker: apps are answered, and everything
//! comes back by itself.

use serde_json::Value;
use stories::{App, Blobs, Sensemble, Task, until};

const TASK: Task<'static> = Task {
    name: "killed",
    blobs: Blobs {
        seed: 21,
        classes: &["idle", "one", "two"],
        width: 6,
        rows: 60,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\", \"knn\"] }",
};
const ORIGIN: [f32; 6] = [0.0; 6];

#[test]
fn answers_go_on_without_a_scheduler_and_the_next_one_remembers() {
    let mut sensemble = Sensemble::fleet_of_one("pi");
    let _said = TASK.train(&sensemble);
    let app = sensemble.app("killed");
    let before = app.predict("killed", &ORIGIN).expect("it is served");

    let listen = sensemble.scheduler().to_owned();
    let worker = sensemble.processes("serving-worker");
    let _killed = sensemble.kill_9("scheduler");
    let alone = app.predict("killed", &ORIGIN).expect("nobody needs a scheduler to answer");
    assert_eq!((alone.revision, alone.class_id), (before.revision, before.class_id));

    sensemble.start_scheduler(&listen);
    until("the lease to be held again", stories::START_MAX, || alive(&sensemble, "pi"));
    assert_eq!(sensemble.processes("serving-worker"), worker, "the worker was left alone");
    // It knows the samples and the revisions, and can add to them.
    let _trained = sensemble.run(&["train", "run", "killed", "--wait"]);
    let after = sensemble.wait_until_served("killed");
    assert!(after >= before.revision, "{after}");
    let _answer = app.predict("killed", &ORIGIN).expect("it is served");
}

#[test]
fn the_worker_goes_on_without_its_node_and_the_next_node_adopts_it() {
    let mut sensemble = Sensemble::fleet_of_one("pi");
    let _said = TASK.train(&sensemble);
    let address = sensemble.serving_address("killed");
    let app = sensemble.app("killed");
    let worker = sensemble.processes("serving-worker");
    let before = app.predict("killed", &ORIGIN).expect("it is served").revision;

    let _killed = sensemble.kill_9("node");
    let _answer = app.predict("killed", &ORIGIN).expect("nobody needs a node to answer");

    let addresses = sensemble.start_node("pi");
    assert_eq!(addresses["grpc"], address.as_str(), "apps find it where it was");
    assert_eq!(sensemble.processes("serving-worker"), worker, "the worker was adopted");
    until("the lease to be held again", stories::START_MAX, || alive(&sensemble, "pi"));
    let _rolled_back = sensemble.run(&["model", "rollback", "killed", "1"]).good();
    assert!(sensemble.wait_until_served("killed") > before, "orders reach the adopted worker");
}

#[test]
fn a_killed_worker_comes_back_on_the_same_address() {
    let mut sensemble = Sensemble::fleet_of_one("pi");
    let _said = TASK.train(&sensemble);
    let address = sensemble.serving_address("killed");
    let before = sensemble.app("killed").predict("killed", &ORIGIN).expect("it is served");
    let _killed = sensemble.kill_9("serving-worker");
    let after = until("the next worker", stories::START_MAX, || {
        App::connect(&address)
            .and_then(|app| app.predict("killed", &ORIGIN))
            .map_err(|error| error.to_string())
    });
    assert_eq!((after.revision, after.class_id), (before.revision, before.class_id));
}

fn alive(sensemble: &Sensemble, device: &str) -> Result<(), Vec<Value>> {
    let devices = sensemble.json(&["device", "list"]);
    let here = devices.iter().any(|it| it["device"] == device && it["alive"] == true);
    if here { Ok(()) } else { Err(devices) }
}
