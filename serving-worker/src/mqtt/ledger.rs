//! What has come and is not acknowledged yet, in the order in which it came.
//!
//! The broker forgets a message when we acknowledge it. So that none is lost, one is acknowledged
//! when all its answers are at the broker, and not before; so that the order holds that MQTT asks
//! for ([MQTT-4.6.0-2]), those behind it wait. When the line breaks, the broker brings again what
//! it has no acknowledgement for: what is being answered, or was, is known by its packet id and a
//! hash of what it says, and is not answered twice.
//!
//! A value: no clock, no network.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Messages that may be worked on at once; what the broker is told as its *receive maximum*.
pub(super) const MESSAGES_MAX: usize = 32;
/// Entries, those included that were left from earlier lines and that nobody waits for. More are left
/// with the broker: Mosquitto 2.0 sends all that it kept for us at once after it was restarted, whatever
/// the receive maximum is.
const ENTRIES_MAX: usize = 4 * MESSAGES_MAX;
/// Messages remembered after their acknowledgement, which may have been lost with the line.
const REMEMBERED_MAX: usize = 4 * MESSAGES_MAX;

/// By which a message is known when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    /// Its packet id; 0 for one that nobody waits for (QoS 0).
    pub(super) packet: u16,
    hash: u64,
}

impl Print {
    pub(super) fn of(packet: u16, topic: &[u8], payload: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (topic, payload).hash(&mut hasher);
        Self { packet, hash: hasher.finish() }
    }
}

/// Names a message in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

/// What a message is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is to be worked on.
    New(Number),
    /// It came before, and is or was worked on.
    Again,
    /// There are as many as there may be.
    Full,
}

#[derive(Debug)]
struct Entry {
    number: Number,
    print: Print,
    /// Whether it came over the line that is up: only then can it be acknowledged.
    here: bool,
    /// How many of its answers are not at the broker; `None` while that is not known.
    waiting: Option<usize>,
}

/// Messages, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    remembered: VecDeque<Print>,
    next: u64,
}

impl Ledger {
    /// A message has come.
    pub(super) fn enter(&mut self, print: Print) -> Entered {
        if print.packet != 0 {
            let known = self.entries.iter_mut().find(|it| !it.here && it.print == print);
            if let Some(entry) = known {
                entry.here = true;
                return Entered::Again;
            }
        }
        // What nobody waits for is the first to be left out.
        let most = if print.packet == 0 { MESSAGES_MAX } else { ENTRIES_MAX };
        if most <= self.entries.len() {
            return Entered::Full;
        }
        let at = self.remembered.iter().position(|it| *it == print && print.packet != 0);
        let done = at.and_then(|at| self.remembered.remove(at)).is_some();
        let number = Number(self.next);
        self.next += 1;
        let waiting = done.then_some(0);
        // The broker brings again in its order: what was done before comes before what was not.
        let absent = if done { self.entries.iter().position(|it| !it.here) } else { None };
        let entry = Entry { number, print, here: true, waiting };
        self.entries.insert(absent.unwrap_or(self.entries.len()), entry);
        if done { Entered::Again } else { Entered::New(number) }
    }

    /// A message was worked on, and has `answers` that are on their way to the broker.
    pub(super) fn worked(&mut self, number: Number, answers: usize) {
        if let Some(entry) = self.entry(number) {
            entry.waiting = Some(answers);
        }
    }

    /// One of its answers is at the broker.
    pub(super) fn confirmed(&mut self, number: Number) {
        if let Some(entry) = self.entry(number) {
            entry.waiting = entry.waiting.map(|waiting| waiting.saturating_sub(1));
        }
    }

    /// The next packet that is to be acknowledged, if one is due.
    pub(super) fn take_due(&mut self) -> Option<u16> {
        while self.entries.front().is_some_and(|it| it.waiting == Some(0)) {
            let Entry { print, here, .. } = self.entries.pop_front()?;
            if print.packet == 0 {
                continue;
            }
            if REMEMBERED_MAX <= self.remembered.len() {
                self.remembered.pop_front();
            }
            self.remembered.push_back(print);
            if here {
                return Some(print.packet);
            }
        }
        None
    }

    /// The line broke: nothing can be acknowledged that does not come again.
    pub(super) fn lost(&mut self) {
        self.entries.iter_mut().for_each(|it| it.here = false);
    }

    /// The broker has forgotten us: its packet ids begin anew, and mean other messages.
    pub(super) fn forgotten(&mut self) {
        self.remembered.clear();
        for entry in &mut self.entries {
            entry.print.packet = 0;
        }
    }

    fn entry(&mut self, number: Number) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|it| it.number == number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(packet: u16) -> Print {
        Print::of(packet, b"topic", &packet.to_le_bytes())
    }

