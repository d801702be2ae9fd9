//! The micro-benchmark: small models whose answers cost mostly one unit of [`Work`].
//!
//! This crate has no clock. A node runs each probe through the kernels that serve, notes how long
//! that took, and hands the pairs to [`Speed::from_timings`]:
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
    member::{Buffers, Dense, Forest, Knn, Linear, Mlp, Model, RbfSvm, Trees, tree::LEAF},
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
        let mut numbers = Numbers(1);
        let (width, classes, model) = match unit {
            Unit::Madds => (256, 8, mlp(&mut numbers)),
            Unit::Bytes => (512, 8, knn(&mut numbers)),
            Unit::Nodes => (64, 8, forest(&mut numbers)),
            Unit::Exps => (2, 2, rbf_svm(&mut numbers)),
            Unit::Calls => (
                1,
                2,
                Model::Linear(Linear { width: 1, weights: vec![-1.0, 1.0], bias: vec![0.0; 2] }),
            ),
        };
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

fn mlp(numbers: &mut Numbers) -> Model {
    let mut layer = |inputs: usize, outputs: usize| Dense {
        weights: numbers.take(inputs * outputs),
        bias: numbers.take(outputs),
    };
    Model::Mlp(Mlp { width: 256, layers: vec![layer(256, 256), layer(256, 8)] })
}

fn knn(numbers: &mut Numbers) -> Model {
    let rows = (16 << 20) / 4 / 512;
    Model::Knn(Knn {
        k: 5,
        width: 512,
        rows: numbers.take(rows * 512),
        labels: (0..8).cycle().take(rows).collect(),
    })
}

/// Complete trees of 9 levels, cut at random: 100 × 511 nodes.
fn forest(numbers: &mut Numbers) -> Model {
    const TREES: u32 = 100;
    const NODES: u32 = 511;
    const LEAVES: usize = 64;
    let mut trees = Trees::default();
    for tree in 0..TREES {
        let root = tree * NODES;
        trees.roots.push(root);
        for node in 0..NODES {
            let cut = numbers.one();
            if node < NODES / 2 {
                trees.feature.push((numbers.bits() >> 7) & 63);
                trees.threshold.push(cut);
                trees.child.push(root + 2 * node + 1);
            } else {
                trees.feature.push(LEAF);
                trees.threshold.push(0.0);
                trees.child.push(node % 64);
            }
        }
    }
    Model::Forest(Forest { trees, classes: 8, leaves: numbers.take(LEAVES * 8) })
}

fn rbf_svm(numbers: &mut Numbers) -> Model {
    Model::RbfSvm(RbfSvm {
        gamma: 0.5,
        width: 2,
        counts: vec![4_096; 2],
        vectors: numbers.take(2 * 2 * 4_096),
        coefficients: numbers.take(2 * 4_096),
        bias: vec![0.0],
    })
}

/// A linear congruential generator (Knuth's MMIX constants): the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).expect("the upper half of 64 bits")
    }

    /// In [-1, 1).
    fn one(&mut self) -> f32 {
        let bits = u16::try_from(self.bits() >> 16).expect("the upper half of 32 bits");
        f32::from(bits) / 32_768.0 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.one()).collect()
    }
}

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
