//! The processes of a story: found by the mark in their environment, so that none is overlooked.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// The variable whose value marks every process of one story; children inherit it.
pub const MARK: &str = "SENSEMBLE_STORY";

/// A process of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, words separated by spaces.
    pub command: String,
}

impl Process {
    /// Ends it at once: it gets no chance to finish anything.
    pub fn kill_9(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may have ended by itself in the meantime; that is as good.
            let _ended = kill_process(pid, Signal::KILL);
        }
    }

    /// Makes it stand still, as a machine that is asleep.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).expect("a process has an id");
        kill_process(pid, signal).expect("it runs");
    }

    /// Whether it still runs (a zombie does not).
    ///
    /// A killed process loses its environment first and its files, with their locks, a moment later;
    /// only as a zombie it has let go of everything.
    #[must_use]
    pub fn runs(&self) -> bool {
        match fs::read(format!("/proc/{}/environ", self.pid)) {
            // Another process has its id by now.
            Ok(environment) if !environment.is_empty() => marked_value(self.pid).is_some(),
            Ok(_) | Err(_) => is_dying(self.pid),
        }
    }
}

/// Every running process that carries `mark`, by id.
#[must_use]
pub fn marked(mark: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| marked_value(pid).as_deref() == Some(mark))
        .map(|pid| Process { pid, command: command(pid) })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn marked_value(pid: i32) -> Option<String> {
    // Empty for a zombie, unreadable for a stranger's process: neither is one of ours.
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .find_map(|(name, value)| (name == MARK).then(|| value.to_owned()))
}

/// Whether a process without an environment has not come to its end yet.
fn is_dying(pid: i32) -> bool {
    // `pid (command) state …`, and the command may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    // Killed, the first thread may be done before others, which hold files and locks until they are.
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state.is_some_and(|state| !matches!(state, 'Z' | 'X') || 1 < threads())
}

fn command(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim().to_owned()
}
