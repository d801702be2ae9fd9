//! The fleet: devices, their leases, and the ways to them.
//!
//! A device holds its lease as long as its node reports; `now_ms` is an argument, in milliseconds
//! of any clock that only goes forward.

use std::collections::{BTreeMap, BTreeSet};

use models::Speed;
use proto::v1;

use crate::{
    placement::{self, Measured, Reach},
    rtt::{Rtt, Window},
};

/// Devices that a fleet may have.
pub const DEVICES_MAX: usize = 1_000;
/// Leases after which what a node said of its ways to others is forgotten.
const OBSERVED_LEASES: u64 = 3;

/// What a device is: it changes rarely, and is remembered over restarts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// Where it stands.
    pub site: String,
    /// Where apps reach its serving worker, as `host:port`.
    pub serving_address: String,
    /// Its architecture.
    pub arch: String,
    /// Cores that it may use.
    pub cpu_cores: f64,
    /// Memory that it may use.
    pub memory_bytes: u64,
    /// The share that was declared for it.
    pub cpu_share: f64,
    /// What keeps it to that share.
    pub cpu_share_by: String,
    /// Nanoseconds per unit of work.
    pub speed: Speed,
}

/// What a node says at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The device.
    pub device: String,
    /// Changes with every start of the node.
    pub boot: u64,
    /// What it is.
    pub facts: Facts,
    /// Share of the machine that is busy.
    pub cpu_used: f64,
    /// Memory that nobody uses.
    pub memory_free_bytes: u64,
    /// What is served, as its worker says.
    pub serving: Vec<v1::ServedTask>,
    /// What is trained.
    pub jobs: Vec<v1::JobObservation>,
    /// Corrections that wait there.
    pub outbox_waiting: u64,
    /// Its ways to others.
    pub rtt: Vec<(String, Rtt)>,
    /// What it does not do although it was asked.
    pub notes: Vec<String>,
}

/// A device and what was last heard of it.
#[derive(Clone, Debug)]
pub struct Device {
    /// What it is.
    pub facts: Facts,
    /// What its node said last; `None` since the scheduler started.
    pub report: Option<Report>,
    /// When it was last heard of.
    pub seen_ms: u64,
    /// Whether its lease was running when that was last looked at.
    held: bool,
}

/// What a report meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Never heard of before.
    Joined,
    /// Its lease had ended, or the scheduler had restarted.
    Returned,
    /// Its node was started anew.
    Restarted,
    /// As expected.
    Renewed,
}

/// Why a report was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// There are enough.
    #[error("the fleet has its {DEVICES_MAX} devices; {device:?} cannot join")]
    Full {
        /// Who wanted to join.
        device: String,
    },
}

/// All devices that were ever heard of, and the ways to them.
#[derive(Clone, Debug)]
pub struct Fleet {
    lease_ms: u64,
    /// The scheduler's site, from which it measures by itself.
    site: String,
    devices: BTreeMap<String, Device>,
    /// Measured by the scheduler.
    windows: BTreeMap<String, Window>,
    /// Reported by nodes: (observer, device) → when and what.
    observed: BTreeMap<(String, String), (u64, Rtt)>,
}

impl Fleet {
    /// A fleet of the devices that are remembered. Each has one lease of time to report, so that a
    /// restart of the scheduler moves nothing.
    #[must_use]
    pub fn new(site: String, lease_ms: u64, known: BTreeMap<String, Facts>, now_ms: u64) -> Self {
        let devices = known
            .into_iter()
            .map(|(name, facts)| {
                (name, Device { facts, report: None, seen_ms: now_ms, held: true })
            })
            .collect();
        Self { lease_ms, site, devices, windows: BTreeMap::new(), observed: BTreeMap::new() }
    }

