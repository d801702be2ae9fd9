//! Python that others have written, for benches and tests: throw-away environments under target/,
//! filled by pip.

use std::{fs, path::PathBuf, process::Command};

use crate::{debian, step};

/// A Python for one purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment {
    /// Where it stands, under target/.
    folder: &'static str,
    /// What is installed, each with its version.
    requirements: &'static str,
}

/// The libraries that the benches compare with.
pub(crate) const PEERS: Environment =
    Environment { folder: "peers", requirements: "benches/peers/requirements.txt" };
/// The servers that serving is compared with.
pub(crate) const SERVERS: Environment =
    Environment { folder: "servers", requirements: "benches/peers/serving.txt" };
/// KServe's server, which wants a place of its own.
pub(crate) const KSERVE: Environment =
    Environment { folder: "kserve", requirements: "benches/peers/kserve.txt" };
/// Clients of the Open Inference Protocol.
pub(crate) const CLIENTS: Environment =
    Environment { folder: "clients", requirements: "tests/clients/requirements.txt" };

/// A Python that has what is required: made once, and again when the requirements change.
///
/// # Errors
///
/// The reason, in words, when there is no Python, or pip cannot reach its index.
pub(crate) fn python(environment: Environment) -> Result<PathBuf, String> {
    let Environment { folder, requirements } = environment;
    let folder = step::root().join("target").join(folder);
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    let wanted = fs::read_to_string(step::root().join(requirements))
        .map_err(|error| format!("{requirements}: {error}"))?;
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|had| had == wanted) {
        return Ok(python);
    }
    debian::answers("python3", &["-c", "import venv, ensurepip"], &["python3", "python3-venv"])?;
    let mut make = Command::new("python3");
    run(make.args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--retries", "2", "--requirement", requirements]).current_dir(step::root());
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
