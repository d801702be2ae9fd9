//! What was found, as both sides write it: a line of JSON each, and all of it in `--json FILE`.

use models::Share;
use serde::{Deserialize, Serialize};

/// Single answers, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Single {
    /// Of processor time.
    pub(crate) median: f64,
    /// By the clock: on a busy machine, what the others did.
    pub(crate) p99: f64,
}

/// So many rows of so many: [`Share`] in JSON.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) hits: u64,
    pub(crate) of: u64,
}

impl Count {
    pub(crate) fn share(self) -> Share {
        Share { hits: self.hits, of: self.of }
    }

    pub(crate) fn value(self) -> f64 {
        self.share().value()
    }

    /// `.9612 (.954 to .967)`.
    pub(crate) fn shown(self) -> String {
        let interval = self.share().interval();
        format!("{:.4} ({:.3} to {:.3})", self.value(), interval.low, interval.high)
    }
}

/// One family alone, ours or a peer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alone {
    pub(crate) family: String,
    #[serde(flatten)]
    pub(crate) right: Count,
    pub(crate) fit_cpu_s: f64,
    pub(crate) fit_wall_s: f64,
    pub(crate) peak_mib: f64,
    pub(crate) one_us: Single,
    pub(crate) kb: f64,
    /// With a byte for each value of its rows; only our side, and only of what is made of rows.
    #[serde(default)]
    pub(crate) compact: Option<Compact>,
}

/// The compact form of a family.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Compact {
    #[serde(flatten)]
    pub(crate) right: Count,
    pub(crate) one_us: Single,
    pub(crate) kb: f64,
}

/// A vote that ends as soon as it is decided, beside the full one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Early {
    /// Rows with the class of the full vote.
    pub(crate) same: Count,
    /// Mean share of the full vote's work.
    pub(crate) work: f64,
    /// Mean share of its processor time.
    pub(crate) time: f64,
}

/// The vote of all families, each fitted alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) members: u64,
    pub(crate) of: u64,
    /// Rows answered rightly when members count by their accuracy on the test rows themselves.
    pub(crate) weighted: u64,
    /// When all count alike.
    pub(crate) unweighted: u64,
    /// When shares of classes are added up; only the peers' side.
    #[serde(default)]
    pub(crate) soft: Option<u64>,
    /// Of the full vote: every member is asked.
    pub(crate) one_us: Single,
    /// The same with compact members, where there are such; only our side.
    #[serde(default)]
    pub(crate) compact_us: Option<Single>,
    /// Only our side.
    #[serde(default)]
    pub(crate) early: Option<Early>,
}

impl Vote {
    /// The best of the votes.
    pub(crate) fn best(&self) -> Count {
        let hits = self.weighted.max(self.unweighted).max(self.soft.unwrap_or(0));
        Count { hits, of: self.of }
    }
}

/// What an AutoML peer made of its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Automl {
    /// The model it chose.
    pub(crate) automl: String,
    #[serde(flatten)]
    pub(crate) right: Count,
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
}

/// A line of the peers' side.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum PeerLine {
    Alone(Alone),
    Vote(Vote),
    Automl(Automl),
    Failed { failed: String },
}

/// How soon something serves: rows in memory, encoded bundle.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct First {
    /// Median of the runs.
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) runs: u64,
}

/// A revision of a training, and what became of test rows with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) seconds: f64,
    pub(crate) cpu_s: f64,
    /// The member that joined.
    pub(crate) family: String,
    pub(crate) members: u64,
    #[serde(flatten)]
    pub(crate) right: Count,
}

/// A member of the last revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) family: String,
    pub(crate) weight: f64,
    pub(crate) validation: f64,
    #[serde(flatten)]
    pub(crate) right: Count,
    pub(crate) one_us: Single,
    pub(crate) kb: f64,
}

/// A line of the paper's Table 4.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) members: Vec<String>,
    #[serde(flatten)]
    pub(crate) right: Count,
    pub(crate) one_us: Single,
}

/// Two-stage serving at some share of background.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mixture {
    /// Share of the rows that are background.
    pub(crate) background: f64,
    /// Mean time of an answer behind the gate, over that of the vote alone.
    pub(crate) time_ratio: f64,
    /// The same in work units, at this machine's speed.
    pub(crate) work_ratio: f64,
    /// Background rows that the gate ended.
    pub(crate) stopped: Count,
}

