//! Both sides as processes: each of our measurements in a child of this program, the peers in Python.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use benches::folder::{Fault, Folder};
use serde::de::DeserializeOwned;

use crate::figures::PeerLine;

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
    /// Take what an earlier run over the same rows found, where there is one.
    pub(crate) known: bool,
}

impl Peers {
    /// Runs `learn.py WHAT FOLDER REST`, gives each line to `each` as soon as it comes. Whether they
    /// were asked now, not in an earlier run.
    pub(crate) fn ask(
        &self,
        what: &str,
        folder: &Folder,
        rest: &[&str],
        jobs: usize,
        mut each: impl FnMut(PeerLine),
    ) -> Result<bool, Fault> {
        let kept = folder.0.join(format!("peers-{what}.jsonl"));
        if self.known && kept.exists() {
            for line in fs::read_to_string(&kept)?.lines() {
                each(serde_json::from_str(line)?);
            }
            return Ok(false);
        }
        let mut command = Command::new(&self.python);
        command.args(["-W", "ignore"]).arg(&self.script).arg(what).arg(&folder.0).args(rest);
        for library in ["OMP", "OPENBLAS", "MKL"] {
            command.env(format!("{library}_NUM_THREADS"), jobs.to_string());
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = child.stdout.take().ok_or("its output was not piped")?;
        let mut found = String::new();
        for line in BufReader::new(lines).lines() {
            let line = line?;
            each(serde_json::from_str(&line)?);
            found = found + &line + "\n";
        }
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("the peers ended with {status}").into());
        }
        fs::write(kept, found)?;
        Ok(true)
    }
}
