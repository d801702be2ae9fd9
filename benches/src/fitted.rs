//! Families fitted with the settings that a job would use, alone or together.

use std::sync::Arc;

use models::{
    Ensemble, Family, Features, Member, Model, Parts, Preparation, Schema, Voting, Weighted,
};
use training_worker::{
    fit::{Lesson, Stop, fit, prepare},
    plan::{self, Size},
};

use crate::folder::{Fault, Folder};

const SEED: u64 = 1;

/// One family and what its rows go through first.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Which.
    pub family: Family,
    /// From a sample to what the model takes.
    pub preparation: Preparation,
    /// The model.
    pub model: Model,
}

impl Fitted {
    /// Prepares the rows and fits.
    ///
    /// # Errors
    ///
    /// What the fit says of its rows.
    pub fn of(
        family: Family,
        samples: &Features,
        labels: &[u16],
        classes: usize,
    ) -> Result<Self, Fault> {
        let size = Size { rows: samples.len(), width: samples.width(), classes };
        let recipe = plan::recipe(family, size);
        let (preparation, prepared) = prepare(recipe.preparing(), samples, (labels, classes))?;
        let stop = Stop::default();
        let rows = prepared.as_ref().unwrap_or(samples);
        let lesson = Lesson { seed: SEED, ..Lesson::new(rows, labels, classes, &stop) };
        let model = fit(&recipe, &lesson)?;
        Ok(Self { family, preparation, model })
    }
}

/// `families`, each fitted on the training rows of `folder`, with equal weights.
///
/// # Errors
///
/// When the folder cannot be read, or a fit says no to its rows.
pub fn together(folder: &Folder, families: &[Family]) -> Result<Ensemble, Fault> {
    let (schema, labels) = (folder.schema()?, folder.labels("train")?);
    let (samples, classes) = (folder.samples("train")?, schema.classes().len());
    let fitted = families.iter().map(|&family| Fitted::of(family, &samples, &labels, classes));
    let fitted = fitted.collect::<Result<Vec<Fitted>, Fault>>()?;
    Ok(Ensemble::new(parts(schema, fitted))?)
}

/// The same members in their smaller forms, as a job ships them where that costs no accuracy.
///
/// # Errors
///
/// What makes no ensemble.
pub fn smaller(ensemble: &Ensemble) -> Result<Ensemble, Fault> {
    let mut parts = ensemble.clone().into_parts();
    for Weighted { member, .. } in &mut parts.members {
        if let Some(smaller) = member.model.compacted() {
            member.model = Arc::new(smaller);
        }
    }
    Ok(Ensemble::new(parts)?)
}

/// Those members that are of `families`.
///
/// # Errors
///
/// What makes no ensemble.
pub fn only(ensemble: &Ensemble, families: &[Family]) -> Result<Ensemble, Fault> {
    let mut parts = ensemble.clone().into_parts();
    parts.members.retain(|it| families.contains(&it.member.family));
    Ok(Ensemble::new(parts)?)
}

/// An ensemble of equal weights; a preparation that several have is done once.
#[must_use]
pub fn parts(schema: Schema, fitted: Vec<Fitted>) -> Parts {
    let mut preparations: Vec<Preparation> = Vec::new();
    let mut members = Vec::with_capacity(fitted.len());
    for Fitted { family, preparation, model } in fitted {
        let known = preparations.iter().position(|it| *it == preparation);
        let preparation = known.unwrap_or_else(|| {
            preparations.push(preparation);
            preparations.len() - 1
        });
        members.push(Weighted {
            weight: 1.0,
            member: Member { family, preparation, model: Arc::new(model) },
        });
    }
    Parts {
        schema,
        preparations,
        gate: None,
        members,
        voting: Voting::default(),
        golden: Vec::new(),
    }
}
