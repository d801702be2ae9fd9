//! `sensemble train status`: the trainings that devices and the journal know of, and how far they are.

use std::{collections::BTreeSet, time::Duration};

use client::Admin;
use futures_util::StreamExt as _;
use proto::v1;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    command::{Call, view},
    failure::{Failure, Outcome},
    output::{self, Table},
};

/// A history is told at once; a pause this long means that the rest has yet to happen.
const PAUSE: Duration = Duration::from_millis(300);
/// Most trainings that are looked at, the newest first.
const JOBS_MAX: usize = 20;

/// One training as it stands.
struct Standing {
    last: v1::TrainingEvent,
    ended: bool,
    device: String,
    /// The newest revision that it released.
    released: u64,
    trials: Vec<v1::Trial>,
}

/// Shows them.
pub(super) async fn run(task: Option<&str>, call: &Call) -> Result<Outcome, Failure> {
    let admin = call.admin().await?;
    if let Some(task) = task {
        // A task that is not there is not the same as one that was never trained.
        admin.task(task).await?;
    }
    let mut standings = Vec::new();
    for job in jobs(&admin, task).await?.into_iter().take(JOBS_MAX) {
        if let Some(standing) = standing(&admin, &job).await?
            && task.is_none_or(|task| task == standing.last.task)
        {
            standings.push(standing);
        }
    }
    if call.json() {
        output::json(&standings.iter().map(json_of).collect())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        "job",
        "task",
        "state",
        ">step",
        ">trials",
        ">seconds",
        ">revision",
        "device",
        "last",
    ]);
    for it in &standings {
        let Standing { last, device, .. } = it;
        table.row([
            last.job.clone(),
            last.task.clone(),
            state(it).to_owned(),
            if last.total == 0 { String::new() } else { format!("{}/{}", last.done, last.total) },
            if it.trials.is_empty() { String::new() } else { it.trials.len().to_string() },
            format!("{:.1}", last.seconds),
            view::revision(it.released),
            device.clone(),
            last.text.clone(),
        ]);
    }
    table.print("nothing is being trained and nothing was; see also `sensemble events`")?;
    if let [it] = standings.as_slice()
        && !it.trials.is_empty()
    {
        print_trials(&it.trials)?;
    }
    Ok(Outcome::Done)
}

/// What the search of one training has tried, the best of each family first.
fn print_trials(trials: &[v1::Trial]) -> Result<(), Failure> {
    output::line("")?;
    let mut table = Table::new(&["family", ">trial", "rows", ">right", ">of", "settings"]);
    let mut trials: Vec<&v1::Trial> = trials.iter().collect();
    let family = |trial: &v1::Trial| trial.settings.as_ref().map_or("", |it| &it.family).to_owned();
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    let share = |trial: &v1::Trial| trial.right as f64 / trial.asked.max(1) as f64;
    trials.sort_by(|a, b| {
        family(a).cmp(&family(b)).then(a.part.cmp(&b.part)).then(share(b).total_cmp(&share(a)))
    });
    for trial in trials {
        let settings = trial.settings.iter().flat_map(|it| &it.settings);
        let settings: Vec<String> =
            settings.map(|it| format!("{} {:.3e}", it.name, it.value)).collect();
        table.row([
            family(trial),
            trial.number.to_string(),
            if trial.part { "a part" } else { "all" }.to_owned(),
            if trial.asked == 0 { "not fitted".to_owned() } else { output::percent(share(trial)) },
            trial.asked.to_string(),
            settings.join(", "),
        ]);
    }
    table.print("nothing was tried")?;
    Ok(())
}

fn json_of(it: &Standing) -> Value {
    json!({
        "job": it.last.job, "task": it.last.task, "state": state(it), "done": it.last.done,
        "total": it.last.total, "seconds": it.last.seconds, "device": it.device,
        "revision": (it.released != 0).then_some(it.released), "text": it.last.text,
        "trials": it.trials.iter().map(view::trial).collect::<Value>(),
    })
}

/// `queued`, `running`, `done` or `failed`.
fn state(it: &Standing) -> &str {
    match it.last.kind.as_str() {
        kind @ ("queued" | "done" | "failed") => kind,
        _ if it.ended => "done",
        _ => "running",
    }
}

/// The jobs that devices and the journal name, those that run first, then the newest.
async fn jobs(admin: &Admin, task: Option<&str>) -> Result<Vec<String>, Failure> {
    let devices = admin.devices().await?;
    let mut found: Vec<String> =
        devices.iter().flat_map(|device| &device.jobs).map(|job| job.job.clone()).collect();
    let request = v1::EventsRequest { task: task.unwrap_or("").to_owned(), ..Default::default() };
    let mut events = admin.events(request).await?;
    let mut named: Vec<String> = Vec::new();
    while let Some(event) = events.next().await {
        let job = event?.job;
        if named.last() != Some(&job) {
            named.push(job);
        }
    }
    found.extend(named.into_iter().rev());
    let mut seen = BTreeSet::new();
    found.retain(|job| !job.is_empty() && seen.insert(job.clone()));
    Ok(found)
}

/// What a job's history says so far; `None` when the scheduler does not know it.
async fn standing(admin: &Admin, job: &str) -> Result<Option<Standing>, Failure> {
    let mut events = match admin.watch(job).await {
        Err(error) if error.is_not_found() => return Ok(None),
        events => events?,
    };
    let mut last = None;
    let (mut device, mut released, mut trials) = (String::new(), 0, Vec::new());
    let ended = loop {
        match timeout(PAUSE, events.next()).await {
            Err(_) => break false,
            Ok(None) => break true,
            Ok(Some(Err(error))) if error.is_not_found() => return Ok(None),
            Ok(Some(event)) => {
                let event = event?;
                if !event.device.is_empty() {
                    device.clone_from(&event.device);
                }
                released = released.max(event.revision);
                trials.extend(event.trial.clone());
                last = Some(event);
            }
        }
    };
    Ok(last.map(|last| Standing { last, ended, device, released, trials }))
}
