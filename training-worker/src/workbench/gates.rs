//! Gates that may stand before the vote, and which of them does.

use std::sync::Arc;

use models::{
    ClassId, Ensemble, Family, Features, Gate, Member, Model, Parts, Preparation, Speed, Voting,
    Weighted, Work,
    gate::{Margins, Threshold, choose_threshold, pays},
};
use runtime::Report;

use super::{BenchError, Effort, Workbench};
use crate::{
    draw::hash,
    fit::{Recipe, Stop, boosted, mlp, ridge},
};

/// A gate that may or may not pay.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) gate: Gate,
    pub(super) chosen: Threshold,
    /// `score[event] - score[background]` of rows that choose.
    pub(super) across: Vec<f32>,
    /// The same of rows that measure.
    pub(super) held_out: Vec<f32>,
    /// What asking it costs.
    work: Work,
}

/// Keeps the random choices of a gate apart from those of a member of its family.
const GATE_SEED: u64 = 0x6a7e;

impl Workbench {
    /// Fits the candidates for the gate, once. Without a background class there are none. Before, the
    /// first member is asked about all folds, if it was not yet.
    ///
    /// # Errors
    ///
    /// [`BenchError::Fit`] only when told to stop: a gate that cannot be fitted is left out.
    pub fn add_gates(&mut self, stop: &Stop) -> Result<(), BenchError> {
        self.complete(stop, &|| 0.0)?;
        let Some(background) = self.material.schema.background() else { return Ok(()) };
        if self.standing.is_empty() || std::mem::replace(&mut self.gates_fitted, true) {
            return Ok(());
        }
        let recipes = [
            Recipe::Ridge(ridge::Settings::default()),
            Recipe::Boosted(boosted::Settings { rounds: 40, depth: 4, ..Default::default() }),
            Recipe::Mlp(mlp::Settings { hidden: vec![32], ..Default::default() }),
        ];
        for recipe in recipes {
            match self.consider(&recipe, background, stop) {
                Ok(()) => {}
                Err(error) if error.stopped() => {
                    self.gates_fitted = false;
                    return Err(error);
                }
                Err(error) => {
                    let family = recipe.family().name();
                    tracing::warn!(family, error = %Report(&error), "a gate was not fitted");
                }
            }
        }
        Ok(())
    }

    /// Fits a gate as a member is fitted, and keeps it if a threshold holds what the policy asks.
    fn consider(
        &mut self,
        recipe: &Recipe,
        background: ClassId,
        stop: &Stop,
    ) -> Result<(), BenchError> {
        let family = recipe.family();
        let seed = hash(&[self.terms.seed, GATE_SEED, family as u64]);
        let effort = Effort { seed, threads: self.terms.threads, stop, clock: &|| 0.0 };
        let mut across = Vec::with_capacity(self.truth.len());
        for fold in 0..self.folds.len() {
            across.append(&mut self.margins_of_fold(fold, recipe, background, &effort)?);
        }
        let events: Vec<bool> = self.truth.iter().map(|&class| class != background).collect();
        let groups = self.blocks();
        let rows = Margins { margins: &across, events: &events, groups: &groups };
        let Some(chosen) = choose_threshold(rows, self.terms.missed_events_max) else {
            let family = family.name();
            tracing::info!(family, "no threshold of the gate keeps the policy's ceiling");
            return Ok(());
        };
        let stopped = chosen.stopped.value();
        tracing::info!(family = family.name(), threshold = chosen.value, stopped, "a gate stands");
        let fitted = self.fit_whole(recipe, Some(background), &effort)?;
        let work = fitted.0.work() + fitted.1.work();
        let held_out = self.margins(family, fitted.clone(), &self.material.held_out.samples)?;
        let preparation = self.keep(fitted.0);
        let member = Member { family, preparation, model: Arc::new(fitted.1) };
        let gate = Gate { member, threshold: chosen.value };
        self.gates.push(Candidate { gate, chosen, across, held_out, work });
        Ok(())
    }

    /// The gate that makes answers cheapest, if any makes them cheaper than a `vote` is alone.
    pub(super) fn gate_that_pays(&self, vote: Work) -> Option<&Candidate> {
        let stopped = |it: &Candidate| it.chosen.stopped.value();
        let cost = |it: &Candidate| {
            Speed::USUAL.micros(it.work) + (1.0 - stopped(it)) * Speed::USUAL.micros(vote)
        };
        let paying = self.gates.iter().filter(|it| pays(stopped(it), it.work, vote, &Speed::USUAL));
        paying.min_by(|a, b| cost(a).total_cmp(&cost(b)))
    }

    /// How sure a fitted gate is that samples are events.
    pub(super) fn margins(
        &self,
        family: Family,
        (preparation, model): (Preparation, Model),
        samples: &Features,
    ) -> Result<Vec<f32>, BenchError> {
        let first = &self.standing.first().ok_or(BenchError::Nobody)?.member;
        let member = Member { preparation: 1, family, model: Arc::new(model) };
        let parts = Parts {
            schema: self.material.schema.clone(),
            preparations: vec![self.preparations[first.preparation].clone(), preparation],
            gate: Some(Gate { member, threshold: 0.0 }),
            // An ensemble has members; who they are does not matter to its gate.
            members: vec![Weighted {
                weight: 1.0,
                member: Member { preparation: 0, ..first.clone() },
            }],
            voting: Voting::default(),
            golden: Vec::new(),
        };
        let probe = Ensemble::new(parts).map_err(BenchError::Lowered)?;
        Ok(probe.gate_margins(samples).expect("it has a gate"))
    }
}
