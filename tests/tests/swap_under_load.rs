//! Revisions are swapped while apps ask: every question is answered, each by one revision.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use stories::{App, Blobs, Sensemble, StopOnDrop, Task, admin, until};

const TASK: Task<'static> = Task {
    name: "swap",
    blobs: Blobs {
        seed: 5,
        classes: &["idle", "one", "two", "three"],
        width: 12,
        rows: 60,
        groups: 6,
        distance: 3.0,
        shift: 0.0,
        // The first member is linear and answers otherwise than those that follow.
        mirrored: true,
    },
    policy: "train = { families = [\"ridge\", \"knn\", \"forest\"] }\nadapt = { after_corrections = 0 }",
};
const ANSWERS_MIN: u64 = 1_000;
const SWAPS_MIN: usize = 12;
const APPS: usize = 3;

/// What must not change while one bundle is served: class, confidence in bits, stage, members.
type Said = Vec<(u32, u32, i32, u32)>;

#[test]
fn no_question_fails_and_no_answer_is_half_of_two_revisions() {
    let sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let rows: Vec<Vec<f32>> = Blobs { seed: 6, rows: 10, ..TASK.blobs }
        .table()
        .rows
        .into_iter()
        .map(|row| row.features)
        .collect();
    let app = sensemble.app("swap");

    // What each of two bundles says, asked while nothing moves.
    let released = revisions(&sensemble);
    let (first, last) = (released.first().expect("one"), released.last().expect("one"));
    assert_ne!(first.1, last.1, "a lazy training releases different bundles");
    let mut expected: BTreeMap<Vec<u8>, Said> = BTreeMap::new();
    for (revision, digest) in [first, last] {
        roll_back(&sensemble, *revision);
        let answers = app.predict_batch("swap", &rows).expect("it is served");
        expected.insert(digest.clone(), said(&answers));
    }
    assert_ne!(expected[&first.1], expected[&last.1], "the two bundles can be told apart");

    // Load, and swaps under it.
    let address = sensemble.serving_address("swap");
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut answers = Vec::new();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&done);
        let apps: Vec<_> = (0..APPS)
            .map(|number| {
                let (address, rows, done, asked) = (&address, &rows, &done, &asked);
                scope.spawn(move || {
                    let app = App::connect(address).expect("the worker answers");
                    let mut answers = Vec::new();
                    for turn in number.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        // One sample and all samples, in turn.
                        if turn % 2 == 0 {
                            let at = turn % rows.len();
                            let answer = app.predict("swap", &rows[at]);
                            answers.push((vec![at], vec![answer.expect("no question fails")]));
                        } else {
                            let batch = app.predict_batch("swap", rows);
                            let all = (0..rows.len()).collect();
                            answers.push((all, batch.expect("no question fails")));
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        let mut swaps = 0;
        while swaps < SWAPS_MIN || asked.load(Ordering::Relaxed) < ANSWERS_MIN {
            let (revision, _) = if swaps % 2 == 0 { first } else { last };
            roll_back(&sensemble, *revision);
            swaps += 1;
        }
        done.store(true, Ordering::Relaxed);
        for app in apps {
            answers.extend(app.join().expect("an app ends well"));
        }
    });

    let digests: BTreeMap<u64, Vec<u8>> = revisions(&sensemble).into_iter().collect();
    let mut seen = BTreeMap::<u64, usize>::new();
    for (rows, answers) in &answers {
        let revision = answers[0].revision;
        *seen.entry(revision).or_default() += 1;
        let expected = &expected[&digests[&revision]];
        for (&row, answer) in rows.iter().zip(answers) {
            assert_eq!(answer.revision, revision, "one call, one revision");
            let said = said(std::slice::from_ref(answer))[0];
            assert_eq!(said, expected[row], "revision {revision}, row {row}");
        }
    }
    assert!(seen.len() > SWAPS_MIN / 2, "apps saw the swaps: {seen:?}");
}

fn said(answers: &[proto::v1::PredictReply]) -> Said {
    let say =
        |it: &proto::v1::PredictReply| (it.class_id, it.confidence.to_bits(), it.stage, it.members);
    answers.iter().map(say).collect()
}

/// Revision and digest of what was released, oldest first.
fn revisions(sensemble: &Sensemble) -> Vec<(u64, Vec<u8>)> {
    let list = admin(sensemble.scheduler(), |admin| async move { admin.revisions("swap").await });
    let mut list: Vec<_> = list
        .expect("the scheduler says")
        .into_iter()
        .map(|it| (it.revision, it.digest.to_vec()))
        .collect();
    list.sort();
    list
}

/// Brings `revision` back and waits until that is served.
fn roll_back(sensemble: &Sensemble, revision: u64) {
    let now = admin(sensemble.scheduler(), |admin| async move {
        admin.roll_back("swap", Some(revision)).await
    })
    .expect("the revision is known");
    let app = sensemble.app("swap");
    until("the swap", stories::START_MAX, || {
        let served = app.describe().expect("the worker says");
        if served.iter().any(|it| it.task == "swap" && it.revision >= now) {
            Ok(())
        } else {
            Err(served)
        }
    });
}