    /// Takes a report: renews the lease.
    ///
    /// # Errors
    ///
    /// [`FleetError::Full`] when one more device would be too many.
    pub fn report(&mut self, report: Report, now_ms: u64) -> Result<Heard, FleetError> {
        if !self.devices.contains_key(&report.device) && DEVICES_MAX <= self.devices.len() {
            return Err(FleetError::Full { device: report.device });
        }
        for (device, rtt) in &report.rtt {
            if self.devices.contains_key(device) {
                self.observed.insert((report.device.clone(), device.clone()), (now_ms, *rtt));
            }
        }
        let name = report.device.clone();
        let heard = match self.devices.get(&name) {
            None => Heard::Joined,
            Some(device) if !self.holds(device, now_ms) => Heard::Returned,
            Some(Device { report: None, .. }) => Heard::Returned,
            Some(Device { report: Some(before), .. }) if before.boot != report.boot => {
                Heard::Restarted
            }
            Some(_) => Heard::Renewed,
        };
        let moved = self
            .devices
            .get(&name)
            .is_some_and(|it| it.facts.serving_address != report.facts.serving_address);
        if moved {
            self.windows.remove(&name);
        }
        let device = Device {
            facts: report.facts.clone(),
            report: Some(report),
            seen_ms: now_ms,
            held: true,
        };
        self.devices.insert(name, device);
        Ok(heard)
    }

    fn holds(&self, device: &Device, now_ms: u64) -> bool {
        now_ms.saturating_sub(device.seen_ms) <= self.lease_ms
    }

    /// Whether a device holds its lease.
    #[must_use]
    pub fn alive(&self, device: &str, now_ms: u64) -> bool {
        self.devices.get(device).is_some_and(|device| self.holds(device, now_ms))
    }

    /// Gives every device that holds a lease so much more time: for so long nobody listened, which
    /// is not its fault.
    pub fn excuse(&mut self, held_up_ms: u64, now_ms: u64) {
        for device in self.devices.values_mut().filter(|device| device.held) {
            device.seen_ms = device.seen_ms.saturating_add(held_up_ms).min(now_ms);
        }
    }

    /// The devices whose lease has ended since this was last asked.
    pub fn take_lost(&mut self, now_ms: u64) -> Vec<String> {
        let lease_ms = self.lease_ms;
        let mut lost = Vec::new();
        for (name, device) in &mut self.devices {
            if device.held && lease_ms < now_ms.saturating_sub(device.seen_ms) {
                device.held = false;
                lost.push(name.clone());
            }
        }
        lost
    }

    /// All devices that were ever heard of.
    #[must_use]
    pub fn devices(&self) -> &BTreeMap<String, Device> {
        &self.devices
    }

    /// The devices that hold a lease and have reported.
    pub fn present(&self, now_ms: u64) -> impl Iterator<Item = (&String, &Device, &Report)> {
        self.devices.iter().filter(move |(_, device)| self.holds(device, now_ms)).filter_map(
            |(name, device)| device.report.as_ref().map(|report| (name, device, report)),
        )
    }

    /// Adds a measurement of the scheduler's own; `None` is "no answer".
    pub fn measured(&mut self, device: &str, us: Option<u32>) {
        if !self.devices.contains_key(device) {
            return;
        }
        let window = self.windows.entry(device.to_owned()).or_default();
        match us {
            Some(us) => window.push(us),
            None => window.fail(),
        }
    }

    /// All sites: the scheduler's and those of the devices.
    #[must_use]
    pub fn sites(&self) -> BTreeSet<String> {
        let mut sites: BTreeSet<String> =
            self.devices.values().map(|device| device.facts.site.clone()).collect();
        sites.insert(self.site.clone());
        sites
    }

