//! Trials: how a recipe does on one fold, before it is worth a member.

use std::sync::Arc;

use models::metrics::Share;

use super::{BenchError, Origin, Part, Standing, Workbench};
use crate::{
    fit::{Recipe, Stop},
    material::Lessons,
    search::{Rung, THIN},
};

/// Fewer rows are never thinned.
const ROWS_MIN: usize = 2_000;

impl Workbench {
    /// Fits `recipe` on the rows outside the first fold, or on a part of them, and asks it about the
    /// rows of the fold: how many were answered rightly. Nothing of it stays.
    ///
    /// # Errors
    ///
    /// [`BenchError`], after which the workbench is as before.
    pub fn trial(&mut self, recipe: &Recipe, rung: Rung, stop: &Stop) -> Result<Share, BenchError> {
        let family = recipe.family();
        let classes = self.material.schema.classes().len();
        let effort = self.effort(family, stop, &|| 0.0);
        let part = match rung {
            Rung::Part => Part::Thin,
            Rung::Whole => Part::Fold(0),
        };
        let opinion = self.say(part, recipe, false, &effort)?.exact;
        let across = &self.material.folds[0];
        let votes = opinion.votes(classes);
        let right = votes.iter().zip(&across.checks.truth).filter(|(vote, truth)| vote == truth);
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        Ok(Share { hits: count(right.count()), of: count(votes.len()) })
    }

    /// Adds a member like [`Workbench::add`], instead of the one of its family that stands: the better
    /// of the two stays. Whether the new one is better.
    ///
    /// # Errors
    ///
    /// [`BenchError`], after which the workbench is as before.
    pub fn improve(
        &mut self,
        recipe: &Recipe,
        stop: &Stop,
        clock: &dyn Fn() -> f64,
    ) -> Result<bool, BenchError> {
        let family = recipe.family();
        let fitted = |it: &Standing| matches!(it.origin, Origin::Fitted(_));
        let before = self.standing.iter().position(|it| it.member.family == family && fitted(it));
        self.complete(stop, clock)?;
        let effort = self.effort(family, stop, clock);
        let began = self.seconds(&effort);
        let heard = self.hear(recipe, &effort)?;
        self.stand(recipe.clone(), heard, &effort, began)?;
        let Some(before) = before else { return Ok(true) };
        let classes = self.material.schema.classes().len();
        let right = |at: usize| {
            let votes = self.standing[at].across.votes(classes);
            votes.iter().zip(&self.truth).filter(|(vote, truth)| vote == truth).count()
        };
        let new = self.standing.len() - 1;
        if right(before) < right(new) {
            // In the place of the old one: the order of members does not change.
            self.standing.swap_remove(before);
            Ok(true)
        } else {
            self.standing.truncate(new);
            Ok(false)
        }
    }
}

/// One row in [`THIN`] of each class, where there are enough.
pub(super) fn thin(lessons: &Lessons) -> Lessons {
    if lessons.labels.len() < ROWS_MIN {
        return lessons.clone();
    }
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    let mut rows = Vec::with_capacity(lessons.labels.len() / THIN + 1);
    for (row, &label) in lessons.labels.iter().enumerate() {
        let count = seen.entry(label).or_default();
        if count.is_multiple_of(THIN) {
            rows.push(row);
        }
        *count += 1;
    }
    Lessons {
        samples: Arc::new(lessons.samples.select(&rows)),
        labels: rows.iter().map(|&row| lessons.labels[row]).collect(),
    }
}
