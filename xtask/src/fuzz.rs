//! `cargo xtask fuzz`: every reader of bytes from outside under libFuzzer, guided by coverage.
//!
//! The compiler that everybody has instruments what it builds when it is asked to; only AddressSanitizer wants a nightly
//! one. Flags and what they make stay under `target/fuzz`, so that no other build sees them. docs/decisions/0038.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{debian, step};

/// Edges between basic blocks are counted and named, compared numbers shown to libFuzzer; conditions stay branches.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// Resident memory at which an input is a finding.
const RESIDENT_MIB_MAX: u32 = 1_024;
/// As in `fuzz/src/lib.rs`.
const INPUT_BYTES_MAX: u32 = 64 << 10;

struct Options<'a> {
    seconds: u64,
    seed: u32,
    replay: Option<&'a str>,
    targets: Vec<&'a str>,
}

fn options<'a>(words: &[&'a str]) -> Result<Options<'a>, String> {
    let mut options = Options { seconds: 60, seed: 1, replay: None, targets: Vec::new() };
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--replay" => options.replay = Some(value()?),
            name if name.starts_with('-') => return Err(format!("no option {name}")),
            name => options.targets.push(name),
        }
    }
    Ok(options)
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Shows each target for so long what libFuzzer makes of its seeds. Whether nothing was found.
pub(crate) fn run(words: &[&str]) -> Result<bool, String> {
    let Options { seconds, seed, replay, targets } = options(words)?;
    debian::program("c++", &["g++"])?;
    let folder = step::root().join("target/fuzz");
    let program = build(&folder)?;
    let known = prepare(&program, &folder)?;
    let targets =
        if targets.is_empty() { known.iter().map(String::as_str).collect() } else { targets };
    if let Some(name) = targets.iter().find(|name| !known.iter().any(|it| it == *name)) {
        return Err(format!("no target {name}; there are {}", known.join(", ")));
    }
    if let Some(file) = replay {
        let [target] = targets[..] else { return Err("--replay wants one target".to_owned()) };
        let mut shown = Command::new(&program);
        shown.env("SENSEMBLE_FUZZ_TARGET", target).arg(file);
        return step::shown(&mut shown).map_err(|error| error.to_string());
    }
    let leaks = leak_sanitizer();
    if leaks.is_none() {
        eprintln!("LeakSanitizer is not here: leaks show in the growth of memory only");
    }
    let mut good = true;
    for target in targets {
        let mut fuzz = Command::new(&program);
        if let Some(leaks) = &leaks {
            fuzz.env("LD_PRELOAD", leaks);
        }
        fuzz.env("SENSEMBLE_FUZZ_TARGET", target);
        fuzz.env("SENSEMBLE_FUZZ_SECONDS", seconds.to_string()).arg(format!("-seed={seed}"));
        let said = attack(fuzz, &folder, target)
            .map_err(|error| format!("{target} cannot be run: {error}"))?;
        good &= said.good;
        println!("{target}: {}", said.text);
    }
    Ok(good)
}

