//! One answer: from a sample to a class, with no more members asked than it takes.

use crate::{
    ensemble::{Ensemble, GATE_CLASSES, MEMBERS_MAX, Parts, Weighted},
    features::{Features, ShapeError},
    frontier::Subset,
    gate::Gate,
    member::{Buffers, Member},
    preparation::Preparation,
    schema::ClassId,
    sets::Level,
    vote::{Tally, VOTE, first_largest, parts},
};

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
    /// How sure the answer is, 0 to 1; 1 when the gate answered.
    ///
    /// With a measured [`crate::Confidence`], how often an answer with such a count is right. Else
    /// the share of the weight of all assigned members that the class has for certain: those that
    /// were not asked count as if they had been against it, so that an early end never overstates.
    pub confidence: f32,
    /// Who decided.
    pub stage: Stage,
    /// What each member that was asked voted for; empty when the gate answered.
    pub votes: Votes,
    /// How many members could have been asked.
    pub assigned: u32,
    /// Whether those that were not asked could not have changed the class. Only a vote that was told
    /// to stop ends without.
    pub decided: bool,
}

impl Answer {
    /// How many members were asked, of [`Answer::assigned`].
    #[must_use]
    pub fn voted(&self) -> u32 {
        self.votes.len()
    }
}

/// Member by member, the class it voted for: that of its largest score, also where its vote was
/// shared out. Lies in line: an answer allocates nothing.
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

/// Which members may be asked, in which order, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    subset: Subset,
    /// Members of the ensemble, each at most once; those of `subset` are among them.
    order: Vec<u8>,
    to_the_end: bool,
}

impl Asking {
    /// The members that may be asked.
    #[must_use]
    pub fn subset(&self) -> Subset {
        self.subset
    }

    /// The members that may be asked, the first first.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied().map(usize::from).filter(|&it| self.subset.has(it))
    }

    /// Asks every one of them, also after the vote is decided: the same class, and every vote.
    #[must_use]
    pub fn to_the_end(self) -> Self {
        Self { to_the_end: true, ..self }
    }

    fn borrowed(&self) -> Ask<'_> {
        Ask { subset: self.subset, order: &self.order, to_the_end: self.to_the_end }
    }
}

/// An [`Asking`] that is lent.
#[derive(Clone, Copy)]
struct Ask<'a> {
    subset: Subset,
    order: &'a [u8],
    to_the_end: bool,
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
    parts: Vec<u32>,
    tally: Tally,
    shares: Vec<f32>,
    buffers: Buffers,
}

impl Scratch {
    /// The share of the weight of all assigned members that each class had when the last vote
    /// ended, in class order; they sum to 1 when everybody was asked. Empty before the first
    /// answer and after an answer of the gate.
    #[must_use]
    pub fn shares(&self) -> &[f32] {
        &self.shares
    }

    /// What each class had, in whole numbers, when the last vote ended.
    pub(crate) fn sums(&self) -> &[u64] {
        self.tally.sums()
    }

    /// Forgets the last sample.
    fn begin(&mut self, preparations: usize) {
        self.prepared.resize_with(preparations, Vec::new);
        self.ready.clear();
        self.ready.resize(preparations, false);
        self.shares.clear();
    }

    /// The scores of `member` for `row`; its preparation is done unless another member needed it.
    fn score(
        &mut self,
        preparations: &[Preparation],
        member: &Member,
        row: &[f32],
        classes: usize,
    ) -> &mut [f32] {
        let at = member.preparation;
        let preparation = &preparations[at];
        self.scores.resize(classes, 0.0);
        if preparation.is_identity() {
            member.model.scores(row, &mut self.scores, &mut self.buffers);
            return &mut self.scores;
        }
        if !self.ready[at] {
            preparation.apply_into(row, &mut self.prepared[at], &mut self.spare);
            self.ready[at] = true;
        }
        member.model.scores(&self.prepared[at], &mut self.scores, &mut self.buffers);
        &mut self.scores
    }
}

impl Ensemble {
    /// Buffers for answers of this ensemble.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    /// Asks the members of `subset`, first those that decide most for their time on a usual
    /// machine, until the vote is decided.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Subset`] when `subset` is empty or names a member that is not there.
    pub fn asking(&self, subset: Subset) -> Result<Asking, ShapeError> {
        self.check_subset(subset)?;
        Ok(Asking { subset, order: self.order.clone(), to_the_end: false })
    }

    /// [`Ensemble::asking`] on a machine where member `i` takes `micros(i)` microseconds.
    ///
    /// # Errors
    ///
    /// As [`Ensemble::asking`].
    pub fn asking_on(
        &self,
        subset: Subset,
        micros: impl Fn(usize) -> f64,
    ) -> Result<Asking, ShapeError> {
        self.check_subset(subset)?;
        Ok(Asking { subset, order: self.by_worth(micros), to_the_end: false })
    }

