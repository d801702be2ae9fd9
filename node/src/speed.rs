//! How fast this device is: measured once with the kernels that serve, then remembered.

use std::{io, path::Path, time::Duration};

use models::{
    Speed, Work,
    probe::{self, Probe},
};
use tokio::time::Instant;

use crate::{folder, measure};

/// One look at the clock covers runs of about this long.
const BURST: Duration = Duration::from_micros(200);
/// Each window covers several periods of a CPU quota, so that waiting for one's share counts.
const WINDOW: Duration = Duration::from_millis(100);
/// The fastest of this many windows: what others do disturbs one or another, a quota holds in each.
const WINDOWS: usize = 3;

/// What was measured, and of what.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Measured {
    /// Another program has other kernels.
    program: String,
    cpu: String,
    /// Cores that could be used.
    cores: f64,
    speed: Speed,
}

/// The speed that was measured for this program on this processor with this share, else measures it
/// now, which takes a second and a half.
///
/// # Errors
///
/// When the measuring thread failed.
pub(crate) async fn known_or_measured(data_dir: &Path, cores: f64) -> io::Result<Speed> {
    let path = data_dir.join("speed.json");
    let of = move |speed| Measured { program: program(), cpu: measure::cpu_model(), cores, speed };
    tokio::task::spawn_blocking(move || {
        match folder::read_json::<Measured>(&path) {
            Ok(Some(known)) if known == of(known.speed) && plausible(known.speed) => {
                return known.speed;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the speed is measured again"),
        }
        let speed = measured();
        tracing::info!(?speed, cores, "speed measured");
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

fn measured() -> Speed {
    let timings: Vec<(Work, f64)> = probe::probes().map(timing).collect();
    Speed::from_timings(&timings)
}

/// What one run of `probe` takes, in nanoseconds.
fn timing(mut probe: Probe) -> (Work, f64) {
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
    let fastest = (0..WINDOWS).map(|_| window(&mut probe, burst)).fold(f64::INFINITY, f64::min);
    (work, fastest)
}

/// The mean over one window: wall time, so that a quota shows as the slowness that it is.
fn window(probe: &mut Probe, burst: u32) -> f64 {
    let began = Instant::now();
    let mut runs = 0.0;
    loop {
        (0..burst).for_each(|_| _ = probe.run());
        runs += f64::from(burst);
        let took = began.elapsed();
        if WINDOW <= took {
            return took.as_secs_f64() * 1e9 / runs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_speed_is_measured_once_for_a_share() {
        let folder = tempfile::tempdir().unwrap();
        let first = known_or_measured(folder.path(), 1.0).await.unwrap();
        assert!(plausible(first), "{first:?}");
        let path = folder.path().join("speed.json");
        // A mark that only reading the file back can show.
        let mut kept: Measured = folder::read_json(&path).unwrap().unwrap();
        kept.speed.call_ns = 12_345.0;
        folder::write_json(&path, &kept).unwrap();
        let again = known_or_measured(folder.path(), 1.0).await.unwrap();
        assert_eq!(again, kept.speed);
        let other = known_or_measured(folder.path(), 0.5).await.unwrap();
        assert_ne!(other.call_ns, 12_345.0);
    }
}
