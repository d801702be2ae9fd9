//! `sensemble model`: the revisions of a task.

use serde_json::{Value, json};

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table, bytes, percent},
};

/// What may be done with revisions.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the revisions of a task.
    List {
        /// The task.
        task: String,
    },
    /// Bring an older revision back, as a new one.
    Rollback {
        /// The task.
        task: String,
        /// The revision to bring back; the one before the current when absent.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        revision: Option<u64>,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::List { task } => list_all(&task, call).await,
        Command::Rollback { task, revision } => {
            let doing = || format!("{task:?} was not rolled back");
            let admin = call.admin().await.doing(doing)?;
            let new = admin.roll_back(&task, revision).await.doing(doing)?;
            if call.json() {
                output::json(&json!({ "task": task, "revision": new }))?;
            } else {
                let back = revision.map_or_else(
                    || "the revision before".to_owned(),
                    |revision| format!("revision {revision}"),
                );
                output::line(format_args!("{task} is at revision {new} now, which is {back}"))?;
            }
            Ok(Outcome::Done)
        }
    }
}

async fn list_all(task: &str, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("the revisions of {task:?} are not known");
    let revisions = call.admin().await.doing(doing)?.revisions(task).await.doing(doing)?;
    if call.json() {
        output::json(&revisions.iter().map(view::revised).collect::<Value>())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        ">revision",
        "current",
        "released",
        ">members",
        ">held-out accuracy",
        ">missed events",
        ">size",
        "digest",
        "job",
        "note",
    ]);
    for it in &revisions {
        let report = it.report.as_ref();
        let held_out = report.and_then(|report| report.held_out.as_ref());
        let share = |of: fn(&proto::v1::Measured) -> f64| {
            held_out.filter(|it| it.rows != 0).map_or_else(|| "-".to_owned(), |it| percent(of(it)))
        };
        table.row([
            it.revision.to_string(),
            if it.current { "yes" } else { "" }.to_owned(),
            output::time(it.at_ms),
            report.map_or_else(|| "-".to_owned(), |report| report.members.len().to_string()),
            share(|it| it.accuracy),
            share(|it| it.missed_events),
            bytes(it.bundle_bytes),
            runtime::secret::hex(&it.digest[..it.digest.len().min(6)]),
            it.job.clone(),
            note(it),
        ]);
    }
    table.print("there are no revisions: train the task with `sensemble train run`")?;
    Ok(Outcome::Done)
}

fn note(it: &proto::v1::RevisionView) -> String {
    if it.rollback_of != 0 {
        return format!("revision {} again", it.rollback_of);
    }
    match &it.comparison {
        Some(it) => format!(
            "against the one before: {} more right, {} more wrong of {}",
            it.only_candidate_right, it.only_baseline_right, it.rows
        ),
        None => String::new(),
    }
}
