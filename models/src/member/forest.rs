//! Random forest: the mean of the leaves' class shares.

use super::{ModelError, Trees};
use crate::{check, work::Work};

/// `score[c] = Σ over trees of leaves[payload, c]`; the largest wins, as scikit-learn does.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// The trees; payloads index rows of `leaves`.
    pub trees: Trees,
    /// Classes.
    pub classes: usize,
    /// `[leaves, classes]`: share of each class among the training rows of the leaf.
    pub leaves: Vec<f32>,
}

impl Forest {
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        self.trees.leaves(&self.trees.roots, x, |leaf| {
            let at = leaf * self.classes;
            for (score, share) in out.iter_mut().zip(&self.leaves[at..at + self.classes]) {
                *score += share;
            }
        });
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        super::same_width("forest classes", self.classes, classes)?;
        let leaves = self.leaves.len() / classes;
        check::length("forest leaves", &self.leaves, leaves * classes)?;
        check::finite("forest leaves", &self.leaves)?;
        self.trees.check(width, leaves)
    }

    pub(super) fn work(&self) -> Work {
        let adds = super::count_of(&self.trees.roots)
            .saturating_mul(u64::try_from(self.classes).unwrap_or(u64::MAX));
        Work { nodes: self.trees.visited(), madds: adds, ..Work::default() }
    }
}
