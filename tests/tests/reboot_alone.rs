//! A device that starts with no scheduler in reach serves its last good revision.

use std::{fs, path::Path};

use stories::{App, Blobs, Sensemble, Task, until};

const TASK: Task<'static> = Task {
    name: "alone",
    blobs: Blobs {
        seed: 31,
        classes: &["idle", "one", "two"],
        width: 6,
        rows: 40,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\", \"knn\"] }",
};

#[test]
fn after_a_power_cut_without_a_network_it_answers_as_before_and_keeps_corrections() {
    let mut sensemble = Sensemble::fleet_of_one("pi");
    let _said = TASK.train(&sensemble);
    let rows = Blobs { seed: 32, rows: 5, ..TASK.blobs }.table().rows;
    let app = sensemble.app("alone");
    let ask = |app: &App| -> Vec<(u64, u32)> {
        let answers = rows.iter().map(|row| app.predict("alone", &row.features));
        answers.map(|it| it.map(|it| (it.revision, it.class_id)).expect("served")).collect()
    };
    let before = ask(&app);
    let given = app.predict("alone", &rows[1].features).expect("it is served");
    // Receipts are gathered for some milliseconds before they are written.
    until("the receipt to be on disk", stories::START_MAX, || {
        let found = is_in_a_ring(sensemble.folder(), &given.prediction_id);
        if found { Ok(()) } else { Err("no ring has it") }
    });

    // The power goes: everything ends at once. Only the device comes back.
    for role in ["node", "serving-worker", "scheduler"] {
        let _killed = sensemble.kill_9(role);
    }
    let addresses = sensemble.start_node("pi");
    let address = addresses["grpc"].as_str().expect("an address is text").to_owned();
    let app = until("the device to answer", stories::START_MAX, || {
        let app = App::connect(&address).map_err(|error| error.to_string())?;
        app.predict("alone", &rows[0].features).map_err(|error| error.to_string())?;
        Ok::<_, String>(app)
    });
    assert_eq!(ask(&app), before);
    // It even remembers the answers that it gave before.
    let reply = app.correct(&given, "two").expect("the receipt survived");
    assert_eq!(reply.given, given.class);
}

/// Whether a file of receipts somewhere in `folder` has this id.
fn is_in_a_ring(folder: &Path, id: &[u8]) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return is_in_a_ring(&path, id);
        }
        let ring = path.extension().is_some_and(|it| it == "ring");
        ring && fs::read(path).is_ok_and(|bytes| bytes.windows(id.len()).any(|it| it == id))
    })
}
