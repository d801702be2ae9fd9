//! What the scheduler wants of this device: read once, kept on disk, obeyed only when newer.

use std::{collections::BTreeMap, time::Duration};

use proto::{parse, v1};

/// More tasks on one device than any policy places there.
const TASKS_MAX: usize = 1_024;
/// Training jobs at a time on one device.
const JOBS_MAX: usize = 64;
/// Peers whose round trip is measured from here.
const PEERS_MAX: usize = 1_024;
/// Devices that serve one task.
const PLACES_MAX: usize = 64;
/// Longest name that is passed on to a worker.
const NAME_BYTES_MAX: usize = 256;
/// Heartbeats are no faster, whatever the orders say.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
/// Heartbeats are no slower, whatever the orders say.
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// The whole of what this device should do.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Orders {
    /// Grows with every set of orders for this device.
    pub(crate) generation: u64,
    /// What should be served, by task.
    pub(crate) serving: BTreeMap<String, Serve>,
    /// What should be trained, by job.
    pub(crate) jobs: BTreeMap<String, Train>,
    /// Where the other devices answer.
    pub(crate) peers: BTreeMap<String, String>,
    /// Where the tasks are served that are not served here.
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
    /// How often to report.
    pub(crate) heartbeat_ms: u32,
    /// How long the scheduler waits for a report before it gives the work to others.
    pub(crate) lease_ms: u32,
}

/// Where a task is served that is not served here, the best place first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Route {
    pub(crate) task: String,
    /// Device and address.
    pub(crate) places: Vec<(String, String)>,
}

/// What the serving worker is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Intended {
    pub(crate) tasks: Vec<v1::Assignment>,
    pub(crate) routes: Vec<v1::Route>,
}

/// Serve these members of this revision.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Serve {
    pub(crate) generation: u64,
    pub(crate) revision: u64,
    /// SHA-256 of the bundle.
    pub(crate) digest: [u8; 32],
    pub(crate) members: Vec<u32>,
    pub(crate) gated: bool,
    /// The class to answer when nobody could be heard in time; empty: there is none.
    #[serde(default)]
    pub(crate) fallback: String,
    /// How often the set of each answer holds the true class; the serving worker reads it.
    #[serde(default)]
    pub(crate) coverage_thousandths: u32,
    /// Below which confidence nobody knows; the serving worker reads it.
    #[serde(default)]
    pub(crate) abstain_below_thousandths: u32,
    /// How raw samples become features; the serving worker reads it.
    #[serde(default)]
    pub(crate) input: String,
}

/// Train this.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Train {
    /// Fences an earlier run of the same job.
    pub(crate) attempt: u64,
    pub(crate) task: String,
}

/// Why orders are not obeyed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum OrdersError {
    /// More than a device ever does.
    #[error("{actual} {what} are more than the {most} that a device takes")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many were ordered.
        actual: usize,
        /// How many are taken.
        most: usize,
    },
    /// The same thing twice: which one is meant?
    #[error("{what} {name:?} is ordered twice")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that cannot be passed to a worker.
    #[error("{name:?} is no name for a {what}")]
    Name {
        /// What it is.
        what: &'static str,
        /// What was given.
        name: String,
    },
    /// A bundle that cannot be meant.
    #[error("the bundle of task {task:?} cannot be meant")]
    Bundle {
        /// The task.
        task: String,
        /// Why not.
        #[source]
        source: parse::ParseError,
    },
}

