//! What a piece of work takes: processor seconds, memory, the time of single answers.

use std::{fs, io};

use models::{Speed, Work, work::probes};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::figures::Single;

/// Processor seconds of this process so far, all threads together.
pub(crate) fn cpu_s() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// What was measured around a piece of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Memory at its highest, above what was there before.
    pub(crate) peak_mib: f64,
}

/// Does `work` and says what it took.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> io::Result<(T, Took)> {
    forget_peak()?;
    let before = memory_mib("VmRSS")?;
    let (cpu, began) = (cpu_s(), Instant::now());
    let made = work();
    let (cpu_s, wall_s) = (cpu_s() - cpu, began.elapsed().as_secs_f64());
    let peak_mib = (memory_mib("VmHWM")? - before).max(0.0);
    Ok((made, Took { cpu_s, wall_s, peak_mib }))
}

/// A field of what Linux says about this process, in MiB.
pub(crate) fn memory_mib(field: &str) -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| {
        let rest = line.strip_prefix(field)?.strip_prefix(':')?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    });
    kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other(format!("no {field} in status")))
}

fn forget_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

const WARM_UP: usize = 50;
const CALLS_MIN: usize = 200;
const CALLS_MAX: usize = 5_000;
/// Cheap answers are timed often, dear ones not for ever.
const TIMING_S: f64 = 0.4;
/// Asking for processor time takes a third of a microsecond: what is shorter is timed many at once.
const BATCH_S: f64 = 20e-6;

/// Times single calls of `answer`, which is given the number of the call: the median of their
/// processor time, which other processes do not change, and the 99th percentile by the clock.
pub(crate) fn single_calls(mut answer: impl FnMut(usize)) -> Single {
    let mut number = 0;
    let mut call = || {
        answer(number);
        number += 1;
    };
    (0..WARM_UP).for_each(|_| call());
    let began = thread_s();
    (0..WARM_UP).for_each(|_| call());
    let once = (thread_s() - began) / WARM_UP as f64;
    let batch = (1..CALLS_MAX).find(|&calls| BATCH_S < once * calls as f64).unwrap_or(CALLS_MAX);
    let busy = times(CALLS_MIN, || {
        let began = thread_s();
        (0..batch).for_each(|_| call());
        (thread_s() - began) / batch as f64
    });
    let clock = times(CALLS_MIN, || {
        let began = Instant::now();
        call();
        began.elapsed().as_secs_f64()
    });
    Single { median: busy[busy.len() / 2] * 1e6, p99: clock[clock.len() * 99 / 100] * 1e6 }
}

/// At least `least` times of `work`, and as many as fit into [`TIMING_S`]; growing.
fn times(least: usize, mut work: impl FnMut() -> f64) -> Vec<f64> {
    let mut times = Vec::with_capacity(CALLS_MAX);
    let began = Instant::now();
    while times.len() < least
        || (times.len() < CALLS_MAX && began.elapsed().as_secs_f64() < TIMING_S)
    {
        times.push(work());
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Processor seconds of this thread so far.
pub(crate) fn thread_s() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// This machine's speed, as a node measures it: work becomes time.
pub(crate) fn speed() -> Speed {
    let timings: Vec<(Work, f64)> = probes()
        .map(|mut probe| {
            let work = probe.run();
            let mut times: Vec<f64> = (0..15)
                .map(|_| {
                    let (began, runs) = (thread_s(), 64);
                    (0..runs).for_each(|_| _ = probe.run());
                    (thread_s() - began) * 1e9 / f64::from(runs)
                })
                .collect();
            times.sort_by(f64::total_cmp);
            (work, times[times.len() / 2])
        })
        .collect();
    Speed::from_timings(&timings)
}
