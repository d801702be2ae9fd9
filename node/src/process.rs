//! A process that we watch and may end, whether it is a child of ours or was left by an earlier
//! node.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{Interest, unix::AsyncFd};

/// A hold on one process: it can never mean another one that got the same number later.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    hold: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes hold of process `pid`.
    ///
    /// # Errors
    ///
    /// When there is no such process, or the kernel is older than 5.3.
    pub fn hold(pid: u32) -> io::Result<Self> {
        let none = || io::Error::from(io::ErrorKind::NotFound);
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(none)?;
        let hold = pidfd_open(number, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "unsound for types whose descriptor may change; an OwnedFd keeps its own, \
                      and what replaces this is an unsafe function"
        )]
        let hold = AsyncFd::with_interest(hold, Interest::READABLE)?;
        Ok(Self { pid, hold })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        // An error here is a broken runtime: better to look again than to wait for ever.
        if let Err(error) = self.hold.readable().await {
            tracing::debug!(%error, "the end of a process was not awaited");
        }
    }

    /// Sends it a signal; harmless when it has ended.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.hold, signal) {
            tracing::debug!(pid = self.pid, %error, "signal not sent");
        }
    }

    /// Asks it to drain, and ends it when it has not within `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "did not drain in time, killed");
            self.signal(Signal::KILL);
            self.ended().await;
        }
    }
}

/// The words that process `pid` was started with; none when it has ended or is hidden.
#[must_use]
pub fn words(pid: u32) -> Vec<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0)
        .map(|word| PathBuf::from(OsString::from_vec(word.to_vec())))
        .collect()
}

/// Whether process `pid` was started with all of `wanted` on its command line.
pub(crate) fn was_started_with(pid: u32, wanted: &[&Path]) -> bool {
    let words = words(pid);
    wanted.iter().all(|wanted| words.iter().any(|word| word == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_will_not_drain_is_killed() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let process = Process::hold(child.id()).unwrap();
        assert!(was_started_with(process.pid(), &[Path::new("sh"), Path::new("-c")]));
        assert!(!was_started_with(process.pid(), &[Path::new("serving-worker")]));
        process.stop(Duration::from_millis(50)).await;
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(Process::hold(0).is_err());
    }
}
