//! The Python peers of the benches: a throw-away environment under target/, filled by pip.

use std::{fs, path::PathBuf, process::Command};

use crate::{debian, step};

/// What is installed, each with its version.
const REQUIREMENTS: &str = "benches/peers/requirements.txt";

/// A Python that has the peers' libraries: made once, and again when the requirements change.
///
/// # Errors
///
/// The reason, in words, when there is no Python, or pip cannot reach its index.
pub(crate) fn python() -> Result<PathBuf, String> {
    let folder = step::root().join("target/peers");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    let wanted = fs::read_to_string(step::root().join(REQUIREMENTS))
        .map_err(|error| format!("{REQUIREMENTS}: {error}"))?;
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|had| had == wanted) {
        return Ok(python);
    }
    debian::answers("python3", &["-c", "import venv, ensurepip"], &["python3", "python3-venv"])?;
    let mut make = Command::new("python3");
    run(make.args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--retries", "2", "--requirement", REQUIREMENTS]).current_dir(step::root());
    run(&mut install, "pip install")?;
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(python)
}

fn run(command: &mut Command, name: &str) -> Result<(), String> {
    match step::shown(command) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{name} failed; what it said stands above")),
        Err(error) => Err(format!("{name} was not started: {error}")),
    }
}
