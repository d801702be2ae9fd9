//! The fleet of the demo: `sensemble up --lab` as a child process, and its end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use client::Admin;
use proto::v1::DeviceView;
use runtime::backoff::Backoff;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::story::Story;
use crate::{
    failure::Failure,
    output::{self, Table},
};

/// How long the fleet may take until it answers.
const START_MAX: Duration = Duration::from_secs(40);
/// The five machines of the paper.
const DEVICES: usize = 5;
/// How long it may take to drain before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running fleet.
///
/// Its standard input is a pipe of ours, so that it ends when the demo is killed; it leads a process
/// group of its own, so that Ctrl-C reaches the demo alone and the demo stops it in order.
#[derive(Debug)]
pub(crate) struct Fleet {
    child: Child,
    log: PathBuf,
    scheduler: String,
}

impl Fleet {
    /// Starts it and waits until its scheduler answers.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not answer within [`START_MAX`].
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failure> {
        let log = dir.join("fleet.log");
        let state = dir.join("fleet");
        let addresses = state.join("addresses.json");
        // A kept folder may hold those of an earlier demo.
        let _not_there = fs::remove_file(&addresses);
        let file = File::create(&log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["up", "--parent-pipe", "--lab", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&state)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut fleet = Self { child, log, scheduler: String::new() };
        let deadline = Instant::now() + START_MAX;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        while fleet.scheduler.is_empty() {
            fleet.alive()?;
            if let Some(address) = scheduler(&addresses)
                && Admin::connect(&address).await.is_ok()
            {
                fleet.scheduler = address;
            } else if deadline < Instant::now() {
                let _killed = fleet.stop().await;
                return Err(Failure::new(format!(
                    "the fleet did not answer within {} s",
                    START_MAX.as_secs()
                )));
            } else {
                sleep(backoff.wait()).await;
            }
        }
        Ok(fleet)
    }

    /// Where its scheduler answers.
    pub(crate) fn scheduler(&self) -> &str {
        &self.scheduler
    }

    /// An error when it has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let last = last_line(&self.log);
                Err(Failure::new(format!("the fleet ended by itself ({status}): {last}")))
            }
        }
    }

    /// Asks it to drain and waits; kills what does not end in time.
    ///
    /// # Errors
    ///
    /// When it had to be killed or ended with an error.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        else {
            return Ok(());
        };
        let _gone_already = kill_process(pid, Signal::TERM);
        let ended = timeout(STOP_MAX, self.child.wait()).await;
        // What is left of the group, if anything is, has no parent that would stop it.
        let left = kill_process_group(pid, Signal::KILL).is_ok();
        match ended {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) && !left => Ok(()),
            Ok(Ok(status)) if status.success() => {
                Err(Failure::new("the fleet left processes behind; they were killed"))
            }
            Ok(Ok(status)) => Err(Failure::new(format!(
                "the fleet ended with {status}: {}",
                last_line(&self.log)
            ))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let _reaped = self.child.wait().await;
                Err(Failure::new(format!(
                    "the fleet did not drain within {} s and was killed",
                    STOP_MAX.as_secs()
                )))
            }
        }
    }
}

/// Waits until every device of the lab is there with its round trip measured, and tells of them.
pub(crate) async fn devices(admin: &Admin, story: &mut Story) -> Result<(), Failure> {
    let deadline = Instant::now() + START_MAX;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
    loop {
        let devices = admin.devices().await?;
        let whole = devices.iter().filter(|it| it.alive && !it.rtt.is_empty()).count();
        if DEVICES <= whole {
            story
                .say(format!("{whole} devices have joined, measured themselves and each other"))?;
            story.rows(&table(&devices).lines())?;
            for note in notes(&devices) {
                story.say(note)?;
            }
            return Ok(());
        }
        if deadline < Instant::now() {
            return Err(Failure::new(format!(
                "{whole} of {DEVICES} devices were measured within {} s",
                START_MAX.as_secs()
            )));
        }
        sleep(backoff.wait()).await;
    }
}

fn table(devices: &[DeviceView]) -> Table {
    let mut table = Table::new(&["device", "site", ">cores", ">round trip p95", ">madds/ns"]);
    for device in devices {
        let cores = device.capacity.as_ref().map_or(0.0, |it| it.cpu_cores);
        let rtt = device.rtt.iter().map(|it| it.p95_us).max();
        let speed = device.speed.as_ref().filter(|it| 0.0 < it.madd_ns).map(|it| 1.0 / it.madd_ns);
        table.row([
            device.device.clone(),
            device.site.clone(),
            format!("{cores:.2}"),
            rtt.map_or("–".to_owned(), output::micros),
            speed.map_or("–".to_owned(), |speed| format!("{speed:.2}")),
        ]);
    }
    table
}

/// What devices say that they do not do, each once.
fn notes(devices: &[DeviceView]) -> BTreeSet<String> {
    devices.iter().flat_map(|device| device.notes.iter().cloned()).collect()
}

/// The scheduler's address in `addresses.json`; `None` while it is not there.
fn scheduler(addresses: &Path) -> Option<String> {
    let text = fs::read_to_string(addresses).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    value.get("scheduler")?.as_str().map(str::to_owned)
}

/// The last line of a log, for an error; the whole log stands in the folder.
fn last_line(log: &Path) -> String {
    use io::{Read as _, Seek as _};
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(end.saturating_sub(2000)))?;
        let mut bytes = Vec::new();
        file.take(2000).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("its log is empty").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_there_or_not_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        assert_eq!(scheduler(&path), None);
        fs::write(&path, "{\"grpc\":\"127.0.0.1:1\"").unwrap();
        assert_eq!(scheduler(&path), None);
        fs::write(&path, "{\"scheduler\":\"127.0.0.1:7400\"}").unwrap();
        assert_eq!(scheduler(&path).as_deref(), Some("127.0.0.1:7400"));
    }

    #[test]
    fn the_end_of_a_log_is_found_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.log");
        assert_eq!(last_line(&path), "its log is empty");
        fs::write(&path, format!("{}\nit broke\n\n", "é".repeat(5000))).unwrap();
        assert_eq!(last_line(&path), "it broke");
    }
}
