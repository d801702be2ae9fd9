//! Tasks with a name and an owner.

use std::{future::Future, sync::Arc, thread, time::Duration};

use rustix::process::{getpriority_process, setpriority_process};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tracing::Instrument as _;

/// How much less the second thread of [`behind`] is preferred: a tenth of the time of those who answer,
/// while they want it.
const NICE: i32 = 10;
/// The least preferred of all.
const NICE_MAX: i32 = 19;
/// How long [`behind`] makes do with the time that nobody wants.
const PATIENCE: Duration = Duration::from_millis(100);

/// Starts `future` as a task whose events carry `name`. A panic in it is logged, never lost.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", task.name = name)))
}

/// Does long work on a thread of its own, behind all other threads: it takes the time that they leave,
/// and whoever wakes up takes the core from it at once, which lower priority alone does not do.
///
/// Where that is not enough for a tenth of a second, the same work is begun again beside it by a thread that
/// is only less preferred, and who ends first counts. So `work` may run twice, also at the same time.
///
/// What came of it; `None` when it panicked, or there was no thread to be had.
pub async fn behind<T: Send + 'static>(
    name: &str,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Option<T> {
    let work = Arc::new(work);
    let mut idle = on_a_thread(name, be_idle, Arc::clone(&work))?;
    if let Ok(ended) = timeout(PATIENCE, &mut idle).await {
        return ended.ok();
    }
    tracing::debug!(name, "it takes long: it is done again by a thread that insists");
    let Some(nice) = on_a_thread(name, be_nice, work) else { return idle.await.ok() };
    tokio::select! {
        Ok(result) = idle => Some(result),
        Ok(result) = nice => Some(result),
        else => None,
    }
}

/// `None` when there is no thread to be had.
fn on_a_thread<T: Send + 'static>(
    name: &str,
    step_back: fn(),
    work: Arc<impl Fn() -> T + Send + Sync + 'static>,
) -> Option<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    let behind = move || {
        step_back();
        // Nobody may be waiting any more.
        let _nobody = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(behind).ok()?;
    Some(result)
}

/// Takes only what no other thread wants (`SCHED_IDLE`). Without it the work is done all the same.
fn be_idle() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let idle = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = idle {
        tracing::debug!(%error, "a thread cannot be idle, and is less preferred instead");
        be_nice();
    }
}

/// Takes a tenth of what others take. On Linux a priority is a thread's.
fn be_nice() {
    let now = getpriority_process(None).unwrap_or(0);
    let _as_before = setpriority_process(None, (now + NICE).min(NICE_MAX));
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use thread_priority::thread_schedule_policy;

    use super::*;

    const IDLE: ThreadSchedulePolicy =
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

    #[tokio::test]
    async fn work_behind_is_idle_and_nothing_else_is() {
        let before = (thread_schedule_policy(), getpriority_process(None));
        let there = behind("behind", || thread_schedule_policy().unwrap()).await;
        assert_eq!(there, Some(IDLE));
        assert_eq!((thread_schedule_policy(), getpriority_process(None)), before);
    }

    #[tokio::test]
    async fn a_panic_in_work_behind_is_no_result() {
        let broken = behind("behind", || -> u8 { panic!("as it should") }).await;
        assert_eq!(broken, None);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_nobody_leaves_time_is_done_by_a_thread_that_insists() {
        let before = getpriority_process(None).unwrap();
        // The first of the two waits until the end, as if it got no time at all.
        let (end, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let there = behind("behind", move || {
            if thread_schedule_policy().unwrap() == IDLE {
                let _ended = waits.lock().unwrap().recv();
            }
            getpriority_process(None).unwrap()
        })
        .await;
        assert_eq!(there, Some((before + NICE).min(NICE_MAX)));
        drop(end);
    }
}
