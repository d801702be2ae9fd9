//! `sensemble member`: classifiers of one's own, fitted elsewhere, beside those that are fitted here.

mod classes;
mod expectation;
mod import;
mod parity;

use serde_json::{Value, json};

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table, bytes, percent},
};

/// What may be done with members that were fitted elsewhere.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Import a classifier from an ONNX file; the next training weighs it beside those it fits.
    Import(import::Options),
    /// List the imported members of a task, and what each counts in the vote.
    List {
        /// The task.
        task: String,
    },
    /// Give an imported member up; what is served keeps it until the next training.
    Remove {
        /// The task.
        task: String,
        /// Its name.
        name: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::Import(options) => Box::pin(import::run(options, call)).await,
        Command::List { task } => list_all(&task, call).await,
        Command::Remove { task, name } => {
            let doing = || format!("{name:?} of {task:?} was not removed");
            let admin = call.admin().await.doing(doing)?;
            admin.remove_member(&task, &name).await.doing(doing)?;
            if call.json() {
                output::json(&json!({ "task": task, "removed": name }))?;
            } else {
                output::line(format_args!("{task} will be trained without {name:?}"))?;
            }
            Ok(Outcome::Done)
        }
    }
}

async fn list_all(task: &str, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("the imported members of {task:?} are not known");
    let members = call.admin().await.doing(doing)?.members(task).await.doing(doing)?;
    if call.json() {
        output::json(&members.iter().map(view::imported).collect::<Value>())?;
        return Ok(Outcome::Done);
    }
    let mut table =
        Table::new(&["name", "family", ">size", "imported", ">accuracy", ">weight", "from"]);
    for it in &members {
        let known = |text: String| if it.weighed { text } else { "not weighed yet".to_owned() };
        table.row([
            it.name.clone(),
            it.family.clone(),
            bytes(it.bundle_bytes),
            output::time(it.at_ms),
            known(percent(it.accuracy)),
            known(if it.weight == 0.0 {
                "left out".to_owned()
            } else {
                format!("{:.3}", it.weight)
            }),
            it.source.clone(),
        ]);
    }
    table.print("there are no imported members: `sensemble member import` takes an ONNX file")?;
    Ok(Outcome::Done)
}
