//! `sensemble device`: the machines of the fleet.

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table, bytes, list, micros, percent},
};

/// What may be done with devices.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the devices, what they have and what they do.
    List,
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    let Command::List = command;
    let doing = || "the devices are not known".to_owned();
    let devices = call.admin().await.doing(doing)?.devices().await.doing(doing)?;
    if call.json() {
        output::json(&devices.iter().map(view::device).collect())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&[
        "device",
        "site",
        "arch",
        "alive",
        ">cores",
        ">used",
        ">memory free",
        ">rtt p95",
        "address",
        "serves",
        "trains",
    ]);
    for device in &devices {
        let capacity = device.capacity.clone().unwrap_or_default();
        let rtt: Vec<String> =
            device.rtt.iter().map(|it| format!("{} {}", it.site, micros(it.p95_us))).collect();
        let serves: Vec<String> = device
            .serving
            .iter()
            .map(|it| match it.fault.as_str() {
                "" => format!("{} r{}", it.task, it.revision),
                _ => format!("{} (not: see --format json)", it.task),
            })
            .collect();
        let trains: Vec<&str> = device
            .jobs
            .iter()
            .filter(|job| job.state() == proto::v1::JobState::Running)
            .map(|job| job.job.as_str())
            .collect();
        table.row([
            device.device.clone(),
            device.site.clone(),
            device.arch.clone(),
            alive(device),
            format!("{:.2}", capacity.cpu_cores),
            percent(capacity.cpu_used),
            bytes(capacity.memory_free_bytes),
            list(&rtt),
            device.serving_address.clone(),
            list(&serves),
            list(&trains),
        ]);
    }
    table.print("there are no devices: start one with `sensemble node` or `sensemble up`")?;
    for device in &devices {
        for note in &device.notes {
            output::line(format_args!("{}: {note}", device.device))?;
        }
    }
    Ok(Outcome::Done)
}

fn alive(device: &proto::v1::DeviceView) -> String {
    match device.alive {
        true => "yes".to_owned(),
        false => format!("no, for {} s", device.seen_ms_ago / 1_000),
    }
}
