//! The fits of the bench as steps: found where they were kept, else computed and kept.

use models::{ClassId, Model, Preparation};

use super::{BenchError, Effort, Ground, Workbench, trial};
use crate::{
    fit::Recipe,
    panel::Opinion,
    steps::{Asked, Form, Inputs, Print, Said, Shape, Tally},
};

/// Rows that teach, and those of the same fold that are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All rows outside a fold.
    Fold(usize),
    /// Some of the rows outside the first fold.
    Thin,
}

impl Part {
    fn fold(self) -> usize {
        match self {
            Self::Fold(fold) => fold,
            Self::Thin => 0,
        }
    }
}

impl Workbench {
    /// How many steps there were so far, and of how many the results had been kept.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.steps.tally()
    }

    /// Seconds of computing since any fixed moment: those that kept steps took count as if they had been
    /// computed now, since what a family costs is learnt from them.
    pub(super) fn seconds(&self, effort: &Effort<'_>) -> f64 {
        (effort.clock)() + self.steps.spared_seconds()
    }

    /// What a member of `recipe` says of rows of a fold that was fitted on others; where it is wanted, what
    /// it says in a compact form, too.
    pub(super) fn say(
        &mut self,
        part: Part,
        recipe: &Recipe,
        compact: bool,
        effort: &Effort<'_>,
    ) -> Result<Said, BenchError> {
        let (fold, family, classes) = (part.fold(), recipe.family(), self.whole.classes);
        let rows = self.material.folds[fold].checks.truth.len();
        let form = if self.keeps_scores { Form::Scores(classes) } else { Form::Votes(classes) };
        let inputs = self.inputs(part, recipe, None, Asked { rows, form, compact }, effort);
        if let Some(said) = inputs.as_ref().and_then(|it| self.steps.said(it)) {
            return Ok(said);
        }
        let began = (effort.clock)();
        let (preparation, model) = self.ground(part).fit(recipe, None, effort)?;
        let samples = &self.material.folds[fold].checks.samples;
        let compact = match model.compacted().filter(|_| compact) {
            None => None,
            Some(model) => Some(self.ask(family, (preparation.clone(), model), samples)?.0),
        };
        let said = Said { exact: self.ask(family, (preparation, model), samples)?.0, compact };
        self.steps.keep_said(inputs.as_ref(), &said, (effort.clock)() - began);
        Ok(said)
    }

    /// How sure a gate of `recipe` is that rows of a fold are events that was fitted without it.
    pub(super) fn margins_of_fold(
        &mut self,
        fold: usize,
        recipe: &Recipe,
        background: ClassId,
        effort: &Effort<'_>,
    ) -> Result<Vec<f32>, BenchError> {
        let (part, apart) = (Part::Fold(fold), Some(background));
        let rows = self.material.folds[fold].checks.truth.len();
        let asked = Asked { rows, form: Form::Scores(1), compact: false };
        let inputs = self.inputs(part, recipe, apart, asked, effort);
        let found = inputs.as_ref().and_then(|it| self.steps.said(it));
        if let Some(Said { exact: Opinion::Scores(margins), .. }) = found {
            return Ok(margins);
        }
        let began = (effort.clock)();
        let fitted = self.ground(part).fit(recipe, apart, effort)?;
        let samples = &self.material.folds[fold].checks.samples;
        let margins = self.margins(recipe.family(), fitted, samples)?;
        let said = Said { exact: Opinion::Scores(margins.clone()), compact: None };
        self.steps.keep_said(inputs.as_ref(), &said, (effort.clock)() - began);
        Ok(margins)
    }

    /// A member of all rows, or a gate that tells one class `apart`: what serves.
    pub(super) fn fit_whole(
        &mut self,
        recipe: &Recipe,
        apart: Option<ClassId>,
        effort: &Effort<'_>,
    ) -> Result<(Preparation, Model), BenchError> {
        let inputs = self.steps.are_kept().then(|| Inputs {
            recipe,
            seed: effort.seed,
            shape: self.shape(),
            apart,
            lessons: print(&self.whole),
            asked: None,
        });
        if let Some(fitted) = inputs.as_ref().and_then(|it| self.steps.fitted(it)) {
            return Ok(fitted);
        }
        let began = (effort.clock)();
        let fitted = self.whole.fit(recipe, apart, effort)?;
        self.steps.keep_fitted(inputs.as_ref(), &fitted, (effort.clock)() - began);
        Ok(fitted)
    }

    /// What opinions of a part are made from; nothing where none are kept.
    fn inputs<'a>(
        &mut self,
        part: Part,
        recipe: &'a Recipe,
        apart: Option<ClassId>,
        asked: Asked,
        effort: &Effort<'_>,
    ) -> Option<Inputs<'a>> {
        if !self.steps.are_kept() {
            return None;
        }
        let lessons = print(self.ground(part));
        let samples = &self.material.folds[part.fold()].checks.samples;
        let print = *self.asked[part.fold()].get_or_init(|| Print::of_samples(samples));
        let (seed, shape, asked) = (effort.seed, self.shape(), Some((print, asked)));
        Some(Inputs { recipe, seed, shape, apart, lessons, asked })
    }

    fn ground(&mut self, part: Part) -> &mut Ground {
        match part {
            Part::Fold(fold) => &mut self.folds[fold],
            Part::Thin => self.thin.get_or_insert_with(|| {
                Ground::of(&trial::thin(&self.material.folds[0].lessons), self.whole.classes)
            }),
        }
    }

    fn shape(&self) -> Shape {
        Shape { width: self.material.schema.width(), classes: self.whole.classes }
    }
}

/// What the rows are.
fn print(ground: &Ground) -> Print {
    *ground.print.get_or_init(|| Print::of_rows(&ground.samples, &ground.labels))
}
