//! The ensemble: preparations, a gate and weighted members. The only place where features become a
//! class: one sample in `answer.rs`, many members' scores here.

use std::sync::Arc;

use crate::{
    check,
    confidence::Confidence,
    features::{Features, ShapeError},
    frontier::Subset,
    gate::Gate,
    golden::{self, Golden},
    member::{Buffers, Member, ModelError},
    preparation::Preparation,
    recount::Cast,
    schema::{ClassId, Schema},
    sets::Sets,
    vote::{counts, first_largest},
    voting::{Rule, Voting},
    work::{Speed, Work},
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
    /// How their votes are counted, and what the count says.
    pub voting: Voting,
    /// Samples of which it is written down what the ensemble says.
    pub golden: Vec<Golden>,
}

/// An ensemble that holds: every array has the length its shapes say, every index points inside,
/// every value is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    pub(crate) parts: Parts,
    /// What each member's model costs; counted once, since counting walks whole forests.
    works: Vec<Work>,
    /// The weights as the vote counts them.
    pub(crate) counts: Vec<u64>,
    /// All members, the most decisive for its time on a usual machine first.
    pub(crate) order: Vec<u8>,
}

impl Ensemble {
    /// An ensemble, if its parts hold together.
    ///
    /// # Errors
    ///
    /// [`ModelError::Part`] that says which part, around what is wrong with it; the other variants
    /// for the ensemble as a whole.
    pub fn new(parts: Parts) -> Result<Self, ModelError> {
        Self::held_together(parts, &|| ())
    }

    /// [`Ensemble::new`]; `pause` is called after each member.
    pub(crate) fn held_together(parts: Parts, pause: &dyn Fn()) -> Result<Self, ModelError> {
        let Parts { schema, preparations, gate, members, voting, golden } = &parts;
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
            pause();
        }
        check::finite("sum of weights", &[members.iter().map(|it| it.weight).sum()])?;
        voting.check(members.len(), gate.is_some())?;
        if let Some(Gate { member, threshold }) = gate {
            if schema.background().is_none() {
                return Err(ModelError::Background);
            }
            check::finite("threshold", &[*threshold])
                .and_then(|()| member.check(preparations, width, GATE_CLASSES))
                .map_err(part(|| "gate".to_owned()))?;
        }
        golden::holds(golden, width, members.len(), classes, gate.is_some())?;
        let mut works = Vec::with_capacity(members.len());
        for Weighted { member, .. } in members {
            works.push(member.model.work());
            pause();
        }
        let weights: Vec<f32> = members.iter().map(|it| it.weight).collect();
        let mut ensemble = Self { parts, works, counts: counts(&weights), order: Vec::new() };
        ensemble.order = ensemble.by_worth(|it| Speed::USUAL.micros(ensemble.member_work(it)));
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

