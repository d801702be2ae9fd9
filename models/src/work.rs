//! What an answer costs, in units that any device can be measured in: the cost card.

/// Units of work of one answer, counted from the arrays of a member before it ever runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Work {
    /// Multiply-adds in dense products over arrays that stay in the cache.
    pub madds: u64,
    /// Bytes streamed from memory (the rows of a kNN, the support vectors of an RBF SVM).
    pub bytes: u64,
    /// Tree nodes visited.
    pub nodes: u64,
    /// Exponentials.
    pub exps: u64,
    /// Members called: what a call costs when it does nothing.
    pub calls: u64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            madds: self.madds.saturating_add(other.madds),
            bytes: self.bytes.saturating_add(other.bytes),
            nodes: self.nodes.saturating_add(other.nodes),
            exps: self.exps.saturating_add(other.exps),
            calls: self.calls.saturating_add(other.calls),
        }
    }
}

impl std::iter::Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), |sum, work| sum + work)
    }
}

/// A device's speed: nanoseconds per unit of [`Work`], measured with the kernels that serve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Speed {
    /// Nanoseconds per multiply-add.
    pub madd_ns: f64,
    /// Nanoseconds per byte streamed.
    pub byte_ns: f64,
    /// Nanoseconds per tree node.
    pub node_ns: f64,
    /// Nanoseconds per exponential.
    pub exp_ns: f64,
    /// Nanoseconds per member called.
    pub call_ns: f64,
}

impl Speed {
    /// How long `work` takes on this device when nothing else runs, in microseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a prediction of a time, not a count")]
    pub fn micros(&self, work: Work) -> f64 {
        (work.madds as f64 * self.madd_ns
            + work.bytes as f64 * self.byte_ns
            + work.nodes as f64 * self.node_ns
            + work.exps as f64 * self.exp_ns
            + work.calls as f64 * self.call_ns)
            / 1000.0
    }
}
