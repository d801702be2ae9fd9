//! Tasks with a name and an owner.

use std::{future::Future, thread};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::Instrument as _;

/// How much less [`behind`] is preferred: a tenth of the time of those who answer, while they want it.
const NICE: i32 = 10;
/// The least preferred of all.
const NICE_MAX: i32 = 19;

/// Starts `future` as a task whose events carry `name`. A panic in it is logged, never lost.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", task.name = name)))
}

/// Does long work on a thread of its own, behind all other threads: it takes the time that they leave.
/// What came of it; `None` when it panicked, or there was no thread to be had.
pub async fn behind<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let behind = move || {
        // On Linux a priority is a thread's. Without it the work is done all the same.
        let now = getpriority_process(None).unwrap_or(0);
        let _as_before = setpriority_process(None, (now + NICE).min(NICE_MAX));
        // Nobody may be waiting any more.
        let _nobody = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(behind).ok()?;
    result.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_behind_is_less_preferred_and_nothing_else_is() {
        let before = getpriority_process(None).unwrap();
        let there = behind("behind", || getpriority_process(None).unwrap()).await;
        assert_eq!(there, Some((before + NICE).min(NICE_MAX)));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[tokio::test]
    async fn a_panic_in_work_behind_is_no_result() {
        let broken = behind("behind", || -> u8 { panic!("as it should") }).await;
        assert_eq!(broken, None);
    }
}
