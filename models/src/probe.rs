//! The micro-benchmark: small models whose answers cost mostly one unit of [`Work`].
//!
//! This crate has no clock. A node runs each probe through the kernels that serve, notes how long
//! that took, and hands the pairs to [`Speed::from_timings`](crate::Speed::from_timings):
//!
//! ```
//! use models::{probe, work::Speed};
//! # fn nanos_of(run: impl FnOnce()) -> f64 { run(); 1000.0 }
//!
//! let mut timings = Vec::new();
//! for mut probe in probe::probes() {
//!     let work = probe.run(); // once to warm up
//!     // In practice: the median of some tens of runs, for a quarter of a second or so.
//!     timings.push((work, nanos_of(|| _ = probe.run())));
//! }
//! let speed = Speed::from_timings(&timings);
//! ```

use crate::{
    member::{Buffers, Family, Model},
    synthetic::{self, Numbers, Shape},
    work::Work,
};

/// The unit that a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Multiply-adds over arrays that stay in the cache: a multi-layer perceptron.
    Madds,
    /// Bytes streamed through the distance kernel: a kNN of 16 MiB, more than most caches hold.
    Bytes,
    /// Tree nodes: a forest of 100 trees and 50 000 nodes.
    Nodes,
    /// Exponentials: an RBF SVM with many short vectors.
    Exps,
    /// Calls: the smallest model there is.
    Calls,
}

impl Unit {
    /// All units.
    pub const ALL: [Self; 5] = [Self::Madds, Self::Bytes, Self::Nodes, Self::Exps, Self::Calls];
}

/// A synthetic model, an input and the buffers for it. The same on every machine.
#[derive(Debug)]
pub struct Probe {
    unit: Unit,
    model: Model,
    work: Work,
    /// Inputs that are taken in turn, so that a forest is not walked along the same path for ever.
    rows: Vec<f32>,
    width: usize,
    next: usize,
    scores: Vec<f32>,
    buffers: Buffers,
}

/// One probe for each unit, in the order of [`Unit::ALL`]. Takes some 20 MiB while they live.
pub fn probes() -> impl Iterator<Item = Probe> {
    Unit::ALL.into_iter().map(Probe::new)
}

impl Probe {
    /// Prepares the model of one unit.
    #[must_use]
    pub fn new(unit: Unit) -> Self {
        let numbers = &mut Numbers::new(1);
        let shape = Shape { width: 256, classes: 8, rows: 0, trees: 100, depth: 8, hidden: 256 };
        let (family, shape) = match unit {
            Unit::Madds => (Family::Mlp, shape),
            Unit::Bytes => (Family::Knn, Shape { width: 512, rows: (16 << 20) / 4 / 512, ..shape }),
            Unit::Nodes => (Family::Forest, Shape { width: 64, ..shape }),
            Unit::Exps => (Family::RbfSvm, Shape { width: 2, classes: 2, rows: 8_192, ..shape }),
            Unit::Calls => (Family::Ridge, Shape { width: 1, classes: 2, ..shape }),
        };
        let Shape { width, classes, .. } = shape;
        let model = synthetic::model(family, shape, numbers);
        debug_assert_eq!(model.check(width, classes), Ok(()));
        Self {
            unit,
            work: model.work(),
            model,
            rows: numbers.take(width * ROWS),
            width,
            next: 0,
            scores: vec![0.0; classes],
            buffers: Buffers::default(),
        }
    }

    /// Which unit it is for.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Answers one sample, and says what that took.
    ///
    /// The cheapest probe takes some nanoseconds: a clock should see many runs at once.
    pub fn run(&mut self) -> Work {
        let row = &self.rows[self.next * self.width..][..self.width];
        self.next = (self.next + 1) % ROWS;
        self.model.scores(std::hint::black_box(row), &mut self.scores, &mut self.buffers);
        std::hint::black_box(&self.scores);
        self.work
    }
}

/// Inputs of a probe.
const ROWS: usize = 64;

/// What a run of a unit's probe takes.
#[cfg(test)]
pub(crate) fn work_of(unit: Unit) -> Work {
    static WORKS: std::sync::OnceLock<Vec<Work>> = std::sync::OnceLock::new();
    let works = WORKS.get_or_init(|| probes().map(|mut probe| probe.run()).collect());
    works[Unit::ALL.iter().position(|&it| it == unit).unwrap()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_is_a_model_that_holds_and_is_mostly_its_unit() {
        for mut probe in probes() {
            assert_eq!(probe.model.check(probe.width, probe.scores.len()), Ok(()));
            let Work { madds, bytes, nodes, exps, calls } = probe.run();
            assert_eq!(calls, 1);
            match probe.unit() {
                Unit::Madds => assert!(60_000 < madds && bytes + nodes + exps == 0),
                Unit::Bytes => assert!(bytes == 16 << 20 && madds + nodes + exps == 0),
                Unit::Nodes => assert!(nodes == 900 && madds <= nodes && bytes + exps == 0),
                Unit::Exps => assert!(exps == 8_192 && madds == exps && nodes == 0),
                Unit::Calls => assert!(madds <= 2 && bytes + nodes + exps == 0),
            }
        }
    }
}
