//! Members that stand, one after another, and the ensemble that they make at any time.

use std::{collections::BTreeMap, sync::Arc};

use models::{
    ClassId, Confusion, Ensemble, Family, Features, Gate, Member, ModelError, Parts, Preparation,
    Speed, Subset, SubsetMeasure, Weighted, Work,
    frontier::{Votes, measure, undominated},
    gate::{Margins, Threshold, choose_threshold, pays},
    vote::Tally,
    weights::vote_weights,
};

use crate::{
    draw::hash,
    fit::{
        FitError, Lesson, PrepareError, Preparing, Recipe, Stop, boosted, fit, knn,
        principal_components, ridge, standardise,
    },
    material::{Checks, Material},
};

/// Why a member does not stand.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The fit.
    #[error("the {family} was not fitted", family = family.name())]
    Fit {
        /// Which.
        family: Family,
        /// Why not.
        #[source]
        source: FitError,
    },
    /// What has to be done before it.
    #[error("the samples were not prepared")]
    Prepare(#[source] PrepareError),
    /// Lowered arrays that do not hold: a bug of ours.
    #[error("what was fitted is no member")]
    Lowered(#[source] ModelError),
    /// An ensemble needs a member.
    #[error("no member stands yet")]
    Nobody,
}

impl BenchError {
    /// Whether it was told to stop, so that nothing is wrong.
    #[must_use]
    pub fn stopped(&self) -> bool {
        matches!(self, Self::Fit { source: FitError::Stopped, .. })
    }
}

/// A member with its votes on rows that it was not fitted on.
#[derive(Clone, Debug)]
struct Standing {
    member: Member,
    validation: Vec<ClassId>,
    held_out: Vec<ClassId>,
    fit_seconds: f64,
}

/// A gate that may or may not pay.
#[derive(Clone, Debug)]
struct Candidate {
    gate: Gate,
    chosen: Threshold,
    validation: Vec<f32>,
    held_out: Vec<f32>,
}

/// Where members are made.
#[derive(Debug)]
pub struct Workbench {
    material: Arc<Material>,
    seed: u64,
    threads: usize,
    missed_events_max: f64,
    preparations: Vec<Preparation>,
    /// The preparations that new members use, and the training rows prepared so.
    prepared: BTreeMap<Preparing, (usize, Arc<Features>)>,
    standing: Vec<Standing>,
    gates: Vec<Candidate>,
    gates_fitted: bool,
}

/// What is asked of the members besides their families.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Decides every random choice.
    pub seed: u64,
    /// How many threads may work.
    pub threads: usize,
    /// The policy's ceiling on the share of events that the gate calls background.
    pub missed_events_max: f64,
}

/// An ensemble and what is known of it.
#[derive(Debug)]
pub struct Assembled {
    /// What would be served.
    pub ensemble: Ensemble,
    /// Each member alone, in the order of members.
    pub members: Vec<MemberMeasure>,
    /// Choices of members that no other beats, on validation rows.
    pub frontier: Vec<SubsetMeasure>,
    /// The gate on validation rows.
    pub gate: Option<Threshold>,
    /// All members, gate included, on held-out rows.
    pub held_out: Confusion,
}

/// A member alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberMeasure {
    /// How it was trained.
    pub family: Family,
    /// What its vote counts.
    pub weight: f32,
    /// Share of validation rows answered rightly.
    pub accuracy: f64,
    /// How long its fit took; 0 for one that an earlier attempt fitted.
    pub fit_seconds: f64,
    /// What an answer of it costs.
    pub work: Work,
    /// Bytes of its arrays.
    pub bytes: u64,
}

/// A machine of today, to see whether a gate pays before any device was measured.
const SPEED: Speed = Speed { madd_ns: 0.1, byte_ns: 0.1, node_ns: 4.0, exp_ns: 4.0, call_ns: 40.0 };

