//! Bad input of every kind: a named error and the right exit code, nothing half-applied, no panic.

use std::fs;

use client::ClientError;
use proto::v1::{self, bundles_client::BundlesClient, serving_client::ServingClient};
use stories::{App, Blobs, Sensemble, Task, admin, until};

const TASK: Task<'static> = Task {
    name: "strict",
    blobs: Blobs {
        seed: 51,
        classes: &["idle", "one", "two"],
        width: 4,
        rows: 40,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\"] }\nadapt = { after_corrections = 0 }",
};
const ROWS: u64 = 120;

#[test]
fn a_bad_table_is_named_by_its_line_and_imports_nothing() {
    let sensemble = Sensemble::up(&[]);
    TASK.prepare(&sensemble);
    let head = "f0,f1,f2,f3,label,group\n";
    let good = "1,2,3,4,one,g0\n".repeat(500);
    let cases: [(&str, String, &[&str]); 9] = [
        ("empty", String::new(), &["empty"]),
        ("heading only", head.to_owned(), &["no row"]),
        ("ragged", format!("{head}{good}1,2,3\n"), &["502"]),
        ("not a number", format!("{head}{good}1,2,x,4,one,g0\n"), &["502", "f2"]),
        ("nan", format!("{head}{good}1,2,NaN,4,one,g0\n"), &["502", "f2"]),
        ("infinite", format!("{head}{good}1,2,inf,4,one,g0\n"), &["502", "f2"]),
        ("too large for f32", format!("{head}{good}1,2,1e39,4,one,g0\n"), &["502", "f2"]),
        ("unknown class", format!("{head}{good}1,2,3,4,nine,g0\n"), &["502", "nine"]),
        ("feature missing", "f0,f1,f3,label,group\n1,2,4,one,g0\n".to_owned(), &["f2"]),
    ];
    for (name, text, words) in cases {
        let path = sensemble.path("bad.csv");
        fs::write(&path, text).expect("a story may write to its folder");
        let path = path.display().to_string();
        let outcome = sensemble.run(&["data", "import", "strict", &path, "--label", "label"]);
        assert_ne!(outcome.code, 0, "{name}: {outcome}");
        let _named = outcome.refused(1, words);
        let stat = sensemble.json(&["data", "stat", "strict"]).remove(0);
        assert_eq!(stat["rows"], ROWS, "{name}: nothing is half-applied: {stat}");
    }
    let path = sensemble.path("bad.csv").display().to_string();
    let _missing = sensemble
        .run(&["data", "import", "strict", &path, "--label", "lable"])
        .refused(1, &["lable"]);
    let _gone = sensemble
        .run(&["data", "import", "strict", "/nowhere.csv", "--label", "label"])
        .refused(1, &["/nowhere.csv"]);
}

#[test]
fn a_bad_task_file_is_named_by_its_line_and_what_is_not_there_is_not_found() {
    let sensemble = Sensemble::up(&[]);
    let file = TASK.file(&sensemble);
    let text = fs::read_to_string(&file).expect("it was just written");
    let file = file.display().to_string();
    let cases: [(&str, String, &[&str]); 4] = [
        ("unknown key", format!("{text}obective = \"balanced\"\n"), &["line 12", "obective"]),
        ("not TOML", text.replace("[policy]", "[policy"), &["line 9"]),
        ("background outside", text.replace("\"idle\"\n", "\"off\"\n"), &["line 4", "off"]),
        ("no such family", text.replace("ridge", "oracle"), &["line 10", "oracle"]),
    ];
    for (name, text, words) in cases {
        fs::write(&file, text).expect("a story may write to its folder");
        let _named = sensemble.run(&["task", "apply", &file]).refused(1, words);
        assert!(sensemble.json(&["task", "list"]).is_empty(), "{name}: nothing is half-applied");
    }
    for words in [
        &["task", "show", "nobody"][..],
        &["data", "stat", "nobody"],
        &["train", "run", "nobody"],
        &["model", "list", "nobody"],
        &["model", "rollback", "nobody", "1"],
        &["placement", "explain", "nobody"],
    ] {
        let _not_found = sensemble.run(words).refused(3, &["nobody"]);
    }
    let _usage = sensemble.run(&["task", "aply", &file]).refused(64, &["aply"]);
    let _usage = sensemble.run(&["data", "import", "strict"]).refused(64, &[]);
}

