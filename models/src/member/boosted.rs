//! Gradient-boosted trees: one tree per class and round, added up.

use super::{ModelError, Trees};
use crate::{check, work::Work};

/// `score[c] = base[c] + Σ over rounds of leaves[payload of tree round·classes + c]`.
///
/// Source: softmax objective of XGBoost (Chen and Guestrin, KDD 2016).
#[derive(Clone, Debug, PartialEq)]
pub struct Boosted {
    /// `rounds × classes` trees, class by class within a round; payloads index `leaves`.
    pub trees: Trees,
    /// `[classes]`: the score before the first round.
    pub base: Vec<f32>,
    /// Value of each leaf, learning rate included.
    pub leaves: Vec<f32>,
}

impl Boosted {
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32]) {
        out.copy_from_slice(&self.base);
        let mut class = 0;
        self.trees.leaves(&self.trees.roots, x, |leaf| {
            out[class] += self.leaves[leaf];
            class = if class + 1 == self.base.len() { 0 } else { class + 1 };
        });
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        check::length("boosted base", &self.base, classes)?;
        check::finite("boosted base", &self.base)?;
        check::finite("boosted leaves", &self.leaves)?;
        let rounds = self.trees.roots.len() / classes;
        check::length("boosted roots", &self.trees.roots, rounds * classes)?;
        self.trees.check(width, self.leaves.len())
    }

    pub(super) fn work(&self) -> Work {
        Work {
            nodes: self.trees.visited(),
            madds: super::count_of(&self.trees.roots),
            ..Work::default()
        }
    }
}
