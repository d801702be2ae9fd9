//! What is known when a placement is decided: devices, tasks, and what is measured of both.

use std::collections::BTreeMap;

use models::{Speed, Subset, SubsetMeasure};

use crate::{policy::Policy, rtt::Rtt};

/// Memory that a node and its workers take without any task.
const BASE_BYTES: u64 = 64 << 20;
/// Memory of a served bundle over its size: while it is swapped, the old and the new one are there.
const BUNDLE_FACTOR: u64 = 2;

/// Everything that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// The site of tasks that name none: the scheduler's.
    pub site: String,
    /// The devices that hold a lease.
    pub devices: BTreeMap<String, Device>,
    /// All tasks.
    pub tasks: BTreeMap<String, TaskFacts>,
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Where it stands.
    pub site: String,
    /// Its architecture, as Rust names it: `x86_64`, `aarch64`.
    pub arch: String,
    /// Cores that it may use.
    pub cores: f64,
    /// Memory that it may use.
    pub memory_bytes: u64,
    /// Nanoseconds per unit of work.
    pub speed: Speed,
    /// The way to it, by site.
    pub reach: BTreeMap<String, Reach>,
}

impl Device {
    /// Memory for bundles.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(BASE_BYTES)
    }

    /// The way to it from `site`.
    #[must_use]
    pub fn reach(&self, site: &str) -> Reach {
        self.reach.get(site).copied().unwrap_or(Reach::Unmeasured)
    }
}

/// The way from a site to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody has measured it yet.
    Unmeasured,
    /// It was asked several times in a row and did not answer.
    Silent,
    /// Measured.
    Measured(Rtt),
}

/// What is known of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFacts {
    /// What its admin asks for.
    pub policy: Policy,
    /// Grows with every change of the policy.
    pub version: u64,
    /// Values of a sample.
    pub width: usize,
    /// Classes.
    pub classes: usize,
    /// What may be served; `None` before the first release.
    pub offer: Option<Offer>,
    /// Answers per second, over all devices.
    pub rate_per_s: f64,
    /// What devices measured of serving it.
    pub measured: BTreeMap<String, Measured>,
}

impl TaskFacts {
    /// The site that its latency is seen from.
    #[must_use]
    pub fn site<'a>(&'a self, problem: &'a Problem) -> &'a str {
        self.policy.site.as_deref().unwrap_or(&problem.site)
    }
}

/// A released revision: what may be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its number.
    pub revision: u64,
    /// SHA-256 of its bundle.
    pub digest: [u8; 32],
    /// Size of its bundle.
    pub bundle_bytes: u64,
    /// The family of each member.
    pub families: Vec<String>,
    /// The subsets worth considering.
    pub frontier: Vec<SubsetMeasure>,
}

impl Offer {
    /// Memory that serving it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bundle_bytes.saturating_mul(BUNDLE_FACTOR)
    }
}

/// What a device measured of serving a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The revision that was served.
    pub revision: u64,
    /// The members that were asked.
    pub subset: Subset,
    /// Whether a gate stood in front of them.
    pub gated: bool,
    /// How many answers the percentile rests on.
    pub answers: u64,
    /// 99th percentile of an answer inside the worker.
    pub p99_us: u32,
}
