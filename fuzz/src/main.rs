//! `fuzz [TARGET …] [--seconds N] [--seed N] [--findings DIR]`: changes inputs for so long, and says what
//! came of it. Ends with 1 when something panicked or took too long; the input is in a file then.

#![expect(clippy::print_stdout, reason = "a chore talks to the person who started it")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use fuzz::{TARGETS, Target, mutation};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// An input that takes longer than this is a finding: somebody could hold a core with it.
const LONG: Duration = Duration::from_secs(2);
/// Inputs that are kept to be changed further.
const INPUTS_MAX: usize = 4_096;
/// Executions between two looks at the clock.
const LOOK_EVERY: u32 = 64;

#[expect(clippy::disallowed_types, reason = "no tokio here, and nothing that tests pause")]
type Start = std::time::Instant;

struct Options {
    seconds: u64,
    seed: u64,
    findings: PathBuf,
    targets: Vec<&'static Target>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seconds: 60,
        seed: 1,
        findings: PathBuf::from("target/fuzz-findings"),
        targets: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--findings" => options.findings = value()?.into(),
            name => {
                let names = || TARGETS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
                let target = TARGETS.iter().find(|it| it.name == name);
                options
                    .targets
                    .push(target.ok_or_else(|| format!("no {name:?}; there are {}", names()))?);
            }
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("fuzz: {error}");
            return ExitCode::from(64);
        }
    };
    // What panics is reported by us, with the input; the default hook would print it each time.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = 0;
    for target in &options.targets {
        findings += attack(target, &options);
    }
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shows `target` changed inputs for as long as was asked for; how many findings there were.
fn attack(target: &Target, options: &Options) -> usize {
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut inputs = (target.seeds)();
    let (mut seen, mut broken) = (BTreeSet::new(), BTreeSet::new());
    let (mut executions, mut slowest) = (0_u64, Duration::ZERO);
    let begin = Start::now();
    let end = Duration::from_secs(options.seconds);
    let mut resident = None;
    while begin.elapsed() < end {
        for _ in 0..LOOK_EVERY {
            let one = random.random_range(0..inputs.len());
            let other = random.random_range(0..inputs.len());
            let input = mutation::changed(&mut random, &inputs[one], &inputs[other], target.words);
            let began = worked();
            // Readers are functions of bytes: nothing of theirs is left behind by a panic.
            let read = catch_unwind(AssertUnwindSafe(|| (target.read)(&input)));
            let took = worked().saturating_sub(began);
            executions += 1;
            slowest = slowest.max(took);
            match read {
                Err(panic) => {
                    let text = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                    let text = text.unwrap_or_default();
                    if broken.insert(text.clone()) {
                        keep(target, &options.findings, &input, &format!("panicked: {text}"));
                    }
                }
                Ok(_) if LONG < took => {
                    if broken.insert("long".to_owned()) {
                        keep(target, &options.findings, &input, &format!("took {took:?}"));
                    }
                }
                Ok(word) => {
                    if inputs.len() < INPUTS_MAX && seen.insert(word) {
                        inputs.push(input);
                    }
                }
            }
        }
        // The first tenth fills what is kept on purpose.
        if resident.is_none() && end / 10 < begin.elapsed() {
            resident = resident_kib();
        }
    }
    let grown = resident_kib().zip(resident).map(|(now, then)| now.saturating_sub(then));
    println!(
        "{}: {executions} executions in {} s, {} inputs kept, {} ways of being answered, slowest {:.1} ms, \
         grown by {} KiB, {} findings",
        target.name,
        options.seconds,
        inputs.len(),
        seen.len(),
        slowest.as_secs_f64() * 1e3,
        grown.map_or_else(|| "?".to_owned(), |it| it.to_string()),
        broken.len(),
    );
    broken.len()
}

/// Processor time of this thread: on a busy machine a short input takes long by the clock.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // What no processor has worked is no time.
    Duration::try_from(time).unwrap_or_default()
}

/// Writes the input down, and says what it did.
fn keep(target: &Target, folder: &Path, input: &[u8], what: &str) {
    let name = format!(
        "{}-{}",
        target.name,
        input
            .iter()
            .fold(0_u32, |hash, byte| { hash.wrapping_mul(31).wrapping_add(u32::from(*byte)) })
    );
    let path = folder.join(name);
    let kept = fs::create_dir_all(folder).and_then(|()| fs::write(&path, input));
    let place = kept.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    println!("{}: {what} ({} bytes, {place})", target.name, input.len());
}

/// What this process keeps in memory, as Linux says.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