/// Builds the readers with libFuzzer around them.
fn build(folder: &Path) -> Result<PathBuf, String> {
    let rustc = step::output(Command::new("rustc").arg("-vV").current_dir(step::root()));
    let (_, text) = rustc.map_err(|error| format!("rustc cannot be asked: {error}"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say for what it builds")?;
    // With a target named, the flags are not for build scripts and macros, which have no libFuzzer in them.
    let mut build =
        step::cargo(&["build", "-p", "fuzz", "--bin", "fuzz", "--features", "libfuzzer"]);
    build.args(["--profile", "fuzz", "--target", host, "--target-dir"]).arg(folder);
    build.env("RUSTFLAGS", FLAGS.join(" ")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    match step::shown(&mut build) {
        Ok(true) => Ok(folder.join(host).join("fuzz/fuzz")),
        Ok(false) => Err("the readers cannot be built".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// LeakSanitizer, which comes with the C++ compiler: it watches the allocator, needs nothing compiled in, and libFuzzer asks
/// it about each input that allocated more often than it freed.
///
/// It is loaded before the program and not linked into it: behind the C library it would see no allocation, and linked
/// whole it meets libFuzzer's own hooks before it is ready.
fn leak_sanitizer() -> Option<PathBuf> {
    let asked = step::output(Command::new("c++").arg("-print-file-name=liblsan.so"));
    let (_, text) = asked.ok()?;
    // A name without a folder is the answer when it is not there.
    let place = PathBuf::from(text.trim());
    place.is_absolute().then(|| fs::canonicalize(place).ok()).flatten()
}

/// Writes down what each target is shown first; the names of all.
fn prepare(program: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let inputs = folder.join("inputs");
    let prepared = Command::new(program).env("SENSEMBLE_FUZZ_PREPARE", &inputs).status();
    if !prepared.is_ok_and(|status| status.success()) {
        return Err(format!("seeds cannot be written into {}", inputs.display()));
    }
    let entries = fs::read_dir(&inputs).map_err(|error| error.to_string())?;
    let mut names: Vec<String> =
        entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// What came of a target.
struct Said {
    good: bool,
    text: String,
}

fn attack(mut fuzz: Command, folder: &Path, target: &str) -> io::Result<Said> {
    let inputs = folder.join("inputs").join(target);
    let (kept, findings) = (inputs.join("kept"), folder.join("findings"));
    fs::create_dir_all(&kept)?;
    fs::create_dir_all(&findings)?;
    let log = folder.join(format!("{target}.log"));
    // Without limits of its own on time: ours are in processor time.
    fuzz.args(["-timeout=0", "-report_slow_units=1000000"]);
    fuzz.args(["-print_final_stats=1", "-print_funcs=0"]);
    fuzz.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzz.arg(format!("-rss_limit_mb={RESIDENT_MIB_MAX}"));
    fuzz.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
    fuzz.arg(format!("-dict={}", inputs.join("words").display()));
    fuzz.arg(&kept).arg(inputs.join("seeds"));
    eprintln!("{target}: libFuzzer writes to {}", log.display());
    let out = File::create(&log)?;
    let status = fuzz.stdout(out.try_clone()?).stderr(out).status()?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(Said { good: status.success(), text: summary(&text, status.success()) })
}

/// The line that a person wants of what libFuzzer wrote.
fn summary(log: &str, good: bool) -> String {
    let lines = || log.lines();
    let after = |line: &str, word: &str| -> String {
        let mut words = line.split_whitespace().skip_while(|it| *it != word).skip(1);
        words.next().unwrap_or("?").to_owned()
    };
    let counted: Vec<&str> = lines().filter(|line| line.contains(" cov: ")).collect();
    let begin = counted.iter().find(|line| line.contains("INITED")).copied().unwrap_or_default();
    let end = counted.last().copied().unwrap_or_default();
    let executions = lines().find(|line| line.starts_with("stat::number_of_executed_units:"));
    let executions =
        executions.map_or("?".to_owned(), |line| after(line, "stat::number_of_executed_units:"));
    let slow = lines().rfind(|line| line.starts_with("fuzz: ")).unwrap_or("fuzz: ended early");
    let finding = lines().find(|line| line.contains("panicked at") || line.contains("ERROR: "));
    let written = lines().find_map(|line| line.split_once("Test unit written to "));
    let found = match (good, finding, written) {
        (true, ..) => "nothing found".to_owned(),
        (false, what, place) => format!(
            "FOUND {}; the input is {}",
            what.unwrap_or("something that its log shows"),
            place.map_or("not written down", |(_, path)| path),
        ),
    };
    format!(
        "{executions} executions, {}, edges {} -> {}, features {} -> {}, {} kept: {found}",
        slow.trim_start_matches("fuzz: "),
        after(begin, "cov:"),
        after(end, "cov:"),
        after(begin, "ft:"),
        after(end, "ft:"),
        after(end, "corp:"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str =
        "INFO: Seed: 1\n#23\tINITED cov: 100 ft: 200 corp: 22/90Kb exec/s: 0 rss: 60Mb\n";

    #[test]
    fn what_libfuzzer_says_becomes_a_line() {
        let log = format!(
            "{BEGIN}#4096\tREDUCE cov: 140 ft: 310 corp: 41/99Kb lim: 10426 exec/s: 2048 rss: 61Mb L: 9/9\n\
             fuzz: 60 s of processor time, grown by 12 KiB\n\
             stat::number_of_executed_units: 5000\n"
        );
        assert_eq!(
            summary(&log, true),
            "5000 executions, 60 s of processor time, grown by 12 KiB, edges 100 -> 140, \
             features 200 -> 310, 41/99Kb kept: nothing found"
        );
    }

    #[test]
    fn a_finding_is_named_with_its_input() {
        let log = format!(
            "{BEGIN}thread 'main' panicked at models/src/x.rs:1:2:\n==1== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='a/'; Test unit written to a/bundle-crash-00\n"
        );
        let said = summary(&log, false);
        assert!(said.contains("FOUND thread 'main' panicked at models/src/x.rs:1:2:"), "{said}");
        assert!(said.ends_with("the input is a/bundle-crash-00"), "{said}");
    }

    #[test]
    fn a_word_that_is_no_option_is_a_target() {
        let options = options(&["bundle", "--seconds", "5", "mqtt"]).expect("it is well said");
        assert_eq!((options.targets, options.seconds), (vec!["bundle", "mqtt"], 5));
        assert!(super::options(&["--minutes", "5"]).is_err());
    }
}