    /// Asks `members` in this order until the vote is decided.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Subset`] when there are none, or one is not there or stands twice.
    pub fn asking_in_order(&self, members: &[usize]) -> Result<Asking, ShapeError> {
        let refused = ShapeError::Subset { members: self.parts.members.len() };
        let mut subset = Subset(0);
        let mut order = Vec::with_capacity(members.len());
        for &member in members {
            let known = member < self.parts.members.len() && !subset.has(member);
            let (true, Ok(short)) = (known, u8::try_from(member)) else { return Err(refused) };
            subset.0 |= 1 << member;
            order.push(short);
        }
        self.check_subset(subset)?;
        Ok(Asking { subset, order, to_the_end: false })
    }

    /// Answers one sample.
    ///
    /// With a gate, and if `gated`, the gate is asked first; what it calls background is answered
    /// so without a vote. Else each member of `subset` gives its vote to one class (or, by
    /// [`Rule::Soft`](crate::Rule::Soft), shares of it to several), and a vote counts as much as the member's weight:
    ///
    /// ```text
    /// class(x) = argmax_c Σᵢ wᵢ·[memberᵢ(x) = c]        (hard)
    /// class(x) = argmax_c Σᵢ wᵢ·pᵢ(c | x)               (soft)
    /// class(x) = argmax_c Σᵢ wᵢ·ln max(pᵢ(c | x), ε)    (logarithmic)
    /// ```
    ///
    /// A tie goes to the smallest [`ClassId`], so that a validation score measured in the training
    /// worker is exactly the accuracy of what the serving worker runs.
    ///
    /// The vote ends as soon as the members that were not asked cannot change the winner. The class
    /// is that of the full vote for every sample and in every order: see `vote.rs`.
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
    /// 2021). They say nothing of ties, nor of an early end: both are ours. The soft vote is a
    /// linear opinion pool, the logarithmic one the other of the two (Genest and Zidek, 1986); that nobody
    /// thinks a class less likely than ε ([`LEAST`](crate::vote::LEAST)) is ours.
    pub fn answer(
        &self,
        row: &[f32],
        subset: Subset,
        gated: bool,
        scratch: &mut Scratch,
    ) -> Result<Answer, ShapeError> {
        self.check_subset(subset)?;
        self.check_row(row)?;
        let ask = Ask { subset, order: &self.order, to_the_end: false };
        Ok(self.answer_to_its_end(row, ask, gated, scratch))
    }

    /// [`Ensemble::answer`] of the members of `asking`, as it says. Calls `ended` when a stage has
    /// ended: this crate has no clock, its caller has.
    ///
    /// # Errors
    ///
    /// As [`Ensemble::answer`]; [`ShapeError::Subset`] for an `asking` of a larger ensemble.
    pub fn answer_timed(
        &self,
        row: &[f32],
        asking: &Asking,
        gated: bool,
        scratch: &mut Scratch,
        ended: impl FnMut(Stage),
    ) -> Result<Answer, ShapeError> {
        let answer = self.answer_while(row, asking, gated, scratch, ended, || true)?;
        Ok(answer.expect("a vote that goes on has an answer"))
    }

    /// [`Ensemble::answer_timed`] for as long as `go_on` says so: it is asked before each member, and
    /// not again when it has said no.
    ///
    /// A vote that is told to stop answers with the votes so far: the class that leads, ties to the
    /// smallest, and `decided` is false unless the rest could not have changed it. `None` when nobody
    /// had voted. While `go_on` says yes, the answer is bit for bit that of
    /// [`Ensemble::answer_timed`].
    ///
    /// # Errors
    ///
    /// As [`Ensemble::answer_timed`].
    pub fn answer_while(
        &self,
        row: &[f32],
        asking: &Asking,
        gated: bool,
        scratch: &mut Scratch,
        ended: impl FnMut(Stage),
        go_on: impl FnMut() -> bool,
    ) -> Result<Option<Answer>, ShapeError> {
        self.check_subset(asking.subset)?;
        self.check_row(row)?;
        Ok(self.answer_checked(row, asking.borrowed(), gated, scratch, ended, go_on))
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
        let ask = Ask { subset, order: &self.order, to_the_end: false };
        let mut scratch = self.scratch();
        Ok(samples
            .rows()
            .map(|row| self.answer_to_its_end(row, ask, gated, &mut scratch).class)
            .collect())
    }

    fn answer_to_its_end(
        &self,
        row: &[f32],
        ask: Ask<'_>,
        gated: bool,
        scratch: &mut Scratch,
    ) -> Answer {
        let answer = self.answer_checked(row, ask, gated, scratch, |_| (), || true);
        answer.expect("a vote that goes on has an answer")
    }

    fn check_row(&self, row: &[f32]) -> Result<(), ShapeError> {
        self.check_width(row.len())?;
        // Without an early end this takes a vector register at a time.
        if !row.iter().fold(true, |finite, value| finite & value.is_finite())
            && let Some(column) = row.iter().position(|value| !value.is_finite())
        {
            return Err(ShapeError::NotFinite { row: 0, column });
        }
        Ok(())
    }

