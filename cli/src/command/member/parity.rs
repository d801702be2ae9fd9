//! How an imported classifier answers rows, beside what was expected of it.

use models::{ClassId, Ensemble, Features, ShapeError, vote::first_largest};
use serde_json::{Value, json};
use training_worker::onnx::Link;

use super::expectation::Expectation;
use crate::output::percent;

/// Counts over rows that were answered.
#[derive(Debug, Default)]
pub(super) struct Parity {
    /// Rows that were answered.
    pub(super) rows: usize,
    /// Of those with a label, how many were answered rightly.
    pub(super) right: usize,
    /// How many had a label.
    pub(super) labelled: usize,
    /// How many have an expected class.
    pub(super) compared: usize,
    /// Of those, how many have the same class.
    pub(super) same: usize,
    /// The first row with another class than expected, counted from 1.
    pub(super) first_other: Option<usize>,
    /// The greatest difference of a probability from the expected one.
    pub(super) greatest: Option<f32>,
}

/// What is compared with what.
pub(super) struct Sides<'a> {
    /// The imported classifier, alone.
    pub(super) alone: &'a Ensemble,
    /// How its scores become probabilities.
    pub(super) link: Link,
    /// For each class of the task, which one it is of the file.
    pub(super) order: &'a [usize],
    /// What was expected.
    pub(super) expected: &'a Expectation,
}

impl Parity {
    /// Answers rows, whose classes are known or not.
    pub(super) fn ask(
        &mut self,
        sides: &Sides<'_>,
        values: Vec<f32>,
        truth: &[Option<ClassId>],
    ) -> Result<(), ShapeError> {
        let width = sides.alone.schema().width();
        let classes = sides.order.len();
        let samples = Features::new(width, values)?;
        let scores = sides.alone.scores_of_members(&samples).swap_remove(0);
        for (scores, truth) in scores.chunks_exact(classes).zip(truth) {
            let row = self.rows;
            self.rows += 1;
            let class = first_largest(scores);
            if let Some(truth) = truth {
                self.labelled += 1;
                self.right += usize::from(*truth == class);
            }
            if let Some(&expected) = sides.expected.classes.get(row) {
                self.compared += 1;
                if expected == class.index() {
                    self.same += 1;
                } else {
                    self.first_other = self.first_other.or(Some(row + 1));
                }
            }
            let expected = sides.expected.probabilities.get(row * classes..(row + 1) * classes);
            if let (Some(expected), Some(found)) = (expected, sides.link.probabilities(scores)) {
                for (found, &at) in found.iter().zip(sides.order) {
                    let apart = (found - expected[at]).abs();
                    // A difference that is no number is a difference, too.
                    let apart = if apart.is_nan() { f32::INFINITY } else { apart };
                    self.greatest = Some(self.greatest.map_or(apart, |most| most.max(apart)));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing was answered in another way than expected.
    pub(super) fn holds(&self) -> bool {
        self.same == self.compared
    }

    /// In words.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if 0 < self.labelled {
            let share = share(self.right, self.labelled);
            lines.push(format!("right in {} of {} rows", percent(share), self.labelled));
        }
        if 0 < self.compared {
            let other = self
                .first_other
                .map_or_else(String::new, |row| format!("; the first other one is row {row}"));
            lines.push(format!(
                "the same class as expected in {} of {} rows{other}",
                self.same, self.compared
            ));
        }
        if let Some(greatest) = self.greatest {
            lines.push(format!("probabilities differ by {greatest:.1e} at most"));
        }
        lines
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        json!({
            "rows": self.rows,
            "accuracy": (0 < self.labelled).then(|| share(self.right, self.labelled)),
            "compared": self.compared, "same": self.same, "first_other": self.first_other,
            "probability_difference_max": self.greatest,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of rows")]
fn share(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}
