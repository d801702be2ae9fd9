//! Members that stand, one after another, and the ensemble that they make at any time.

mod assembling;
mod gates;
mod golden;
mod sets;
mod stepping;
mod trial;

pub use assembling::Assembled;
use gates::Candidate;
pub use sets::SetMeasure;
use stepping::Part;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use models::{
    ClassId, Coverage, Ensemble, Family, Features, Member, Model, ModelError, Parts, Preparation,
    Voting, Weighted, Work, sets::TooFew,
};

use crate::{
    draw::hash,
    fit::{
        FitError, Lesson, PrepareError, Preparing, Recipe, Stop, fit, ridge, standardise,
        standardised_components, standardised_discriminants,
    },
    material::{Lessons, Material},
    panel::Opinion,
    search::THIN,
    steps::{Print, Steps},
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
    /// What the policy promises of sets of classes.
    #[error("the policy promises more of sets of classes than the samples can show")]
    Sets(#[source] TooFew),
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

/// Where a member comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// It was fitted here.
    Fitted(Recipe),
    /// It was fitted elsewhere, and is called so.
    Imported(String),
}

/// A member, and what was said of rows that choose and rows that measure.
#[derive(Clone, Debug)]
struct Standing {
    member: Member,
    /// How it was made.
    origin: Origin,
    /// By members of the same recipe that were fitted without them each.
    across: Opinion,
    /// By the member itself.
    held_out: Opinion,
    fit_seconds: f64,
    /// What an answer of it costs, its preparation included.
    work: Work,
}

/// What was said of rows that choose, and in which form.
struct Heard {
    opinion: Opinion,
    /// Whether a compact form said it, and so is the one to serve.
    compact: bool,
}

impl Heard {
    /// `model` in the form that was heard.
    fn form(&self, model: Model) -> Model {
        let compact = if self.compact { model.compacted() } else { None };
        compact.unwrap_or(model)
    }
}

/// Rows to learn from, prepared as recipes ask for it.
#[derive(Debug)]
struct Ground {
    samples: Arc<Features>,
    labels: Vec<u16>,
    classes: usize,
    /// What the rows are, once a step asked for it.
    print: OnceLock<Print>,
    prepared: BTreeMap<Preparing, (Preparation, Arc<Features>)>,
}

impl Ground {
    fn of(lessons: &Lessons, classes: usize) -> Self {
        Self {
            samples: lessons.samples.clone(),
            labels: lessons.labels.clone(),
            classes,
            print: OnceLock::new(),
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
            // To turn all columns would change no distance.
            Preparing::Projected(most) if self.samples.width() <= most => {
                return self.prepare(&Recipe::Ridge(ridge::Settings::default()));
            }
            Preparing::Projected(most) => {
                let preparation =
                    standardised_components(&self.samples, most).map_err(BenchError::Prepare)?;
                let samples = preparation.features(&self.samples).map_err(BenchError::Lowered)?;
                (preparation, Arc::new(samples))
            }
            Preparing::Discriminated(most) => {
                let (samples, labels) = (&self.samples, &self.labels);
                let preparation = standardised_discriminants(samples, labels, self.classes, most)
                    .map_err(BenchError::Prepare)?;
                let samples = preparation.features(samples).map_err(BenchError::Lowered)?;
                (preparation, Arc::new(samples))
            }
        };
        // Rows that are prepared anew cost a tenth of a second, and kept ones their memory twice.
        if prepared.1.values().len() <= KEPT_MAX {
            self.prepared.insert(kind, prepared.clone());
            self.forget_projections(kind);
        }
        Ok(prepared)
    }

    /// A search tries many projections of the same rows; a few are kept, `newest` among them.
    fn forget_projections(&mut self, newest: Preparing) {
        let projected = |kind: &&Preparing| matches!(kind, Preparing::Projected(_));
        while PROJECTIONS_MAX < self.prepared.keys().filter(projected).count() {
            let oldest = self.prepared.keys().filter(projected).find(|&&it| it != newest).copied();
            oldest.and_then(|oldest| self.prepared.remove(&oldest));
        }
    }

    /// Fits a model of all classes, or of background and event where one is to be told `apart`.
    fn fit(
        &mut self,
        recipe: &Recipe,
        apart: Option<ClassId>,
        effort: &Effort<'_>,
    ) -> Result<(Preparation, Model), BenchError> {
        let (preparation, samples) = self.prepare(recipe)?;
        let relabel = |&class: &u16| apart.map_or(class, |it| u16::from(class != it.0));
        let labels: Vec<u16> = self.labels.iter().map(relabel).collect();
        let classes = if apart.is_some() { 2 } else { self.classes };
        let Effort { seed, threads, stop, .. } = *effort;
        let lesson = Lesson { seed, threads, ..Lesson::new(&samples, &labels, classes, stop) };
        let family = recipe.family();
        let model = fit(recipe, &lesson).map_err(|source| BenchError::Fit { family, source })?;
        Ok((preparation, model))
    }
}

/// Most values of prepared rows that are kept for the next recipe: 32 MiB. MNIST, whole and in two
/// folds, would take 262 MB.
const KEPT_MAX: usize = 8 << 20;
/// Projections of the same rows that are kept.
const PROJECTIONS_MAX: usize = 3;

/// How a fit is done.
#[derive(Clone, Copy)]
struct Effort<'a> {
    seed: u64,
    threads: usize,
    stop: &'a Stop,
    /// Seconds since any fixed moment.
    clock: &'a dyn Fn() -> f64,
}