    /// The ways to a device, by site.
    ///
    /// Several may observe it from one site: the smallest 95th percentile counts, as that of the
    /// observer that was disturbed least. What a device says of the way to itself counts only when
    /// nobody else stands at its site: it would not see the network.
    #[must_use]
    pub fn reach(&self, name: &str, now_ms: u64) -> BTreeMap<String, Reach> {
        let mut by_others: BTreeMap<String, Vec<Rtt>> = BTreeMap::new();
        let mut by_itself: BTreeMap<String, Rtt> = BTreeMap::new();
        let mut reach = BTreeMap::new();
        if let Some(window) = self.windows.get(name) {
            match window.quantiles() {
                Some(rtt) => by_others.entry(self.site.clone()).or_default().push(rtt),
                None if window.silent() => {
                    reach.insert(self.site.clone(), Reach::Silent);
                }
                None => {}
            }
        }
        let age_max = self.lease_ms.saturating_mul(OBSERVED_LEASES);
        for ((observer, device), (at_ms, rtt)) in &self.observed {
            let Some(site) = self.devices.get(observer).map(|it| &it.facts.site) else { continue };
            if device != name || age_max < now_ms.saturating_sub(*at_ms) || rtt.samples == 0 {
                continue;
            }
            if observer == name {
                by_itself.insert(site.clone(), *rtt);
            } else {
                by_others.entry(site.clone()).or_default().push(*rtt);
            }
        }
        for (site, rtts) in by_others {
            if let Some(best) = rtts.into_iter().min_by_key(|rtt| rtt.p95_us) {
                reach.insert(site, Reach::Measured(best));
            }
        }
        for (site, rtt) in by_itself {
            reach.entry(site).or_insert(Reach::Measured(rtt));
        }
        reach
    }

    /// The devices that hold a lease, as the placement sees them.
    #[must_use]
    pub fn placeable(&self, now_ms: u64) -> BTreeMap<String, placement::Device> {
        self.devices
            .iter()
            .filter(|(_, device)| self.holds(device, now_ms))
            .map(|(name, device)| {
                let facts = &device.facts;
                let device = placement::Device {
                    site: facts.site.clone(),
                    arch: facts.arch.clone(),
                    cores: facts.cpu_cores,
                    memory_bytes: facts.memory_bytes,
                    speed: facts.speed,
                    reach: self.reach(name, now_ms),
                };
                (name.clone(), device)
            })
            .collect()
    }

