//! A child process that is started again when it ends.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use node::logs::Log;
use runtime::{Drain, backoff::Backoff};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{READY_MAX, UpError};

/// A child that has never answered is given up after this many ends: it will not.
const FAILURES_MAX: u32 = 3;
/// A child that lived this long did not fail at its start.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// How often a child's log is kept within its size.
const BOUND_EVERY: Duration = Duration::from_secs(30);
/// `EX_USAGE`: it was told something that cannot be, and will be told the same again.
const USAGE: i32 = 64;

/// Why a child does not run.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It cannot be started.
    #[error("cannot start {program}: {reason}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It ended, and starting it again would not help.
    #[error("{status}: {last_words} (see {log})")]
    Ended {
        /// How.
        status: String,
        /// What it said last.
        last_words: String,
        /// Everything that it said.
        log: PathBuf,
    },
    /// What watches it failed: a fault of ours.
    #[error("its supervisor ended")]
    Supervisor,
}

/// What a child is.
pub(super) struct Role {
    /// As people know it.
    pub(super) name: String,
    pub(super) program: PathBuf,
    /// What it is told at every start.
    pub(super) words: Vec<OsString>,
    pub(super) insecure: bool,
    /// What it is told in its environment: the broker and the collector, if there are any.
    pub(super) environment: Vec<(String, String)>,
    pub(super) log: Log,
    /// How long it may take to drain.
    pub(super) stop_max: Duration,
}

/// A child, supervised.
pub(super) struct Child {
    name: String,
    stop: Drain,
    ready: watch::Sender<bool>,
    task: JoinHandle<Result<(), ChildError>>,
}

impl Child {
    /// Starts it, and starts it again when it ends; `more` gives what else it is told.
    pub(super) fn start(
        role: Role,
        more: impl Fn() -> Vec<OsString> + Send + Sync + 'static,
    ) -> Self {
        let (name, stop) = (role.name.clone(), Drain::new());
        let (ready, is_ready) = watch::channel(false);
        let task = runtime::spawn::named("child", supervise(role, more, stop.clone(), is_ready));
        Self { name, stop, ready, task }
    }

    /// As people know it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for `answer`, the sign that it is ready. From then on it is never given up.
    ///
    /// # Errors
    ///
    /// When it gave up before, or took longer than [`READY_MAX`].
    pub(super) async fn until_ready<T>(
        &mut self,
        log: &Path,
        answer: impl Future<Output = T>,
    ) -> Result<T, UpError> {
        let answered = tokio::select! {
            answered = timeout(READY_MAX, answer) => answered,
            error = self.given_up() => return Err(error),
        };
        let late = || UpError::Late { name: self.name.clone(), log: log.to_owned() };
        let answered = answered.map_err(|_| late())?;
        self.ready.send_replace(true);
        Ok(answered)
    }

    /// Returns when it is not started again any more.
    pub(super) async fn given_up(&mut self) -> UpError {
        let source = match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => ChildError::Supervisor,
        };
        UpError::Child { name: self.name.clone(), source }
    }

    /// Asks it to drain, and kills it when it does not in time.
    pub(super) async fn stop(self) {
        self.stop.ask();
        if self.task.is_finished() {
            return;
        }
        match self.task.await {
            Ok(Ok(())) => tracing::info!(name = self.name, "stopped"),
            Ok(Err(error)) => {
                tracing::warn!(name = self.name, error = %runtime::Report(&error), "had given up");
            }
            Err(error) => tracing::error!(name = self.name, %error, "its supervisor failed"),
        }
    }
}

