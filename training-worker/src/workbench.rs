//! Members that stand, one after another, and the ensemble that they make at any time.

mod trial;

use std::{collections::BTreeMap, sync::Arc};

use models::{
    Cast, ClassId, Confusion, Ensemble, Family, Features, Gate, Member, Model, ModelError, Parts,
    Preparation, Speed, Subset, SubsetMeasure, Voting, Weighted, Work,
    frontier::{Votes, measure, undominated},
    gate::{Margins, Threshold, choose_threshold, pays},
    recount::{Recount, in_order},
    weights::vote_weights,
};

use runtime::Report;

use crate::{
    draw::hash,
    fit::{
        FitError, Lesson, PrepareError, Preparing, Recipe, Stop, boosted, fit, knn,
        principal_components, ridge, standardise,
    },
    material::{Lessons, Material},
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

/// A member, and what was voted for rows that choose and rows that measure.
#[derive(Clone, Debug)]
struct Standing {
    member: Member,
    /// How it was made.
    recipe: Recipe,
    /// Of members of the same recipe that were fitted without them each.
    across: Vec<ClassId>,
    /// Of the member itself.
    held_out: Vec<ClassId>,
    fit_seconds: f64,
}

/// A gate that may or may not pay.
#[derive(Clone, Debug)]
struct Candidate {
    gate: Gate,
    chosen: Threshold,
    across: Vec<f32>,
    held_out: Vec<f32>,
}

/// Rows to learn from, prepared as recipes ask for it.
#[derive(Debug)]
struct Ground {
    samples: Arc<Features>,
    labels: Vec<u16>,
    prepared: BTreeMap<Preparing, (Preparation, Arc<Features>)>,
}

impl Ground {
    fn of(lessons: &Lessons) -> Self {
        Self {
            samples: Arc::new(lessons.samples.clone()),
            labels: lessons.labels.clone(),
            prepared: BTreeMap::new(),
        }
    }

    /// What is done to a sample, and the rows to which it was done. Fitted on these rows alone.
    fn prepare(&mut self, recipe: &Recipe) -> Result<(Preparation, Arc<Features>), BenchError> {
        let kind = recipe.preparing();
        if let Some(prepared) = self.prepared.get(&kind) {
            return Ok(prepared.clone());
        }
        let prepared = match kind {
            Preparing::Nothing => (Preparation::default(), self.samples.clone()),
            Preparing::Standardised => {
                let preparation = Preparation { steps: vec![standardise(&self.samples)] };
                let samples = preparation.features(&self.samples).map_err(BenchError::Lowered)?;
                (preparation, Arc::new(samples))
            }
            Preparing::Projected => {
                let standardised = Recipe::Ridge(ridge::Settings::default());
                let (mut preparation, samples) = self.prepare(&standardised)?;
                let most = match recipe {
                    Recipe::Knn(settings) => settings.components,
                    Recipe::Ridge(_)
                    | Recipe::Forest(_)
                    | Recipe::LinearSvm(_)
                    | Recipe::RbfSvm(_)
                    | Recipe::Mlp(_)
                    | Recipe::Boosted(_) => knn::Settings::default().components,
                };
                let project = principal_components(&samples, most).map_err(BenchError::Prepare)?;
                let last = Preparation { steps: vec![project] };
                let samples = last.features(&samples).map_err(BenchError::Lowered)?;
                preparation.steps.extend(last.steps);
                (preparation, Arc::new(samples))
            }
        };
        self.prepared.insert(kind, prepared.clone());
        Ok(prepared)
    }

    /// Fits a model of `classes` classes; `relabel` says what a row of a class is called.
    fn fit(
        &mut self,
        recipe: &Recipe,
        classes: usize,
        relabel: impl Fn(u16) -> u16,
        effort: &Effort<'_>,
    ) -> Result<(Preparation, Model), BenchError> {
        let (preparation, samples) = self.prepare(recipe)?;
        let labels: Vec<u16> = self.labels.iter().copied().map(relabel).collect();
        let Effort { seed, threads, stop } = *effort;
        let lesson = Lesson { samples: &samples, labels: &labels, classes, seed, threads, stop };
        let family = recipe.family();
        let model = fit(recipe, &lesson).map_err(|source| BenchError::Fit { family, source })?;
        Ok((preparation, model))
    }
}

/// How a fit is done.
#[derive(Clone, Copy)]
struct Effort<'a> {
    seed: u64,
    threads: usize,
    stop: &'a Stop,
}

