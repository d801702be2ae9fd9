//! The floor where long work is done: threads apart from those that read and write, and turns on them
//! that are shared between tasks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{
    turns::{Ticket, Turns},
    urgency::Urgency,
};

/// Turns at the same time beyond one for each core: so many tasks are never held up by others.
const TASKS_BEYOND: usize = 32;

/// Gives turns.
#[derive(Debug)]
pub(crate) struct Floor(Mutex<Turns<oneshot::Sender<()>>>);

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
    over: bool,
}

impl Floor {
    pub(crate) fn new(cores: usize) -> Self {
        Self(Mutex::new(Turns::new(cores, cores + TASKS_BEYOND)))
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
        let mut waiting = Waiting { floor: self, task, ticket, over: false };
        // The sender is dropped only by `leave`, which is called only when this is dropped.
        let _given = given.await;
        waiting.over = true;
        Turn { floor: Arc::clone(self), task: Arc::clone(task) }
    }

    fn lock(&self) -> MutexGuard<'_, Turns<oneshot::Sender<()>>> {
        // Every change is complete before the guard can be dropped by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let floor = Arc::new(Floor(Mutex::new(Turns::new(1, 1))));
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
        drop(turn);
        assert!(floor.turn(&task, Urgency::Usual).now_or_never().is_some());
    }
}
