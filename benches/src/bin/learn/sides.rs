//! Both sides as processes: each of our measurements in a child of this program, the peers in Python.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::de::DeserializeOwned;

use crate::{
    figures::PeerLine,
    folder::{Fault, Folder},
};

/// Runs `learn WORDS FOLDER` and reads the line of JSON that it writes.
pub(crate) fn ours<T: DeserializeOwned>(words: &[&str], folder: &Folder) -> Result<T, Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words).arg(&folder.0).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("`learn {}` ended with {}", words.join(" "), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The Python that has the peers' libraries, and the script that asks them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) python: PathBuf,
    pub(crate) script: PathBuf,
}

impl Peers {
    /// Runs `learn.py WHAT FOLDER REST`, gives each line to `each` as soon as it comes.
    pub(crate) fn ask(
        &self,
        what: &str,
        folder: &Folder,
        rest: &[&str],
        jobs: usize,
        mut each: impl FnMut(PeerLine),
    ) -> Result<(), Fault> {
        let mut command = Command::new(&self.python);
        command.args(["-W", "ignore"]).arg(&self.script).arg(what).arg(&folder.0).args(rest);
        for library in ["OMP", "OPENBLAS", "MKL"] {
            command.env(format!("{library}_NUM_THREADS"), jobs.to_string());
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = child.stdout.take().ok_or("its output was not piped")?;
        for line in BufReader::new(lines).lines() {
            each(serde_json::from_str(&line?)?);
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the peers ended with {status}").into()) }
    }
}
