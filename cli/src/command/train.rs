//! `sensemble train`: train a task, and see what is being trained.

mod status;
mod watch;

use std::time::Duration;

use client::Admin;
use proto::v1;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    command::Call,
    failure::{Doing as _, Failure, Outcome},
    output,
};

/// How long a trained revision may take until a device says that it serves it.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// How often that is asked.
const ASK: Duration = Duration::from_millis(200);

/// What may be done with trainings.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Train a task on all of its samples and corrections.
    Run {
        /// The task.
        task: String,
        /// Follow the training to its end, and wait until its last revision is served. Exit status 2
        /// when it failed or nothing of it was released.
        #[arg(long)]
        wait: bool,
    },
    /// See the trainings and how far they are.
    Status {
        /// Only those of this task.
        task: Option<String>,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::Run { task, wait } => start(&task, wait, call).await,
        Command::Status { task } => status::run(task.as_deref(), call).await,
    }
}

async fn start(task: &str, wait: bool, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{task:?} was not trained");
    let admin = call.admin().await.doing(doing)?;
    let job = admin.train(task).await.doing(doing)?;
    if !wait {
        if call.json() {
            output::json(&json!({ "job": job, "task": task }))?;
        } else {
            output::line(format_args!("started {job}"))?;
            output::line("next: sensemble train status, or sensemble events --follow")?;
        }
        return Ok(Outcome::Done);
    }
    let ended = Box::pin(watch::to_its_end(&admin, task, &job, call)).await.doing(doing)?;
    let Some(revision) = ended.released else {
        return Ok(Outcome::Unsatisfied);
    };
    match served(&admin, task, revision).await? {
        Ok(devices) => {
            if !call.json() {
                output::line(format_args!("served by {}", output::list(&devices)))?;
            }
            Ok(if ended.failed { Outcome::Unsatisfied } else { Outcome::Done })
        }
        Err(why) => {
            eprintln!("sensemble: revision {revision} of {task:?} is not served: {why}");
            eprintln!("  hint: sensemble placement explain {task}");
            Ok(Outcome::Unsatisfied)
        }
    }
}

/// Waits until `task` is served as `revision` or newer: by which devices, or why not.
async fn served(
    admin: &Admin,
    task: &str,
    revision: u64,
) -> Result<Result<Vec<String>, String>, Failure> {
    let latest = Instant::now() + SERVED_MAX;
    loop {
        let placements = admin.placements(task).await?;
        let why = match who_serves(&placements, revision) {
            Ok(devices) => return Ok(Ok(devices)),
            Err(why) => why,
        };
        if latest <= Instant::now() {
            return Ok(Err(why));
        }
        tokio::time::sleep(ASK).await;
    }
}

/// The devices of `placements`, when all of them serve `revision` or newer; else why not.
fn who_serves(placements: &[v1::PlacementView], revision: u64) -> Result<Vec<String>, String> {
    if placements.is_empty() {
        return Err("it is placed nowhere".to_owned());
    }
    let mut devices = Vec::new();
    for placement in placements {
        let device = &placement.device;
        match &placement.observed {
            None => return Err(format!("{device} has not taken it up")),
            Some(served) if !served.fault.is_empty() => {
                return Err(format!("{device}: {}", served.fault));
            }
            Some(served) if served.revision < revision => {
                return Err(format!("{device} still serves revision {}", served.revision));
            }
            Some(_) => devices.push(device.clone()),
        }
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_must_serve_the_revision() {
        let on = |device: &str, revision: Option<u64>, fault: &str| v1::PlacementView {
            device: device.to_owned(),
            observed: revision.map(|revision| v1::ServedTask {
                revision,
                fault: fault.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(who_serves(&[], 3).unwrap_err(), "it is placed nowhere");
        let served = [on("pi", Some(3), ""), on("nuc", Some(4), "")];
        assert_eq!(who_serves(&served, 3).unwrap(), ["pi", "nuc"]);
        let cases = [
            (on("pi", None, ""), "pi has not taken it up"),
            (on("pi", Some(2), ""), "pi still serves revision 2"),
            (on("pi", Some(3), "no such bundle"), "pi: no such bundle"),
        ];
        for (placement, why) in cases {
            assert_eq!(who_serves(&[on("nuc", Some(3), ""), placement], 3).unwrap_err(), why);
        }
    }
}
