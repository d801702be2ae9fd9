//! Linear scores while they are fitted: in double precision, to be lowered to single.

use models::member::Linear;

use super::matrix::narrow;

/// The score of a class without rows, where those of the others are 0 on average: nobody says what it
/// looks like, so it is never the largest.
const ABSENT: f64 = -1e6;

/// `scores = weights · x + bias`.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) width: usize,
    /// `[classes, width]`.
    pub(super) weights: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

impl Fitted {
    /// Takes from each score the mean of those of `present` classes, which changes no difference between
    /// them; the other classes get a score that is never the largest.
    #[expect(clippy::cast_precision_loss, reason = "a count of classes")]
    pub(super) fn centre(&mut self, present: &[usize]) {
        let share = (present.len() as f64).recip();
        let mut mean = vec![0.0; self.width + 1];
        for &class in present {
            let row = &self.weights[class * self.width..][..self.width];
            let values = row.iter().chain([&self.bias[class]]);
            mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * value);
        }
        let mut weights = vec![0.0; self.weights.len()];
        let mut bias = vec![ABSENT; self.bias.len()];
        for &class in present {
            let rows = class * self.width..(class + 1) * self.width;
            let from = self.weights[rows.clone()].iter().zip(&mean);
            weights[rows].iter_mut().zip(from).for_each(|(to, (it, mean))| *to = it - mean);
            bias[class] = self.bias[class] - mean[self.width];
        }
        (self.weights, self.bias) = (weights, bias);
    }

    /// Whether single precision holds all of it.
    pub(super) fn is_finite(&self) -> bool {
        self.weights.iter().chain(&self.bias).all(|&value| narrow(value).is_finite())
    }

    pub(super) fn lower(&self) -> Linear {
        Linear {
            width: self.width,
            weights: self.weights.iter().copied().map(narrow).collect(),
            bias: self.bias.iter().copied().map(narrow).collect(),
        }
    }

    /// The scores of the classes, in double precision.
    #[cfg(test)]
    pub(super) fn scores(&self, row: &[f32]) -> Vec<f64> {
        let rows = self.weights.chunks_exact(self.width).zip(&self.bias);
        rows.map(|(weights, bias)| {
            bias + weights.iter().zip(row).map(|(w, &x)| w * f64::from(x)).sum::<f64>()
        })
        .collect()
    }
}
