//! Where tasks are served that are not served here, and whom to ask first. Rules without clock or I/O.

use std::{collections::BTreeMap, time::Duration};

use proto::{parse, v1};
use tokio::time::Instant;

use crate::orders::TASKS_MAX;

/// Most devices that one task is asked of.
const DEVICES_MAX: usize = 16;
/// How long a device that did not answer is asked last: first, and at most.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long one device may take while others could be asked after it.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// How long the last one may take when its caller does not say.
const LAST_MAX: Duration = Duration::from_secs(5);

/// A serving worker elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    pub(crate) device: String,
    /// `http://host:port`.
    pub(crate) address: String,
}

/// For each task, where it is served, the best place first.
pub(crate) type Routes = BTreeMap<String, Vec<Place>>;

/// The routes in a message, without what cannot be one: a place that cannot be reached is no place.
pub(crate) fn parse(routes: Vec<v1::Route>) -> Routes {
    let place = |it: v1::Peer| {
        let address = parse::endpoint(&it.serving_address).ok()?;
        Some(Place { device: it.device, address })
    };
    routes
        .into_iter()
        .take(TASKS_MAX)
        .filter(|route| route.task.len() <= models::schema::NAME_BYTES_MAX)
        .map(|route| {
            (route.task, route.places.into_iter().filter_map(place).take(DEVICES_MAX).collect())
        })
        .filter(|(_, places): &(String, Vec<Place>)| !places.is_empty())
        .collect()
}

/// How a place has answered lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Failures in a row.
    failures: u32,
    /// Until when it is asked last.
    away_until: Option<Instant>,
}

impl Health {
    /// It did not answer.
    pub(crate) fn failed(&mut self, now: Instant) {
        let away = AWAY.0.saturating_mul(1 << self.failures.min(8)).min(AWAY.1);
        self.failures = self.failures.saturating_add(1);
        self.away_until = Some(now + away);
    }

    /// It answered.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    fn is_away(self, now: Instant) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }
}

/// `places` in the order of asking: those first that have not failed lately, each group as it was.
pub(crate) fn in_order(
    places: &[Place],
    health: &BTreeMap<String, Health>,
    now: Instant,
) -> Vec<Place> {
    let mut order = places.to_vec();
    // A stable sort keeps the better place before the worse one.
    order.sort_by_key(|it| health.get(&it.address).is_some_and(|health| health.is_away(now)));
    order
}

/// How long the next place may take when `others` could be asked after it and the caller waits for
/// `left`: half of what is left while there are others, all of it for the last one.
pub(crate) fn patience(left: Option<Duration>, others: usize) -> Duration {
    match (left, others) {
        (Some(left), 0) => left,
        (Some(left), _) => (left / 2).min(ATTEMPT_MAX),
        (None, 0) => LAST_MAX,
        (None, _) => ATTEMPT_MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(device: &str) -> Place {
        Place { device: device.to_owned(), address: format!("http://{device}:1") }
    }

    #[test]
    fn who_did_not_answer_is_asked_last_and_comes_back() {
        let (a, b, c) = (place("a"), place("b"), place("c"));
        let places = [a.clone(), b.clone(), c.clone()];
        let now = Instant::now();
        let mut health = BTreeMap::new();
        assert_eq!(in_order(&places, &health, now), places);
        let of_a: &mut Health = health.entry(a.address.clone()).or_default();
        of_a.failed(now);
        assert_eq!(in_order(&places, &health, now), [b.clone(), c.clone(), a.clone()]);
        assert_eq!(in_order(&places, &health, now + AWAY.0), places, "it is tried again");
        let of_a = health.get_mut(&a.address).unwrap();
        (0..100).for_each(|_| of_a.failed(now));
        assert_eq!(in_order(&places, &health, now + AWAY.1 / 2)[2], a);
        assert_eq!(in_order(&places, &health, now + AWAY.1), places, "never for ever");
        health.get_mut(&a.address).unwrap().failed(now);
        health.get_mut(&a.address).unwrap().answered();
        assert_eq!(in_order(&places, &health, now), places);
    }

    #[test]
    fn what_cannot_be_a_route_is_none() {
        let peer = |device: &str, address: &str| v1::Peer {
            device: device.to_owned(),
            serving_address: address.to_owned(),
        };
        let route = |task: &str, places| v1::Route { task: task.to_owned(), places };
        let routes = parse(vec![
            route("a", vec![peer("x", "nowhere"), peer("y", "y:8001")]),
            route("b", vec![peer("x", "")]),
            route(&"c".repeat(10_000), vec![peer("y", "y:8001")]),
        ]);
        let y = Place { device: "y".to_owned(), address: "http://y:8001".to_owned() };
        assert_eq!(routes, [("a".to_owned(), vec![y])].into());
    }

    proptest! {
        #[test]
        fn attempts_together_take_no_longer_than_the_caller_waits(
            left_ms in 0_u64..10_000, places in 1_usize..8,
        ) {
            let mut left = Duration::from_millis(left_ms);
            for others in (0..places).rev() {
                let patience = patience(Some(left), others);
                prop_assert!(patience <= left);
                prop_assert!(others == 0 || patience <= ATTEMPT_MAX);
                left -= patience;
            }
            prop_assert_eq!(left, Duration::ZERO, "and none of it is left unused");
        }
    }
}
