//! `cargo xtask bench learn`: our trainers beside the Python peers, on the same rows, in one run.
//!
//! What is printed is the Markdown of benches/README.md; `--json FILE` has every figure, and a flat
//! `summary`. Our side of each measurement is a child process of this program, as the peers' is one
//! of theirs, so that memory is counted alike.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod alone;
mod bench;
mod early;
mod figures;
mod gauge;
mod page;
mod picture;
mod pool;
mod sides;
mod stages;
mod training;

use std::{path::PathBuf, process::ExitCode};

use benches::{
    folder::{Fault, Folder},
    sets::Which,
};
use models::Family;
use serde::Serialize;

use crate::bench::Ask;

const USAGE: &str = "\
learn [--data DIR] [--quick] [--json FILE] [--sets NAME,NAME] [--work DIR] [--pictures DIR]
      [--known-peers] [--python PROGRAM --script FILE | --without-peers REASON]
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match begin(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("learn: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// A measurement in a process of its own, or the whole bench.
fn begin(words: &[&str]) -> Result<(), Fault> {
    let folder = |path: &str| Folder(path.into());
    match words {
        ["alone", family, path] => {
            let family = Family::parse(family).ok_or("no such family")?;
            say(&alone::alone(&folder(path), family)?)
        }
        ["vote", path] => say(&alone::vote(&folder(path))?),
        ["first", threads, path] => say(&training::first(&folder(path), threads.parse()?)?),
        ["training", threads, seconds, trials, path] => {
            let (threads, seconds, trials) = (threads.parse()?, seconds.parse()?, trials.parse()?);
            say(&training::training(&folder(path), threads, seconds, trials)?)
        }
        _ => bench::run(&ask(words)?),
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
            "--data" => ask.data = PathBuf::from(value()?),
            "--work" => ask.work = PathBuf::from(value()?),
            "--pictures" => ask.pictures = Some(PathBuf::from(value()?)),
            "--json" => ask.json = Some(PathBuf::from(value()?)),
            "--python" => ask.python = Some(PathBuf::from(value()?)),
            "--script" => ask.script = PathBuf::from(value()?),
            "--without-peers" => ask.without_peers = Some(value()?.to_owned()),
            "--quick" => ask.quick = true,
            "--known-peers" => ask.known_peers = true,
            "--sets" => {
                ask.sets = value()?.split(',').map(known).collect::<Result<_, Fault>>()?;
            }
            _ => return Err(format!("no such option: {word}\n\n{USAGE}").into()),
        }
    }
    Ok(ask)
}

fn known(name: &str) -> Result<Which, Fault> {
    let all = Which::REAL.into_iter().chain([Which::Synthetic]);
    let mut found = all.filter(|which| which.name() == name);
    found.next().ok_or_else(|| format!("no such data set: {name}").into())
}
