//! One running Sensemble with a folder of its own, and the certainty that it ends with the story.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app::{App, admin},
    command::{Outcome, program},
    process::{self, MARK, Process},
    wait::until,
};

/// Longest wait for something to start, on a machine that is busy with other things.
pub const START_MAX: Duration = Duration::from_secs(60);

/// Stories of one test program take turns: each loads the machine by itself.
static TURN: Mutex<()> = Mutex::new(());

/// The processes of one story.
pub struct Sensemble {
    folder: TempDir,
    mark: String,
    children: Vec<(String, Child)>,
    scheduler: String,
    /// What every process of the story is told in its environment.
    environment: Vec<(String, String)>,
    _turn: MutexGuard<'static, ()>,
}

impl Sensemble {
    /// A folder and no process yet.
    ///
    /// # Panics
    ///
    /// When no folder can be made.
    #[must_use]
    pub fn nothing() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = TempDir::with_prefix("sensemble-story-").expect("a folder for the story");
        let mark = folder.path().display().to_string();
        let (children, environment) = (Vec::new(), Vec::new());
        Self { folder, mark, children, scheduler: String::new(), environment, _turn: turn }
    }

    /// Tells every process that is started from now on so, in its environment.
    pub fn tell(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A scheduler and one node with the name `device`, each started by itself.
    ///
    /// # Panics
    ///
    /// When one of them does not come.
    #[must_use]
    pub fn fleet_of_one(device: &str) -> Self {
        let mut it = Self::nothing();
        it.start_scheduler("127.0.0.1:0");
        let _addresses = it.start_node(device);
        it
    }

    /// `sensemble up` with `words` behind it, once it says that it is ready.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    #[must_use]
    pub fn up(words: &[&str]) -> Self {
        let mut it = Self::nothing();
        it.start_up(words);
        it
    }

    /// Starts `sensemble up` (again) on the folder and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub fn start_up(&mut self, words: &[&str]) {
        let data = self.data();
        let addresses = data.join("addresses.json");
        // What an earlier life wrote must not be taken for the answer of this one.
        let _there_was_none = fs::remove_file(&addresses);
        let folder = data.display().to_string();
        let mut all = vec!["up", "--data-dir", &folder, "--listen", "127.0.0.1:0"];
        all.extend(words);
        self.start("up", &all);
        let log = self.path("up.out");
        until("`up` to be ready", START_MAX, || {
            self.assert_running("up");
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.lines().any(|line| line.trim() == "ready") { Ok(()) } else { Err(said) }
        });
        let addresses = json_file(&addresses).expect("`ready` comes after addresses.json");
        self.scheduler = text(&addresses["scheduler"]);
    }

    /// Starts `sensemble scheduler` (again) and waits for its address.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn start_scheduler(&mut self, listen: &str) {
        let data = self.path("scheduler");
        let address = data.join("address.json");
        let _there_was_none = fs::remove_file(&address);
        let folder = data.display().to_string();
        let words = ["scheduler", "--data-dir", &folder, "--listen", listen];
        self.start("scheduler", &words);
        self.scheduler = until("the scheduler's address", START_MAX, || {
            self.assert_running("scheduler");
            json_file(&address).map(|address| text(&address["address"]))
        });
    }

    /// Starts `sensemble node` (again) under the scheduler and waits for its serving worker.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn start_node(&mut self, device: &str) -> Value {
        self.start_node_with(device, &[])
    }

    /// As [`Sensemble::start_node`], with more words.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn start_node_with(&mut self, device: &str, more: &[&str]) -> Value {
        let data = self.path(device);
        let addresses = data.join("addresses.json");
        let _there_was_none = fs::remove_file(&addresses);
        let folder = data.display().to_string();
        let scheduler = self.scheduler.clone();
        let any = "127.0.0.1:0";
        let words = [
            "node",
            "--device",
            device,
            "--data-dir",
            &folder,
            "--scheduler",
            &scheduler,
            "--grpc",
            any,
            "--http",
            any,
            "--metrics",
            any,
        ];
        self.start(device, &[&words, more].concat());
        until("the node's addresses", START_MAX, || {
            self.assert_running(device);
            json_file(&addresses)
        })
    }

    /// Starts the binary with `words`; its output goes to `NAME.out` and `NAME.err`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(&mut self, name: &str, words: &[&str]) {
        let log = |end: &str| {
            let path = self.path(&format!("{name}.{end}"));
            File::options()
                .create(true)
                .append(end == "err")
                .write(true)
                .truncate(end == "out")
                .open(path)
                .expect("a story may write to its folder")
        };
        let child = self
            .command(words)
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .expect("the binary starts");
        self.children.push((name.to_owned(), child));
    }

    /// Runs `sensemble WORDS` to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Outcome {
        let output = self.command(words).stdin(Stdio::null()).output().expect("the binary starts");
        Outcome::of(words, &output)
    }

    /// Runs `sensemble WORDS -o json`, which has to succeed, and gives what it wrote.
    ///
    /// # Panics
    ///
    /// When it does not succeed or does not write JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self, words: &[&str]) -> Vec<Value> {
        let mut all = words.to_vec();
        all.extend(["-o", "json"]);
        self.run(&all).good().values()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).env(MARK, &self.mark).current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for name in ["SENSEMBLE_BIN", "SENSEMBLE_SKIPPED", "SENSEMBLE_DATA"] {
            command.env_remove(name);
        }
        if !self.scheduler.is_empty() {
            command.env("SENSEMBLE_SCHEDULER", &self.scheduler);
        }
        command
    }

    /// Waits until the newest revision of `task` is served wherever it is placed.
    ///
    /// # Panics
    ///
    /// When that does not come about.
    #[track_caller]
    pub fn wait_until_served(&self, task: &str) -> u64 {
        until("the newest revision to be served", START_MAX, || {
            let (revisions, placements) = admin(&self.scheduler, |admin| async move {
                Ok((admin.revisions(task).await?, admin.placements(task).await?))
            })
            .map_err(|error| error.to_string())?;
            let current = revisions.iter().find(|it| it.current).map_or(0, |it| it.revision);
            let served = placements.iter().all(|it| {
                let now = it.observed.as_ref();
                now.is_some_and(|now| now.revision == current && now.fault.is_empty())
            });
            let good = current > 0 && !placements.is_empty() && served;
            if good { Ok(current) } else { Err(format!("{current}: {placements:?}")) }
        })
    }

    /// A connection to the serving worker of `task`.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn app(&self, task: &str) -> App {
        App::connect(&self.serving_address(task)).expect("a serving worker answers there")
    }

    /// Where `task` is served.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    #[must_use]
    pub fn serving_address(&self, task: &str) -> String {
        let placements =
            admin(&self.scheduler, |admin| async move { admin.placements(task).await });
        let placements = placements.expect("the scheduler says where a task is served");
        placements.first().expect("the task is placed").serving_address.clone()
    }

    /// The scheduler's address.
    #[must_use]
    pub fn scheduler(&self) -> &str {
        &self.scheduler
    }

    /// The folder of the story.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder of the story.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder of `up`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The running processes of the story whose command is `role`, by id.
    #[must_use]
    pub fn processes(&self, role: &str) -> Vec<Process> {
        let mut found = process::marked(&self.mark);
        found.retain(|process| process.command.split(' ').nth(1) == Some(role));
        found
    }

    /// Kills every running process whose command is `role`, at once; how many there were.
    ///
    /// # Panics
    ///
    /// When there is none: a story that kills nothing proves nothing.
    #[track_caller]
    pub fn kill_9(&mut self, role: &str) -> usize {
        let found = self.processes(role);
        assert!(!found.is_empty(), "there is no {role} to kill");
        for process in &found {
            process.kill_9();
        }
        // Reaps our own children, so that their ports and locks are free for the next life.
        until("the killed process to be gone", START_MAX, || {
            for (_, child) in &mut self.children {
                let _still_running = child.try_wait();
            }
            let left: Vec<_> = found.iter().filter(|process| process.runs()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        self.children.retain_mut(|(_, child)| child.try_wait().is_ok_and(|ended| ended.is_none()));
        found.len()
    }

    #[track_caller]
    fn assert_running(&self, name: &str) {
        let pid = self.children.iter().rev().find(|(known, _)| known == name);
        let pid = pid.map_or(0, |(_, child)| child.id());
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = state.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
        assert!(!state.is_empty() && !zombie, "`{name}` ended: {}", self.logs());
    }

    /// The ends of all logs of the story.
    fn logs(&self) -> String {
        let mut text = String::new();
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|it| it == "err" || it == "out"))
            .collect();
        files.sort();
        for path in files {
            let whole = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = whole.lines().collect();
            let end = &lines[lines.len().saturating_sub(60)..];
            text.push_str(&format!("\n--- {}\n{}\n", path.display(), end.join("\n")));
        }
        text
    }
}

impl Drop for Sensemble {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // A supervisor may be starting another one just now: ask until nobody is left.
        for _ in 0..100 {
            let left = process::marked(&self.mark);
            for process in &left {
                process.kill_9();
            }
            for (_, child) in &mut self.children {
                let _reaped = child.try_wait();
            }
            if left.is_empty() {
                break;
            }
            thread::sleep(crate::wait::PAUSE);
        }
    }
}

/// A JSON file that another process writes.
///
/// # Errors
///
/// In words, while it is not there or not whole.
pub fn json_file(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(value: &Value) -> String {
    value.as_str().expect("an address is text").to_owned()
}