async fn supervise(
    role: Role,
    more: impl Fn() -> Vec<OsString> + Send + Sync + 'static,
    stop: Drain,
    is_ready: watch::Receiver<bool>,
) -> Result<(), ChildError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let Some(status) = once(&role, more(), &stop).await.map_err(|error| ChildError::Start {
            program: role.program.clone(),
            reason: error.to_string(),
        })?
        else {
            return Ok(());
        };
        if STEADY_AFTER < began.elapsed() {
            backoff.reset();
            failures = 0;
        }
        failures += 1;
        let hopeless = status.code() == Some(USAGE) || FAILURES_MAX <= failures;
        if hopeless && !*is_ready.borrow() {
            return Err(ChildError::Ended {
                status: status.to_string(),
                last_words: role.log.last_words(),
                log: role.log.path().to_owned(),
            });
        }
        let wait = backoff.wait();
        tracing::warn!(name = role.name, %status, ?wait, "ended; it is started again");
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Starts it once and waits for its end; `None` when it was asked to stop.
async fn once(role: &Role, more: Vec<OsString>, stop: &Drain) -> io::Result<Option<ExitStatus>> {
    let mut command = Command::new(&role.program);
    command
        .args(&role.words)
        .envs(role.environment.iter().map(|(name, value)| (name, value)))
        .args(more)
        .arg("--parent-pipe")
        .stdin(Stdio::piped())
        .stdout(role.log.open()?)
        .stderr(role.log.open()?)
        // Out of reach of the terminal's ctrl-c: we stop them, in order.
        .process_group(0)
        .kill_on_drop(true);
    if role.insecure {
        command.arg("--insecure");
    }
    let mut child = command.spawn()?;
    let pid = child.id();
    // Held by us for as long as this function runs; `wait` would close it at once.
    let pipe = child.stdin.take();
    tracing::info!(name = role.name, pid, "started");
    let bound = async {
        loop {
            tokio::time::sleep(BOUND_EVERY).await;
            if let Err(error) = role.log.bound() {
                tracing::warn!(%error, name = role.name, "its log is not kept short");
            }
        }
    };
    tokio::select! {
        status = child.wait() => return status.map(Some),
        () = stop.wait() => {}
        () = bound => {}
    }
    drop(pipe);
    // The child is ours and not reaped yet: the number means it and no other.
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::debug!(%error, name = role.name, "not asked to stop");
    }
    if let Ok(status) = timeout(role.stop_max, child.wait()).await {
        let status = status?;
        if !status.success() {
            tracing::warn!(name = role.name, %status, "did not drain well");
        }
    } else {
        tracing::warn!(name = role.name, "did not drain in time, killed");
        child.kill().await?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn role(folder: &Path, script: &str) -> Role {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Role {
            name: "thing".to_owned(),
            program,
            words: vec!["thing".into()],
            insecure: false,
            environment: Vec::new(),
            log: Log::new(folder, "thing"),
            stop_max: Duration::from_secs(5),
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_child_that_was_killed_is_started_again_with_what_is_known_by_then() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("thing.log");
        // Lives until its standard input ends, as ours do.
        let role = role(folder.path(), "echo $$ $*; exec cat >/dev/null");
        let starts = std::sync::atomic::AtomicU32::new(0);
        let mut child = Child::start(role, move || {
            let start = starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            vec![format!("start-{start}").into()]
        });
        child.until_ready(&log, async {}).await.unwrap();
        let said = || fs::read_to_string(&log).unwrap_or_default();
        for start in 0..5 {
            let line = format!("thing start-{start} --parent-pipe");
            until("it was started", || said().contains(&line)).await;
            let line = said().lines().last().unwrap().to_owned();
            let pid = line.split(' ').next().unwrap().parse().unwrap();
            if start < 4 {
                kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            }
        }
        child.stop().await;
        assert_eq!(said().lines().count(), 5, "stopped is not started again");
    }

    #[tokio::test]
    async fn a_child_that_never_was_ready_is_given_up_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("thing.log");
        let role = role(folder.path(), "echo start; echo the port is taken >&2; exit 1");
        let mut child = Child::start(role, Vec::new);
        let error = child.until_ready(&log, std::future::pending::<()>()).await.unwrap_err();
        let text = runtime::Report(&error).to_string();
        assert!(
            text.contains("the thing does not run: exit status: 1: the port is taken"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(&log).unwrap().matches("start\n").count(), 3);
    }

    #[tokio::test]
    async fn a_child_that_was_told_nonsense_is_not_started_twice() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("thing.log");
        let mut child = Child::start(role(folder.path(), "echo start; exit 64"), Vec::new);
        assert!(child.until_ready(&log, std::future::pending::<()>()).await.is_err());
        assert_eq!(fs::read_to_string(&log).unwrap(), "start\n");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let role = Role { program: "/not/there".into(), ..role(folder.path(), "") };
        let mut child = Child::start(role, Vec::new);
        let error = child.until_ready(folder.path(), std::future::pending::<()>()).await;
        let text = runtime::Report(&error.unwrap_err()).to_string();
        assert!(text.contains("cannot start /not/there"), "{text}");
    }
}