/// The gate of the last revision on test rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stages {
    pub(crate) gate: String,
    /// Share of the events that it stopped among the rows that chose its threshold.
    pub(crate) missed_validation: f64,
    /// Test events that it stopped.
    pub(crate) missed: Count,
    /// Test events that were answered "background" by either stage.
    pub(crate) missed_in_the_end: Count,
    /// Test events that the vote alone calls background.
    pub(crate) missed_by_the_vote: Count,
    pub(crate) mixtures: Vec<Mixture>,
}

/// A whole training: all families, weights, gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Training {
    pub(crate) rows: u64,
    pub(crate) threads: u64,
    pub(crate) parted_by: String,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    /// The whole process at its highest.
    pub(crate) peak_mib: f64,
    pub(crate) points: Vec<Point>,
    pub(crate) members: Vec<Member>,
    /// Families that stand but do not ship: the vote is as good without them.
    pub(crate) left_out: Vec<String>,
    /// How votes are counted.
    pub(crate) rule: String,
    pub(crate) choices: Vec<Choice>,
    pub(crate) kb: f64,
    /// Of the vote of every member that ships.
    pub(crate) early: Early,
    /// Absent without a background class.
    pub(crate) stages: Option<Stages>,
    /// Whether the data has a background class.
    pub(crate) background: bool,
}

/// One data set, both sides.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) set: String,
    pub(crate) title: String,
    /// How often the rows were parted; rows right are those of all partings, the rest is of the first.
    pub(crate) partings: usize,
    pub(crate) train_rows: usize,
    pub(crate) test_rows: usize,
    pub(crate) ours: Vec<Alone>,
    pub(crate) peers: Vec<Alone>,
    pub(crate) our_vote: Option<Vote>,
    pub(crate) peers_vote: Option<Vote>,
    pub(crate) first: Option<First>,
    pub(crate) training: Option<Training>,
    pub(crate) automl: Option<Automl>,
    pub(crate) automl_ours: Option<Automl>,
    /// What was not done, and why.
    pub(crate) skipped: Vec<String>,
}

impl Findings {
    /// Both sides of each family that stands on both.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Alone, &Alone)> {
        self.ours.iter().filter_map(|our| {
            Some((our, self.peers.iter().find(|peer| peer.family == our.family)?))
        })
    }

    /// Our sum over the peers' sum of the families that stand on both sides.
    pub(crate) fn fit_ratio(&self) -> Option<f64> {
        let sums = self.pairs().fold((0.0, 0.0), |sums, (our, peer)| {
            (sums.0 + our.fit_cpu_s, sums.1 + peer.fit_cpu_s)
        });
        (0.0 < sums.1).then(|| sums.0 / sums.1)
    }

    /// The highest of our peaks over the highest of the peers'.
    pub(crate) fn memory_ratio(&self) -> Option<f64> {
        let peaks = self.pairs().fold((0.0_f64, 0.0_f64), |peaks, (our, peer)| {
            (peaks.0.max(our.peak_mib), peaks.1.max(peer.peak_mib))
        });
        (0.0 < peaks.1).then(|| peaks.0 / peaks.1)
    }

    /// The peers' time of a vote over ours.
    pub(crate) fn vote_ratio(&self) -> Option<f64> {
        Some(self.peers_vote.as_ref()?.one_us.median / self.our_vote.as_ref()?.one_us.median)
    }

    /// The same with compact members.
    pub(crate) fn compact_vote_ratio(&self) -> Option<f64> {
        let ours = self.our_vote.as_ref()?.compact_us?;
        Some(self.peers_vote.as_ref()?.one_us.median / ours.median)
    }

    pub(crate) fn choice(&self, name: &str) -> Option<&Choice> {
        self.training.as_ref()?.choices.iter().find(|choice| choice.name == name)
    }
}

/// The vote of every member that the training chose.
pub(crate) const BEST_EFFORT: &str = "best effort";
/// The member that was best among the rows that choose.
pub(crate) const BEST_SINGLE: &str = "best single member";
/// Every member counts alike.
pub(crate) const EQUAL_WEIGHTS: &str = "equal weights";
/// The three members that answer soonest.
pub(crate) const LOW_LATENCY: &str = "three members, low latency";