impl Orders {
    /// Reads orders from the wire.
    ///
    /// # Errors
    ///
    /// Every variant of [`OrdersError`], each for exactly one way of being wrong.
    pub(crate) fn parse(message: v1::NodeOrders) -> Result<Self, OrdersError> {
        let few = |what, actual, most| {
            if most < actual { Err(OrdersError::TooMany { what, actual, most }) } else { Ok(()) }
        };
        few("tasks", message.serving.len(), TASKS_MAX)?;
        few("jobs", message.jobs.len(), JOBS_MAX)?;
        few("peers", message.peers.len(), PEERS_MAX)?;
        few("routes", message.routes.len(), TASKS_MAX)?;

        let mut serving = BTreeMap::new();
        for ordered in message.serving {
            let task = named("task", ordered.task)?;
            let bundle = |source| OrdersError::Bundle { task: task.clone(), source };
            parse::subset(&ordered.members).map_err(bundle)?;
            let serve = Serve {
                generation: ordered.generation,
                revision: ordered.revision,
                digest: parse::digest(&ordered.digest).map_err(bundle)?,
                members: ordered.members,
                gated: ordered.gated,
                fallback: ordered.fallback,
                coverage_thousandths: ordered.coverage_thousandths,
                abstain_below_thousandths: ordered.abstain_below_thousandths,
                input: ordered.input,
            };
            if serving.insert(task.clone(), serve).is_some() {
                return Err(OrdersError::Twice { what: "task", name: task });
            }
        }
        let mut jobs = BTreeMap::new();
        for ordered in message.jobs {
            let job = named("job", ordered.job)?;
            // It becomes part of a file name and of a command line.
            if !crate::config::is_name(&job) {
                return Err(OrdersError::Name { what: "job", name: job });
            }
            let train = Train { attempt: ordered.attempt, task: named("task", ordered.task)? };
            if jobs.insert(job.clone(), train).is_some() {
                return Err(OrdersError::Twice { what: "job", name: job });
            }
        }
        let mut peers = BTreeMap::new();
        for peer in message.peers {
            // A peer without an address is not up yet, and one with a strange one is not measured.
            if let Ok(endpoint) = parse::endpoint(&peer.serving_address) {
                peers.insert(named("device", peer.device)?, endpoint);
            }
        }
        Ok(Self {
            generation: message.generation,
            serving,
            jobs,
            peers,
            routes: message.routes.into_iter().map(route).collect::<Result<_, _>>()?,
            heartbeat_ms: message.heartbeat_ms,
            lease_ms: message.lease_ms,
        })
    }

    /// How often to report.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(u64::from(self.heartbeat_ms)).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
    }

    /// How long silence is taken for a slow scheduler rather than a lost one: never less than
    /// three heartbeats.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.lease_ms)).max(3 * self.heartbeat())
    }

    /// What should be served here and what elsewhere, as the serving worker is told.
    pub(crate) fn intended(&self) -> Intended {
        let peer = |(device, address): &(String, String)| v1::Peer {
            device: device.clone(),
            serving_address: address.clone(),
        };
        let routes = self.routes.iter().map(|route| v1::Route {
            task: route.task.clone(),
            places: route.places.iter().map(peer).collect(),
        });
        Intended { tasks: self.assignments(), routes: routes.collect() }
    }

    fn assignments(&self) -> Vec<v1::Assignment> {
        let assign = |(task, serve): (&String, &Serve)| v1::Assignment {
            task: task.clone(),
            generation: serve.generation,
            revision: serve.revision,
            digest: serve.digest.to_vec().into(),
            members: serve.members.clone(),
            gated: serve.gated,
            fallback: serve.fallback.clone(),
            coverage_thousandths: serve.coverage_thousandths,
            abstain_below_thousandths: serve.abstain_below_thousandths,
            input: serve.input.clone(),
        };
        self.serving.iter().map(assign).collect()
    }
}

/// What becomes of a set of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Newer than what is obeyed: they replace it.
    Newer,
    /// What is obeyed already; who the peers are may still have changed.
    Same,
    /// Older: never obeyed.
    Older,
}

/// How orders of generation `offered` stand to those of `obeyed`.
pub(crate) fn standing(obeyed: Option<u64>, offered: u64) -> Standing {
    match obeyed.map(|obeyed| offered.cmp(&obeyed)) {
        None | Some(std::cmp::Ordering::Greater) => Standing::Newer,
        Some(std::cmp::Ordering::Equal) => Standing::Same,
        Some(std::cmp::Ordering::Less) => Standing::Older,
    }
}

fn route(route: v1::Route) -> Result<Route, OrdersError> {
    let actual = route.places.len();
    if PLACES_MAX < actual {
        return Err(OrdersError::TooMany { what: "places of a task", actual, most: PLACES_MAX });
    }
    let place = |it: v1::Peer| Ok((named("device", it.device)?, it.serving_address));
    let places = route.places.into_iter().map(place).collect::<Result<_, _>>()?;
    Ok(Route { task: named("task", route.task)?, places })
}

