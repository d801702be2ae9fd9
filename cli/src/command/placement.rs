//! `sensemble placement`: which device serves which task, and why.

use serde_json::Value;

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table, list, micros, percent},
};

/// What may be asked of placements.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List which device serves which task, with which members.
    List {
        /// Only this task.
        task: Option<String>,
    },
    /// Say why a task is served where it is, with the numbers of every device.
    Explain {
        /// The task.
        task: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::List { task } => list_all(task.as_deref().unwrap_or(""), call).await,
        Command::Explain { task } => explain(&task, call).await,
    }
}

async fn list_all(task: &str, call: &Call) -> Result<Outcome, Failure> {
    let doing = || "the placements are not known".to_owned();
    let placements = call.admin().await.doing(doing)?.placements(task).await.doing(doing)?;
    if call.json() {
        output::json(&placements.iter().map(view::placement).collect::<Value>())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        "task",
        "device",
        ">revision",
        ">serves",
        "members",
        "gate",
        ">predicted p99",
        ">service p99",
        ">accuracy",
        "address",
    ]);
    for placement in &placements {
        let observed = placement.observed.as_ref();
        let serves = match observed {
            None => "-".to_owned(),
            Some(served) if served.fault.is_empty() => view::revision(served.revision),
            Some(served) => served.fault.clone(),
        };
        let service = observed.and_then(|served| served.service.as_ref());
        let service = service.filter(|service| service.answers != 0);
        table.row([
            placement.task.clone(),
            placement.device.clone(),
            view::revision(placement.revision),
            serves,
            list(&placement.families),
            if placement.gated { "yes" } else { "no" }.to_owned(),
            micros(placement.predicted_p99_us),
            service.map_or_else(|| "-".to_owned(), |service| micros(service.p99_us)),
            percent(placement.predicted_accuracy),
            placement.serving_address.clone(),
        ]);
    }
    table.print("nothing is placed: a task is placed once it is trained")?;
    Ok(Outcome::Done)
}

async fn explain(task: &str, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("the placement of {task:?} is not known");
    let reply = call.admin().await.doing(doing)?.explain(task).await.doing(doing)?;
    if call.json() {
        output::json(&view::explained(&reply))?;
        return Ok(Outcome::Done);
    }
    let mut asked = format!("{}: {}", reply.task, reply.objective);
    if reply.latency_p99_max_us != 0 {
        asked += &format!(", p99 within {}", micros(reply.latency_p99_max_us));
    }
    if !reply.site.is_empty() {
        asked += &format!(", seen from {}", reply.site);
    }
    if 0.0 < reply.accuracy_min {
        asked += &format!(", accuracy at least {}", percent(reply.accuracy_min));
    }
    output::line(asked)?;
    for why in &reply.why {
        output::line(format_args!("  {why}"))?;
    }
    let mut table = Table::new(&[
        "device",
        "chosen",
        ">accuracy",
        ">total",
        ">rtt",
        ">transfer",
        ">queue",
        ">service",
        "members",
        "why not",
    ]);
    for it in &reply.candidates {
        table.row([
            it.device.clone(),
            if it.chosen { "yes" } else { "" }.to_owned(),
            percent(it.accuracy),
            micros(it.total_us),
            micros(it.rtt_us),
            micros(it.transfer_us),
            micros(it.queue_us),
            micros(it.service_us),
            list(&it.families),
            it.refused.clone(),
        ]);
    }
    table.print("no device was considered")?;
    Ok(Outcome::Done)
}