/// Where members are made.
#[derive(Debug)]
pub struct Workbench {
    material: Arc<Material>,
    terms: Terms,
    /// A part of the first fold, for trials.
    thin: Option<Ground>,
    truth: Vec<ClassId>,
    /// What serves learns from the first; the others are for votes across the folds.
    whole: Ground,
    folds: Vec<Ground>,
    /// Preparations of what stands.
    preparations: Vec<Preparation>,
    standing: Vec<Standing>,
    /// Members of an earlier attempt, whose votes across the folds are not known yet.
    earlier: Vec<Member>,
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
#[derive(Clone, Debug, PartialEq)]
pub struct MemberMeasure {
    /// How it was trained.
    pub family: Family,
    /// With which settings.
    pub recipe: Recipe,
    /// What its vote counts.
    pub weight: f32,
    /// Share of the rows that choose that were answered rightly.
    pub accuracy: f64,
    /// How long its fit took; 0 for one that an earlier attempt fitted.
    pub fit_seconds: f64,
    /// What an answer of it costs.
    pub work: Work,
    /// Bytes of its arrays.
    pub bytes: u64,
}

/// Keeps the random choices of a gate apart from those of a member of its family.
const GATE_SEED: u64 = 0x6a7e;

impl Workbench {
    /// An empty workbench.
    #[must_use]
    pub fn new(material: Arc<Material>, terms: Terms) -> Self {
        Self {
            terms,
            thin: None,
            truth: material.truth(),
            whole: Ground::of(&material.lessons),
            folds: material.folds.iter().map(|across| Ground::of(&across.lessons)).collect(),
            material,
            preparations: Vec::new(),
            standing: Vec::new(),
            earlier: Vec::new(),
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

    /// Takes over the members of a bundle that an earlier attempt at the same job published: they
    /// are not fitted again, unless their family is not `wanted`. Their votes across the folds,
    /// which a bundle does not hold, are.
    pub fn resume(&mut self, earlier: Ensemble, wanted: impl Fn(Family) -> bool) {
        let Parts { preparations, gate: _, members, .. } = earlier.into_parts();
        let wanted = members.into_iter().filter(|it| wanted(it.member.family));
        for Weighted { mut member, .. } in wanted {
            member.preparation = self.keep(preparations[member.preparation].clone());
            self.earlier.push(member);
        }
    }

    /// The families of the members that were taken over and do not stand yet.
    #[must_use]
    pub fn taken_over(&self) -> Vec<Family> {
        self.earlier.iter().map(|member| member.family).collect()
    }

    /// Fits one more member: without each fold, for votes about it, and on all rows, to
    /// serve. `clock` gives seconds since any fixed moment.
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
        let classes = self.material.schema.classes().len();
        let seed = hash(&[self.terms.seed, family as u64]);
        let effort = Effort { seed, threads: self.terms.threads, stop };
        let mut across = Vec::with_capacity(self.truth.len());
        let mut seconds = 0.0;
        for fold in 0..self.folds.len() {
            let began = clock();
            let fitted = self.folds[fold].fit(recipe, classes, |class| class, &effort)?;
            seconds += clock() - began;
            let samples = &self.material.folds[fold].checks.samples;
            across.append(&mut self.votes(family, fitted, samples)?);
        }
        let before = self.earlier.iter().position(|member| member.family == family);
        let began = clock();
        let member = match before {
            Some(at) => self.earlier.remove(at),
            None => {
                let (preparation, model) =
                    self.whole.fit(recipe, classes, |class| class, &effort)?;
                Member { family, preparation: self.keep(preparation), model }
            }
        };
        seconds += clock() - began;
        let fitted = (self.preparations[member.preparation].clone(), member.model.clone());
        let held_out = self.votes(family, fitted, &self.material.held_out.samples)?;
        let recipe = recipe.clone();
        self.standing.push(Standing { member, recipe, across, held_out, fit_seconds: seconds });
        Ok(())
    }

    /// Fits the candidates for the gate, once. Without a background class there are none.
    ///
    /// # Errors
    ///
    /// [`BenchError::Fit`] only when told to stop: a gate that cannot be fitted is left out.
    pub fn add_gates(&mut self, stop: &Stop) -> Result<(), BenchError> {
        let Some(background) = self.material.schema.background() else { return Ok(()) };
        if self.standing.is_empty() || std::mem::replace(&mut self.gates_fitted, true) {
            return Ok(());
        }
        let recipes = [
            Recipe::Ridge(ridge::Settings::default()),
            Recipe::Boosted(boosted::Settings { rounds: 40, depth: 4, ..Default::default() }),
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
        let event = |class: u16| u16::from(class != background.0);
        let seed = hash(&[self.terms.seed, GATE_SEED, family as u64]);
        let effort = Effort { seed, threads: self.terms.threads, stop };
        let mut across = Vec::with_capacity(self.truth.len());
        for fold in 0..self.folds.len() {
            let fitted = self.folds[fold].fit(recipe, 2, event, &effort)?;
            let samples = &self.material.folds[fold].checks.samples;
            across.append(&mut self.margins(family, fitted, samples)?);
        }
        let events: Vec<bool> = self.truth.iter().map(|&class| class != background).collect();
        let groups = self.material.groups();
        let rows = Margins { margins: &across, events: &events, groups: &groups };
        let Some(chosen) = choose_threshold(rows, self.terms.missed_events_max) else {
            let family = family.name();
            tracing::info!(family, "no threshold of the gate keeps the policy's ceiling");
            return Ok(());
        };
        let stopped = chosen.stopped.value();
        tracing::info!(family = family.name(), threshold = chosen.value, stopped, "a gate stands");
        let fitted = self.whole.fit(recipe, 2, event, &effort)?;
        let held_out = self.margins(family, fitted.clone(), &self.material.held_out.samples)?;
        let preparation = self.keep(fitted.0);
        let member = Member { family, preparation, model: fitted.1 };
        let gate = Gate { member, threshold: chosen.value };
        self.gates.push(Candidate { gate, chosen, across, held_out });
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
        let truth = &self.truth;
        let votes: Vec<Vec<ClassId>> =
            self.standing.iter().map(|standing| standing.across.clone()).collect();
        let weights = vote_weights(truth, &votes, classes);
        let ungated = self.ensemble(&self.standing, &weights, None)?;
        let best = self.gate_that_pays(&ungated)?;
        let ensemble = match best {
            Some(candidate) => {
                self.ensemble(&self.standing, &weights, Some(candidate.gate.clone()))?
            }
            None => ungated,
        };
        let margins = best.map(|candidate| candidate.across.as_slice());
        let casts: Vec<Cast> = votes.into_iter().map(Cast::Classes).collect();
        let measures = measure(&ensemble, Votes { truth, members: &casts, margins });
        let members = self.standing.iter().zip(&weights).enumerate();
        let members = members.map(|(index, (standing, &weight))| MemberMeasure {
            family: standing.member.family,
            recipe: standing.recipe.clone(),
            weight,
            accuracy: Confusion::of(classes, truth, &standing.across).accuracy().value(),
            fit_seconds: standing.fit_seconds,
            work: ensemble.member_work(index),
            bytes: standing.member.model.bytes(),
        });
        Ok(Assembled {
            members: members.collect(),
            frontier: undominated(&measures),
            gate: best.map(|candidate| candidate.chosen),
            held_out: self.vote_held_out(&ensemble, best),
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
            let cost = Speed::USUAL.micros(work) + (1.0 - stopped) * Speed::USUAL.micros(vote);
            if pays(stopped, work, vote, &Speed::USUAL)
                && best.is_none_or(|(least, _)| cost < least)
            {
                best = Some((cost, candidate));
            }
        }
        Ok(best.map(|(_, candidate)| candidate))
    }

    /// What became of held-out rows, from the votes of each member: the rule of
    /// [`Ensemble::predict`], without asking every member again.
    fn vote_held_out(&self, ensemble: &Ensemble, gate: Option<&Candidate>) -> Confusion {
        let casts: Vec<Cast> =
            self.standing.iter().map(|it| Cast::Classes(it.held_out.clone())).collect();
        let members = in_order(ensemble, Subset::all(casts.len()));
        let mut recount = Recount::new(ensemble, &casts);
        let mut confusion = Confusion::new(self.material.schema.classes().len());
        for (row, &truth) in self.material.held_out.truth.iter().enumerate() {
            let stops = gate.is_some_and(|it| it.gate.stops(it.held_out[row]));
            let given = match self.material.schema.background() {
                Some(background) if stops => background,
                Some(_) | None => recount.count(row, &members).class,
            };
            confusion.add(truth, given);
        }
        confusion
    }

    /// What a fitted model votes for.
    fn votes(
        &self,
        family: Family,
        (preparation, model): (Preparation, Model),
        samples: &Features,
    ) -> Result<Vec<ClassId>, BenchError> {
        let member = Member { family, preparation: 0, model };
        let parts = Parts {
            schema: self.material.schema.clone(),
            preparations: vec![preparation],
            gate: None,
            members: vec![Weighted { weight: 1.0, member }],
            voting: Voting::default(),
        };
        let alone = Ensemble::new(parts).map_err(BenchError::Lowered)?;
        Ok(alone.member_votes(samples).swap_remove(0))
    }

    /// How sure a fitted gate is that samples are events.
    fn margins(
        &self,
        family: Family,
        (preparation, model): (Preparation, Model),
        samples: &Features,
    ) -> Result<Vec<f32>, BenchError> {
        let first = &self.standing.first().ok_or(BenchError::Nobody)?.member;
        let member = Member { preparation: 1, family, model };
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
        };
        let probe = Ensemble::new(parts).map_err(BenchError::Lowered)?;
        Ok(probe.gate_margins(samples).expect("it has a gate"))
    }

    /// The index of a preparation, the same for equal ones: done once for all who need it.
    fn keep(&mut self, preparation: Preparation) -> usize {
        self.preparations.iter().position(|it| *it == preparation).unwrap_or_else(|| {
            self.preparations.push(preparation);
            self.preparations.len() - 1
        })
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
        let voting = Voting::default();
        Ensemble::new(Parts { schema, preparations, gate, members, voting })
            .map_err(BenchError::Lowered)
    }
}
