//! The cost card: how long an answer will take, before it was ever given.
//!
//! ```text
//! total = RTT_p95(site, device) + transfer(bytes) + queue(ρ, service) + service_p99
//! ```
//!
//! `service_p99` begins as the work of the members times the measured speed of the device, and is
//! replaced by the measured quantile once there is traffic. A sum of quantiles is an upper estimate
//! of the quantile of the sum when the parts are independent; it errs on the side of the promise.

use models::{Speed, Work};

/// Bytes that a site's network moves in a microsecond: 100 Mbit/s, what a Pi has by cable. The RTT
/// is measured with messages of a few bytes, so the size of a sample has to be added.
pub const BYTES_PER_US: f64 = 12.5;
/// The 99th percentile of a service time over its mean, before it was measured. Ours: a machine
/// that also does other things now and then takes a second time slice.
pub const TAIL: f64 = 2.0;
/// Answers after which a measured 99th percentile replaces the predicted one: with fewer, one
/// outlier is the percentile.
pub const ANSWERS_MIN: u64 = 200;
/// Load above which a queue is called endless.
const LOAD_MAX: f64 = 0.98;
/// An hour: longer than any promise, and far from overflow.
const LATENCY_US_MAX: f64 = 3_600_000_000.0;

/// What an answer is predicted to take, in microseconds, by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// To the device and back, 95th percentile.
    pub rtt_us: u32,
    /// Moving the sample there and the answer back.
    pub transfer_us: u32,
    /// Waiting for other answers.
    pub queue_us: u32,
    /// Computing the answer, 99th percentile.
    pub service_us: u32,
    /// Whether `service_us` was measured and not predicted.
    pub measured: bool,
}

impl Cost {
    /// The sum of the parts.
    #[must_use]
    pub fn total_us(&self) -> u32 {
        self.rtt_us
            .saturating_add(self.transfer_us)
            .saturating_add(self.queue_us)
            .saturating_add(self.service_us)
    }
}

/// Moving a sample of `width` values to the device, and the answer with the shares of `classes`
/// back.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a prediction of a time, not a count")]
pub fn transfer_us(width: usize, classes: usize) -> u32 {
    const HEADERS: usize = 200;
    let bytes = (width + classes) * size_of::<f32>() + HEADERS;
    micros(bytes as f64 / BYTES_PER_US)
}

/// The 99th percentile of computing `work` on a device of this speed, before it was measured.
#[must_use]
pub fn service_us(speed: &Speed, work: Work) -> u32 {
    micros(speed.micros(work) * TAIL)
}

/// The 99th percentile of the wait before an answer is begun, when the device's cores are busy
/// answering for the share `load` of the time.
///
/// For a single queue with random arrivals and service times, `P(wait > t) = ρ·exp(-(1-ρ)·t/s)`
/// (M/M/1, e.g. Kleinrock 1975), which is an upper estimate for service times that vary less. So
/// light loads wait for nobody: below ρ = 1 % the percentile is 0.
#[must_use]
pub fn queue_us(load: f64, service_us: u32) -> u32 {
    const TAIL_SHARE: f64 = 0.01;
    if load.is_nan() || load <= TAIL_SHARE {
        return 0;
    }
    let load = load.min(LOAD_MAX);
    micros(f64::from(service_us) * (load / TAIL_SHARE).ln() / (1.0 - load))
}

/// The least work that any member for so many classes can do: a tree that tells them apart by one
/// comparison per level. A lower bound, for tasks that nothing was trained for yet.
///
/// It does not depend on the width: a tree looks at one value per level, however many there are.
#[must_use]
pub fn least_work(classes: usize) -> Work {
    let levels = usize::BITS - classes.max(2).saturating_sub(1).leading_zeros();
    Work { nodes: u64::from(levels), calls: 1, ..Work::default() }
}

/// The time of `work` without any tail, rounded up: a lower bound.
#[must_use]
pub fn least_service_us(speed: &Speed, work: Work) -> u32 {
    micros(speed.micros(work).ceil().max(1.0))
}

/// A time as a person reads it.
#[must_use]
pub fn millis(us: u32) -> String {
    let ms = f64::from(us) / 1000.0;
    if ms < 10.0 {
        let text = format!("{ms:.3}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text} ms")
    } else {
        format!("{ms:.1} ms").replace(".0 ms", " ms")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 and an hour, which fits in 32 bits"
)]
fn micros(us: f64) -> u32 {
    if us.is_nan() { u32::MAX } else { us.clamp(0.0, LATENCY_US_MAX).round() as u32 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPEED: Speed =
        Speed { madd_ns: 1.0, byte_ns: 0.1, node_ns: 5.0, exp_ns: 20.0, call_ns: 1000.0 };

    #[test]
    fn a_service_time_is_work_times_speed_with_a_tail() {
        let work = Work { madds: 10_000, bytes: 10_000, nodes: 200, exps: 100, calls: 2 };
        assert_eq!(service_us(&SPEED, work), 32);
        assert_eq!(service_us(&Speed { madd_ns: f64::INFINITY, ..SPEED }, work), 3_600_000_000);
    }

    #[test]
    fn a_time_reads_as_a_person_writes_it() {
        assert_eq!(millis(3_100), "3.1 ms");
        assert_eq!(millis(2_000), "2 ms");
        assert_eq!(millis(412), "0.412 ms");
        assert_eq!(millis(84_000), "84 ms");
        assert_eq!(millis(84_250), "84.2 ms");
    }

    #[test]
    fn the_least_work_is_a_comparison_per_halving() {
        assert_eq!(least_work(2).nodes, 1);
        assert_eq!(least_work(13).nodes, 4);
        assert_eq!(least_work(16).nodes, 4);
    }

    proptest! {
        #[test]
        fn more_load_never_waits_less(
            a in 0.0_f64..1.5, b in 0.0_f64..1.5, service in 0_u32..1_000_000,
        ) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(queue_us(low, service) <= queue_us(high, service));
        }

        #[test]
        fn no_cost_overflows(
            rtt_us: u32, transfer_us: u32, queue_us: u32, service_us: u32,
        ) {
            let cost = Cost { rtt_us, transfer_us, queue_us, service_us, measured: false };
            prop_assert!(rtt_us.max(service_us) <= cost.total_us());
        }

        #[test]
        fn the_least_work_is_a_lower_bound(
            classes in 2_usize..200, width in 1_u64..1000, calls in 1_u64..8,
        ) {
            let least = least_service_us(&SPEED, least_work(classes));
            let classes = u64::try_from(classes).unwrap();
            let linear = Work { madds: width * classes, calls, ..Work::default() };
            prop_assert!(least <= service_us(&SPEED, linear).max(1) + 1);
        }
    }
}
