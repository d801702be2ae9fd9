//! Gradient-boosted trees: one tree per class and round, added up.

use super::Trees;

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