    /// The members in the order in which they decide a vote soonest, if member `i` takes `micros(i)`:
    /// by how much they count for each microsecond. Of equal ones the first comes first.
    pub(crate) fn by_worth(&self, micros: impl Fn(usize) -> f64) -> Vec<u8> {
        #[expect(clippy::cast_precision_loss, reason = "a count is below 2⁴¹")]
        let worth = |member: usize| self.counts[member] as f64 / micros(member).max(1e-6);
        let mut order: Vec<(f64, u8)> =
            (0_u8..).take(self.counts.len()).map(|it| (worth(usize::from(it)), it)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        order.into_iter().map(|(_, member)| member).collect()
    }

    /// What each member votes for each sample, `[member][row]`.
    ///
    /// # Panics
    ///
    /// When `samples` is not as wide as the schema.
    #[must_use]
    pub fn member_votes(&self, samples: &Features) -> Vec<Vec<ClassId>> {
        let classes = self.parts.schema.classes().len();
        let mut votes = vec![Vec::with_capacity(samples.len()); self.parts.members.len()];
        self.score_many(samples, |member, scores| {
            votes[member].extend(scores.chunks_exact(classes).map(first_largest));
        });
        votes
    }

    /// The scores that each member gives each sample, `[member][row, class]`: all that rules,
    /// weights, subsets and comparisons are computed from.
    ///
    /// # Panics
    ///
    /// When `samples` is not as wide as the schema.
    #[must_use]
    pub fn scores_of_members(&self, samples: &Features) -> Vec<Vec<f32>> {
        let size = samples.len() * self.parts.schema.classes().len();
        let mut all = vec![Vec::with_capacity(size); self.parts.members.len()];
        self.score_many(samples, |member, scores| all[member].extend_from_slice(scores));
        all
    }

    /// What `member` gives to the count of each row, from its scores `[row, class]`.
    #[must_use]
    pub fn cast(&self, member: usize, scores: &[f32]) -> Cast {
        let classes = self.parts.schema.classes().len();
        let rows = scores.chunks_exact(classes);
        let rule = &self.parts.voting.rule;
        if *rule == Rule::Hard {
            return Cast::Classes(rows.map(first_largest).collect());
        }
        let scale = self.parts.members[member].member.model.scale();
        let mut all = Vec::with_capacity(scores.len());
        let (mut row, mut parts) = (Vec::with_capacity(classes), Vec::new());
        for scores in rows {
            row.clear();
            row.extend_from_slice(scores);
            all.extend_from_slice(rule.shares(member, scale, &mut row, &mut parts).unwrap_or(&[]));
        }
        Cast::Shares(all)
    }

    /// Calls `take` with a member and its scores of a block of samples, block after block.
    fn score_many(&self, samples: &Features, mut take: impl FnMut(usize, &[f32])) {
        assert_eq!(samples.width(), self.parts.schema.width(), "samples of this task");
        let Parts { schema, preparations, members, .. } = &self.parts;
        let classes = schema.classes().len();
        let mut buffers = Buffers::default();
        let mut scores = Vec::new();
        // Block by block, so that what is prepared stays small however many samples there are.
        let rows: Vec<usize> = (0..samples.len()).collect();
        for block in rows.chunks(BLOCK_ROWS) {
            let block = samples.select(block);
            let mut prepared: Vec<Option<Features>> = vec![None; preparations.len()];
            scores.resize(block.len() * classes, 0.0);
            for (at, Weighted { member, .. }) in members.iter().enumerate() {
                let xs = prepared[member.preparation].get_or_insert_with(|| {
                    let preparation = &preparations[member.preparation];
                    preparation.features(&block).expect("an ensemble's preparations fit its schema")
                });
                member.model.scores_of_many(xs, classes, &mut scores, &mut buffers);
                take(at, &scores);
            }
        }
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
        Some(samples.rows().map(|row| self.margin_alone(gate, row, &mut scratch)).collect())
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

    /// How votes are counted.
    #[must_use]
    pub fn voting(&self) -> &Voting {
        &self.parts.voting
    }

    /// What members and gate name by index.
    #[must_use]
    pub fn preparations(&self) -> &[Preparation] {
        &self.parts.preparations
    }

    /// The same ensemble, whose answers say how sure they are by this measure.
    ///
    /// # Errors
    ///
    /// [`ModelError`] for curves that are none.
    pub fn with_confidence(mut self, confidence: Confidence) -> Result<Self, ModelError> {
        confidence.check()?;
        self.parts.voting.confidence = confidence;
        Ok(self)
    }

    /// The same ensemble, which knows from which share on a class belongs to a set.
    ///
    /// # Errors
    ///
    /// [`ModelError`] for ladders of members that are not there, or that are none.
    pub fn with_sets(mut self, sets: Sets) -> Result<Self, ModelError> {
        sets.check(self.parts.members.len(), self.parts.gate.is_some())?;
        self.parts.voting.sets = sets;
        Ok(self)
    }

    /// The same ensemble with the arrays of `other` where they are equal: whoever serves `other` already has
    /// those in memory once and in its caches, and what is dropped here was a copy.
    ///
    /// Equal is what compares equal number by number: zeros of either sign are, and add up alike. `pause` is
    /// called after each member.
    #[must_use]
    pub fn sharing(mut self, other: &Self, pause: &dyn Fn()) -> Self {
        let Parts { gate, members, .. } = &mut self.parts;
        let own = members.iter_mut().map(|it| &mut it.member);
        for own in own.chain(gate.iter_mut().map(|it| &mut it.member)) {
            let others = other.parts.members.iter().map(|it| &it.member);
            let mut others = others.chain(other.parts.gate.iter().map(|it| &it.member));
            if let Some(same) = others.find(|it| it.family == own.family && it.model == own.model) {
                own.model = Arc::clone(&same.model);
            }
            pause();
        }
        self
    }

    /// All parts, to make another ensemble of.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        self.parts
    }

    /// Bytes of all arrays: what serving it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Parts { preparations, gate, members, golden, .. } = &self.parts;
        let members = members.iter().map(|weighted| &weighted.member);
        let models = members.chain(gate.iter().map(|gate| &gate.member));
        let golden = golden.iter().map(|it| u64::try_from(it.bytes()).unwrap_or(u64::MAX));
        models
            .map(|member| member.model.bytes())
            .chain(preparations.iter().map(Preparation::bytes))
            .chain(golden)
            .fold(0, u64::saturating_add)
    }

