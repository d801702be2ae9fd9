//! `cargo xtask bench serve`: our serving worker on the wire, beside an empty server and those of others.
//!
//! What is printed is the Markdown of benches/README.md; `--json FILE` has every figure, and a flat
//! `summary`. Server and generator are processes of their own, each on its core.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod bench;
mod drain;
mod empty;
mod figures;
mod kernels;
mod latency;
mod load;
mod neighbours;
mod overload;
mod pacer;
mod peers;
mod process;
mod rude;
mod shared_core;
mod spread;
mod stages;
mod start;
mod swap;
mod traced;
mod wire;
mod worker;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use benches::folder::{Fault, Folder};
use models::Subset;
use serde::Serialize;

use crate::bench::Ask;

const USAGE: &str = "\
serve --program SENSEMBLE [--data DIR] [--work DIR] [--quick] [--json FILE] [--soak MINUTES]
      [--only PART,PART] [--cores-may-sleep] [--learning PYTHON --serving PYTHON --kserve PYTHON | --without-peers REASON]

parts: latency shared-core stages overload rude swap drain neighbours traced start
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match begin(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("serve: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// One part in a process of its own, or the whole bench.
fn begin(words: &[&str]) -> Result<(), Fault> {
    match words {
        ["awake"] => match process::stay_awake()? {},
        ["load", plan] => say(&load::generate(&serde_json::from_str(plan)?)?),
        ["empty", address] => empty::serve(address.parse()?),
        ["kernels", bundle, folder, members] => {
            let folder = Folder(folder.into());
            say(&kernels::time(Path::new(bundle), &folder, Subset(members.parse()?))?)
        }
        ["gated", bundle, folder] => {
            let folder = Folder(folder.into());
            say(&kernels::gated(Path::new(bundle), &folder, &stages::SHARES)?)
        }
        _ => bench::run(ask(words)?),
    }
}

fn say(found: &impl Serialize) -> Result<(), Fault> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

fn ask(words: &[&str]) -> Result<Ask, Fault> {
    let mut ask = Ask::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value =
            || words.next().copied().ok_or_else(|| Fault::from(format!("{word} needs a value")));
        match word {
            "--program" => ask.program = PathBuf::from(value()?),
            "--data" => ask.data = PathBuf::from(value()?),
            "--work" => ask.work = PathBuf::from(value()?),
            "--json" => ask.json = Some(PathBuf::from(value()?)),
            "--learning" => ask.learning = Some(PathBuf::from(value()?)),
            "--serving" => ask.serving = Some(PathBuf::from(value()?)),
            "--kserve" => ask.kserve = Some(PathBuf::from(value()?)),
            "--without-peers" => ask.without_peers = Some(value()?.to_owned()),
            "--soak" => ask.soak_minutes = Some(value()?.parse()?),
            "--only" => ask.only = value()?.split(',').map(str::to_owned).collect(),
            "--cores-may-sleep" => ask.cores_may_sleep = true,
            "--quick" => ask.quick = true,
            _ => return Err(format!("no such option: {word}\n\n{USAGE}").into()),
        }
    }
    Ok(ask)
}