    /// What devices that hold a lease measured of serving `task`.
    #[must_use]
    pub fn measurements(&self, task: &str, now_ms: u64) -> BTreeMap<String, Measured> {
        self.present(now_ms)
            .filter_map(|(name, _, report)| {
                let served = report.serving.iter().find(|served| served.task == task)?;
                let service = served.service.as_ref()?;
                let measured = Measured {
                    revision: served.revision,
                    subset: proto::parse::subset(&served.members).ok()?,
                    gated: served.gated,
                    answers: service.answers,
                    p99_us: service.p99_us,
                };
                Some((name.clone(), measured))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE_MS: u64 = 5_000;

    fn report(device: &str, site: &str, boot: u64) -> Report {
        Report {
            device: device.to_owned(),
            boot,
            facts: Facts {
                site: site.to_owned(),
                serving_address: format!("{device}:8001"),
                arch: "x86_64".to_owned(),
                cpu_cores: 4.0,
                memory_bytes: 1 << 30,
                cpu_share: 1.0,
                cpu_share_by: "none".to_owned(),
                speed: Speed {
                    madd_ns: 1.0,
                    byte_ns: 1.0,
                    node_ns: 1.0,
                    exp_ns: 1.0,
                    call_ns: 1.0,
                },
            },
            cpu_used: 0.0,
            memory_free_bytes: 1 << 30,
            serving: Vec::new(),
            jobs: Vec::new(),
            outbox_waiting: 0,
            rtt: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn fleet() -> Fleet {
        Fleet::new("home".to_owned(), LEASE_MS, BTreeMap::new(), 0)
    }

    fn rtt(p95_us: u32) -> Rtt {
        Rtt { p50_us: p95_us / 2, p95_us, samples: 9 }
    }

    #[test]
    fn a_silent_device_loses_its_lease_once() {
        let mut fleet = fleet();
        assert_eq!(fleet.report(report("pi", "home", 1), 0), Ok(Heard::Joined));
        assert_eq!(fleet.report(report("pi", "home", 1), 4_000), Ok(Heard::Renewed));
        assert!(fleet.alive("pi", 9_000));
        assert!(fleet.take_lost(9_000).is_empty());
        assert!(!fleet.alive("pi", 9_001));
        assert_eq!(fleet.take_lost(9_001), ["pi"]);
        assert!(fleet.take_lost(9_001).is_empty());
        assert_eq!(fleet.report(report("pi", "home", 1), 20_000), Ok(Heard::Returned));
        assert_eq!(fleet.report(report("pi", "home", 2), 20_001), Ok(Heard::Restarted));
    }

    #[test]
    fn nobody_loses_a_lease_because_nobody_listened() {
        let mut fleet = fleet();
        fleet.report(report("pi", "home", 1), 0).unwrap();
        fleet.excuse(20_000, 21_000);
        assert!(fleet.alive("pi", 21_000) && fleet.take_lost(21_000).is_empty());
        fleet.excuse(20_000, 24_000);
        assert!(fleet.alive("pi", 24_000 + LEASE_MS), "never from the future");
        assert_eq!(fleet.take_lost(24_001 + LEASE_MS), ["pi"]);
        fleet.excuse(20_000, 30_000);
        assert!(!fleet.alive("pi", 30_000), "what was lost stays lost");
    }

    #[test]
    fn a_remembered_device_has_one_lease_to_report() {
        let known = BTreeMap::from([("pi".to_owned(), report("pi", "home", 1).facts)]);
        let mut fleet = Fleet::new("home".to_owned(), LEASE_MS, known, 100);
        assert!(fleet.alive("pi", 100 + LEASE_MS));
        assert_eq!(fleet.take_lost(101 + LEASE_MS), ["pi"]);
    }

    #[test]
    fn of_several_observers_the_least_disturbed_counts() {
        let mut fleet = fleet();
        for device in ["pi", "nuc", "vm"] {
            fleet.report(report(device, "kitchen", 1), 0).unwrap();
        }
        for (observer, us) in [("nuc", 900), ("vm", 700), ("pi", 10)] {
            let mut said = report(observer, "kitchen", 1);
            said.rtt.push(("pi".to_owned(), rtt(us)));
            fleet.report(said, 0).unwrap();
        }
        assert_eq!(fleet.reach("pi", 0)["kitchen"], Reach::Measured(rtt(700)));
        assert!(fleet.reach("pi", LEASE_MS * 4).is_empty(), "old observations are forgotten");
    }

    #[test]
    fn a_device_speaks_for_itself_when_nobody_else_can() {
        let mut fleet = fleet();
        fleet.report(report("pi", "kitchen", 1), 0).unwrap();
        let mut said = report("pi", "kitchen", 1);
        said.rtt.push(("pi".to_owned(), rtt(10)));
        fleet.report(said, 0).unwrap();
        fleet.measured("pi", Some(400));
        let reach = fleet.reach("pi", 0);
        assert_eq!(reach["kitchen"], Reach::Measured(rtt(10)));
        assert!(matches!(reach["home"], Reach::Measured(Rtt { p95_us: 400, .. })));
    }

    #[test]
    fn a_device_that_moved_is_measured_anew() {
        let mut fleet = fleet();
        fleet.report(report("pi", "home", 1), 0).unwrap();
        fleet.measured("pi", Some(400));
        let mut moved = report("pi", "home", 2);
        moved.facts.serving_address = "elsewhere:8001".to_owned();
        fleet.report(moved, 1).unwrap();
        assert!(fleet.reach("pi", 1).is_empty());
    }

    #[test]
    fn a_fleet_has_an_end() {
        let mut fleet = fleet();
        for at in 0..DEVICES_MAX {
            fleet.report(report(&format!("d{at}"), "home", 1), 0).unwrap();
        }
        assert!(matches!(fleet.report(report("more", "home", 1), 0), Err(FleetError::Full { .. })));
        assert_eq!(fleet.report(report("d0", "home", 1), 0), Ok(Heard::Renewed));
    }

    proptest! {
        #[test]
        fn alive_exactly_for_a_lease_after_the_last_report(
            reports in prop::collection::vec(0_u64..20_000, 1..20), at in 0_u64..40_000,
        ) {
            let mut reports = reports;
            reports.sort_unstable();
            let mut fleet = fleet();
            for &when in reports.iter().filter(|&&when| when <= at) {
                fleet.report(report("pi", "home", 1), when).unwrap();
            }
            let last = reports.iter().rfind(|&&when| when <= at);
            prop_assert_eq!(fleet.alive("pi", at), last.is_some_and(|last| at - last <= LEASE_MS));
        }
    }
}
