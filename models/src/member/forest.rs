//! Random forest: the mean of the leaves' class shares.

use super::Trees;

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
