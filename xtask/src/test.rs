//! `cargo xtask test`: build once, run everything, count everything.

use std::fs;

use crate::{
    debian, golden, peers, step,
    tally::{Runner, Tally},
};

/// Adds every test to `tally` and prints it. Whether all is well.
pub(crate) fn run(mut tally: Tally) -> Result<bool, String> {
    let folder = step::root().join("target");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make target/: {error}"))?;
    let skips = folder.join("skipped-stories.txt");
    fs::write(&skips, "").map_err(|error| format!("cannot write {}: {error}", skips.display()))?;

    // One build for the binary and all tests, so that nothing is compiled twice for other features.
    let mut build = step::cargo(&["build", "--workspace", "--bins", "--tests"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let (built, messages) = step::output(&mut build).map_err(|error| error.to_string())?;
    let program = golden::executable(&messages, "sensemble");
    tally.step("cargo build --workspace --bins --tests", built);
    if let (true, Some(program)) = (built, program) {
        let nextest = step::is_there("cargo", &["nextest", "--version"]);
        let (runner, mut tests) = if nextest {
            let run = ["nextest", "run", "--workspace", "--color", "never"];
            (Runner::Nextest, step::cargo(&run))
        } else {
            eprintln!("cargo-nextest is not here: `cargo test` runs the tests, a little slower");
            let run = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
            (Runner::Libtest, step::cargo(&run))
        };
        tests.env("SENSEMBLE_BIN", &program).env("SENSEMBLE_SKIPPED", &skips);
        // A story with a broker is skipped by its name where there is none.
        if let Err(reason) = debian::lies_there("mosquitto", &["mosquitto"]) {
            eprintln!("{reason}");
        }
        match peers::python(peers::CLIENTS) {
            Ok(python) => tests.env("SENSEMBLE_CLIENTS", python),
            Err(reason) => tests.env("SENSEMBLE_CLIENTS_MISSING", reason),
        };
        counted("tests", runner, &mut tests, &mut tally)?;

        let mut documentation = step::cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
        counted("documentation tests", Runner::Libtest, &mut documentation, &mut tally)?;
        tally.withdraw(&fs::read_to_string(&skips).unwrap_or_default());
    }
    golden::on_the_pi("dev", &mut tally)?;
    println!("{}", tally.report());
    Ok(tally.good())
}

/// Runs a test runner and adds what it counted; a runner that failed without a failed test broke.
fn counted(
    name: &str,
    runner: Runner,
    command: &mut std::process::Command,
    tally: &mut Tally,
) -> Result<(), String> {
    let before = tally.failed;
    let (success, text) = step::captured(command).map_err(|error| error.to_string())?;
    let spoke = tally.add(runner, &text);
    tally.step(name, spoke && (success || before < tally.failed));
    Ok(())
}
