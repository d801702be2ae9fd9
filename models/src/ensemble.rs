//! The ensemble: preparations, a gate and weighted members. The only place where features become a
//! class (A-2).

use crate::{
    check,
    features::{Features, ShapeError},
    frontier::Subset,
    gate::Gate,
    member::{Buffers, Member, ModelError},
    preparation::Preparation,
    schema::{ClassId, Schema},
    vote::first_largest,
    work::Work,
};

/// Most members: a [`Subset`] has a bit for each.
pub const MEMBERS_MAX: usize = 64;
/// Most preparations: one for each member and one for the gate.
pub const PREPARATIONS_MAX: usize = MEMBERS_MAX + 1;
/// Most bytes of all arrays together. A device that serves has a gigabyte or more; a task that
/// needs more than half of that is no task for it.
pub const BYTES_MAX: u64 = 512 << 20;

/// A member and how much its vote counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// Positive and finite.
    pub weight: f32,
    /// Who votes.
    pub member: Member,
}

/// What an ensemble is made of, before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// What goes in and comes out.
    pub schema: Schema,
    /// Named by index from the members and the gate.
    pub preparations: Vec<Preparation>,
    /// Stage one; needs a background class.
    pub gate: Option<Gate>,
    /// Stage two: 1 to 64 members.
    pub members: Vec<Weighted>,
}

/// An ensemble that holds: every array has the length its shapes say, every index points inside,
/// every value is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    parts: Parts,
    /// What each member's model costs; counted once, since counting walks whole forests.
    works: Vec<Work>,
}

/// Which stage gave the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The gate said "background".
    Gate,
    /// The members voted.
    Vote,
}

/// An answer and how it came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The class.
    pub class: ClassId,
    /// Share of the asked weight that the class won, 0 to 1; 1 when the gate answered.
    pub confidence: f32,
    /// Who decided.
    pub stage: Stage,
    /// What each member that was asked voted for; empty when the gate answered.
    pub votes: Votes,
}

impl Answer {
    /// How many members were asked.
    #[must_use]
    pub fn voted(&self) -> u32 {
        self.votes.len()
    }
}

/// Member by member, the class it voted for. Lies in line: an answer allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Votes {
    asked: Subset,
    classes: [ClassId; MEMBERS_MAX],
}

impl Votes {
    const NONE: Self = Self { asked: Subset(0), classes: [ClassId(0); MEMBERS_MAX] };

    /// The members that were asked.
    #[must_use]
    pub fn asked(&self) -> Subset {
        self.asked
    }

    /// How many members were asked.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.asked.len()
    }

    /// Whether nobody was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// What `member` voted for, if it was asked.
    #[must_use]
    pub fn get(&self, member: usize) -> Option<ClassId> {
        self.asked.has(member).then(|| self.classes[member])
    }

    /// Member index and the class it voted for, in the order of members.
    pub fn iter(&self) -> impl Iterator<Item = (usize, ClassId)> {
        self.asked.members().map(|member| (member, self.classes[member]))
    }

    fn cast(&mut self, member: usize, class: ClassId) {
        self.asked.0 |= 1 << member;
        self.classes[member] = class;
    }
}

/// Buffers of one thread, so that answering allocates nothing.
///
/// Good for any ensemble: one that was made for another grows once and then fits.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One prepared sample for each preparation, filled when it is first asked for.
    prepared: Vec<Vec<f32>>,
    ready: Vec<bool>,
    spare: Vec<f32>,
    scores: Vec<f32>,
    tally: Vec<f32>,
    buffers: Buffers,
}

impl Scratch {
    /// The share of the asked weight that each class won in the last vote, in class order. Empty
    /// before the first answer and after an answer of the gate.
    #[must_use]
    pub fn shares(&self) -> &[f32] {
        &self.tally
    }

    /// Forgets the last sample.
    fn begin(&mut self, preparations: usize) {
        self.prepared.resize_with(preparations, Vec::new);
        self.ready.clear();
        self.ready.resize(preparations, false);
        self.tally.clear();
    }

    /// The scores of `member` for `row`; its preparation is done unless another member needed it.
    fn score(
        &mut self,
        preparations: &[Preparation],
        member: &Member,
        row: &[f32],
        classes: usize,
    ) -> &[f32] {
        let at = member.preparation;
        let preparation = &preparations[at];
        self.scores.resize(classes, 0.0);
        if preparation.is_identity() {
            member.model.scores(row, &mut self.scores, &mut self.buffers);
            return &self.scores;
        }
        if !self.ready[at] {
            preparation.apply_into(row, &mut self.prepared[at], &mut self.spare);
            self.ready[at] = true;
        }
        member.model.scores(&self.prepared[at], &mut self.scores, &mut self.buffers);
        &self.scores
    }
}

