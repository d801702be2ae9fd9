//! One run of a training job: a child process of lower priority, which ends when this node does.

use std::{io, path::Path, process::Stdio, time::Duration};

use runtime::Drain;
use rustix::process::{Pid, setpriority_pgrp};
use tokio::process::{Child, Command};

use crate::{Config, jobs::Run, logs, logs::Log, process::Process};

/// How much lower than serving: half way down the scale, which is a tenth of the weight.
const NICE: i32 = 10;
/// How long a run may take to put away what it has, before it is killed.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Logs of earlier runs that are kept.
const LOGS_MAX: usize = 8;

/// The folder with results of steps, which one training leaves to the next; bounded by whoever writes there.
const STEPS: &str = "steps";

/// Why a run has no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainingError {
    /// Nowhere to write what it says.
    #[error("cannot open the log {path}")]
    Log {
        /// The log.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The program does not start.
    #[error("cannot start {program} training-worker")]
    Start {
        /// The program.
        program: std::path::PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A run with its process.
#[derive(Debug)]
pub(crate) struct Training {
    attempt: u64,
    child: Child,
    process: Process,
    log: Log,
}

impl Training {
    /// Starts the process of `run`.
    ///
    /// Its standard input is a pipe from us: however this node ends, the run ends too.
    ///
    /// # Errors
    ///
    /// [`TrainingError`].
    pub(crate) fn start(config: &Config, threads: u32, run: &Run) -> Result<Self, TrainingError> {
        let folder = config.data_dir.join("logs");
        logs::keep_newest(&folder, "training-", LOGS_MAX);
        let log = Log::new(&folder, &format!("training-{}-{}", run.job, run.attempt));
        let open = || {
            log.open().map_err(|source| TrainingError::Log { path: log.path().to_owned(), source })
        };
        let start_error = |source| TrainingError::Start { program: config.program.clone(), source };
        let child = Command::new(&config.program)
            .arg("training-worker")
            .arg(format!("--scheduler={}", config.scheduler))
            .arg(format!("--job={}", run.job))
            .arg(format!("--attempt={}", run.attempt))
            .arg(format!("--device={}", config.device))
            .arg(format!("--threads={threads}"))
            .arg(format!("--steps={}", config.data_dir.join(STEPS).display()))
            .arg("--parent-pipe")
            .stdin(Stdio::piped())
            .stdout(open()?)
            .stderr(open()?)
            // Out of reach of the terminal's ctrl-c: this node ends it, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start_error)?;
        let pid = child.id().unwrap_or_default();
        let process = Process::hold(pid).map_err(start_error)?;
        // The group, so that threads which it has started by now are meant too.
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Err(error) = setpriority_pgrp(group, NICE) {
            tracing::warn!(%error, job = run.job, "the priority of a training is not lowered");
        }
        Ok(Self { attempt: run.attempt, child, process, log })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it ends, of itself or because `stop` was asked for; `Err` with what it said last
    /// when it did not finish.
    pub(crate) async fn end(mut self, stop: Drain) -> Result<(), String> {
        tokio::select! {
            () = self.process.ended() => {}
            () = stop.wait() => {
                // Held until now: its end is what tells the run that this node is gone.
                drop(self.child.stdin.take());
                self.process.stop(DRAIN_MAX).await;
            }
        }
        let status = match self.child.wait().await {
            // Drained is not done, however well it ended.
            Ok(_) if stop.asked() => return Err(format!("attempt {} was stopped", self.attempt)),
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => format!("its end is not known: {error}"),
        };
        Err(fault(&status, &self.log))
    }
}

/// How it ended and what it said last, on one line.
pub(crate) fn fault(status: &str, log: &Log) -> String {
    let name = log.path().file_name().unwrap_or_default();
    match log.last_words().as_str() {
        "" => status.to_owned(),
        words => format!("{status}: {words} (logs/{})", Path::new(name).display()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A node whose program is a shell script.
    pub(crate) fn config(folder: &Path, script: &str) -> Config {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            device: "d".to_owned(),
            site: "home".to_owned(),
            data_dir: folder.to_owned(),
            scheduler: "127.0.0.1:1".to_owned(),
            grpc: anywhere,
            http: anywhere,
            metrics: anywhere,
            advertise: None,
            cpu_cores: None,
            memory_bytes: None,
            insecure: false,
            mqtt: None,
            traces: None,
            program,
        }
    }

    fn run() -> Run {
        Run { job: "j".to_owned(), attempt: 2 }
    }

    #[tokio::test]
    async fn a_run_that_finishes_is_done_and_was_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "echo \"$@\"; nice");
        let training = Training::start(&config, 3, &run()).unwrap();
        let log = training.log.clone();
        assert_eq!(training.end(Drain::new()).await, Ok(()));
        let said = fs::read_to_string(log.path()).unwrap();
        let told = format!(
            "training-worker --scheduler=127.0.0.1:1 --job=j --attempt=2 --device=d --threads=3 \
             --steps={} --parent-pipe",
            folder.path().join("steps").display()
        );
        assert!(said.starts_with(&told), "{said}");
    }

    #[tokio::test]
    async fn a_run_that_fails_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "echo no samples >&2; exit 1");
        let training = Training::start(&config, 1, &run()).unwrap();
        let fault = training.end(Drain::new()).await.unwrap_err();
        assert_eq!(fault, "exit status: 1: no samples (logs/training-j-2.log)");
    }

    #[tokio::test]
    async fn a_run_has_a_lower_priority_and_ends_when_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        // Ends when its standard input does, as a training worker would.
        let config = config(folder.path(), "trap '' TERM; cat >/dev/null");
        let training = Training::start(&config, 1, &run()).unwrap();
        let pid = Pid::from_raw(i32::try_from(training.pid()).unwrap());
        assert_eq!(rustix::process::getpriority_process(pid).unwrap(), NICE);
        let stop = Drain::new();
        stop.ask();
        assert!(training.end(stop).await.is_err(), "stopped is not done");
    }
}
