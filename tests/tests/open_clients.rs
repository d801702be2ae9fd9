//! Published clients of the Open Inference Protocol are answered as they are: tritonclient and the
//! KServe SDK from PyPI, in a Python environment that `cargo xtask test` makes under target/.

use std::{
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

/// Runs one script of tests/clients, which checks everything by itself and says what was well.
fn answered(name: &str, script: &str, well: &[&str]) {
    let Some(python) = std::env::var_os(CLIENTS) else {
        let reason = std::env::var(CLIENTS_MISSING);
        let reason =
            reason.unwrap_or_else(|_| format!("{CLIENTS} names no Python with the clients"));
        return skip(name, &reason);
    };
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