/// Where members are made.
#[derive(Debug)]
pub struct Workbench {
    material: Arc<Material>,
    terms: Terms,
    /// Results of fits that were kept, and those of this bench.
    steps: Steps,
    /// A part of the first fold, for trials.
    thin: Option<Ground>,
    /// What the rows of each fold are that are asked, once a step asked for it.
    asked: Vec<OnceLock<Print>>,
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
    /// Whether scores are kept, or votes alone.
    keeps_scores: bool,
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
    /// How often sets of classes must hold the true one, if the policy promises any.
    pub coverage: Option<Coverage>,
}

/// A member alone.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberMeasure {
    /// How it was trained.
    pub family: Family,
    /// Where it comes from, and with which settings.
    pub origin: Origin,
    /// What its vote counts; 0 for one that does not ship.
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

/// Fewer rows tell too little of a first member.
const BRIEF_ROWS_MIN: usize = 2_000;

/// Most scores that are kept of members of every family; of more, only the votes are.
const SCORES_MAX: usize = 16 << 20;

impl Workbench {
    /// An empty workbench.
    #[must_use]
    pub fn new(material: Arc<Material>, terms: Terms) -> Self {
        let rows = material.truth().len() + material.held_out.truth.len();
        let classes = material.schema.classes().len();
        let values = rows * classes * Family::ALL.len();
        Self {
            terms,
            steps: Steps::default(),
            thin: None,
            asked: material.folds.iter().map(|_| OnceLock::new()).collect(),
            keeps_scores: values <= SCORES_MAX,
            truth: material.truth(),
            whole: Ground::of(&material.lessons, classes),
            folds: material
                .folds
                .iter()
                .map(|across| Ground::of(&across.lessons, classes))
                .collect(),
            material,
            preparations: Vec::new(),
            standing: Vec::new(),
            earlier: Vec::new(),
            gates: Vec::new(),
            gates_fitted: false,
        }
    }

