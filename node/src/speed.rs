//! How fast this device is: measured once with the kernels that serve, then remembered.
//!
//! What counts is the wall: a device that may use a tenth of a core waits for nine tenths of each
//! period, and so will its answers. But on a machine where others work, too, the wall also counts
//! them, who may be gone a minute later. So the CPU time is measured beside it: a window in which the
//! wall took much longer than the share explains was disturbed, and if all were, the CPU time and the
//! share say what the wall would have.

use std::{io, path::Path, time::Duration};

use models::{
    Speed, Work,
    probe::{self, Probe},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::{folder, measure};

/// One look at the clock covers runs of about this long.
const BURST: Duration = Duration::from_micros(200);
/// Each window covers several periods of a CPU quota, so that waiting for one's share counts.
const WINDOW: Duration = Duration::from_millis(100);
/// Windows of each probe, when they are not disturbed.
const WINDOWS: usize = 3;
/// Windows of each probe at most.
const WINDOWS_MAX: usize = 6;
/// How much longer than the share explains the wall may take: switching, interrupts, and a window
/// that does not cover whole periods.
const DISTURBED: f64 = 1.25;

/// What was measured, and of what.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Measured {
    /// Another program has other kernels.
    program: String,
    cpu: String,
    /// The cores that its share is held to; none when nothing holds it.
    held: Option<f64>,
    speed: Speed,
}

/// The speed that was measured for this program on this processor with this share, else measures it
/// now, which takes a second and a half. `held` is the share when a quota holds it, in cores.
///
/// # Errors
///
/// When the measuring thread failed.
pub(crate) async fn known_or_measured(data_dir: &Path, held: Option<f64>) -> io::Result<Speed> {
    let path = data_dir.join("speed.json");
    let of = move |speed| Measured { program: program(), cpu: measure::cpu_model(), held, speed };
    tokio::task::spawn_blocking(move || {
        match folder::read_json::<Measured>(&path) {
            Ok(Some(known)) if known == of(known.speed) && plausible(known.speed) => {
                return known.speed;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the speed is measured again"),
        }
        let speed = measured(held);
        tracing::info!(?speed, held, "speed measured");
        if let Err(error) = folder::write_json(&path, &of(speed)) {
            tracing::warn!(%error, path = %path.display(), "the speed is not remembered");
        }
        speed
    })
    .await
    .map_err(io::Error::other)
}

/// Version and build: the same kernels, built in another way, have another speed.
fn program() -> String {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{} {build} {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}

fn plausible(speed: Speed) -> bool {
    let Speed { madd_ns, byte_ns, node_ns, exp_ns, call_ns } = speed;
    [madd_ns, byte_ns, node_ns, exp_ns, call_ns].iter().all(|ns| ns.is_finite() && 0.0 < *ns)
}

fn measured(held: Option<f64>) -> Speed {
    let timings: Vec<(Work, f64)> = probe::probes().map(|probe| timing(probe, held)).collect();
    Speed::from_timings(&timings)
}

/// What one run takes in a window, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Of wall time.
    wall: f64,
    /// Of CPU time.
    cpu: f64,
}

/// What one run of `probe` takes, in nanoseconds.
fn timing(mut probe: Probe, held: Option<f64>) -> (Work, f64) {
    let work = probe.run();
    // As many runs at once as the clock sees well.
    let mut burst = 1_u32;
    while burst < 1 << 20 {
        let began = Instant::now();
        (0..burst).for_each(|_| _ = probe.run());
        if BURST <= began.elapsed() {
            break;
        }
        burst *= 2;
    }
    let mut windows = Vec::new();
    while windows.len() < WINDOWS_MAX {
        windows.push(window(&mut probe, burst));
        if WINDOWS <= windows.iter().filter(|window| !disturbed(window, held)).count() {
            break;
        }
    }
    (work, believed(&windows, held))
}

/// How much longer the wall takes than the CPU, when nobody else is there: one thread at a time
/// answers, so a share of a core or more holds nothing back.
fn stretch(held: Option<f64>) -> f64 {
    held.map_or(1.0, |cores| (1.0 / cores).max(1.0))
}

fn disturbed(window: &Window, held: Option<f64>) -> bool {
    window.cpu * stretch(held) * DISTURBED < window.wall
}

/// The fastest wall of the windows that were not disturbed; when all were, what it would have been.
fn believed(windows: &[Window], held: Option<f64>) -> f64 {
    let least = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::min);
    let quiet = windows.iter().filter(|window| !disturbed(window, held));
    least(&mut quiet.map(|window| window.wall))
        .or_else(|| least(&mut windows.iter().map(|window| window.cpu * stretch(held))))
        .unwrap_or(f64::NAN)
}

/// The mean over one window.
fn window(probe: &mut Probe, burst: u32) -> Window {
    let (began, began_cpu) = (Instant::now(), cpu_time());
    let mut runs = 0.0;
    loop {
        (0..burst).for_each(|_| _ = probe.run());
        runs += f64::from(burst);
        let took = began.elapsed();
        if WINDOW <= took {
            let per_run = |time: Duration| time.as_secs_f64() * 1e9 / runs;
            let cpu = cpu_time().saturating_sub(began_cpu);
            return Window { wall: per_run(took), cpu: per_run(cpu) };
        }
    }
}

/// The CPU time that this thread has had.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_speed_is_measured_once_for_a_share() {
        let folder = tempfile::tempdir().unwrap();
        let first = known_or_measured(folder.path(), None).await.unwrap();
        assert!(plausible(first), "{first:?}");
        let path = folder.path().join("speed.json");
        // A mark that only reading the file back can show.
        let mut kept: Measured = folder::read_json(&path).unwrap().unwrap();
        kept.speed.call_ns = 12_345_678.0;
        folder::write_json(&path, &kept).unwrap();
        let again = known_or_measured(folder.path(), None).await.unwrap();
        assert_eq!(again, kept.speed);
        let other = known_or_measured(folder.path(), Some(1.0)).await.unwrap();
        assert_ne!(other.call_ns, kept.speed.call_ns);
    }

    #[test]
    fn a_neighbour_does_not_make_a_slow_device_and_a_quota_does() {
        let quiet = Window { wall: 105.0, cpu: 100.0 };
        let neighbour = Window { wall: 900.0, cpu: 102.0 };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(believed(&[neighbour, quiet], None), 105.0);
        // Never a quiet moment: as long as the CPU took.
        close(believed(&[neighbour, neighbour], None), 102.0);
        // With a tenth of a core, nine times as long is what is to be expected.
        close(believed(&[neighbour], Some(0.1)), 900.0);
        close(believed(&[Window { wall: 4_000.0, ..quiet }], Some(0.1)), 1_000.0);
        // More than a core does not make one thread faster.
        close(believed(&[quiet], Some(4.0)), 105.0);
    }
}