#[test]
fn a_bad_request_is_refused_and_the_worker_goes_on() {
    let sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let app = sensemble.app("strict");
    let good = [0.0, 1.0, 2.0, 3.0];
    let answer = app.predict("strict", &good).expect("it is served");

    let bad = [
        app.predict("strict", &good[..3]).map(drop),
        app.predict("strict", &[]).map(drop),
        app.predict("strict", &[0.0, f32::NAN, 0.0, 0.0]).map(drop),
        app.predict("strict", &[0.0, f32::INFINITY, 0.0, 0.0]).map(drop),
        app.predict_batch("strict", &[vec![0.0; 3], vec![0.0; 3]]).map(drop),
        app.correct(&answer, "nine").map(drop),
    ];
    for (index, refused) in bad.into_iter().enumerate() {
        let error = refused.expect_err("bad input is refused");
        assert_eq!(code(&error), "InvalidArgument", "{index}: {error}");
    }
    let unknown = app.predict("nobody", &good).expect_err("no such task");
    assert_eq!(code(&unknown), "NotFound", "{unknown}");
    let stranger = v1::PredictReply { prediction_id: vec![7; 16].into(), ..answer.clone() };
    let unknown = app.correct(&stranger, "one").expect_err("no such answer");
    assert_eq!(code(&unknown), "NotFound", "{unknown}");
    let shortened = v1::PredictReply { prediction_id: vec![7; 3].into(), ..answer.clone() };
    let malformed = app.correct(&shortened, "one").expect_err("no id has 3 bytes");
    assert_eq!(code(&malformed), "InvalidArgument", "{malformed}");

    // 20 MiB in one message: the client does not send it, and the worker does not take it.
    let oversize = vec![0.0; 5 << 20];
    let unsent = app.predict("strict", &oversize).expect_err("too large to send");
    assert_eq!(code(&unsent), "OutOfRange", "{unsent}");
    let refused = predict_unchecked(&sensemble.serving_address("strict"), oversize);
    assert!(refused.contains("too large"), "{refused}");

    let again = sensemble.app("strict").predict("strict", &good).expect("the worker goes on");
    assert_eq!((again.revision, again.class_id), (answer.revision, answer.class_id));
    let corrections =
        admin(sensemble.scheduler(), |it| async move { it.corrections("strict").await });
    assert_eq!(corrections.expect("the scheduler says"), [], "no correction was half-applied");
}

#[test]
fn a_bundle_with_one_flipped_bit_is_never_stored_and_never_served() {
    let mut sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let before = sensemble.app("strict").predict("strict", &[0.0; 4]).expect("it is served");
    let address = sensemble.serving_address("strict");
    let revisions = admin(sensemble.scheduler(), |it| async move { it.revisions("strict").await });
    let revisions = revisions.expect("the scheduler says");
    let current = revisions.iter().find(|it| it.current).expect("one is served").clone();

    // On the way in: the bytes are not what the digest says.
    let error = put_flipped(sensemble.scheduler(), &current.digest);
    assert!(error.to_lowercase().contains("digest"), "{error}");

    // On the worker's disk, before it starts again.
    let name: String = current.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut flipped = 0;
    for path in files(&sensemble.data()) {
        let serving = path.components().any(|part| part.as_os_str() == "serving");
        let bundle = path.file_name().is_some_and(|it| it.to_string_lossy().contains(&name));
        if serving && bundle {
            let mut bytes = fs::read(&path).expect("a bundle on disk");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).expect("a story may write to its folder");
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1, "the worker keeps the bundle that it serves");
    let _killed = sensemble.kill_9("serving-worker");
    let after = until("a whole bundle to be served again", stories::START_MAX, || {
        App::connect(&address)
            .and_then(|app| app.predict("strict", &[0.0; 4]))
            .map_err(|error| error.to_string())
    });
    let same = |it: &v1::PredictReply| (it.class_id, it.confidence.to_bits());
    assert_eq!(same(&after), same(&before), "fetched anew, and the same answers");
}

fn code(error: &ClientError) -> String {
    format!("{:?}", error.code())
}

/// Offers the stored bundle `digest` with one bit flipped; what the scheduler says to that.
fn put_flipped(scheduler: &str, digest: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime for one thread").block_on(async {
        let address = format!("http://{scheduler}");
        let mut client = BundlesClient::connect(address).await.expect("the scheduler answers");
        let request = v1::GetBundleRequest { digest: digest.to_vec().into() };
        let mut stream = client.get_bundle(request).await.expect("it is stored").into_inner();
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.message().await.expect("it is stored whole") {
            chunks.push(chunk);
        }
        let last = chunks.last_mut().expect("a bundle has bytes");
        let mut data = last.data.to_vec();
        *data.last_mut().expect("a chunk has bytes") ^= 1;
        last.data = data.into();
        let put = client.put_bundle(tokio_stream::iter(chunks)).await;
        put.expect_err("the bytes are not what the digest says").message().to_owned()
    })
}

/// Sends `features` without the client's own limits; what the worker says to that.
fn predict_unchecked(address: &str, features: Vec<f32>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime for one thread").block_on(async {
        let address = format!("http://{address}");
        let mut client = ServingClient::connect(address).await.expect("the worker answers");
        let request = v1::PredictRequest { task: "strict".to_owned(), features, coverage: None };
        client.predict(request).await.expect_err("too large to take").message().to_owned()
    })
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the story").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
