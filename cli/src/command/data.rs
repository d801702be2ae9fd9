//! `sensemble data`: import samples, and see what there is.

mod import;

pub(in crate::command) use import::Labels;

use serde_json::json;

use crate::{
    command::Call,
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table},
};

/// Most features whose values are shown in a table without being asked for.
const COLUMNS_SHOWN_MAX: usize = 40;

/// What may be done with samples.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Import the labelled samples of a file, all or none.
    Import(import::Options),
    /// See what is odd about the samples of a file, without importing any.
    Check(import::Options),
    /// See how many samples a task has, of which classes, and what their values are.
    Stat {
        /// The task.
        task: String,
        /// Show every feature, however many there are.
        #[arg(long)]
        columns: bool,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::Import(options) => Box::pin(import::run(options, call)).await,
        Command::Check(options) => Box::pin(import::check(options, call)).await,
        Command::Stat { task, columns } => stat(&task, columns, call).await,
    }
}

async fn stat(name: &str, every_column: bool, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("the samples of {name:?} are not known");
    let admin = call.admin().await.doing(doing)?;
    let task = admin.task(name).await.doing(doing)?;
    let stat = admin.samples(name).await.doing(doing)?;
    let count = |class: usize| stat.per_class.get(class).copied().unwrap_or(0);
    if call.json() {
        output::json(&json!({
            "task": name, "rows": stat.rows, "corrections": stat.corrections,
            "groups": stat.groups,
            "per_class": task.classes.iter().enumerate()
                .map(|(class, name)| json!({ "class": name, "rows": count(class) }))
                .collect::<serde_json::Value>(),
            "columns": stat.columns.iter()
                .map(|it| json!({ "name": it.name, "min": it.min, "mean": it.mean, "max": it.max }))
                .collect::<serde_json::Value>(),
        }))?;
        return Ok(Outcome::Done);
    }
    output::line(format_args!(
        "{} rows, {} corrections, {} groups\n",
        stat.rows, stat.corrections, stat.groups
    ))?;
    let mut classes = Table::new(&["class", ">rows", ">share"]);
    for (class, name) in task.classes.iter().enumerate() {
        let mark = if *name == task.background { " (background)" } else { "" };
        #[expect(clippy::cast_precision_loss, reason = "a share to one decimal")]
        let share = count(class) as f64 / stat.rows.max(1) as f64;
        classes.row([format!("{name}{mark}"), count(class).to_string(), output::percent(share)]);
    }
    classes.print("")?;
    if !every_column && COLUMNS_SHOWN_MAX < stat.columns.len() {
        eprintln!("{} features; --columns shows them all", stat.columns.len());
        return Ok(Outcome::Done);
    }
    let mut columns = Table::new(&["feature", ">min", ">mean", ">max"]);
    for it in &stat.columns {
        columns.row([it.name.clone(), it.min.to_string(), it.mean.to_string(), it.max.to_string()]);
    }
    if !stat.columns.is_empty() {
        output::line("")?;
        columns.print("")?;
    }
    Ok(Outcome::Done)
}
