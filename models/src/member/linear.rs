//! Linear scores: ridge classifier and linear SVM.

/// `score[c] = weights[c] · x + bias[c]`; the largest score wins.
///
/// With two classes there are still two rows: a binary fit lowers to `-w` and `w`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Values per input.
    pub width: usize,
    /// `[classes, width]`, row-major.
    pub weights: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
}
