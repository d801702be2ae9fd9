//! An acknowledged correction survives kill -9, and counts once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use stories::{App, Blobs, Sensemble, StopOnDrop, Task, admin, until};

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
/// Of one app; together fewer than the scheduler lists at once.
const CORRECTIONS_MAX: usize = 4_000;
/// A correction reaches the scheduler within this, on a busy machine.
const FORWARD_MAX: Duration = Duration::from_secs(60);

#[test]
fn killing_the_serving_worker_loses_no_correction_and_applies_none_twice() {
    let mut sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let address = sensemble.serving_address("survive");
    let app = sensemble.app("survive");
    let before = app.predict("survive", &[0.0; 6]).expect("it is served");
    let load = Load::default();
    let mut acknowledged = BTreeMap::new();

    // The worker dies under two apps; they go on when it is back, which takes them a moment.
    thread::scope(|scope| {
        let _stop = StopOnDrop(&load.done);
        let apps = [(); 2].map(|()| scope.spawn(|| load.correct(&address)));
        load.until_acknowledged(ACKNOWLEDGED);
        assert_eq!(sensemble.kill_9("serving-worker"), 1);
        load.until_acknowledged(load.acknowledged.load(Ordering::Relaxed) + 100);
        load.done.store(true, Ordering::Relaxed);
        for app in apps {
            acknowledged.extend(app.join().expect("an app ends well"));
        }
    });
    assert!(acknowledged.len() >= ACKNOWLEDGED + 100, "{}", acknowledged.len());

    // An answer from before the kill can still be corrected: its receipt is on disk.
    let app = until("the next worker", stories::START_MAX, || App::connect(&address));
    let reply = app.correct(&before, "two").expect("the receipt survived");
    assert_eq!((reply.given, reply.first), (before.class.clone(), true));
    acknowledged.insert(before.prediction_id.to_vec(), "two".to_owned());
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
    let rows = Blobs { seed: 10, ..TASK.blobs }.table().rows;
    let mut acknowledged = BTreeMap::new();
    for row in rows.iter().cycle().take(ACKNOWLEDGED) {
        let answer = app.predict("survive", &row.features).expect("it answers");
        app.correct(&answer, &row.label).expect("it acknowledges");
        acknowledged.insert(answer.prediction_id.to_vec(), row.label.clone());
    }
    let _killed = sensemble.kill_9("serving-worker");
    sensemble.start_scheduler(&listen);
    assert_applied_once(&sensemble, &acknowledged);
}

/// Apps that ask and correct, until they are told to stop.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    acknowledged: AtomicUsize,
}

impl Load {
    /// One app: what was acknowledged to it. What fails was not, and is not asked again.
    fn correct(&self, address: &str) -> BTreeMap<Vec<u8>, String> {
        let app = App::connect(address).expect("the worker answers");
        let rows = Blobs { seed: 10, ..TASK.blobs }.table().rows;
        let mut acknowledged = BTreeMap::new();
        for row in rows.iter().cycle().take(CORRECTIONS_MAX) {
            if self.done.load(Ordering::Relaxed) {
                break;
            }
            let answer = app.predict("survive", &row.features);
            let reply = answer.and_then(|it| app.correct(&it, &row.label).map(|_| it));
            if let Ok(answer) = reply {
                acknowledged.insert(answer.prediction_id.to_vec(), row.label.clone());
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                thread::sleep(stories::wait::PAUSE);
            }
        }
        acknowledged
    }

    fn until_acknowledged(&self, least: usize) {
        until("acknowledged corrections", FORWARD_MAX, || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= least { Ok(()) } else { Err(format!("{now} of {least}")) }
        });
    }
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
