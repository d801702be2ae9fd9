//! What each row counts.

use std::borrow::Cow;

use models::Features;

use super::{FitError, Lesson};

/// Weights that make all classes count alike, however many rows they have.
///
/// # Panics
///
/// When a label is not below `classes`.
#[must_use]
pub fn balanced(labels: &[u16], classes: usize) -> Vec<f32> {
    let mut counts = vec![0_usize; classes];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    #[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
    labels.iter().map(|&label| labels.len() as f32 / counts[usize::from(label)] as f32).collect()
}

/// The rows that count, with weights whose mean is 1.
pub(super) struct Counted<'a> {
    samples: Cow<'a, Features>,
    labels: Cow<'a, [u16]>,
    weights: Vec<f32>,
}

impl<'a> Counted<'a> {
    /// `None` when all rows count alike.
    ///
    /// # Errors
    ///
    /// [`FitError::Weights`] for weights that are not one for each row, finite, at least 0 and not
    /// all 0.
    pub(super) fn of(lesson: &Lesson<'a>) -> Result<Option<Self>, FitError> {
        let Some(weights) = lesson.weights else { return Ok(None) };
        let rows = lesson.samples.len();
        let sound = |&weight: &f32| weight.is_finite() && 0.0 <= weight;
        if weights.len() != rows || !weights.iter().all(sound) {
            return Err(FitError::Weights { weights: weights.len(), rows });
        }
        let counted: Vec<usize> = (0..rows).filter(|&row| 0.0 < weights[row]).collect();
        if counted.is_empty() {
            return Err(FitError::Weights { weights: weights.len(), rows });
        }
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
        let mean = sum / counted.len() as f64;
        let weights =
            counted.iter().map(|&row| super::matrix::narrow(f64::from(weights[row]) / mean));
        let weights: Vec<f32> = weights.collect();
        if weights.iter().all(|&weight| (weight - 1.0).abs() < 1e-6) && counted.len() == rows {
            return Ok(None);
        }
        let (samples, labels) = if counted.len() == rows {
            (Cow::Borrowed(lesson.samples), Cow::Borrowed(lesson.labels))
        } else {
            let labels = counted.iter().map(|&row| lesson.labels[row]).collect();
            (Cow::Owned(lesson.samples.select(&counted)), Cow::Owned(labels))
        };
        Ok(Some(Self { samples, labels, weights }))
    }

    /// What is fitted.
    pub(super) fn lesson<'b>(&'b self, lesson: &Lesson<'b>) -> Lesson<'b> {
        Lesson {
            samples: &self.samples,
            labels: &self.labels,
            weights: Some(&self.weights),
            ..*lesson
        }
    }
}

impl Lesson<'_> {
    /// What a row counts, 1 on average.
    #[inline(always)]
    pub(super) fn weight(&self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    /// What the rows of each class count together.
    pub(super) fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.classes];
        for (row, &label) in self.labels.iter().enumerate() {
            shares[usize::from(label)] += f64::from(self.weight(row));
        }
        shares
    }
}