impl Workbench {
    /// An empty workbench.
    #[must_use]
    pub fn new(material: Arc<Material>, terms: Terms) -> Self {
        let Terms { seed, threads, missed_events_max } = terms;
        Self {
            material,
            seed,
            threads,
            missed_events_max,
            preparations: Vec::new(),
            prepared: BTreeMap::new(),
            standing: Vec::new(),
            gates: Vec::new(),
            gates_fitted: false,
        }
    }

    /// The rows that it works with.
    #[must_use]
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// The families that stand, in the order of members.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.standing.iter().map(|standing| standing.member.family).collect()
    }

    /// Takes over the members of a bundle that an earlier attempt at the same job published.
    ///
    /// # Errors
    ///
    /// [`BenchError::Lowered`] when its members do not fit this task.
    pub fn resume(&mut self, earlier: Ensemble) -> Result<(), BenchError> {
        let Parts { preparations, gate: _, members, .. } = earlier.into_parts();
        let offset = self.preparations.len();
        self.preparations.extend(preparations);
        for Weighted { mut member, .. } in members {
            member.preparation += offset;
            self.stand(member, 0.0)?;
        }
        Ok(())
    }

    /// Fits one more member; `clock` gives seconds since any fixed moment.
    ///
    /// # Errors
    ///
    /// [`BenchError`], after which the workbench is as before.
    pub fn add(
        &mut self,
        recipe: &Recipe,
        stop: &Stop,
        clock: &dyn Fn() -> f64,
    ) -> Result<(), BenchError> {
        let family = recipe.family();
        let began = clock();
        let (preparation, samples) = self.prepare(recipe)?;
        let lesson = Lesson {
            samples: &samples,
            labels: &self.material.labels,
            classes: self.material.schema.classes().len(),
            seed: hash(&[self.seed, family as u64]),
            threads: self.threads,
            stop,
        };
        let model = fit(recipe, &lesson).map_err(|source| BenchError::Fit { family, source })?;
        self.stand(Member { family, preparation, model }, clock() - began)
    }

    /// Fits the candidates for the gate, once. Without a background class there are none.
    ///
    /// # Errors
    ///
    /// [`BenchError::Fit`] only when told to stop: a gate that cannot be fitted is left out.
    pub fn add_gates(&mut self, stop: &Stop) -> Result<(), BenchError> {
        let Some(background) = self.material.schema.background() else { return Ok(()) };
        if std::mem::replace(&mut self.gates_fitted, true) || self.standing.is_empty() {
            return Ok(());
        }
        let labels: Vec<u16> =
            self.material.labels.iter().map(|&label| u16::from(label != background.0)).collect();
        let recipes = [
            Recipe::Ridge(ridge::Settings::default()),
            Recipe::Boosted(boosted::Settings { rounds: 40, depth: 4, ..Default::default() }),
        ];
        for recipe in recipes {
            let family = recipe.family();
            let (preparation, samples) = self.prepare(&recipe)?;
            let seed = hash(&[self.seed, 0x6a7e, family as u64]);
            let lesson = Lesson {
                samples: &samples,
                labels: &labels,
                classes: 2,
                seed,
                threads: self.threads,
                stop,
            };
            match fit(&recipe, &lesson) {
                Ok(model) => self.consider(Member { family, preparation, model })?,
                Err(FitError::Stopped) => {
                    return Err(BenchError::Fit { family, source: FitError::Stopped });
                }
                Err(error) => {
                    tracing::warn!(family = family.name(), %error, "a gate was not fitted");
                }
            }
        }
        Ok(())
    }

    /// Keeps a gate for which there is a threshold that the policy allows.
    fn consider(&mut self, member: Member) -> Result<(), BenchError> {
        let Some(background) = self.material.schema.background() else { return Ok(()) };
        let gate = Gate { member, threshold: 0.0 };
        let probe = self.ensemble(&self.standing[..1], &[1.0], Some(gate.clone()))?;
        let Checks { samples, truth, groups } = &self.material.validation;
        let validation = probe.gate_margins(samples).expect("the probe has a gate");
        let held_out = probe.gate_margins(&self.material.held_out.samples).expect("likewise");
        let events: Vec<bool> = truth.iter().map(|&class| class != background).collect();
        let rows = Margins { margins: &validation, events: &events, groups };
        let family = gate.member.family.name();
        match choose_threshold(rows, self.missed_events_max) {
            Some(chosen) => {
                let stopped = chosen.stopped.value();
                tracing::info!(family, threshold = chosen.value, stopped, "a gate stands");
                let gate = Gate { threshold: chosen.value, ..gate };
                self.gates.push(Candidate { gate, chosen, validation, held_out });
            }
            None => tracing::info!(family, "no threshold of the gate keeps the policy's ceiling"),
        }
        Ok(())
    }

    /// The ensemble of all members that stand, measured.
    ///
    /// # Errors
    ///
    /// [`BenchError::Nobody`] before the first member stands.
    pub fn assemble(&self) -> Result<Assembled, BenchError> {
        if self.standing.is_empty() {
            return Err(BenchError::Nobody);
        }
        let classes = self.material.schema.classes().len();
        let truth = &self.material.validation.truth;
        let votes: Vec<Vec<ClassId>> =
            self.standing.iter().map(|standing| standing.validation.clone()).collect();
        let weights = vote_weights(truth, &votes, classes);
        let ungated = self.ensemble(&self.standing, &weights, None)?;
        let best = self.gate_that_pays(&ungated)?;
        let ensemble = match best {
            Some(candidate) => {
                self.ensemble(&self.standing, &weights, Some(candidate.gate.clone()))?
            }
            None => ungated,
        };
        let margins = best.map(|candidate| candidate.validation.as_slice());
        let measures = measure(&ensemble, Votes { truth, members: &votes, margins });
        let members = self.standing.iter().zip(&weights).enumerate();
        let members = members.map(|(index, (standing, &weight))| MemberMeasure {
            family: standing.member.family,
            weight,
            accuracy: Confusion::of(classes, truth, &standing.validation).accuracy().value(),
            fit_seconds: standing.fit_seconds,
            work: ensemble.member_work(index),
            bytes: standing.member.model.bytes(),
        });
        Ok(Assembled {
            members: members.collect(),
            frontier: undominated(&measures),
            gate: best.map(|candidate| candidate.chosen),
            held_out: self.vote_held_out(&weights, best),
            ensemble,
        })
    }

    /// The gate that makes answers cheapest, if any makes them cheaper.
    fn gate_that_pays(&self, ungated: &Ensemble) -> Result<Option<&Candidate>, BenchError> {
        let all = Subset::all(self.standing.len());
        let vote = ungated.work(all);
        let mut best: Option<(f64, &Candidate)> = None;
        for candidate in &self.gates {
            let gated = self.ensemble(&self.standing[..1], &[1.0], Some(candidate.gate.clone()))?;
            let work = gated.gate_work().unwrap_or_default();
            let stopped = candidate.chosen.stopped.value();
            let cost = SPEED.micros(work) + (1.0 - stopped) * SPEED.micros(vote);
            if pays(stopped, work, vote, &SPEED) && best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, candidate));
            }
        }
        Ok(best.map(|(_, candidate)| candidate))
    }

    /// What became of held-out rows, from the votes of each member: the rule of
    /// [`Ensemble::predict`], without asking every member again.
    fn vote_held_out(&self, weights: &[f32], gate: Option<&Candidate>) -> Confusion {
        let classes = self.material.schema.classes().len();
        let mut tally = Tally::new(classes);
        let mut confusion = Confusion::new(classes);
        for (row, &truth) in self.material.held_out.truth.iter().enumerate() {
            let stops = gate.is_some_and(|it| it.gate.stops(it.held_out[row]));
            let given = match self.material.schema.background() {
                Some(background) if stops => background,
                Some(_) | None => {
                    let votes = self.standing.iter().zip(weights);
                    tally.winner(votes.map(|(standing, &weight)| (standing.held_out[row], weight)))
                }
            };
            confusion.add(truth, given);
        }
        confusion
    }

    /// Asks a new member for its votes, and keeps it.
    fn stand(&mut self, member: Member, fit_seconds: f64) -> Result<(), BenchError> {
        let none = Standing { member, validation: vec![], held_out: vec![], fit_seconds };
        let alone = self.ensemble(std::slice::from_ref(&none), &[1.0], None)?;
        let votes = |checks: &Checks| alone.member_votes(&checks.samples).swap_remove(0);
        let validation = votes(&self.material.validation);
        let held_out = votes(&self.material.held_out);
        self.standing.push(Standing { validation, held_out, ..none });
        Ok(())
    }

    /// An ensemble of some members that holds; preparations that nobody names are left out.
    fn ensemble(
        &self,
        standing: &[Standing],
        weights: &[f32],
        gate: Option<Gate>,
    ) -> Result<Ensemble, BenchError> {
        let mut members: Vec<Weighted> = standing
            .iter()
            .zip(weights)
            .map(|(standing, &weight)| Weighted { weight, member: standing.member.clone() })
            .collect();
        let mut gate = gate;
        let mut preparations = Vec::new();
        let mut moved = BTreeMap::new();
        let named = members.iter_mut().map(|weighted| &mut weighted.member);
        for member in named.chain(gate.iter_mut().map(|gate| &mut gate.member)) {
            member.preparation = *moved.entry(member.preparation).or_insert_with(|| {
                preparations.push(self.preparations[member.preparation].clone());
                preparations.len() - 1
            });
        }
        let schema = self.material.schema.clone();
        Ensemble::new(Parts { schema, preparations, gate, members }).map_err(BenchError::Lowered)
    }

    /// The training rows as a recipe needs them, and which preparation that is.
    fn prepare(&mut self, recipe: &Recipe) -> Result<(usize, Arc<Features>), BenchError> {
        let kind = recipe.preparing();
        if let Some((index, samples)) = self.prepared.get(&kind) {
            return Ok((*index, samples.clone()));
        }
        let (preparation, samples) = match kind {
            Preparing::Nothing => {
                (Preparation::default(), Arc::new(self.material.training.clone()))
            }
            Preparing::Standardised => {
                let steps = vec![standardise(&self.material.training)];
                let preparation = Preparation { steps };
                let samples = preparation.features(&self.material.training);
                (preparation, Arc::new(samples.map_err(BenchError::Lowered)?))
            }
            Preparing::Projected => {
                let (before, standardised) =
                    self.prepare(&Recipe::Ridge(ridge::Settings::default()))?;
                let most = match recipe {
                    Recipe::Knn(settings) => settings.components,
                    Recipe::Ridge(_)
                    | Recipe::Forest(_)
                    | Recipe::LinearSvm(_)
                    | Recipe::RbfSvm(_)
                    | Recipe::Mlp(_)
                    | Recipe::Boosted(_) => knn::Settings::default().components,
                };
                let project =
                    principal_components(&standardised, most).map_err(BenchError::Prepare)?;
                let last = Preparation { steps: vec![project] };
                let samples = last.features(&standardised).map_err(BenchError::Lowered)?;
                let mut steps = self.preparations[before].steps.clone();
                steps.extend(last.steps);
                (Preparation { steps }, Arc::new(samples))
            }
        };
        // The same as one that an earlier attempt fitted: done once for all.
        let index =
            self.preparations.iter().position(|it| *it == preparation).unwrap_or_else(|| {
                self.preparations.push(preparation);
                self.preparations.len() - 1
            });
        self.prepared.insert(kind, (index, samples.clone()));
        Ok((index, samples))
    }
}
