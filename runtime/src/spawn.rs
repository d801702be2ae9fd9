//! Tasks with a name and an owner.

use std::{
    cell::Cell,
    fs,
    future::Future,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::{Pid, gettid},
};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::Instrument as _;

/// How much less the second thread of [`behind`] is preferred: a tenth of the time of those who answer,
/// while they want it.
const NICE: i32 = 10;
/// The least preferred of all.
const NICE_MAX: i32 = 19;
/// For how long in all the first thread of [`behind`] may stand still.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is asked at most.
const ASKED_EVERY_MIN: Duration = Duration::from_millis(5);

/// Starts `future` as a task whose events carry `name`. A panic in it is logged, never lost.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", task.name = name)))
}

/// Starts the rest of a call, which is one of thousands: it carries no name, and who asked for it hears how it
/// ends.
#[expect(clippy::disallowed_methods, reason = "its owner is the connection that it came by")]
pub fn call(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

/// Does long work on a thread of its own, behind all other threads: it takes the time that they leave,
/// and whoever wakes up takes the core from it at once, which lower priority alone does not do.
///
/// Where it stands still for a tenth of a second in all, because others take every core or the disk (idle threads
/// read last, too), the same work is begun again beside it by a thread that is only less preferred, and who ends
/// first counts. So `work` may run twice, also at the same time. Work that only takes long is not begun again.
///
/// What came of it; `None` when it panicked, or there was no thread to be had.
pub async fn behind<T: Send + 'static>(
    name: &str,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Option<T> {
    let (work, thread) = (Arc::new(work), Arc::new(OnceLock::new()));
    let known = Arc::clone(&thread);
    let step_back = move || {
        be_idle();
        let _once = known.set(gettid());
    };
    let mut idle = on_a_thread(name, step_back, Arc::clone(&work))?;
    let (begun, mut patience) = (Instant::now(), PATIENCE);
    while !patience.is_zero() {
        if let Ok(ended) = timeout(patience.max(ASKED_EVERY_MIN), &mut idle).await {
            return ended.ok();
        }
        // Where the system does not say so, it may have stood still all the time.
        let ran = thread.get().and_then(|&thread| has_run(thread)).unwrap_or_default();
        patience = patience_left(begun.elapsed(), ran);
    }
    tracing::debug!(name, "it stands still: it is done again by a thread that insists");
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
    step_back: impl FnOnce() + Send + 'static,
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

/// What is left of [`PATIENCE`] with a thread that ran for so long of the time since it began.
fn patience_left(since: Duration, ran: Duration) -> Duration {
    PATIENCE.saturating_sub(since.saturating_sub(ran))
}

/// How long a thread of this process has run; `None` where the system does not say.
///
/// Source: `Documentation/scheduler/sched-stats.rst` of Linux, `/proc/PID/schedstat`, its first number.
fn has_run(thread: Pid) -> Option<Duration> {
    let known = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
    let known = fs::read_to_string(known).ok()?;
    known.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Lets go of the core if another thread wants it, where this one has stepped back as [`behind`] does; for work that
/// goes on for longer than a tenth of a millisecond without asking the system for anything.
///
/// A Linux that preempts lazily, or only where its own code ends, marks the thread that is to let go and looks at
/// the mark when that thread comes out of the system: without this at the next tick, up to four milliseconds later.
pub fn give_way() {
    if STEPPED_BACK.get() {
        thread::yield_now();
    }
}

thread_local! {
    static STEPPED_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Takes only what no other thread wants (`SCHED_IDLE`). Without it the work is done all the same.
fn be_idle() {
    STEPPED_BACK.set(true);
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let idle = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = idle {
        tracing::debug!(%error, "a thread cannot be idle, and is less preferred instead");
        be_nice();
    }
}

/// Takes a tenth of what others take. On Linux a priority is a thread's.
fn be_nice() {
    STEPPED_BACK.set(true);
    let now = getpriority_process(None).unwrap_or(0);
    let _as_before = setpriority_process(None, (now + NICE).min(NICE_MAX));
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    };

    use rustix::{
        thread::{CpuSet, sched_getaffinity, sched_setaffinity},
        time::{ClockId, clock_gettime},
    };
    use thread_priority::thread_schedule_policy;

    use super::*;

    const IDLE: ThreadSchedulePolicy =
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

    #[tokio::test]
    async fn work_behind_is_idle_and_nothing_else_is() {
        let before = (thread_schedule_policy(), getpriority_process(None));
        let there =
            behind("behind", || (thread_schedule_policy().unwrap(), STEPPED_BACK.get())).await;
        assert_eq!(there, Some((IDLE, true)));
        assert!(!STEPPED_BACK.get(), "who has not stepped back gives no way");
        assert_eq!((thread_schedule_policy(), getpriority_process(None)), before);
    }

    #[tokio::test]
    async fn a_panic_in_work_behind_is_no_result() {
        let broken = behind("behind", || -> u8 { panic!("as it should") }).await;
        assert_eq!(broken, None);
    }

    /// A device with one core, which another thread takes.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn work_that_nobody_leaves_time_is_done_by_a_thread_that_insists() {
        let before = getpriority_process(None).unwrap();
        let core = (0..CpuSet::MAX_CPU).find(|&it| sched_getaffinity(None).unwrap().is_set(it));
        let mut alone = CpuSet::new();
        alone.set(core.unwrap());
        // Threads that are started from here on inherit it.
        sched_setaffinity(None, &alone).unwrap();
        let (busy, begun) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let burning = Arc::clone(&busy);
        let burner = thread::spawn(move || while burning.load(Ordering::Relaxed) {});
        let of_both = Arc::clone(&begun);
        let there = behind("behind", move || {
            of_both.fetch_add(1, Ordering::Relaxed);
            work_for(Duration::from_millis(20));
            getpriority_process(None).unwrap()
        })
        .await;
        busy.store(false, Ordering::Relaxed);
        burner.join().unwrap();
        assert_eq!(there, Some((before + NICE).min(NICE_MAX)));
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    /// Such as one that waits for a disk that others keep busy.
    #[tokio::test(start_paused = true)]
    async fn work_that_stands_still_is_done_by_a_thread_that_insists() {
        let before = getpriority_process(None).unwrap();
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

    /// Patience was counted by the clock, so that a large bundle was decoded twice beside itself on a device
    /// on which nobody was in its way.
    #[test]
    fn who_only_takes_long_is_waited_for() {
        let ms = Duration::from_millis;
        assert_eq!(patience_left(ms(0), ms(0)), PATIENCE);
        assert_eq!(patience_left(ms(9_000), ms(8_970)), PATIENCE - ms(30));
        assert_eq!(patience_left(ms(100), ms(0)), ms(0));
        assert_eq!(patience_left(ms(900), ms(700)), ms(0));
        // Two clocks: what ran may seem longer than what went by.
        assert_eq!(patience_left(ms(10), ms(11)), PATIENCE);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn how_long_a_thread_ran_is_known_of_threads_of_this_process() {
        let before = has_run(gettid()).unwrap();
        work_for(Duration::from_millis(20));
        // The system adds up what ran at its ticks.
        thread::yield_now();
        assert!(before + Duration::from_millis(10) <= has_run(gettid()).unwrap());
        assert_eq!(has_run(Pid::from_raw(i32::MAX).unwrap()), None);
    }

    /// Spends so much of a core's time, however long that takes.
    #[cfg(target_os = "linux")]
    fn work_for(long: Duration) {
        let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let until = spent() + long;
        while spent() < until {}
    }
}
