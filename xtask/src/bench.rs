//! `cargo xtask bench`: what it costs. Numbers go to benches/README.md, never into a test.

use std::path::Path;

use crate::{peers, step};

/// The kernels, by criterion.
pub(crate) fn kernels() -> Result<bool, String> {
    step::shown(&mut step::cargo(&["bench", "--package", "benches"]))
        .map_err(|error| error.to_string())
}

/// The whole path on real data: how soon the first revision serves, how good each one is.
pub(crate) fn path() -> Result<bool, String> {
    let Some(program) = sensemble()? else { return Ok(false) };
    let mut path = step::cargo(&["run", "--quiet", "--package", "stories", "--example", "path"]);
    step::shown(path.env("SENSEMBLE_BIN", program)).map_err(|error| error.to_string())
}

/// Our trainers beside the Python peers, which are installed first: `learn` of the benches says what
/// it takes from `words`.
pub(crate) fn learn(words: &[&str]) -> Result<bool, String> {
    let mut run = step::cargo(&["run", "--release", "--quiet", "--package", "benches"]);
    run.args(["--bin", "learn", "--"]);
    match peers::python(peers::PEERS) {
        Ok(python) => run.arg("--python").arg(python),
        Err(reason) => run.arg("--without-peers").arg(reason),
    };
    pass(&mut run, words);
    step::shown(&mut run).map_err(|error| error.to_string())
}

/// Our serving worker on the wire beside an empty server and those of others, which are installed
/// first: `serve` of the benches says what it takes from `words`.
pub(crate) fn serve(words: &[&str]) -> Result<bool, String> {
    let Some(program) = sensemble()? else { return Ok(false) };
    let mut run = step::cargo(&["run", "--release", "--quiet", "--package", "benches"]);
    run.args(["--bin", "serve", "--", "--program"]).arg(program);
    let pythons = || {
        let python = |environment| peers::python(environment);
        Ok([python(peers::PEERS)?, python(peers::SERVERS)?, python(peers::KSERVE)?])
    };
    match pythons() {
        Ok::<_, String>([learning, serving, kserve]) => run
            .arg("--learning")
            .arg(learning)
            .arg("--serving")
            .arg(serving)
            .arg("--kserve")
            .arg(kserve),
        Err(reason) => run.arg("--without-peers").arg(reason),
    };
    pass(&mut run, words);
    step::shown(&mut run).map_err(|error| error.to_string())
}

/// Passes `words` on. Cargo runs programs in the root of the workspace; files are named from where the
/// chore was started.
fn pass(run: &mut std::process::Command, words: &[&str]) {
    let mut names_file = false;
    for &word in words {
        match std::env::current_dir() {
            Ok(here) if names_file => run.arg(here.join(Path::new(word))),
            Ok(_) | Err(_) => run.arg(word),
        };
        names_file = ["--json", "--data", "--work", "--pictures"].contains(&word);
    }
}

/// The binary as it is handed out; `None` when it does not build.
fn sensemble() -> Result<Option<String>, String> {
    let mut build = step::cargo(&["build", "--profile", "dist", "--package", "sensemble"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let (built, messages) = step::output(&mut build).map_err(|error| error.to_string())?;
    let program = crate::golden::executable(&messages, "sensemble");
    Ok(if built { program } else { None })
}