impl Ensemble {
    /// An ensemble, if its parts hold together.
    ///
    /// # Errors
    ///
    /// [`ModelError::Part`] that says which part, around what is wrong with it; the other variants
    /// for the ensemble as a whole.
    pub fn new(parts: Parts) -> Result<Self, ModelError> {
        let Parts { schema, preparations, gate, members } = &parts;
        let (width, classes) = (schema.width(), schema.classes().len());
        check::some("members", members.len())?;
        check::at_most("members", members.len(), MEMBERS_MAX)?;
        check::at_most("preparations", preparations.len(), PREPARATIONS_MAX)?;
        for (index, preparation) in preparations.iter().enumerate() {
            preparation.width(width).map_err(part(|| format!("preparation {index}")))?;
        }
        for (index, Weighted { weight, member }) in members.iter().enumerate() {
            check::positive("weight", *weight)
                .and_then(|()| member.check(preparations, width, classes))
                .map_err(part(|| format!("member {index} ({})", member.family.name())))?;
        }
        // Then no tally overflows: each is a part of this sum.
        check::finite("sum of weights", &[members.iter().map(|it| it.weight).sum()])?;
        if let Some(Gate { member, threshold }) = gate {
            if schema.background().is_none() {
                return Err(ModelError::Background);
            }
            check::finite("threshold", &[*threshold])
                .and_then(|()| member.check(preparations, width, GATE_CLASSES))
                .map_err(part(|| "gate".to_owned()))?;
        }
        let works = members.iter().map(|it| it.member.model.work()).collect();
        let ensemble = Self { parts, works };
        let bytes = ensemble.bytes();
        if BYTES_MAX < bytes {
            return Err(ModelError::TooMany {
                what: "bytes of arrays",
                actual: usize::try_from(bytes).unwrap_or(usize::MAX),
                limit: usize::try_from(BYTES_MAX).unwrap_or(usize::MAX),
            });
        }
        Ok(ensemble)
    }

    /// Answers one sample.
    ///
    /// With a gate, and if `gated`, the gate is asked first; what it calls background is answered
    /// so without a vote. Else each member of `subset` votes for one class, and a vote counts as
    /// much as the member's weight:
    ///
    /// ```text
    /// class(x) = argmax_c Σᵢ wᵢ·[memberᵢ(x) = c]
    /// ```
    ///
    /// A tie goes to the smallest [`ClassId`], so that a validation score measured in the training
    /// worker is exactly the accuracy of what the serving worker runs.
    ///
    /// # Shapes
    ///
    /// `row` is as wide as the schema.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] and [`ShapeError::NotFinite`] for what is no sample of this task,
    /// [`ShapeError::Subset`] when `subset` is empty or names a member that is not there.
    ///
    /// # Source
    ///
    /// The two stages and the weighted vote are on the slides of MLIoT (Boovaraghavan et al., IoTDI
    /// 2021). They say nothing of ties: the rule above is ours.
    pub fn answer(
        &self,
        row: &[f32],
        subset: Subset,
        gated: bool,
        scratch: &mut Scratch,
    ) -> Result<Answer, ShapeError> {
        self.answer_timed(row, subset, gated, scratch, |_| ())
    }

    /// [`Ensemble::answer`], which calls `ended` when a stage has ended: this crate has no clock,
    /// its caller has.
    ///
    /// # Errors
    ///
    /// As [`Ensemble::answer`].
    pub fn answer_timed(
        &self,
        row: &[f32],
        subset: Subset,
        gated: bool,
        scratch: &mut Scratch,
        ended: impl FnMut(Stage),
    ) -> Result<Answer, ShapeError> {
        self.check_width(row.len())?;
        self.check_subset(subset)?;
        // Without an early end this takes a vector register at a time.
        if !row.iter().fold(true, |finite, value| finite & value.is_finite())
            && let Some(column) = row.iter().position(|value| !value.is_finite())
        {
            return Err(ShapeError::NotFinite { row: 0, column });
        }
        Ok(self.answer_checked(row, subset, gated, scratch, ended))
    }

