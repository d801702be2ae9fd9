//! Recording: the sensor, the window, and one workload after the other.

use std::{io, path::Path};

use signals::{Detail, Slide, Stretch as _, Window, WindowError};
use tokio::task::spawn_blocking;

use super::{
    telemetry::{Probe, RATE_HZ, Stream},
    workload::{Effort, Running, Workload},
};
use crate::failure::Failure;

/// Length of a window and time from one to the next.
const LENGTH_S: f64 = 0.6;
const STEP_S: f64 = 0.1;
/// Samples that are passed over after a workload was started: the first one began before it.
const SETTLE: usize = 1;

/// A window over `channels` as this demo records them.
pub(crate) fn window(channels: Vec<String>) -> Result<Window, WindowError> {
    Window::new(channels, RATE_HZ, LENGTH_S, STEP_S, Detail::Brief)
}

/// This machine, as windows of its telemetry.
#[derive(Debug)]
pub(crate) struct Recorder {
    stream: Stream,
    slide: Slide,
}

impl Recorder {
    /// Starts to sample.
    pub(crate) fn start(probe: Probe) -> Result<Self, Failure> {
        let slide = Slide::new(window(probe.channels())?);
        Ok(Self { stream: Stream::start(probe)?, slide })
    }

    /// Values of a window.
    pub(crate) fn width(&self) -> usize {
        self.slide.window().width()
    }

    /// Starts a workload; the windows that follow are of it alone.
    pub(crate) async fn begin(
        &mut self,
        workload: Workload,
        effort: Effort,
        dir: &Path,
    ) -> Result<Running, Failure> {
        let running = Running::start(workload, effort, dir)?;
        self.stream.fresh();
        for _ in 0..SETTLE {
            self.sample().await?;
        }
        self.slide.reset();
        Ok(running)
    }

    /// The features of the next window.
    pub(crate) async fn window(&mut self) -> Result<Vec<f32>, Failure> {
        loop {
            let sample = self.sample().await?;
            if let Some(features) = self.slide.push(&sample)? {
                return Ok(features);
            }
        }
    }

    async fn sample(&mut self) -> Result<Vec<f32>, Failure> {
        let sample = self.stream.next().await;
        sample.ok_or_else(|| Failure::new("the telemetry has stopped"))
    }
}

/// Stops a workload, off the threads that answer.
pub(crate) async fn end(running: Running) -> Result<(), Failure> {
    let stopped = spawn_blocking(move || running.stop()).await?;
    stopped.map_err(|source| {
        io::Error::new(source.kind(), format!("the workload failed: {source}"))
    })?;
    Ok(())
}

/// The workloads in an order that follows from `seed` alone.
pub(crate) fn shuffled(seed: u64) -> [Workload; 5] {
    let mut order = Workload::ALL;
    let mut state = seed;
    for end in (1..order.len()).rev() {
        // SplitMix64 (Steele, Lea, Flood 2014): one draw for each position.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut draw = state;
        draw = (draw ^ (draw >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        draw = (draw ^ (draw >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        draw ^= draw >> 31;
        let bound = u64::try_from(end).unwrap_or(0) + 1;
        order.swap(end, usize::try_from(draw % bound).unwrap_or(0));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_workload_once_and_orders_differ() {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..8 {
            let mut order = shuffled(seed);
            assert_eq!(order, shuffled(seed), "the same seed, the same order");
            orders.insert(order);
            order.sort();
            assert_eq!(order, Workload::ALL);
        }
        assert!(orders.len() > 4, "{orders:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_workload_is_recorded_as_windows_of_the_right_width() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::start(Probe::open().unwrap()).unwrap();
        let running = recorder.begin(Workload::Idle, Effort::Full, dir.path()).await.unwrap();
        let features = recorder.window().await.unwrap();
        assert_eq!(features.len(), recorder.width());
        assert!(features.iter().all(|value| value.is_finite()));
        end(running).await.unwrap();
    }
}
