//! Raw input from a file to an answer: what is learnt and what is asked are features of the same
//! code, and what is odd about a file is said before it teaches anything.

use std::{f64::consts::TAU, fmt::Write as _, fs, path::Path};

use stories::Sensemble;

/// Three motions of each of six people, 400 samples at 50 Hz: still, slow and fast swings.
fn motions() -> String {
    let mut text = "acc_x,acc_y,acc_z,label,person,run\n".to_owned();
    let mut state = 5_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1_u32 << 24) - 0.5
    };
    for person in 0_u8..6 {
        for (label, rate_hz) in [("still", 0.0), ("slow", 1.2), ("fast", 2.8)] {
            for at in 0_u16..400 {
                let swing = (TAU * rate_hz * f64::from(at) / 50.0 + f64::from(person)).sin();
                let (x, y, z) = (swing + 0.2 * noise(), 0.2 * noise(), 1.0 + 0.2 * noise());
                let _never_fails = writeln!(text, "{x},{y},{z},{label},p{person},{label}{person}");
            }
        }
    }
    text
}

/// Half a second of a tone or of noise as a WAV file.
fn wav(path: &Path, pitch_hz: Option<f64>, seed: u32) {
    let mut state = seed;
    let samples = (0_u16..8_000).flat_map(|at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1_u32 << 24) - 0.5;
        let sound = match pitch_hz {
            Some(pitch_hz) => (TAU * pitch_hz * f64::from(at) / 16_000.0).sin() + 0.1 * noise,
            None => noise,
        };
        #[expect(clippy::cast_possible_truncation, reason = "between -11 000 and 11 000")]
        let sample = (sound * 10_000.0) as i16;
        sample.to_le_bytes()
    });
    let data: Vec<u8> = samples.collect();
    let length = u32::try_from(data.len()).expect("half a second");
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((length + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(length.to_le_bytes());
    bytes.extend(data);
    fs::write(path, bytes).expect("a clip is written");
}

/// Writes a task file with `init` and lets it train two quick families.
fn apply(sensemble: &Sensemble, init: &[&str]) {
    let _written = sensemble.run(init).good();
    let path = sensemble.path(&format!("{}.toml", init[2]));
    let text = fs::read_to_string(&path).expect("init wrote it");
    let text = text.replace("families = \"all\"", "families = [\"ridge\", \"knn\"]");
    fs::write(&path, text).expect("it is edited");
    let _applied = sensemble.run(&["task", "apply", &path.display().to_string()]).good();
}

#[test]
fn windows_of_raw_samples_are_learnt_and_answered() {
    let sensemble = Sensemble::fleet_of_one("pi");
    let raw = sensemble.path("raw.csv");
    fs::write(&raw, motions()).expect("it is written");
    let raw = raw.display().to_string();
    let init = [
        "task",
        "init",
        "walk",
        "--kind",
        "window",
        "--from",
        &raw,
        "--label",
        "label",
        "--group",
        "person",
        "--recording",
        "run",
        "--rate-hz",
        "50",
        "--length-s",
        "1.28",
        "--step-s",
        "0.64",
    ];
    apply(&sensemble, &init);
    let imported = &sensemble.json(&["data", "import", "walk", &raw, "--label", "label"])[0];
    // Eleven whole windows of each recording, and none that begins in one and ends in another.
    assert_eq!(imported["rows"], 6 * 3 * 11);
    let _trained = sensemble.run(&["train", "run", "walk", "--wait"]).good();
    let _revision = sensemble.wait_until_served("walk");

    let figures = &sensemble.json(&["evaluate", "walk", &raw, "--label", "label"])[0];
    assert!(figures["accuracy"].as_f64() > Some(0.95), "{figures}");
    let answers = sensemble.json(&["predict", "walk", "--input", &raw, "--where", "label=fast"]);
    assert_eq!(answers.len(), 6 * 11);
    let fast = answers.iter().filter(|answer| answer["class"] == "fast").count();
    assert!(fast > 60, "{fast} of {}", answers.len());
}

#[test]
fn clips_in_folders_are_learnt_and_answered() {
    let sensemble = Sensemble::fleet_of_one("pi");
    let clips = sensemble.path("clips");
    for (class, pitch_hz) in [("hum", Some(300.0)), ("whistle", Some(2_500.0)), ("wind", None)] {
        fs::create_dir_all(clips.join(class)).expect("a folder is made");
        for seed in 1..=20_u32 {
            let pitch_hz = pitch_hz.map(|it: f64| it * (1.0 + 0.01 * f64::from(seed)));
            wav(&clips.join(class).join(format!("{seed}.wav")), pitch_hz, seed);
        }
    }
    let folder = clips.display().to_string();
    apply(
        &sensemble,
        &["task", "init", "sounds", "--kind", "audio", "--from", &folder, "--length-s", "0.5"],
    );
    let imported = &sensemble.json(&["data", "import", "sounds", &folder])[0];
    assert_eq!(imported["rows"], 60);
    let _trained = sensemble.run(&["train", "run", "sounds", "--wait"]).good();
    let _revision = sensemble.wait_until_served("sounds");

    let new = sensemble.path("new.wav");
    wav(&new, Some(2_600.0), 77);
    let answers = sensemble.json(&["predict", "sounds", "--input", &new.display().to_string()]);
    assert_eq!((answers.len(), &answers[0]["class"]), (1, &"whistle".into()));

    fs::write(&new, b"fLaC that is none").expect("it is written");
    sensemble
        .run(&["predict", "sounds", "--input", &new.display().to_string()])
        .refused(1, &["new.wav", "FLAC"]);
}

#[test]
fn what_is_odd_about_a_file_is_said_and_nothing_is_imported() {
    let sensemble = Sensemble::up(&[]);
    let mut text = "a,copy,label,day\n".to_owned();
    for row in 0_u32..120 {
        let (class, a) = (row % 2, row.wrapping_mul(2_654_435_761) >> 20);
        let _never_fails = writeln!(text, "{a},{class},c{class},d{}", row % 7);
    }
    let path = sensemble.path("odd.csv");
    fs::write(&path, &text).expect("it is written");
    let path = path.display().to_string();
    apply(&sensemble, &["task", "init", "odd", "--from", &path, "--label", "label"]);
    let check = ["data", "check", "odd", &path, "--label", "label", "-o", "json"];
    let checked = sensemble.run(&check);
    let said = checked.value();
    assert_eq!((checked.code, &said["rows"]), (2, &120.into()), "{checked}");
    let warnings = said["warnings"].as_array().expect("a list");
    assert!(
        warnings.iter().any(|it| it.as_str().is_some_and(|it| it.starts_with("copy alone"))),
        "{warnings:?}"
    );
    assert_eq!(sensemble.json(&["data", "stat", "odd"])[0]["rows"], 0);

    let imported = &sensemble.json(&["data", "import", "odd", &path, "--label", "label"])[0];
    assert_eq!((&imported["rows"], &imported["warnings"]), (&120.into(), &said["warnings"]));
}