    /// What a vote of `subset` costs, without the gate. A preparation that several members share
    /// counts once.
    #[must_use]
    pub fn work(&self, subset: Subset) -> Work {
        self.vote_work(subset, None)
    }

    fn vote_work(&self, subset: Subset, prepared: Option<usize>) -> Work {
        let asked = || self.parts.members.iter().enumerate().filter(|&(i, _)| subset.has(i));
        let classes = u64::try_from(self.parts.schema.classes().len()).unwrap_or(u64::MAX);
        let exps = match self.parts.voting.rule {
            Rule::Hard => 0,
            Rule::Soft(_) | Rule::Logarithmic(_) => classes,
        };
        let count = Work { exps, ..Work::default() };
        let models: Work = asked().map(|(index, _)| self.works[index] + count).sum();
        let needed: std::collections::BTreeSet<usize> =
            asked().map(|(_, weighted)| weighted.member.preparation).collect();
        let needed = needed.into_iter().filter(|&at| Some(at) != prepared);
        models + needed.map(|at| self.parts.preparations[at].work()).sum()
    }

    /// What an answer costs on average when `passed` of `of` samples pass the gate and then all of
    /// `subset` are asked; a preparation that the gate has done is not done again.
    /// [`Ensemble::work`] without a gate.
    #[must_use]
    pub fn gated_work(&self, subset: Subset, passed: u64, of: u64) -> Work {
        match (&self.parts.gate, self.gate_work()) {
            (Some(gate), Some(work)) => {
                work + self.vote_work(subset, Some(gate.member.preparation)).share(passed, of)
            }
            _ => self.work(subset),
        }
    }

    /// What an answer costs on average over `of` samples when, of those that pass the gate,
    /// `ended[n]` votes are decided after the first `n` of `members`.
    #[must_use]
    pub fn mean_work(&self, members: &[usize], ended: &[u64], gated: bool, of: u64) -> Work {
        let gate = self.parts.gate.as_ref().filter(|_| gated);
        let prepared = gate.map(|gate| gate.member.preparation);
        let mut total = gate.and(self.gate_work()).unwrap_or_default().times(of);
        let mut asked = Subset(0);
        for (&member, &count) in members.iter().zip(&ended[1..]) {
            asked.0 |= 1 << member;
            total = total + self.vote_work(asked, prepared).times(count);
        }
        total.share(1, of)
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

    pub(crate) fn check_width(&self, actual: usize) -> Result<(), ShapeError> {
        let expected = self.parts.schema.width();
        if actual == expected { Ok(()) } else { Err(ShapeError::Width { expected, actual }) }
    }

    pub(crate) fn check_subset(&self, subset: Subset) -> Result<(), ShapeError> {
        let members = self.parts.members.len();
        let beyond = subset.0 & !Subset::all(members).0;
        if subset.is_empty() || beyond != 0 {
            return Err(ShapeError::Subset { members });
        }
        Ok(())
    }
}

/// Samples prepared at a time when many are asked for.
const BLOCK_ROWS: usize = 256;
/// Background and event.
pub(crate) const GATE_CLASSES: usize = 2;

fn part(name: impl FnOnce() -> String) -> impl FnOnce(ModelError) -> ModelError {
    |source| ModelError::Part { part: name(), source: Box::new(source) }
}
