//! `sensemble task`: write, apply, list, show and remove tasks.

mod init;

use std::path::PathBuf;

use serde_json::json;

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table, list},
};

/// What may be done with tasks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a first task file from a table of samples, to edit and to apply.
    Init(Box<init::Options>),
    /// Admit the task of a file, or replace its policy.
    Apply {
        /// The task file.
        file: PathBuf,
    },
    /// List the tasks.
    List,
    /// Show a task and its file.
    Show {
        /// The task.
        name: String,
    },
    /// Remove a task: it is served no longer.
    Rm {
        /// The task.
        name: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::Init(options) => init::run(&options, call),
        Command::Apply { file } => apply(file, call).await,
        Command::List => list_all(call).await,
        Command::Show { name } => show(&name, call).await,
        Command::Rm { name } => {
            let doing = || format!("the task {name:?} was not removed");
            call.admin().await.doing(doing)?.remove_task(&name).await.doing(doing)?;
            match call.json() {
                true => output::json(&json!({ "task": name, "removed": true }))?,
                false => output::line(format_args!("removed {name}"))?,
            }
            Ok(Outcome::Done)
        }
    }
}

async fn apply(file: PathBuf, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{} was not applied", file.display());
    let toml = std::fs::read_to_string(&file).doing(doing)?;
    let reply = call.admin().await.doing(doing)?.apply_task(&toml).await.doing(doing)?;
    let task = &reply.task;
    if call.json() {
        output::json(&json!({
            "task": task, "created": reply.created, "unmet": reply.unmet,
        }))?;
    } else {
        output::line(format_args!("{} {task}", if reply.created { "created" } else { "updated" }))?;
        for unmet in &reply.unmet {
            output::line(format_args!("  not met yet: {unmet}"))?;
        }
        if reply.created {
            output::line(format_args!(
                "next: sensemble data import {task} FILE --label COLUMN, then sensemble train run {task} --wait"
            ))?;
        }
    }
    // A new task is not served before it is trained: that is no reason to worry a script.
    Ok(if reply.created || reply.unmet.is_empty() { Outcome::Done } else { Outcome::Unsatisfied })
}

async fn list_all(call: &Call) -> Result<Outcome, Failure> {
    let tasks = call.admin().await?.tasks().await.doing(|| "the tasks are not known".to_owned())?;
    if call.json() {
        output::json(&tasks.iter().map(view::task).collect())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        "task",
        "objective",
        ">features",
        ">classes",
        ">samples",
        ">corrections",
        ">revision",
        "served by",
        "not met",
    ]);
    for task in &tasks {
        table.row([
            task.name.clone(),
            task.objective.clone(),
            task.features.len().to_string(),
            task.classes.len().to_string(),
            task.samples.to_string(),
            task.corrections.to_string(),
            view::revision(task.revision),
            list(&task.devices),
            list(&task.unmet),
        ]);
    }
    table.print("there are no tasks: write one with `sensemble task init`")?;
    Ok(Outcome::Done)
}

async fn show(name: &str, call: &Call) -> Result<Outcome, Failure> {
    let task = call.admin().await?.task(name).await?;
    if call.json() {
        output::json(&view::task(&task))?;
        return Ok(Outcome::Done);
    }
    output::line(format_args!("task         {}", task.name))?;
    output::line(format_args!("objective    {}", task.objective))?;
    output::line(format_args!("features     {}", task.features.len()))?;
    output::line(format_args!("classes      {}", task.classes.join(", ")))?;
    let background = if task.background.is_empty() { "none" } else { &task.background };
    output::line(format_args!("background   {background}"))?;
    output::line(format_args!("samples      {}", task.samples))?;
    output::line(format_args!("corrections  {}", task.corrections))?;
    output::line(format_args!("revision     {}", view::revision(task.revision)))?;
    output::line(format_args!("served by    {}", list(&task.devices)))?;
    for unmet in &task.unmet {
        output::line(format_args!("not met      {unmet}"))?;
    }
    output::line(format_args!("\n{}", task.toml.trim_end()))?;
    Ok(Outcome::Done)
}
