//! Whose turn it is to compute, when there is more long work than cores. A rule without clock or I/O.
//!
//! A task whose answers take long must not hold up another's. So turns are not given in the order of
//! asking but to the task with the fewest turns at that moment, in turn among equals; and a task that
//! has none is given one at once, even when every core is taken: the operating system shares the cores
//! between one thread of each task better than a queue could. Within a task the more urgent goes
//! first, then who came first.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use crate::urgency::Urgency;

/// A place in the line of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    urgency: Urgency,
    number: u64,
}

/// One task's share.
#[derive(Debug)]
struct Lane<T> {
    running: usize,
    waiting: BTreeMap<Ticket, T>,
}

/// Who computes and who waits, by task.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// Turns at the same time while tasks have more than one.
    cores: usize,
    /// Turns at the same time, all in all.
    at_once_max: usize,
    lanes: BTreeMap<Arc<str>, Lane<T>>,
    running: usize,
    next: u64,
    /// Which task got the last turn: the next one in the order of names is the first of equals.
    last: Arc<str>,
}

impl<T> Turns<T> {
    pub(crate) fn new(cores: usize, at_once_max: usize) -> Self {
        let cores = cores.max(1);
        Self {
            cores,
            at_once_max: at_once_max.max(cores),
            lanes: BTreeMap::new(),
            running: 0,
            next: 0,
            last: Arc::from(""),
        }
    }

    /// Waits for a turn; [`Turns::give`] says whose it is.
    pub(crate) fn join(&mut self, task: &Arc<str>, urgency: Urgency, waiter: T) -> Ticket {
        let ticket = Ticket { urgency, number: self.next };
        self.next += 1;
        let lane = self
            .lanes
            .entry(Arc::clone(task))
            .or_insert_with(|| Lane { running: 0, waiting: BTreeMap::new() });
        lane.waiting.insert(ticket, waiter);
        ticket
    }

    /// Gives up waiting. `false` when it is not waiting any more: it has a turn, which must be
    /// [`done`](Self::done) with.
    pub(crate) fn leave(&mut self, task: &str, ticket: Ticket) -> bool {
        let Some(lane) = self.lanes.get_mut(task) else { return false };
        let waited = lane.waiting.remove(&ticket).is_some();
        self.forget_if_idle(task);
        waited
    }

    /// A turn has ended.
    pub(crate) fn done(&mut self, task: &str) {
        if let Some(lane) = self.lanes.get_mut(task) {
            lane.running = lane.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.forget_if_idle(task);
    }

    /// Who has a turn now; to be asked until nobody has.
    pub(crate) fn give(&mut self) -> Option<T> {
        let last: &str = &self.last;
        let after = self.lanes.range::<str, _>((Excluded(last), Unbounded));
        let until = self.lanes.range::<str, _>((Unbounded, std::ops::Bound::Included(last)));
        let waiting = after.chain(until).filter(|(_, lane)| !lane.waiting.is_empty());
        let (task, lane) = waiting.min_by_key(|(_, lane)| lane.running)?;
        let room = if lane.running == 0 { self.at_once_max } else { self.cores };
        if room <= self.running {
            return None;
        }
        let task = Arc::clone(task);
        let lane = self.lanes.get_mut(&task)?;
        let (_, waiter) = lane.waiting.pop_first()?;
        lane.running += 1;
        self.running += 1;
        self.last = task;
        Some(waiter)
    }

    fn forget_if_idle(&mut self, task: &str) {
        let idle = self.lanes.get(task).is_some_and(|it| it.running == 0 && it.waiting.is_empty());
        if idle {
            self.lanes.remove(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(task: usize) -> Arc<str> {
        Arc::from(format!("task-{task}").as_str())
    }

    #[test]
    fn a_task_that_holds_every_core_does_not_hold_up_another() {
        let mut turns = Turns::new(2, 8);
        for waiter in 0..100 {
            turns.join(&name(1), Urgency::Usual, (1, waiter));
        }
        assert_eq!(turns.give(), Some((1, 0)));
        assert_eq!(turns.give(), Some((1, 1)));
        assert_eq!(turns.give(), None, "both cores are taken");
        turns.join(&name(2), Urgency::Usual, (2, 0));
        turns.join(&name(2), Urgency::Usual, (2, 1));
        assert_eq!(turns.give(), Some((2, 0)), "at once, whoever holds the cores");
        assert_eq!(turns.give(), None, "and not more than its part");
        // Whoever has fewer turns is next, not who has waited longest.
        turns.done("task-1");
        assert_eq!(turns.give(), None);
        turns.done("task-1");
        assert_eq!(turns.give(), Some((1, 2)));
    }

    #[test]
    fn the_more_urgent_goes_first_within_its_task() {
        let mut turns = Turns::new(1, 1);
        turns.join(&name(1), Urgency::Low, "low");
        turns.join(&name(1), Urgency::Usual, "first");
        turns.join(&name(1), Urgency::Usual, "second");
        turns.join(&name(1), Urgency::High, "high");
        let mut order = Vec::new();
        while let Some(waiter) = turns.give() {
            order.push(waiter);
            turns.done("task-1");
        }
        assert_eq!(order, ["high", "first", "second", "low"]);
        assert!(turns.lanes.is_empty(), "who is done is forgotten");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Join(usize),
        Leave(usize),
        Done(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_usize..4).prop_map(Step::Join),
            1 => any::<usize>().prop_map(Step::Leave),
            2 => any::<usize>().prop_map(Step::Done),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn no_more_compute_than_may_and_nobody_waits_for_a_turn_that_is_free(
            steps in steps(), cores in 1_usize..4, beyond in 0_usize..3,
        ) {
            let mut turns = Turns::new(cores, cores + beyond);
            let mut waiting: Vec<(usize, Ticket)> = Vec::new();
            let mut running: Vec<usize> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(task) => {
                        let at = turns.next;
                        let ticket = turns.join(&name(task), Urgency::Usual, (task, at));
                        waiting.push((task, ticket));
                    }
                    Step::Leave(at) if !waiting.is_empty() => {
                        let (task, ticket) = waiting.remove(at % waiting.len());
                        prop_assert!(turns.leave(&name(task), ticket));
                        prop_assert!(!turns.leave(&name(task), ticket));
                    }
                    Step::Done(at) if !running.is_empty() => {
                        let task = running.remove(at % running.len());
                        turns.done(&name(task));
                    }
                    Step::Leave(_) | Step::Done(_) => {}
                }
                while let Some((task, number)) = turns.give() {
                    let of = |task: usize| running.iter().filter(|&&it| it == task).count();
                    // Never beyond the cores while it has a turn already; and nobody who waits has
                    // fewer turns than who was given one.
                    prop_assert!(running.len() < cores || of(task) == 0);
                    prop_assert!(waiting.iter().all(|&(other, _)| of(task) <= of(other)));
                    waiting.retain(|(_, ticket)| ticket.number != number);
                    running.push(task);
                }
                prop_assert!(running.len() <= cores + beyond);
                // In both directions: somebody waits only while there is no room for them.
                for &(task, _) in &waiting {
                    let of = running.iter().filter(|&&it| it == task).count();
                    let room = if of == 0 { cores + beyond } else { cores };
                    prop_assert!(room <= running.len(), "task {} could have a turn", task);
                }
            }
        }
    }
}