    /// One class for each sample: those that [`Ensemble::answer`] gives, in the same order.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] and [`ShapeError::Subset`], as [`Ensemble::answer`].
    pub fn predict(
        &self,
        samples: &Features,
        subset: Subset,
        gated: bool,
    ) -> Result<Vec<ClassId>, ShapeError> {
        self.check_width(samples.width())?;
        self.check_subset(subset)?;
        let mut scratch = self.scratch();
        Ok(samples
            .rows()
            .map(|row| self.answer_checked(row, subset, gated, &mut scratch, |_| ()).class)
            .collect())
    }

    /// What each member votes for each sample, `[member][row]`: all that weights, subsets and
    /// comparisons are computed from.
    ///
    /// # Panics
    ///
    /// When `samples` is not as wide as the schema.
    #[must_use]
    pub fn member_votes(&self, samples: &Features) -> Vec<Vec<ClassId>> {
        assert_eq!(samples.width(), self.parts.schema.width(), "samples of this task");
        let Parts { schema, preparations, members, .. } = &self.parts;
        let classes = schema.classes().len();
        let mut votes = vec![Vec::with_capacity(samples.len()); members.len()];
        let mut buffers = Buffers::default();
        let mut scores = Vec::new();
        // Block by block, so that what is prepared stays small however many samples there are.
        let rows: Vec<usize> = (0..samples.len()).collect();
        for block in rows.chunks(BLOCK_ROWS) {
            let block = samples.select(block);
            let mut prepared: Vec<Option<Features>> = vec![None; preparations.len()];
            scores.resize(block.len() * classes, 0.0);
            for (votes, Weighted { member, .. }) in votes.iter_mut().zip(members) {
                let xs = prepared[member.preparation].get_or_insert_with(|| {
                    let preparation = &preparations[member.preparation];
                    preparation.features(&block).expect("an ensemble's preparations fit its schema")
                });
                member.model.scores_of_many(xs, classes, &mut scores, &mut buffers);
                votes.extend(scores.chunks_exact(classes).map(first_largest));
            }
        }
        votes
    }

    /// `score[event] - score[background]` of the gate for each sample; `None` without a gate.
    ///
    /// # Panics
    ///
    /// When `samples` is not as wide as the schema.
    #[must_use]
    pub fn gate_margins(&self, samples: &Features) -> Option<Vec<f32>> {
        assert_eq!(samples.width(), self.parts.schema.width(), "samples of this task");
        let gate = self.parts.gate.as_ref()?;
        let mut scratch = self.scratch();
        let margins = samples.rows().map(|row| {
            scratch.begin(self.parts.preparations.len());
            self.margin(gate, row, &mut scratch)
        });
        Some(margins.collect())
    }

    /// Scores of the classes that one member gives one sample, for parity tests.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] for a row of another width, [`ShapeError::Subset`] for a member that
    /// is not there.
    pub fn member_scores(&self, member: usize, row: &[f32]) -> Result<Vec<f32>, ShapeError> {
        self.check_width(row.len())?;
        let Some(Weighted { member, .. }) = self.parts.members.get(member) else {
            return Err(ShapeError::Subset { members: self.parts.members.len() });
        };
        Ok(member.scores(&self.parts.preparations, row, self.parts.schema.classes().len()))
    }

