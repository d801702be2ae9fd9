//! Who is let in when many ask. A rule without clock or I/O; the counting is in `answer.rs`.
//!
//! Three bounds, each with its reason. **All in all**: so many requests and no more, however many
//! connections. **Each task**: a part of what is free, so that a flood for one task leaves room for
//! the first request of another, without a share set aside for tasks that nobody asks. **Time**: what
//! would wait longer than it may, or than half of what its caller does, is refused at once, with how
//! long the work ahead of it takes as measured: to come back then is of use, to come back earlier is not.

use std::time::Duration;

use crate::urgency::Urgency;

/// Requests in flight, over all connections. More are refused at once: a sensor would rather ask
/// again than wait behind a thousand others.
pub(crate) const IN_FLIGHT_MAX: usize = 256;
/// A task may have so many times as many in flight as places are free: alone four fifths of all, two
/// of them four ninths each.
const TASK_PARTS: usize = 4;
/// How long a request may wait behind others.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// … and what part of the time that its caller waits.
const WAIT_PART: u32 = 4;
/// When to try again, at the least and at the most.
const RETRY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(10));

/// Who is there already when a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Requests in flight, this one counted.
    pub(crate) all: usize,
    /// Those of its task before it.
    pub(crate) of_task: usize,
    /// How long the work of those takes, shared by all cores.
    pub(crate) ahead: Duration,
}

/// Why a request is not let in, and when it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shed {
    pub(crate) retry: Duration,
}

/// Whether a request is let in whose caller waits for `left`.
///
/// The first of its task always is: there is nothing to wait behind.
pub(crate) fn admit(crowd: Crowd, urgency: Urgency, left: Option<Duration>) -> Result<(), Shed> {
    let Crowd { all, of_task, ahead } = crowd;
    if of_task == 0 {
        return Ok(());
    }
    // The last places are for the more urgent.
    let places = match urgency {
        Urgency::High => IN_FLIGHT_MAX,
        Urgency::Usual => IN_FLIGHT_MAX / 8 * 7,
        Urgency::Low => IN_FLIGHT_MAX / 2,
        Urgency::HeldBack => return Ok(()),
    };
    let crowded = TASK_PARTS * places.saturating_sub(all) <= of_task;
    // Who is let in at the edge of its caller's time has its turn when it is too late, and under a flood
    // nobody would be answered but the late; and a longer line answers no more of them than a short one.
    let late = WAIT_MAX < ahead || left.is_some_and(|left| left / WAIT_PART < ahead);
    if crowded || late { Err(Shed { retry: retry(ahead) }) } else { Ok(()) }
}

/// When to try again what found so much work ahead of it, rounded up to two digits: thousands who are refused
/// at the same time hear the same words, which HTTP/2 sends over a connection once.
pub(crate) fn retry(ahead: Duration) -> Duration {
    let micros = ahead.clamp(RETRY.0, RETRY.1).as_micros();
    let step = 10_u128.pow(micros.ilog10().saturating_sub(1));
    let rounded = u64::try_from(micros.next_multiple_of(step)).unwrap_or(u64::MAX);
    Duration::from_micros(rounded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Duration = Duration::ZERO;

    /// How many each of `tasks` has in flight when all of them ask for ever.
    fn flood(tasks: usize, urgency: Urgency) -> Vec<usize> {
        let mut in_flight = vec![0; tasks];
        loop {
            let before = in_flight.clone();
            for task in 0..tasks {
                let all = in_flight.iter().sum::<usize>() + 1;
                let crowd = Crowd { all, of_task: in_flight[task], ahead: NONE };
                if all <= IN_FLIGHT_MAX && admit(crowd, urgency, None).is_ok() {
                    in_flight[task] += 1;
                }
            }
            if in_flight == before {
                return in_flight;
            }
        }
    }

    #[test]
    fn tasks_that_flood_get_equal_parts_and_leave_room() {
        for tasks in 1..10 {
            let parts = flood(tasks, Urgency::Usual);
            let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
            assert!(most - least <= 4, "{parts:?}");
            let free = IN_FLIGHT_MAX - parts.iter().sum::<usize>();
            assert!(IN_FLIGHT_MAX / 8 < free, "the more urgent find {free} places");
        }
        assert!(IN_FLIGHT_MAX / 2 < flood(1, Urgency::Usual)[0], "alone it gets most of it");
        assert!(flood(1, Urgency::Low)[0] < flood(1, Urgency::Usual)[0]);
        assert!(flood(1, Urgency::Usual)[0] < flood(1, Urgency::High)[0]);
    }

    #[test]
    fn what_would_come_too_late_is_refused_with_the_time_of_the_work_ahead() {
        let ahead = Duration::from_millis(300);
        let crowd = Crowd { all: 9, of_task: 8, ahead };
        assert_eq!(admit(crowd, Urgency::Usual, None), Ok(()));
        assert_eq!(admit(crowd, Urgency::Usual, Some(4 * ahead)), Ok(()));
        let sooner = Some(Duration::from_millis(1199));
        assert_eq!(admit(crowd, Urgency::High, sooner), Err(Shed { retry: ahead }));
        let long = Crowd { ahead: Duration::from_secs(60), ..crowd };
        assert_eq!(admit(long, Urgency::High, None), Err(Shed { retry: RETRY.1 }));
        let nobody = Crowd { of_task: 0, ..long };
        assert_eq!(admit(nobody, Urgency::Low, Some(NONE)), Ok(()), "there is none to wait for");
    }

    #[test]
    fn who_is_refused_at_the_same_time_hears_the_same() {
        let ms = Duration::from_millis;
        for (ahead, said) in
            [(0, 1), (7, 7), (124, 130), (121, 130), (1011, 1100), (99_999, 10_000)]
        {
            assert_eq!(retry(ms(ahead)), ms(said), "{ahead}");
        }
    }

    proptest! {
        #[test]
        fn who_is_more_urgent_or_waits_behind_fewer_is_never_refused_instead(
            all in 1_usize..=IN_FLIGHT_MAX, of_task in 0_usize..IN_FLIGHT_MAX,
            fewer in 0_usize..IN_FLIGHT_MAX, ahead_ms in 0_u64..3000, left_ms in 0_u64..3000,
        ) {
            let of_task = of_task.min(all - 1);
            let ahead = Duration::from_millis(ahead_ms);
            let left = Some(Duration::from_millis(left_ms));
            let crowd = Crowd { all, of_task, ahead };
            let lighter = Crowd { of_task: of_task.min(fewer), ..crowd };
            let of = |crowd, urgency| admit(crowd, urgency, left).is_ok();
            for (more, less) in [(Urgency::High, Urgency::Usual), (Urgency::Usual, Urgency::Low)] {
                prop_assert!(of(crowd, more) || !of(crowd, less));
                prop_assert!(of(lighter, less) || !of(crowd, less));
            }
            if let Err(Shed { retry }) = admit(crowd, Urgency::Usual, left) {
                prop_assert!(RETRY.0 <= retry && retry <= RETRY.1);
                prop_assert!(ahead <= retry && retry <= RETRY.0.max(ahead + ahead / 10));
            }
        }
    }
}
