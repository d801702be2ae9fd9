//! An acknowledged correction survives kill -9, and counts once.

use std::{collections::BTreeMap, thread, time::Duration};

use stories::{App, Blobs, Sensemble, Task, admin, until};

const TASK: Task<'static> = Task {
    name: "survive",
    blobs: Blobs {
        seed: 9,
        classes: &["idle", "one", "two"],
        width: 6,
        rows: 40,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\"] }\nadapt = { after_corrections = 0 }",
};
const ACKNOWLEDGED: usize = 500;
/// A correction reaches the scheduler within this, on a busy machine.
const FORWARD_MAX: Duration = Duration::from_secs(60);

#[test]
fn killing_the_serving_worker_loses_no_correction_and_applies_none_twice() {
    let mut sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let address = sensemble.serving_address("survive");
    let mut acknowledged = BTreeMap::new();

    // The worker dies while corrections are on their way; the apps go on when it is back.
    thread::scope(|scope| {
        let first = scope.spawn(|| correct_until_it_dies(&address));
        let second = scope.spawn(|| correct_until_it_dies(&address));
        until("500 acknowledged corrections", FORWARD_MAX, || {
            let known = applied(&sensemble).len();
            if known >= ACKNOWLEDGED { Ok(()) } else { Err(known) }
        });
        assert_eq!(sensemble.kill_9("serving-worker"), 1);
        for app in [first, second] {
            acknowledged.extend(app.join().expect("an app ends well"));
        }
    });
    assert!(acknowledged.len() >= ACKNOWLEDGED, "{}", acknowledged.len());

    let app = until("the next worker", stories::START_MAX, || App::connect(&address));
    until("the task to be served again", stories::START_MAX, || {
        app.predict("survive", &[0.0; 6]).map_err(|error| error.to_string())
    });
    let (more, _) = correct(&app, 50);
    assert_eq!(more.len(), 50, "the next worker takes corrections");
    acknowledged.extend(more);
    assert_applied_once(&sensemble, &acknowledged);
}

#[test]
fn corrections_wait_on_disk_while_the_scheduler_and_then_the_worker_are_gone() {
    let mut sensemble = Sensemble::fleet_of_one("pi");
    let _said = TASK.train(&sensemble);
    let address = sensemble.serving_address("survive");
    let listen = sensemble.scheduler().to_owned();

    let _killed = sensemble.kill_9("scheduler");
    let app = App::connect(&address).expect("the worker goes on without a scheduler");
    let (acknowledged, failed) = correct(&app, ACKNOWLEDGED);
    assert!(failed.is_none(), "{failed:?}");
    let _killed = sensemble.kill_9("serving-worker");
    sensemble.start_scheduler(&listen);
    assert_applied_once(&sensemble, &acknowledged);
}

/// Corrects until a call fails.
fn correct_until_it_dies(address: &str) -> BTreeMap<Vec<u8>, String> {
    let app = App::connect(address).expect("the worker answers");
    let (acknowledged, failed) = correct(&app, usize::MAX);
    assert!(failed.is_some(), "the worker was killed under this app");
    acknowledged
}

/// Asks and corrects `times`, or until a call fails: what was acknowledged, and the failure.
fn correct(app: &App, times: usize) -> (BTreeMap<Vec<u8>, String>, Option<client::ClientError>) {
    let rows = Blobs { seed: 10, ..TASK.blobs }.table().rows;
    let mut acknowledged = BTreeMap::new();
    for row in rows.iter().cycle().take(times) {
        let answer = match app.predict("survive", &row.features) {
            Ok(answer) => answer,
            Err(error) => return (acknowledged, Some(error)),
        };
        match app.correct(&answer, &row.label) {
            Ok(_) => acknowledged.insert(answer.prediction_id.to_vec(), row.label.clone()),
            Err(error) => return (acknowledged, Some(error)),
        };
    }
    (acknowledged, None)
}

fn applied(sensemble: &Sensemble) -> Vec<proto::v1::CorrectionView> {
    admin(sensemble.scheduler(), |admin| async move { admin.corrections("survive").await })
        .expect("the scheduler says what it has")
}

/// Every acknowledged one is there with its label, and none stands there twice.
fn assert_applied_once(sensemble: &Sensemble, acknowledged: &BTreeMap<Vec<u8>, String>) {
    until("every correction to arrive", FORWARD_MAX, || {
        let mut there = BTreeMap::new();
        for correction in applied(sensemble) {
            let id = correction.prediction_id.to_vec();
            assert!(there.insert(id, correction.label).is_none(), "one was applied twice");
        }
        let missing = acknowledged.iter().filter(|&(id, label)| there.get(id) != Some(label));
        let missing = missing.count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {}", acknowledged.len())) }
    });
    let stat = sensemble.json(&["data", "stat", "survive"]).remove(0);
    let there = u64::try_from(applied(sensemble).len()).expect("a number of corrections");
    assert_eq!(stat["corrections"], there, "{stat}");
}
