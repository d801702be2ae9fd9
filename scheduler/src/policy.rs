//! The policy of a task: what an admin asks for, checked once and believed from then on.

use models::{Coverage, Family};

/// What to prefer among the choices that hold the promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The most accurate choice that fits the latency.
    #[default]
    BestEffort,
    /// The fastest choice that is within one standard error of the most accurate one that fits.
    Balanced,
    /// The fastest choice above the accuracy floor.
    LowLatency,
}

impl Objective {
    /// The name in task files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Balanced => "balanced",
            Self::LowLatency => "low-latency",
        }
    }
}

/// What an admin asks for.
///
/// Acted on: `objective`, `latency`, `accuracy`, `fallback`, `coverage`, `abstain_below`, `place`, `train`, and of `adapt` `after_corrections` and
/// `min_gain`. The rest is checked and *recorded only*, so that a task file
/// of the whole grammar is admitted today and means more tomorrow; [`Policy::recorded_only`] names
/// what was written and is not acted on, and the journal says so when the task is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What to prefer.
    pub objective: Objective,
    /// The 99th percentile that an app at the site may see, in microseconds; `None` is no limit.
    pub latency_us_max: Option<u32>,
    /// Where the app is; `None` is the scheduler's own site.
    pub site: Option<String>,
    /// Share of rows to be answered rightly, on validation rows.
    pub accuracy_min: f64,
    /// Ceiling of the share of events that are answered "background".
    pub missed_events_max: f64,
    /// The class to answer when a caller's deadline comes before any member was heard; `None`: such
    /// a request fails.
    pub fallback: Option<String>,
    /// Every answer says the set of classes that holds the true one so often; `None`: only who asks
    /// for it is told.
    pub coverage: Option<Coverage>,
    /// Votes whose confidence is below so many thousandths say that they do not know; `None`: none
    /// does.
    pub abstain_below_thousandths: Option<u32>,
    /// Where it may be placed.
    pub place: Place,
    /// How it is trained.
    pub train: Train,
    /// How it is improved.
    pub adapt: Adapt,
    /// What was written and is recorded only.
    pub recorded_only: Vec<&'static str>,
}

/// Where a task may be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Only on devices of the site that the latency is measured from.
    pub on_site: bool,
    /// Only on devices of this architecture.
    pub arch: Option<String>,
    /// On how many devices.
    pub replicas: usize,
}

/// How a task is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Seconds that a job may take.
    pub budget_s: u32,
    /// Which families; empty means all.
    pub families: Vec<Family>,
    /// Trials of a search for better settings, within the budget; 0 for none.
    pub trials: u32,
    /// Whether the first training publishes each member as soon as it stands.
    pub lazy: bool,
}

/// How a task is improved.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapt {
    /// New corrections that start a training; `None` never does.
    pub after_corrections: Option<u64>,
    /// Gain of accuracy that a candidate must show, on held-out rows. 0 asks only that it is no
    /// worse.
    pub min_gain: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            objective: Objective::BestEffort,
            latency_us_max: None,
            site: None,
            accuracy_min: 0.0,
            missed_events_max: 0.02,
            fallback: None,
            coverage: None,
            abstain_below_thousandths: None,
            place: Place { on_site: false, arch: None, replicas: 1 },
            train: Train { budget_s: 300, families: Vec::new(), trials: 0, lazy: true },
            adapt: Adapt { after_corrections: Some(25), min_gain: 0.0 },
            recorded_only: Vec::new(),
        }
    }
}
