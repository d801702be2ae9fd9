//! Published clients of the Open Inference Protocol are answered as they are, and an app of OpenTelemetry
//! is understood: tritonclient, the KServe SDK and the OpenTelemetry SDK from PyPI, in a Python
//! environment that `cargo xtask test` makes under target/.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use stories::{Blobs, Sensemble, Task, sensemble::json_file, skip::skip};

/// Names a Python that has the clients.
const CLIENTS: &str = "SENSEMBLE_CLIENTS";
/// Says why there is none.
const CLIENTS_MISSING: &str = "SENSEMBLE_CLIENTS_MISSING";

const TASK: Task<'static> = Task {
    name: "open",
    blobs: Blobs {
        seed: 71,
        classes: &["idle", "one", "two"],
        width: 4,
        rows: 40,
        groups: 4,
        distance: 4.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\", \"forest\"] }\nadapt = { after_corrections = 0 }",
};

/// A Python that has the clients; without one, the story `name` is skipped.
fn python(name: &str) -> Option<OsString> {
    let python = std::env::var_os(CLIENTS);
    if python.is_none() {
        let reason = std::env::var(CLIENTS_MISSING);
        let reason =
            reason.unwrap_or_else(|_| format!("{CLIENTS} names no Python with the clients"));
        skip(name, &reason);
    }
    python
}

/// Runs one script of tests/clients, which checks everything by itself and says what was well.
fn answered(name: &str, script: &str, well: &[&str]) {
    let Some(python) = python(name) else { return };
    let sensemble = Sensemble::up(&[]);
    let _said = TASK.train(&sensemble);
    let addresses = json_file(&sensemble.data().join("addresses.json")).expect("it is up");
    let address = |key: &str| addresses[key].as_str().expect("an address").to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let output = Command::new(python)
        .arg(script)
        .args([&address("grpc"), &address("http"), TASK.name, "4"])
        .stdin(Stdio::null())
        .output()
        .expect("the chore that named the Python has started it before");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {said}\n{errors}");
    assert_eq!(said.lines().collect::<Vec<_>>(), well, "{errors}");
}

#[test]
fn tritonclient_is_answered_over_grpc_and_http_waiting_and_asyncio() {
    let well = ["ok gRPC", "ok HTTP", "ok gRPC asyncio", "ok HTTP asyncio", "ok feedback"];
    answered("tritonclient_is_answered_over_grpc_and_http_waiting_and_asyncio", "triton.py", &well);
}

#[test]
fn the_kserve_sdk_is_answered_over_grpc_and_rest() {
    let well = ["ok gRPC", "ok REST"];
    answered("the_kserve_sdk_is_answered_over_grpc_and_rest", "kserve_sdk.py", &well);
}

#[test]
fn an_app_of_opentelemetry_sees_the_voters_in_its_own_trace() {
    let name = "an_app_of_opentelemetry_sees_the_voters_in_its_own_trace";
    let Some(python) = python(name) else { return };
    let mut app = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/otel.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the chore that named the Python has started it before");
    let mut said = BufReader::new(app.stdout.take().expect("it is piped")).lines();
    let collector = said.next().expect("it says where it listens").expect("it is text");
    let sensemble = Sensemble::up(&["--otlp-endpoint", &collector]);
    let _said = TASK.train(&sensemble);
    let addresses = json_file(&sensemble.data().join("addresses.json")).expect("it is up");
    let address = |key: &str| addresses[key].as_str().expect("an address").to_owned();
    let mut told = app.stdin.take().expect("it is piped");
    writeln!(told, "{} {} {} 4", address("grpc"), address("http"), TASK.name).expect("it reads");
    let well: Vec<String> = said.map_while(Result::ok).collect();
    let ended = app.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{name}: {well:?}\n{errors}");
    assert_eq!(well, ["ok gRPC", "ok HTTP"], "{errors}");
}