    fn new(ledger: &mut Ledger, packet: u16) -> Number {
        match ledger.enter(print(packet)) {
            Entered::New(number) => number,
            other @ (Entered::Again | Entered::Full) => panic!("{other:?}"),
        }
    }

    #[test]
    fn acknowledgements_go_out_in_order_and_after_every_answer() {
        let mut ledger = Ledger::default();
        let (one, two) = (new(&mut ledger, 1), new(&mut ledger, 2));
        ledger.worked(two, 0);
        assert_eq!(ledger.take_due(), None, "the first one is not done");
        ledger.worked(one, 2);
        ledger.confirmed(one);
        assert_eq!(ledger.take_due(), None, "one of its answers is on its way");
        ledger.confirmed(one);
        assert_eq!(
            (ledger.take_due(), ledger.take_due(), ledger.take_due()),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn what_comes_again_is_acknowledged_and_not_worked_on_twice() {
        let mut ledger = Ledger::default();
        let (one, two) = (new(&mut ledger, 1), new(&mut ledger, 2));
        ledger.worked(one, 0);
        assert_eq!(ledger.take_due(), Some(1));
        // That acknowledgement was lost with the line.
        ledger.lost();
        ledger.worked(two, 0);
        assert_eq!(ledger.take_due(), None, "nobody to acknowledge it to");
        assert_eq!(ledger.enter(print(1)), Entered::Again);
        assert_eq!(ledger.enter(print(2)), Entered::Again);
        assert_eq!((ledger.take_due(), ledger.take_due()), (Some(1), Some(2)));
        assert!(matches!(ledger.enter(Print::of(1, b"topic", b"other")), Entered::New(_)));
    }

    #[test]
    fn a_broker_that_forgot_us_is_not_answered_for_messages_that_it_means_otherwise() {
        let mut ledger = Ledger::default();
        let one = new(&mut ledger, 1);
        ledger.lost();
        ledger.forgotten();
        let same = new(&mut ledger, 1);
        ledger.worked(one, 0);
        assert_eq!(ledger.take_due(), None);
        ledger.worked(same, 0);
        assert_eq!(ledger.take_due(), Some(1));
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut ledger = Ledger::default();
        let numbers: Vec<Number> = (1..).take(ENTRIES_MAX).map(|at| new(&mut ledger, at)).collect();
        assert_eq!(ledger.enter(print(999)), Entered::Full);
        assert_eq!(ledger.enter(print(0)), Entered::Full);
        ledger.worked(numbers[0], 0);
        assert_eq!(ledger.take_due(), Some(1));
        let _room_again = new(&mut ledger, 999);
    }

    proptest! {
        #[test]
        fn every_message_is_acknowledged_once_whatever_the_line_does(
            steps in proptest::collection::vec((0_u8..5, 0_usize..MESSAGES_MAX), 0..400),
        ) {
            let mut ledger = Ledger::default();
            // What a broker would hold: sent, not acknowledged to it.
            let (mut held, mut working) = (Vec::<u16>::new(), Vec::<Number>::new());
            let (mut next, mut worked) = (1_u16, 0);
            for (step, at) in steps {
                match step {
                    0 if held.len() < MESSAGES_MAX => {
                        if let Entered::New(number) = ledger.enter(print(next)) {
                            held.push(next);
                            working.push(number);
                            next += 1;
                        }
                    }
                    1 if !working.is_empty() => {
                        ledger.worked(working.remove(at % working.len()), 0);
                        worked += 1;
                    }
                    2 => {
                        ledger.lost();
                        for &packet in &held {
                            prop_assert_eq!(ledger.enter(print(packet)), Entered::Again);
                        }
                    }
                    // An acknowledgement reaches the broker, or is lost with the line.
                    3 | 4 => {
                        while let Some(packet) = ledger.take_due() {
                            let first = held.first().copied();
                            prop_assert_eq!(first, Some(packet), "in order");
                            if step == 3 {
                                held.remove(0);
                            } else {
                                break;
                            }
                        }
                        if step == 4 {
                            ledger.lost();
                            for &packet in &held {
                                prop_assert_eq!(ledger.enter(print(packet)), Entered::Again);
                            }
                        }
                    }
                    _ => {}
                }
                prop_assert!(ledger.entries.len() <= ENTRIES_MAX);
                prop_assert!(ledger.remembered.len() <= REMEMBERED_MAX);
            }
            for number in working {
                ledger.worked(number, 0);
                worked += 1;
            }
            while let Some(packet) = ledger.take_due() {
                prop_assert_eq!(held.remove(0), packet);
            }
            prop_assert!(held.is_empty());
            prop_assert_eq!(worked, usize::from(next) - 1);
        }
    }
}
