//! The times of an open loop: a thread that sleeps to within microseconds, where timers of a runtime
//! know milliseconds and would send in bursts. It does not spin: a generator that keeps its core busy
//! takes from the server what a machine below gives to both.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use benches::folder::Fault;
use tokio::{sync::Notify, time::Instant};

/// How late a sleep may end, in nanoseconds: Linux gathers what falls into 50 µs unless told.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(1_000);

/// Requests that are due within this are due together: to be woken for each would cost more than to send it.
const TOGETHER: Duration = Duration::from_micros(200);

/// Rings at its times, until it is dropped.
pub(crate) struct Pacer {
    times: Times,
    bell: Arc<Notify>,
    enough: Arc<AtomicBool>,
}

/// When what is due.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: Instant,
    /// From one time to the next.
    apart: f64,
    /// Requests at each time, on average.
    together: f64,
}

impl Times {
    fn new(first: Instant, rate: f64) -> Self {
        let apart = rate.recip().max(TOGETHER.as_secs_f64());
        Self { first, apart, together: rate * apart }
    }

    /// The time with this number.
    fn at(self, number: u64) -> Instant {
        self.first + Duration::from_secs_f64(number as f64 * self.apart)
    }

    /// When the request with this number is due.
    fn due(self, request: u64) -> Instant {
        self.first + Duration::from_secs_f64((request as f64 / self.together).floor() * self.apart)
    }
}

impl Pacer {
    /// Rings for `rate` requests a second from now on, evenly.
    pub(crate) fn start(rate: f64) -> Result<Self, Fault> {
        let times = Times::new(Instant::now(), rate);
        let pacer = Self { times, bell: Arc::default(), enough: Arc::default() };
        let (bell, enough) = (Arc::clone(&pacer.bell), Arc::clone(&pacer.enough));
        let ring = move || {
            // Without it the pace is coarser, and latencies say so: they count from when it was due.
            let _coarser = rustix::thread::set_current_timer_slack(SLACK);
            for number in 1.. {
                thread::sleep(times.at(number).saturating_duration_since(Instant::now()));
                if enough.load(Relaxed) {
                    return;
                }
                bell.notify_one();
            }
        };
        thread::Builder::new().name("pacer".to_owned()).spawn(ring)?;
        Ok(pacer)
    }

    /// When the request with this number is due.
    pub(crate) fn due(&self, request: u64) -> Instant {
        self.times.due(request)
    }

    /// Returns when something may be due.
    pub(crate) async fn rings(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.enough.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_were_asked_for_and_only_when_it_rings() {
        for rate in [3.0, 500.0, 4_999.0, 7_490.0, 20_000.0] {
            let times = Times::new(Instant::now(), rate);
            let second = Duration::from_secs(1);
            let due = (0..).take_while(|&it| times.due(it) - times.first < second).count() as f64;
            assert!((due - rate).abs() <= times.together + 1.0, "{due} of {rate}");
            for request in 0..100 {
                let since = (times.due(request) - times.first).as_secs_f64();
                let ring = (since / times.apart).round() * times.apart;
                assert!((since - ring).abs() < 1e-6, "{request} of {rate}");
            }
        }
    }
}
