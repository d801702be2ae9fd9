//! Linear scores: ridge classifier, linear SVM, logistic regression and linear discriminant analysis.

use super::ModelError;
use crate::{check, kernel::products, work::Work};

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

impl Linear {
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32]) {
        let mut scores = out.iter_mut().zip(&self.bias);
        products(&self.weights, x, |product| {
            if let Some((score, bias)) = scores.next() {
                *score = product + bias;
            }
        });
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        super::same_width("linear width", self.width, width)?;
        check::length("linear bias", &self.bias, classes)?;
        check::length(
            "linear weights",
            &self.weights,
            check::area("linear weights", classes, width)?,
        )?;
        check::finite("linear weights", &self.weights)?;
        check::finite("linear bias", &self.bias)
    }

    pub(super) fn work(&self) -> Work {
        Work { madds: super::count_of(&self.weights), ..Work::default() }
    }
}