    /// Buffers for answers of this ensemble.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    /// What goes in and comes out.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.parts.schema
    }

    /// Stage one.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.parts.gate.as_ref()
    }

    /// Stage two.
    #[must_use]
    pub fn members(&self) -> &[Weighted] {
        &self.parts.members
    }

    /// What members and gate name by index.
    #[must_use]
    pub fn preparations(&self) -> &[Preparation] {
        &self.parts.preparations
    }

    /// All parts, to make another ensemble of.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        self.parts
    }

    /// Bytes of all arrays: what serving it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Parts { preparations, gate, members, .. } = &self.parts;
        let members = members.iter().map(|weighted| &weighted.member);
        let models = members.chain(gate.iter().map(|gate| &gate.member));
        models
            .map(|member| member.model.bytes())
            .chain(preparations.iter().map(Preparation::bytes))
            .fold(0, u64::saturating_add)
    }

    /// What a vote of `subset` costs, without the gate. A preparation that several members share
    /// counts once.
    #[must_use]
    pub fn work(&self, subset: Subset) -> Work {
        self.vote_work(subset, None)
    }

    /// What an answer of `subset` costs on average when `passed` of `of` samples pass the gate; a
    /// preparation that the gate has done is not done again. [`Ensemble::work`] without a gate.
    #[must_use]
    pub fn gated_work(&self, subset: Subset, passed: u64, of: u64) -> Work {
        match (&self.parts.gate, self.gate_work()) {
            (Some(gate), Some(work)) => {
                work + self.vote_work(subset, Some(gate.member.preparation)).share(passed, of)
            }
            _ => self.work(subset),
        }
    }

    fn vote_work(&self, subset: Subset, prepared: Option<usize>) -> Work {
        let asked = || self.parts.members.iter().enumerate().filter(|&(i, _)| subset.has(i));
        let models: Work = asked().map(|(index, _)| self.works[index]).sum();
        let needed: std::collections::BTreeSet<usize> =
            asked().map(|(_, weighted)| weighted.member.preparation).collect();
        let needed = needed.into_iter().filter(|&at| Some(at) != prepared);
        models + needed.map(|at| self.parts.preparations[at].work()).sum()
    }

    /// What a vote of one member costs, its preparation included. Nothing when there is no such
    /// member.
    #[must_use]
    pub fn member_work(&self, member: usize) -> Work {
        if MEMBERS_MAX <= member { Work::default() } else { self.work(Subset(1 << member)) }
    }

    /// What asking the gate costs, its preparation included.
    #[must_use]
    pub fn gate_work(&self) -> Option<Work> {
        let Gate { member, .. } = self.parts.gate.as_ref()?;
        Some(member.model.work() + self.parts.preparations[member.preparation].work())
    }

    fn check_width(&self, actual: usize) -> Result<(), ShapeError> {
        let expected = self.parts.schema.width();
        if actual == expected { Ok(()) } else { Err(ShapeError::Width { expected, actual }) }
    }

    fn check_subset(&self, subset: Subset) -> Result<(), ShapeError> {
        let members = self.parts.members.len();
        let beyond = subset.0 & !Subset::all(members).0;
        if subset.is_empty() || beyond != 0 {
            return Err(ShapeError::Subset { members });
        }
        Ok(())
    }

    /// The only way from a row to a class; everything about it has been checked.
    fn answer_checked(
        &self,
        row: &[f32],
        subset: Subset,
        gated: bool,
        scratch: &mut Scratch,
        mut ended: impl FnMut(Stage),
    ) -> Answer {
        let Parts { schema, preparations, gate, members } = &self.parts;
        scratch.begin(preparations.len());
        if let Some(gate) = gate
            && let Some(class) = schema.background()
            && gated
        {
            let stopped = gate.stops(self.margin(gate, row, scratch));
            ended(Stage::Gate);
            if stopped {
                return Answer { class, confidence: 1.0, stage: Stage::Gate, votes: Votes::NONE };
            }
        }
        let mut tally = std::mem::take(&mut scratch.tally);
        tally.resize(schema.classes().len(), 0.0);
        let mut votes = Votes::NONE;
        let mut asked_weight = 0.0;
        for (index, Weighted { weight, member }) in members.iter().enumerate() {
            if subset.has(index) {
                let class = first_largest(self.score(member, row, scratch));
                votes.cast(index, class);
                tally[class.index()] += weight;
                asked_weight += weight;
            }
        }
        let class = first_largest(&tally);
        for share in &mut tally {
            *share = (*share / asked_weight).min(1.0);
        }
        let confidence = tally[class.index()];
        scratch.tally = tally;
        ended(Stage::Vote);
        Answer { class, confidence, stage: Stage::Vote, votes }
    }

    fn score<'a>(&self, member: &Member, row: &[f32], scratch: &'a mut Scratch) -> &'a [f32] {
        scratch.score(&self.parts.preparations, member, row, self.parts.schema.classes().len())
    }

    fn margin(&self, gate: &Gate, row: &[f32], scratch: &mut Scratch) -> f32 {
        let scores = scratch.score(&self.parts.preparations, &gate.member, row, GATE_CLASSES);
        scores[1] - scores[0]
    }
}

/// Samples prepared at a time when many are asked for.
const BLOCK_ROWS: usize = 256;
/// Background and event.
const GATE_CLASSES: usize = 2;

fn part(name: impl FnOnce() -> String) -> impl FnOnce(ModelError) -> ModelError {
    |source| ModelError::Part { part: name(), source: Box::new(source) }
}
