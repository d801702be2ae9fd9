//! What libFuzzer does not do for us: seeds and words of a target, time as a processor counts it, growth of memory.
//!
//! The chore says through the environment what is wanted, because libFuzzer owns the command line:
//!
//! ```text
//! SENSEMBLE_FUZZ_PREPARE  a folder: write TARGET/seeds/ and TARGET/words of each target into it, and end
//! SENSEMBLE_FUZZ_TARGET   the name of the reader
//! SENSEMBLE_FUZZ_SECONDS  end after so much processor time; without it, when libFuzzer says so
//! ```

use std::{
    env, fs, io,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    process::{Signal, getpid, kill_process},
    time::{ClockId, clock_gettime},
};

use crate::{TARGETS, Target};

/// An input that takes longer than this is a finding: somebody could hold a core with it.
pub const LONG: Duration = Duration::from_secs(2);
/// Between two looks at clock and memory.
const LOOK_EVERY: Duration = Duration::from_millis(250);

static TARGET: OnceLock<&Target> = OnceLock::new();
/// How often an input was begun or done with: odd while one is being read.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Called by libFuzzer before it reads seeds and words.
pub fn begin() {
    if let Some(folder) = env::var_os("SENSEMBLE_FUZZ_PREPARE") {
        end(prepare(Path::new(&folder)).map_err(|error| error.to_string()));
    }
    match chosen() {
        Ok((target, seconds)) => {
            let _first = TARGET.set(target);
            thread::spawn(move || watch(seconds.map(Duration::from_secs)));
        }
        Err(error) => end(Err(error)),
    }
}

/// Called by libFuzzer with each input. A panic ends the process, and libFuzzer writes the input down.
pub fn show(bytes: &[u8]) {
    let target = TARGET.get().expect("libFuzzer begins before it shows");
    STEPS.fetch_add(1, Ordering::Relaxed);
    let _any_answer_will_do = (target.read)(bytes);
    STEPS.fetch_add(1, Ordering::Relaxed);
}

fn chosen() -> Result<(&'static Target, Option<u64>), String> {
    let name = env::var("SENSEMBLE_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|it| it.name == name);
    let target = target.ok_or_else(|| format!("no target {name:?} in SENSEMBLE_FUZZ_TARGET"))?;
    let seconds = env::var("SENSEMBLE_FUZZ_SECONDS").ok().map(|text| text.parse());
    let seconds = seconds.transpose().map_err(|_| "SENSEMBLE_FUZZ_SECONDS is no number")?;
    Ok((target, seconds))
}

fn end(result: Result<(), String>) -> ! {
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("fuzz: {error}");
            std::process::exit(64)
        }
    }
}

/// Writes what each target is shown first, and the words of its format as libFuzzer reads them.
fn prepare(folder: &Path) -> io::Result<()> {
    for target in &TARGETS {
        let seeds = folder.join(target.name).join("seeds");
        fs::create_dir_all(&seeds)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(seeds.join(format!("{number:02}")), seed)?;
        }
        let quoted = |byte: &u8| format!("\\x{byte:02x}");
        let word = |it: &&[u8]| format!("\"{}\"\n", it.iter().map(quoted).collect::<String>());
        let words: String = target.words.iter().map(word).collect();
        // libFuzzer refuses an empty file.
        fs::write(folder.join(target.name).join("words"), format!("# {}\n{words}", target.name))?;
    }
    Ok(())
}

/// Ends the process when its time is over, and when one input takes too much of it.
///
/// libFuzzer has limits for both, by the clock on the wall: a machine that does other things, or that stops us for a
/// while, would make findings of them.
fn watch(budget: Option<Duration>) {
    let (mut steps, mut since) = (0, worked());
    let (mut resident, mut told) = (None, false);
    loop {
        thread::sleep(LOOK_EVERY);
        let (now, worked) = (STEPS.load(Ordering::Relaxed), worked());
        if now != steps || now % 2 == 0 {
            (steps, since) = (now, worked);
        } else if LONG < worked.saturating_sub(since) {
            eprintln!("fuzz: one input takes more than {LONG:?} of processor time");
            // libFuzzer writes the input down, as for a panic.
            std::process::abort();
        }
        let Some(budget) = budget.filter(|_| !told) else { continue };
        // The first tenth fills what is kept on purpose.
        if budget / 10 <= worked {
            resident = resident.or_else(resident_kib);
        }
        if budget <= worked {
            told = true;
            let grown = resident_kib().zip(resident).map(|(now, then)| now.saturating_sub(then));
            let grown = grown.map_or_else(|| "?".to_owned(), |it| it.to_string());
            eprintln!(
                "fuzz: {:.0} s of processor time, grown by {grown} KiB",
                worked.as_secs_f64()
            );
            // As libFuzzer is asked to say what came of it, and to end.
            if kill_process(getpid(), Signal::USR1).is_err() {
                std::process::exit(0);
            }
        }
    }
}

/// Processor time of this process: on a busy machine a short input takes long by the clock.
fn worked() -> Duration {
    // What no processor has worked is no time.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// What this process keeps in memory, as Linux says.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