    /// The same, where steps find the results that `steps` holds.
    #[must_use]
    pub fn with_steps(self, steps: Steps) -> Self {
        Self { steps, ..self }
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
    pub fn resume(&mut self, earlier: Ensemble, wanted: impl Fn(&Member) -> bool) {
        let Parts { preparations, gate: _, members, .. } = earlier.into_parts();
        let wanted = members.into_iter().filter(|it| wanted(&it.member));
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
    /// The first member is to serve at once: it is asked about the first fold only, where there are many
    /// rows by a fit on a part of the others. The rest follows before another one stands.
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
        self.complete(stop, clock)?;
        let effort = self.effort(recipe.family(), stop, clock);
        let began = self.seconds(&effort);
        let (recipe, heard) = if self.standing.is_empty() {
            let opinion = self.hear_briefly(recipe, &effort)?;
            (recipe.clone(), Heard { opinion, compact: false })
        } else {
            self.hear_on_better_columns(recipe, &effort)?
        };
        self.stand(recipe, heard, &effort, began)
    }

    /// Fits what was `heard` of since it `began` on all rows, to serve.
    fn stand(
        &mut self,
        recipe: Recipe,
        heard: Heard,
        effort: &Effort<'_>,
        began: f64,
    ) -> Result<(), BenchError> {
        let family = recipe.family();
        let before = self.earlier.iter().position(|member| member.family == family);
        let member = match before {
            Some(at) => self.earlier.remove(at),
            None => {
                let (preparation, model) = self.fit_whole(&recipe, None, effort)?;
                let model = heard.form(model);
                Member { family, preparation: self.keep(preparation), model: Arc::new(model) }
            }
        };
        let fit_seconds = self.seconds(effort) - began;
        let fitted = (self.preparations[member.preparation].clone(), (*member.model).clone());
        let (held_out, work) = self.ask(family, fitted, &self.material.held_out.samples)?;
        let origin = Origin::Fitted(recipe);
        let across = heard.opinion;
        self.standing.push(Standing { member, origin, across, held_out, fit_seconds, work });
        Ok(())
    }

    /// Takes in a member that was fitted elsewhere: the first of `ensemble`. It is asked about the rows
    /// that choose and those that measure, as every member is; whoever made the material has set aside
    /// what it may have seen.
    ///
    /// # Errors
    ///
    /// [`BenchError`], after which the workbench is as before.
    pub fn adopt(
        &mut self,
        name: &str,
        ensemble: Ensemble,
        stop: &Stop,
        clock: &dyn Fn() -> f64,
    ) -> Result<(), BenchError> {
        self.complete(stop, clock)?;
        let Parts { mut preparations, mut members, .. } = ensemble.into_parts();
        // An ensemble has a member, and that names one of its preparations.
        let Weighted { member, .. } = members.swap_remove(0);
        let Member { family, preparation, model } = member;
        let preparation = preparations.swap_remove(preparation);
        let fitted = || (preparation.clone(), (*model).clone());
        let across = self.material.folds.iter();
        let across = across.map(|fold| self.ask(family, fitted(), &fold.checks.samples));
        let across: Vec<Opinion> =
            across.map(|asked| asked.map(|(said, _)| said)).collect::<Result<_, _>>()?;
        let across = across.into_iter().reduce(Opinion::and).expect("there are two folds or more");
        let (held_out, work) = self.ask(family, fitted(), &self.material.held_out.samples)?;
        let member = Member { family, preparation: self.keep(preparation), model };
        let origin = Origin::Imported(name.to_owned());
        self.standing.push(Standing { member, origin, across, held_out, fit_seconds: 0.0, work });
        Ok(())
    }

    /// Asks the first member about all folds, if it was asked about one only.
    ///
    /// # Errors
    ///
    /// [`BenchError`] only when told to stop, after which the workbench is as before: a member that
    /// cannot be asked does not stand.
    pub fn complete(&mut self, stop: &Stop, clock: &dyn Fn() -> f64) -> Result<(), BenchError> {
        if self.rows_heard() == self.truth.len() {
            return Ok(());
        }
        let Some(Standing { origin: Origin::Fitted(recipe), .. }) = self.standing.first() else {
            return Ok(());
        };
        let recipe = recipe.clone();
        let effort = self.effort(recipe.family(), stop, clock);
        let began = self.seconds(&effort);
        match self.hear_on_better_columns(&recipe, &effort) {
            Ok((better, heard)) => {
                let Some(mut first) = self.standing.first().cloned() else { return Ok(()) };
                if better != recipe {
                    let fitted = self.fit_whole(&better, None, &effort)?;
                    first.member.preparation = self.keep(fitted.0);
                    first.member.model = Arc::new(fitted.1);
                    first.origin = Origin::Fitted(better);
                }
                first.member.model = Arc::new(heard.form(Arc::unwrap_or_clone(first.member.model)));
                let preparation = self.preparations[first.member.preparation].clone();
                let fitted = (preparation, (*first.member.model).clone());
                let held_out = &self.material.held_out.samples;
                (first.held_out, first.work) = self.ask(first.member.family, fitted, held_out)?;
                first.across = heard.opinion;
                first.fit_seconds += self.seconds(&effort) - began;
                self.standing[0] = first;
                Ok(())
            }
            Err(error) if error.stopped() => Err(error),
            Err(error) => {
                // Nobody knows how good it is: it makes room for others.
                let family = recipe.family().name();
                tracing::warn!(family, error = %runtime::Report(&error), "a member stands no longer");
                self.standing.clear();
                Ok(())
            }
        }
    }

    fn effort<'a>(&self, family: Family, stop: &'a Stop, clock: &'a dyn Fn() -> f64) -> Effort<'a> {
        let seed = hash(&[self.terms.seed, family as u64]);
        Effort { seed, threads: self.terms.threads, stop, clock }
    }

    /// About how many rows that choose the members were asked.
    fn rows_heard(&self) -> usize {
        let classes = self.material.schema.classes().len();
        let heard = self.standing.first().map(|standing| standing.across.rows(classes));
        heard.unwrap_or(self.truth.len())
    }

    /// What members of a recipe say of each fold that were fitted without it; those in a compact
    /// form, where that says it as well.
    fn hear(&mut self, recipe: &Recipe, effort: &Effort<'_>) -> Result<Heard, BenchError> {
        let (mut exact, mut compact) = (Vec::new(), Vec::new());
        for fold in 0..self.folds.len() {
            let said = self.say(Part::Fold(fold), recipe, true, effort)?;
            exact.push(said.exact);
            compact.extend(said.compact);
        }
        let whole = |opinions: Vec<Opinion>| opinions.into_iter().reduce(Opinion::and);
        // Rows of which no compact form can be made in one fold are left as they are in all.
        let compact = if compact.len() == exact.len() { whole(compact) } else { None };
        let exact = whole(exact).expect("there are two folds or more");
        Ok(match compact {
            Some(opinion) if self.as_good(&opinion, &exact) => Heard { opinion, compact: true },
            Some(_) | None => Heard { opinion: exact, compact: false },
        })
    }

    /// What members of a recipe say that were fitted without each fold, or of the same recipe on other
    /// columns, where that is better. Of what is as good the discriminants are taken: they are fewer, and
    /// what they leave out is what moves without the class, as it will move again.
    fn hear_on_better_columns(
        &mut self,
        recipe: &Recipe,
        effort: &Effort<'_>,
    ) -> Result<(Recipe, Heard), BenchError> {
        let heard = self.hear(recipe, effort)?;
        let (width, classes) = (self.material.schema.width(), self.whole.classes);
        let Some(other) = recipe.on_other_columns(width, classes) else {
            return Ok((recipe.clone(), heard));
        };
        match self.hear(&other, effort) {
            Ok(of_other) => {
                let fewer = matches!(other.preparing(), Preparing::Discriminated(_));
                let other_is_taken = if fewer {
                    self.as_good(&of_other.opinion, &heard.opinion)
                } else {
                    !self.as_good(&heard.opinion, &of_other.opinion)
                };
                Ok(if other_is_taken { (other, of_other) } else { (recipe.clone(), heard) })
            }
            Err(error) if error.stopped() => Err(error),
            Err(error) => {
                let family = recipe.family().name();
                tracing::info!(family, error = %runtime::Report(&error), "left on the columns it has");
                Ok((recipe.clone(), heard))
            }
        }
    }

    /// Whether something smaller costs no measurable accuracy: it is right in no fewer rows than chance
    /// explains, among those where only one of both is right.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn as_good(&self, smaller: &Opinion, larger: &Opinion) -> bool {
        let classes = self.material.schema.classes().len();
        let (smaller, larger) = (smaller.votes(classes), larger.votes(classes));
        let (mut lost, mut won) = (0_usize, 0_usize);
        for ((smaller, larger), truth) in smaller.iter().zip(&larger).zip(&self.truth) {
            lost += usize::from(larger == truth && smaller != truth);
            won += usize::from(smaller == truth && larger != truth);
        }
        lost.saturating_sub(won) as f64 <= ((lost + won) as f64).sqrt()
    }