    /// The only way from a row to a class; everything about it has been checked.
    fn answer_checked(
        &self,
        row: &[f32],
        ask: Ask<'_>,
        gated: bool,
        scratch: &mut Scratch,
        mut ended: impl FnMut(Stage),
        go_on: impl FnMut() -> bool,
    ) -> Option<Answer> {
        let Parts { schema, preparations, gate, .. } = &self.parts;
        scratch.begin(preparations.len());
        if let Some(gate) = gate
            && let Some(class) = schema.background()
            && gated
        {
            let stopped = gate.stops(self.margin(gate, row, scratch));
            ended(Stage::Gate);
            if stopped {
                return Some(Answer {
                    class,
                    confidence: 1.0,
                    stage: Stage::Gate,
                    votes: Votes::NONE,
                    assigned: ask.subset.len(),
                    decided: true,
                });
            }
        }
        let answer = self.vote(row, ask, scratch, go_on);
        ended(Stage::Vote);
        answer
    }

    /// Asks one member after the other until the rest cannot change the winner, or for as long as
    /// `go_on` says so.
    fn vote(
        &self,
        row: &[f32],
        ask: Ask<'_>,
        scratch: &mut Scratch,
        mut go_on: impl FnMut() -> bool,
    ) -> Option<Answer> {
        let Parts { schema, preparations, members, voting, .. } = &self.parts;
        let classes = schema.classes().len();
        let mut tally = std::mem::take(&mut scratch.tally);
        tally.begin(classes, voting.rule.pool());
        let mut votes = Votes::NONE;
        let assigned: u64 = ask.subset.members().map(|member| self.counts[member]).sum();
        let mut left = assigned;
        let (mut winner, mut sure) = (None, None);
        let members_asked = ask.order.iter().copied().map(usize::from);
        for index in members_asked.filter(|&it| ask.subset.has(it)) {
            if !go_on() {
                break;
            }
            let Weighted { member, .. } = &members[index];
            let count = self.counts[index];
            left -= count;
            let scores = scratch.score(preparations, member, row, classes);
            let class = first_largest(scores);
            votes.cast(index, class);
            let Scratch { scores, parts, .. } = scratch;
            let who = (index, member.model.scale());
            voting.rule.give(who, (class, count), (scores, parts), &mut tally);
            if winner.is_none() {
                winner = tally.decided(left);
                // Who is heard after the decision does not make it any surer: confidences were
                // measured on votes that end there.
                sure = winner.map(|class| self.sure(class, votes.len(), assigned - left, &tally));
            }
            if winner.is_some() && !ask.to_the_end {
                break;
            }
        }
        if votes.is_empty() {
            scratch.tally = tally;
            return None;
        }
        // With nobody left there is always a winner: of a vote that was stopped, who leads.
        let class = winner.or_else(|| tally.decided(0)).unwrap_or(ClassId(0));
        let confidence = if voting.confidence.is_measured() {
            sure.unwrap_or_else(|| self.sure(class, votes.len(), assigned - left, &tally))
        } else {
            tally.share(class, assigned, left)
        };
        scratch.shares.extend(tally.shares(assigned, left));
        scratch.tally = tally;
        Some(Answer {
            class,
            confidence,
            stage: Stage::Vote,
            votes,
            assigned: ask.subset.len(),
            decided: winner.is_some(),
        })
    }

    /// How often a winner is right that stands so after so many members, who count `asked` together.
    fn sure(&self, class: ClassId, members: u32, asked: u64, tally: &Tally) -> f32 {
        self.parts.voting.confidence.of(members, tally.share(class, asked, 0))
    }

    /// The set of classes that belongs to `answer`, which was given last with `scratch`: those that
    /// have enough of the full vote, or of the gate's, which gives all of its own to the background.
    ///
    /// `None` unless all members that could have been asked were heard: nothing is known of what the
    /// others would have said.
    #[must_use]
    pub fn set(&self, level: Level, answer: &Answer, scratch: &Scratch) -> Option<Vec<ClassId>> {
        match answer.stage {
            Stage::Gate => {
                let classes = (0_u16..).take(self.parts.schema.classes().len());
                let shares = classes.map(|it| if it == answer.class.0 { VOTE } else { 0 });
                Some(level.set(answer.class, shares).collect())
            }
            Stage::Vote if answer.voted() < answer.assigned => None,
            Stage::Vote => {
                let of = answer.votes.asked().members().map(|member| self.counts[member]).sum();
                let shares = parts(self.parts.voting.rule.pool(), scratch.sums(), of);
                Some(level.set(answer.class, shares).collect())
            }
        }
    }

    fn margin(&self, gate: &Gate, row: &[f32], scratch: &mut Scratch) -> f32 {
        let preparations = &self.parts.preparations;
        let scores = scratch.score(preparations, &gate.member, row, GATE_CLASSES);
        scores[1] - scores[0]
    }

    /// The margin of a sample that nothing else is asked about.
    pub(crate) fn margin_alone(&self, gate: &Gate, row: &[f32], scratch: &mut Scratch) -> f32 {
        scratch.begin(self.parts.preparations.len());
        self.margin(gate, row, scratch)
    }
}
