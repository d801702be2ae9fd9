//! Turns for long work, shared between tasks, and those who wait for one.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::oneshot;

use crate::{
    turns::{Ticket, Turns},
    urgency::Urgency,
};

/// Turns at the same time beyond one for each core: so many tasks are never held up by others.
const TASKS_BEYOND: usize = 32;

/// As many wait for a turn when it is crowded: what comes now waits a while, whenever it is read. What
/// is held back is not counted: nothing waits behind it.
const CROWD: usize = 16;

/// Gives turns.
#[derive(Debug)]
pub(crate) struct Floor {
    turns: Mutex<Turns<oneshot::Sender<()>>>,
    /// Who waits for a turn, counted for those who only want to know how many.
    waiting: AtomicUsize,
}

/// A turn to compute, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    floor: Arc<Floor>,
    task: Arc<str>,
}

/// Somebody who waits; gives up their place, or the turn that they did not notice, when dropped.
struct Waiting<'a> {
    floor: &'a Floor,
    task: &'a Arc<str>,
    ticket: Ticket,
    /// How many it is among those who wait.
    counts: usize,
    over: bool,
}

impl Floor {
    pub(crate) fn new(cores: usize) -> Self {
        Self::with(Turns::new(cores, cores + TASKS_BEYOND))
    }

    fn with(turns: Turns<oneshot::Sender<()>>) -> Self {
        Self { turns: Mutex::new(turns), waiting: AtomicUsize::new(0) }
    }

    /// Whether many wait for a turn.
    pub(crate) fn is_crowded(&self) -> bool {
        CROWD <= self.waiting.load(Relaxed)
    }

    /// A turn for `task`, when it comes. Who stops waiting costs nothing more.
    pub(crate) async fn turn(self: &Arc<Self>, task: &Arc<str>, urgency: Urgency) -> Turn {
        let (sender, given) = oneshot::channel();
        let ticket = {
            let mut turns = self.lock();
            let ticket = turns.join(task, urgency, sender);
            Self::give(&mut turns);
            ticket
        };
        let counts = usize::from(urgency != Urgency::HeldBack);
        self.waiting.fetch_add(counts, Relaxed);
        let mut waiting = Waiting { floor: self, task, ticket, counts, over: false };
        // The sender is dropped only by `leave`, which is called only when this is dropped.
        let _given = given.await;
        waiting.over = true;
        Turn { floor: Arc::clone(self), task: Arc::clone(task) }
    }

    fn lock(&self) -> MutexGuard<'_, Turns<oneshot::Sender<()>>> {
        // Every change is complete before the guard can be dropped by a panic.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits hears of it before they can leave: both need the lock.
    fn give(turns: &mut Turns<oneshot::Sender<()>>) {
        while let Some(waiter) = turns.give() {
            let _heard = waiter.send(());
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.floor.waiting.fetch_sub(self.counts, Relaxed);
        if self.over {
            return;
        }
        let mut turns = self.floor.lock();
        if !turns.leave(self.task, self.ticket) {
            turns.done(self.task);
            Floor::give(&mut turns);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.floor.lock();
        turns.done(&self.task);
        Floor::give(&mut turns);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_stops_waiting_takes_no_turn_with_them() {
        let floor = Arc::new(Floor::with(Turns::new(1, 1)));
        let task: Arc<str> = Arc::from("kitchen");
        let first = floor.turn(&task, Urgency::Usual).await;
        let mut gone = Box::pin(floor.turn(&task, Urgency::Usual));
        let mut late = Box::pin(floor.turn(&task, Urgency::Usual));
        let mut last = Box::pin(floor.turn(&task, Urgency::Usual));
        assert!((&mut gone).now_or_never().is_none());
        assert!((&mut late).now_or_never().is_none());
        assert!((&mut last).now_or_never().is_none());
        // One leaves while it waits, one after it was given a turn that it has not noticed.
        drop(gone);
        drop(first);
        drop(late);
        let turn = last.now_or_never().expect("the turn of who left is free again");
        assert_eq!(floor.waiting.load(Relaxed), 0);
        drop(turn);
        assert!(floor.turn(&task, Urgency::Usual).now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_is_crowded_while_many_wait() {
        let floor = Arc::new(Floor::with(Turns::new(1, 1)));
        let task: Arc<str> = Arc::from("kitchen");
        let _first = floor.turn(&task, Urgency::Usual).await;
        let mut waiting: Vec<_> =
            (0..CROWD).map(|_| Box::pin(floor.turn(&task, Urgency::Usual))).collect();
        assert!(!floor.is_crowded());
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!(floor.is_crowded());
        waiting.pop();
        assert!(!floor.is_crowded());
        let mut streams: Vec<_> =
            (0..CROWD).map(|_| Box::pin(floor.turn(&task, Urgency::HeldBack))).collect();
        assert!(streams.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!(!floor.is_crowded(), "nothing waits behind what is held back");
    }
}