    /// What a member of a recipe says of the first fold that was fitted on a part of the others.
    fn hear_briefly(
        &mut self,
        recipe: &Recipe,
        effort: &Effort<'_>,
    ) -> Result<Opinion, BenchError> {
        // A part of the rows, where that is enough to tell: several times as many as columns.
        let part = self.material.folds[0].lessons.labels.len() / THIN;
        let enough = BRIEF_ROWS_MIN.max(5 * self.material.schema.width()) < part;
        let part = if enough { Part::Thin } else { Part::Fold(0) };
        Ok(self.say(part, recipe, false, effort)?.exact)
    }

    /// What a fitted model says of samples, and what an answer of it costs.
    fn ask(
        &self,
        family: Family,
        (preparation, model): (Preparation, Model),
        samples: &Features,
    ) -> Result<(Opinion, Work), BenchError> {
        let member = Member { family, preparation: 0, model: Arc::new(model) };
        let parts = Parts {
            schema: self.material.schema.clone(),
            preparations: vec![preparation],
            gate: None,
            members: vec![Weighted { weight: 1.0, member }],
            voting: Voting::default(),
            golden: Vec::new(),
        };
        let alone = Ensemble::new(parts).map_err(BenchError::Lowered)?;
        let opinion = if self.keeps_scores {
            Opinion::Scores(alone.scores_of_members(samples).swap_remove(0))
        } else {
            Opinion::Votes(alone.member_votes(samples).swap_remove(0))
        };
        Ok((opinion, alone.member_work(0)))
    }

    /// The index of a preparation, the same for equal ones: done once for all who need it.
    fn keep(&mut self, preparation: Preparation) -> usize {
        self.preparations.iter().position(|it| *it == preparation).unwrap_or_else(|| {
            self.preparations.push(preparation);
            self.preparations.len() - 1
        })
    }
}