fn named(what: &'static str, name: String) -> Result<String, OrdersError> {
    if name.is_empty() || NAME_BYTES_MAX < name.len() || name.contains(char::is_control) {
        return Err(OrdersError::Name { what, name });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assignment(task: &str) -> v1::Assignment {
        v1::Assignment {
            task: task.to_owned(),
            generation: 3,
            revision: 2,
            digest: vec![7; 32].into(),
            members: vec![0, 63],
            gated: true,
            fallback: "idle".to_owned(),
            coverage_thousandths: 950,
            abstain_below_thousandths: 600,
            input: String::new(),
        }
    }

    fn order(job: &str) -> v1::TrainingOrder {
        v1::TrainingOrder { job: job.to_owned(), attempt: 1, task: "t".to_owned() }
    }

    #[test]
    fn orders_come_back_from_disk_and_go_on_to_the_worker_as_they_came() {
        let message = v1::NodeOrders {
            generation: 9,
            serving: vec![assignment("a"), assignment("b")],
            jobs: vec![order("j-1")],
            heartbeat_ms: 1_000,
            lease_ms: 5_000,
            peers: vec![v1::Peer { device: "p".to_owned(), serving_address: "h:1".to_owned() }],
            routes: vec![v1::Route {
                task: "b".to_owned(),
                places: vec![v1::Peer {
                    device: "p".to_owned(),
                    serving_address: "h:1".to_owned(),
                }],
            }],
        };
        let orders = Orders::parse(message.clone()).unwrap();
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
        let Intended { tasks, routes } = orders.intended();
        assert_eq!((tasks, routes), (message.serving, message.routes));
        assert_eq!(orders.peers["p"], "http://h:1");
    }

    #[test]
    fn each_way_of_being_wrong_has_its_error() {
        let serving = |serving| v1::NodeOrders { serving, ..v1::NodeOrders::default() };
        let jobs = |jobs| v1::NodeOrders { jobs, ..v1::NodeOrders::default() };
        let error = |message| Orders::parse(message).unwrap_err();
        let twice = error(serving(vec![assignment("a"), assignment("a")]));
        assert!(matches!(twice, OrdersError::Twice { what: "task", .. }));
        let short = v1::Assignment { digest: vec![7; 31].into(), ..assignment("a") };
        assert!(matches!(error(serving(vec![short])), OrdersError::Bundle { .. }));
        let beyond = v1::Assignment { members: vec![64], ..assignment("a") };
        assert!(matches!(error(serving(vec![beyond])), OrdersError::Bundle { .. }));
        assert!(matches!(error(serving(vec![assignment("")])), OrdersError::Name { .. }));
        assert!(matches!(error(jobs(vec![order("--job")])), OrdersError::Name { .. }));
        assert!(matches!(error(jobs(vec![order("../j")])), OrdersError::Name { .. }));
        let twice = error(jobs(vec![order("j"), order("j")]));
        assert!(matches!(twice, OrdersError::Twice { what: "job", .. }));
        let many = (0..=JOBS_MAX).map(|at| order(&format!("j{at}"))).collect();
        assert!(matches!(error(jobs(many)), OrdersError::TooMany { what: "jobs", .. }));
    }

    #[test]
    fn a_heartbeat_is_bounded_whatever_the_orders_say() {
        let with = |heartbeat_ms, lease_ms| {
            Orders::parse(v1::NodeOrders { heartbeat_ms, lease_ms, ..v1::NodeOrders::default() })
                .unwrap()
        };
        assert_eq!(with(0, 0).heartbeat(), HEARTBEAT_MIN);
        assert_eq!(with(u32::MAX, 0).heartbeat(), HEARTBEAT_MAX);
        assert_eq!(with(1_000, 0).patience(), Duration::from_secs(3));
        assert_eq!(with(1_000, 5_000).patience(), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn the_generation_that_is_obeyed_only_grows(offers: Vec<u64>) {
            let mut obeyed = None;
            for offered in offers {
                let before = obeyed;
                if standing(obeyed, offered) == Standing::Newer {
                    obeyed = Some(offered);
                }
                prop_assert!(before <= obeyed);
                prop_assert!(Some(offered) <= obeyed, "nothing newer is refused");
            }
        }
    }
}
