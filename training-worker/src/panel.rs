//! Who ships, with which weights, by which rule: chosen on rows that no member was fitted on.
//!
//! A plain vote of all seven can lose to its best member (.977 against .981 on MNIST): weak members
//! must count less or stay at home. But whoever trusts a few people or days too much picks what
//! happened to suit them: on the gas sensors the weights that are best on one batch of rows are right
//! in 30 % of the next, an even vote in 82 %. So weights are those of a mixture only as far as
//! independent witnesses of *wrong* answers back them: neighbouring rows of one person or hour are one
//! witness, and rows that everybody answers rightly say nothing of who is better. Else they go by
//! how good each member is alone. Another way of choosing must beat that by more than chance, on
//! rows that it did not choose by.

use std::collections::BTreeMap;

use models::{
    ClassId, Rule, Scale, Softness,
    mixture::mixture,
    vote::{Pool, VOTE, first_largest},
    weights::vote_weights,
};

/// What members said of rows whose class is known, each fitted without the row it was asked about.
#[derive(Clone, Copy, Debug)]
pub struct Hearing<'a> {
    /// What the scores of each member are.
    pub scales: &'a [Scale],
    /// `[member]`.
    pub opinions: &'a [&'a Opinion],
    /// What an answer of each takes, in microseconds of a usual machine.
    pub micros: &'a [f64],
    /// The class of each row.
    pub truth: &'a [ClassId],
    /// The group or stretch of time of each row: rows of one block are alike.
    pub blocks: &'a [u32],
    /// How many classes there are.
    pub classes: usize,
}

/// What a member said of rows.
#[derive(Clone, Debug)]
pub enum Opinion {
    /// `[row, class]`: its scores.
    Scores(Vec<f32>),
    /// `[row]`: the class of the largest, where all scores would be too many to keep.
    Votes(Vec<ClassId>),
}

impl Opinion {
    /// What was said of these rows, and then what was said of others.
    ///
    /// # Panics
    ///
    /// When one is scores and the other votes.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::Scores(mut scores), Self::Scores(mut others)) => {
                scores.append(&mut others);
                Self::Scores(scores)
            }
            (Self::Votes(mut votes), Self::Votes(mut others)) => {
                votes.append(&mut others);
                Self::Votes(votes)
            }
            (Self::Scores(_), Self::Votes(_)) | (Self::Votes(_), Self::Scores(_)) => {
                panic!("one workbench keeps either scores or votes")
            }
        }
    }

    /// Of how many rows.
    #[must_use]
    pub fn rows(&self, classes: usize) -> usize {
        match self {
            Self::Scores(scores) => scores.len() / classes,
            Self::Votes(votes) => votes.len(),
        }
    }

    /// The class of the largest score of each row.
    #[must_use]
    pub fn votes(&self, classes: usize) -> Vec<ClassId> {
        match self {
            Self::Scores(scores) => scores.chunks_exact(classes).map(first_largest).collect(),
            Self::Votes(votes) => votes.clone(),
        }
    }
}

/// Who ships.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Indices into the members that were heard, growing.
    pub members: Vec<usize>,
    /// What the vote of each counts.
    pub weights: Vec<f32>,
    /// How votes are counted.
    pub rule: Rule,
    /// Share of the rows answered rightly by panels that were chosen without them.
    pub accuracy: f64,
    /// The same members, weighed without some of the rows, for each part of the blocks.
    pub apart: Vec<Apart>,
}

/// Rows, and what the vote of each member counts by all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Apart {
    /// Rows of the same blocks.
    pub rows: Vec<usize>,
    /// One weight for each member of the panel.
    pub weights: Vec<f32>,
}

/// A way of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The member that was right most often, alone.
    Best,
    /// The paper's: a hard vote by how often each was right.
    HardOdds,
    /// A hard vote of members that were added one by one as long as they helped.
    HardGreedy,
    /// A pool by the log-odds of each, squared in a linear pool and to the power of one and a half in a logarithmic
    /// one, moved towards the mixture as far as independent wrong answers back it. From 1 to 2 the power hardly
    /// matters (ADR 0045).
    SoftSteady,
    /// A pool with the weights of a mixture.
    SoftMixture,
    /// A pool of members that were added one by one.
    SoftGreedy,
}

/// Parts of the blocks that weights are judged on, each time chosen on the others.
const PARTS: usize = 5;
/// A way beats the rule when it is better by more than so many standard errors.
const CLEAR: f64 = 3.0;
/// Additions of the greedy ways.
const ADDITIONS: usize = 16;
/// So many independent wrong answers of a usual member back the weights of a mixture as much as what is known
/// without them; half as many a fifth of that, since few say little of the future they come from.
///
/// Ours; chosen on other partings (ADR 0034): 600 digits bring 80 to 140, 4 200 some 150 to 310, windows of a
/// few people mostly 3 to 12, batches of gas sensors 1 to 17, minutes of a room 2 to 8.
const WRONG: f64 = 60.0;
/// A member that counts less than this share is not missed.
const SHARE_MIN: f64 = 0.02;
/// Classes × rows × members beyond which members are not added one by one.
const GREEDY_MAX: usize = 4 << 20;
/// The fastest member that is at most this much worse than the best ships in any case: devices that
/// have time for nothing else are glad of it.
const FAST_WORSE_MAX: f64 = 0.1;
/// What such a member counts for at least.
const FAST_SHARE: f64 = 0.01;

/// Chooses.
///
/// # Panics
///
/// When nobody was heard.
#[must_use]
pub fn choose(hearing: Hearing<'_>) -> Panel {
    let court = Court::new(hearing);
    let mut members: Vec<usize> = (0..hearing.scales.len()).collect();
    let mut way = court.usual();
    let mut right = court.judge(way, &members);
    if members.len() > 1 {
        let others = court.others().into_iter().map(|way| (court.judge(way, &members), way));
        let clear = others.filter(|(other, _)| other.clearly_beats(&right));
        if let Some((better, other)) = clear.max_by_key(|(right, _)| right.sum()) {
            (right, way) = (better, other);
        }
    }
    let mut weights = court.weigh(way, &members, &court.all);
    // Who does not count or does harm stays at home, the slowest first.
    let mut slowest = members.clone();
    slowest.sort_by(|&a, &b| hearing.micros[b].total_cmp(&hearing.micros[a]).then(a.cmp(&b)));
    for member in slowest {
        if members.len() == 1 {
            break;
        }
        let share = weights[members.iter().position(|&it| it == member).expect("not left out yet")];
        let without: Vec<usize> = members.iter().copied().filter(|&it| it != member).collect();
        let then = court.judge(way, &without);
        if share < SHARE_MIN || then.clearly_beats(&right) {
            members = without;
            right = then;
            weights = court.weigh(way, &members, &court.all);
        }
    }
    let apart = court.parts.iter().map(|(own, rest)| {
        let (mut members, mut weights) = (members.clone(), court.weigh(way, &members, rest));
        court.keep_the_fastest(&mut members, &mut weights);
        Apart { rows: own.clone(), weights: shipped(weights) }
    });
    let apart = apart.collect();
    court.keep_the_fastest(&mut members, &mut weights);
    court.panel(way, members, weights, right.sum(), apart)
}

/// How many rows of each block were answered rightly.
struct Right(Vec<usize>);

impl Right {
    fn sum(&self) -> usize {
        self.0.iter().sum()
    }

    /// Whether it is better by more than the blocks differ among each other.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn clearly_beats(&self, other: &Self) -> bool {
        let blocks = self.0.len() as f64;
        let ahead = self.0.iter().zip(&other.0).map(|(&own, &other)| own as f64 - other as f64);
        let sum: f64 = ahead.clone().sum();
        let squares: f64 = ahead.map(|ahead| (ahead - sum / blocks).powi(2)).sum();
        // One row more or less is always chance.
        let error = (squares * blocks / (blocks - 1.0).max(1.0)).sqrt().max(1.0);
        CLEAR * error < sum
    }
}

/// What choosing needs to know of rows, worked out once.
struct Court<'a> {
    hearing: Hearing<'a>,
    /// `[member][row]`.
    votes: Vec<Vec<ClassId>>,
    /// What was thought likely, where scores are known.
    soft: Option<Soft>,
    /// How far the weights of a mixture are trusted, 0 to 1.
    trust: f64,
    all: Vec<usize>,
    /// The block of each row, counted from 0, and how many there are.
    blocks: Vec<usize>,
    count: usize,
    /// The rows of each part of the blocks, and all others.
    parts: Vec<(Vec<usize>, Vec<usize>)>,
}

struct Soft {
    softness: Vec<Softness>,
    pool: Pool,
    /// `[member][row, class]`: what it gives to the pool.
    gives: Vec<Vec<f32>>,
    /// `[member][row]`: how likely it thought what is true.
    true_likely: Vec<Vec<f32>>,
}

impl<'a> Court<'a> {
    fn new(hearing: Hearing<'a>) -> Self {
        let rows = hearing.truth.len();
        let votes = hearing.opinions.iter().map(|it| it.votes(hearing.classes)).collect();
        let mut known = BTreeMap::new();
        let blocks = (0..rows).map(|row| {
            let next = known.len();
            *known.entry(hearing.blocks.get(row)).or_insert(next)
        });
        let blocks: Vec<usize> = blocks.collect();
        let of = |part: usize| (0..rows).partition(|&row| blocks[row] % PARTS == part);
        let parts: Vec<(Vec<usize>, Vec<usize>)> = (0..PARTS).map(of).collect();
        let parts = parts.into_iter().filter(|(own, rest)| !own.is_empty() && !rest.is_empty());
        let mut court = Self {
            hearing,
            votes,
            soft: None,
            trust: 0.0,
            all: (0..rows).collect(),
            parts: parts.collect(),
            count: known.len(),
            blocks,
        };
        let wrong = court.witnesses() * court.mean_wrong();
        let trust = wrong.powi(2) / (wrong.powi(2) + WRONG.powi(2));
        // The weights of a mixture are those under which a mean of probabilities is likeliest.
        let pool = if 0.5 < trust { Pool::Linear } else { Pool::Logarithmic };
        court.soft = Soft::of(hearing, pool);
        if court.soft.is_some() {
            court.trust = trust;
        }
        court
    }

    /// The mean share of wrong answers of a member.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn mean_wrong(&self) -> f64 {
        let truth = self.hearing.truth;
        let wrong = |votes: &Vec<ClassId>| votes.iter().zip(truth).filter(|(a, b)| a != b).count();
        let all: usize = self.votes.iter().map(wrong).sum();
        all as f64 / (self.votes.len() * truth.len()).max(1) as f64
    }

    /// How many independent rows these are worth: as many as would scatter as much as blocks do in how
    /// often each member is right, or by one standard error more, because a few blocks may scatter little by
    /// chance.
    ///
    /// Source: the design effect of cluster samples (Kish, 1965); the standard error is that of a variance of
    /// so many normal values.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn witnesses(&self) -> f64 {
        let mut of = vec![0_usize; self.count];
        self.blocks.iter().for_each(|&block| of[block] += 1);
        let (rows, blocks) = (self.blocks.len() as f64, self.count as f64);
        let (mut scatter, mut chance) = (0.0, 0.0);
        for votes in &self.votes {
            let mut right = vec![0_usize; self.count];
            for (row, vote) in votes.iter().enumerate() {
                right[self.blocks[row]] += usize::from(*vote == self.hearing.truth[row]);
            }
            let share = (right.iter().sum::<usize>() as f64 + 1.0) / (rows + 2.0);
            let off = right.iter().zip(&of).map(|(&right, &of)| right as f64 - of as f64 * share);
            scatter += off.map(|off| off * off).sum::<f64>();
            chance += rows * share * (1.0 - share);
        }
        // One block alone says nothing about others.
        if self.count < 2 {
            return 0.0;
        }
        let effect = scatter / chance * blocks / (blocks - 1.0);
        let error = effect * (2.0 / (blocks - 1.0)).sqrt();
        rows / (effect + error).max(1.0)
    }

    /// The way that needs no proof.
    fn usual(&self) -> Way {
        if self.soft.is_some() { Way::SoftSteady } else { Way::HardOdds }
    }

    /// The ways that need it, the surest last.
    fn others(&self) -> Vec<Way> {
        let Hearing { scales, truth, classes, .. } = self.hearing;
        let mut ways = vec![Way::Best, Way::HardOdds];
        if self.soft.is_some() {
            ways.push(Way::SoftMixture);
        }
        if scales.len() * truth.len() * classes <= GREEDY_MAX {
            ways.push(if self.soft.is_some() { Way::SoftGreedy } else { Way::HardGreedy });
        }
        ways.retain(|&way| way != self.usual());
        ways
    }

    /// How many rows are answered rightly by votes that were weighed without them.
    fn judge(&self, way: Way, members: &[usize]) -> Right {
        let mut right = Right(vec![0; self.count]);
        if self.parts.is_empty() {
            self.count(way, members, &self.weigh(way, members, &self.all), &self.all, &mut right);
        }
        for (own, rest) in &self.parts {
            self.count(way, members, &self.weigh(way, members, rest), own, &mut right);
        }
        right
    }

    /// The weight of each of `members` by `rows`, summing to 1.
    fn weigh(&self, way: Way, members: &[usize], rows: &[usize]) -> Vec<f64> {
        let mut weights = match way {
            Way::Best => {
                let right = |&member: &usize| {
                    let votes = &self.votes[member];
                    rows.iter().filter(|&&row| votes[row] == self.hearing.truth[row]).count()
                };
                let right: Vec<usize> = members.iter().map(right).collect();
                let most = right.iter().max().copied().unwrap_or(0);
                let best = right.iter().position(|&it| it == most);
                (0..members.len()).map(|at| f64::from(u8::from(Some(at) == best))).collect()
            }
            Way::SoftSteady => {
                let odds = self.weigh(Way::HardOdds, members, rows);
                let pool = self.soft.as_ref().map(|soft| soft.pool);
                let steep = |odds: &f64| match pool {
                    Some(Pool::Logarithmic) => odds * odds.sqrt(),
                    Some(Pool::Linear) | None => odds * odds,
                };
                let steep: Vec<f64> = odds.iter().map(steep).collect();
                let whole: f64 = steep.iter().sum();
                let mixture = self.weigh(Way::SoftMixture, members, rows);
                let trust = self.trust;
                let both = steep.iter().zip(mixture);
                both.map(|(steep, mixture)| trust * mixture + (1.0 - trust) * steep / whole)
                    .collect()
            }
            Way::HardOdds => {
                let truth: Vec<ClassId> = rows.iter().map(|&row| self.hearing.truth[row]).collect();
                let votes: Vec<Vec<ClassId>> = members
                    .iter()
                    .map(|&member| rows.iter().map(|&row| self.votes[member][row]).collect())
                    .collect();
                let weights = vote_weights(&truth, &votes, self.hearing.classes);
                weights.into_iter().map(f64::from).collect()
            }
            Way::SoftMixture => {
                let soft = self.soft.as_ref().expect("only with scores");
                let likely: Vec<Vec<f32>> =
                    members.iter().map(|&member| soft.true_likely[member].clone()).collect();
                mixture(&likely, rows)
            }
            Way::HardGreedy | Way::SoftGreedy => self.add_one_by_one(way, members, rows),
        };
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum.max(f64::MIN_POSITIVE));
        weights
    }

    /// Adds to the vote, again and again, the member after which most rows are right; of equal ones
    /// that after which they are right by most. A member may be added more than once.
    ///
    /// Source: ensemble selection with replacement (Caruana et al., ICML 2004).
    #[expect(clippy::cast_precision_loss, reason = "a few additions")]
    fn add_one_by_one(&self, way: Way, members: &[usize], rows: &[usize]) -> Vec<f64> {
        let classes = self.hearing.classes;
        let mut sums = vec![0.0_f32; rows.len() * classes];
        let mut added = vec![0_usize; members.len()];
        let mut best = (0, added.clone());
        let mut row_of = vec![0.0_f32; classes];
        for _ in 0..ADDITIONS {
            let mut next: Option<((usize, f32), usize)> = None;
            for (at, &member) in members.iter().enumerate() {
                let mut right = 0;
                let mut ahead = 0.0;
                for (sums, &row) in sums.chunks_exact(classes).zip(rows) {
                    let truth = self.hearing.truth[row].index();
                    let gives = self.gives(way, member, row, &mut row_of);
                    let own = sums[truth] + gives[truth];
                    let value = |at: usize| sums[at] + gives[at];
                    let before = (0..truth).map(value).fold(f32::MIN, f32::max);
                    let after = (truth + 1..classes).map(value).fold(f32::MIN, f32::max);
                    right += usize::from(before < own && after <= own);
                    ahead += (own - before.max(after)).min(0.0);
                }
                if next.is_none_or(|(value, _)| value < (right, ahead)) {
                    next = Some(((right, ahead), at));
                }
            }
            let Some(((right, _), at)) = next else { break };
            for (sums, &row) in sums.chunks_exact_mut(classes).zip(rows) {
                let gives = self.gives(way, members[at], row, &mut row_of);
                sums.iter_mut().zip(gives).for_each(|(sum, gives)| *sum += gives);
            }
            added[at] += 1;
            if best.0 < right {
                best = (right, added.clone());
            }
        }
        best.1.into_iter().map(|count| count as f64).collect()
    }

    /// What a member gives to each class; `spare` is a buffer.
    fn gives<'b>(&'b self, way: Way, member: usize, row: usize, spare: &'b mut [f32]) -> &'b [f32] {
        if let (Way::SoftSteady | Way::SoftMixture | Way::SoftGreedy, Some(soft)) =
            (way, &self.soft)
        {
            let classes = self.hearing.classes;
            return &soft.gives[member][row * classes..][..classes];
        }
        spare.fill(0.0);
        spare[self.votes[member][row].index()] = 1.0;
        spare
    }

    /// Counts, block by block, which of `rows` a vote with these weights answers rightly; ties go to
    /// the smallest class.
    fn count(
        &self,
        way: Way,
        members: &[usize],
        weights: &[f64],
        rows: &[usize],
        right: &mut Right,
    ) {
        let mut sums = vec![0.0_f64; self.hearing.classes];
        let mut spare = vec![0.0_f32; self.hearing.classes];
        for &row in rows {
            sums.fill(0.0);
            for (&member, &weight) in members.iter().zip(weights) {
                let gives = self.gives(way, member, row, &mut spare);
                for (sum, &gives) in sums.iter_mut().zip(gives) {
                    *sum += weight * f64::from(gives);
                }
            }
            let truth = self.hearing.truth[row].index();
            let own = sums[truth];
            let ahead = sums[..truth].iter().all(|&sum| sum < own)
                && sums[truth..].iter().all(|&sum| sum <= own);
            right.0[self.blocks[row]] += usize::from(ahead);
        }
    }

    /// Takes in the fastest member that is good enough for devices with time for nothing else.
    fn keep_the_fastest(&self, members: &mut Vec<usize>, weights: &mut Vec<f64>) {
        let truth = self.hearing.truth;
        let right = |member: usize| {
            self.votes[member].iter().zip(truth).filter(|(vote, truth)| vote == truth).count()
        };
        let most = (0..self.votes.len()).map(right).max().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
        let good =
            |&member: &usize| (most - right(member)) as f64 <= FAST_WORSE_MAX * truth.len() as f64;
        let micros = |member: usize| self.hearing.micros[member];
        let fastest = (0..self.votes.len()).filter(good);
        let fastest = fastest.min_by(|&a, &b| micros(a).total_cmp(&micros(b)));
        let Some(fastest) = fastest.filter(|fastest| !members.contains(fastest)) else { return };
        let at = members.partition_point(|&member| member < fastest);
        members.insert(at, fastest);
        weights.insert(at, FAST_SHARE);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn panel(
        &self,
        way: Way,
        members: Vec<usize>,
        weights: Vec<f64>,
        right: usize,
        apart: Vec<Apart>,
    ) -> Panel {
        let rule = match (way, &self.soft) {
            (Way::SoftSteady | Way::SoftMixture | Way::SoftGreedy, Some(soft)) => {
                let softness = members.iter().map(|&member| soft.softness[member]).collect();
                match soft.pool {
                    Pool::Linear => Rule::Soft(softness),
                    Pool::Logarithmic => Rule::Logarithmic(softness),
                }
            }
            _ => Rule::Hard,
        };
        let accuracy = right as f64 / self.hearing.truth.len().max(1) as f64;
        Panel { members, weights: shipped(weights), rule, accuracy, apart }
    }
}

/// A member that ships has a weight, however small.
#[expect(clippy::cast_possible_truncation, reason = "shares of a vote")]
fn shipped(weights: Vec<f64>) -> Vec<f32> {
    weights.into_iter().map(|weight| (weight as f32).max(1e-6)).collect()
}

impl Soft {
    /// How likely each member thought each class, if all of them gave scores.
    #[expect(clippy::cast_precision_loss, reason = "a vote is 2²⁰ parts")]
    fn of(hearing: Hearing<'_>, pool: Pool) -> Option<Self> {
        /// Nobody is so wrong that a single row decides what it counts.
        const LEAST: f32 = 1e-4;
        let Hearing { scales, opinions, truth, classes, .. } = hearing;
        let labels: Vec<u16> = truth.iter().map(|class| class.0).collect();
        let mut soft = Self { softness: vec![], pool, gives: vec![], true_likely: vec![] };
        let (mut shares, mut spare) = (vec![0; classes], Vec::with_capacity(classes));
        let whole = |share: u32| share as f32 / VOTE as f32;
        for (&scale, opinion) in scales.iter().zip(opinions) {
            let Opinion::Scores(scores) = opinion else { return None };
            let softness = Softness::fit(scale, scores, &labels, classes);
            let mut gives = scores.clone();
            let mut likely = Vec::with_capacity(truth.len());
            for (row, truth) in gives.chunks_exact_mut(classes).zip(truth) {
                spare.clear();
                spare.extend_from_slice(row);
                softness.shares(scale, &mut spare, &mut shares);
                likely.push(whole(shares[truth.index()]).max(LEAST));
                if pool == Pool::Logarithmic {
                    softness.log_shares(scale, row, &mut shares);
                }
                row.iter_mut().zip(&shares).for_each(|(gives, &share)| *gives = whole(share));
            }
            soft.true_likely.push(likely);
            soft.gives.push(gives);
            soft.softness.push(softness);
        }
        Some(soft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    const CLASSES: usize = 4;

    /// What members say that are right in `right` of the rows each, independently of each other; who
    /// is right is surer. With `alike`, a whole block is right or wrong.
    fn heard(right: &[f64], rows: usize, alike: bool) -> (Vec<Opinion>, Vec<ClassId>, Vec<u32>) {
        let mut draw = Draw::new(7);
        let blocks: Vec<u32> =
            (0..20_u32).flat_map(|it| std::iter::repeat_n(it, rows / 20)).collect();
        let truth: Vec<ClassId> =
            blocks.iter().map(|_| ClassId(u16::try_from(draw.below(CLASSES)).unwrap())).collect();
        let opinions = right.iter().map(|&right| {
            let mut scores = vec![0.0; truth.len() * CLASSES];
            let mut chance = 0.0;
            for (row, truth) in truth.iter().enumerate() {
                if !alike || row == 0 || blocks[row] != blocks[row - 1] {
                    chance = draw.unit();
                }
                let (class, sure) = if chance < right {
                    (truth.index(), 3.0)
                } else {
                    ((truth.index() + 1 + draw.below(CLASSES - 1)) % CLASSES, 1.0)
                };
                scores[row * CLASSES + class] = sure;
            }
            Opinion::Scores(scores)
        });
        (opinions.collect(), truth, blocks)
    }

    fn panel(right: &[f64], rows: usize, alike: bool, micros: &[f64]) -> Panel {
        let (opinions, truth, blocks) = heard(right, rows, alike);
        choose(Hearing {
            scales: &vec![Scale::Even; right.len()],
            opinions: &opinions.iter().collect::<Vec<_>>(),
            micros,
            truth: &truth,
            blocks: &blocks,
            classes: CLASSES,
        })
    }

    /// How many witnesses rows are worth of which three members answer so many rightly, and how far a mixture is
    /// trusted, which is how far weights are moved towards it.
    fn trusted(right: [f64; 3], rows: usize, alike: bool) -> (f64, f64) {
        let (opinions, truth, blocks) = heard(&right, rows, alike);
        let opinions: Vec<&Opinion> = opinions.iter().collect();
        let court = Court::new(Hearing {
            scales: &[Scale::Even; 3],
            opinions: &opinions,
            micros: &[1.0; 3],
            truth: &truth,
            blocks: &blocks,
            classes: CLASSES,
        });
        let weigh = |way| court.weigh(way, &[0, 1, 2], &court.all);
        let (odds, mixture) = (weigh(Way::HardOdds), weigh(Way::SoftMixture));
        let linear = 0.5 < court.trust;
        let steep: Vec<f64> =
            odds.iter().map(|it| it.powf(if linear { 2.0 } else { 1.5 })).collect();
        let whole: f64 = steep.iter().sum();
        for (at, weight) in weigh(Way::SoftSteady).into_iter().enumerate() {
            let by_odds = steep[at] / whole;
            let moved = (weight - by_odds) / (mixture[at] - by_odds);
            assert!((moved - court.trust).abs() < 1e-6, "{moved} is not {}", court.trust);
        }
        assert_eq!(court.soft.as_ref().unwrap().pool == Pool::Linear, linear);
        (court.witnesses(), court.trust)
    }

    #[test]
    fn rows_that_are_alike_are_few_witnesses_and_few_witnesses_move_no_weights() {
        let right = [0.95, 0.8, 0.7];
        let (witnesses, trust) = trusted(right, 8_000, false);
        assert!(3_000.0 < witnesses && 0.95 < trust, "{witnesses} {trust}");
        let (witnesses, trust) = trusted(right, 8_000, true);
        assert!(witnesses < 100.0 && trust < 0.1, "{witnesses} {trust}");
        assert!(trusted(right, 200, false).0 <= 200.0);
    }

    /// Members that are nearly always right differ in a handful of rows, however many there are: on the
    /// gas sensors weights by such a handful lost a tenth of the next batch.
    #[test]
    fn rows_that_everybody_answers_rightly_move_no_weights() {
        let (witnesses, trust) = trusted([0.998, 0.99, 0.99], 1_000, false);
        assert!(500.0 < witnesses && trust < 0.05, "{witnesses} {trust}");
        let (witnesses, trust) = trusted([0.95, 0.8, 0.7], 1_000, false);
        assert!(500.0 < witnesses && 0.5 < trust, "{witnesses} {trust}");
    }

    #[test]
    fn weights_apart_from_rows_are_of_all_others() {
        let (opinions, truth, blocks) = heard(&[0.9, 0.8, 0.7], 2_000, false);
        let votes: Vec<Opinion> =
            opinions.iter().map(|it| Opinion::Votes(it.votes(CLASSES))).collect();
        let choose = |truth: &[ClassId]| {
            choose(Hearing {
                scales: &[Scale::Even; 3],
                opinions: &votes.iter().collect::<Vec<_>>(),
                micros: &[1.0; 3],
                truth,
                blocks: &blocks,
                classes: CLASSES,
            })
        };
        let honest = choose(&truth);
        let mut rows: Vec<usize> = honest.apart.iter().flat_map(|it| it.rows.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..truth.len()).collect::<Vec<_>>(), "every row once");
        // Lies about a tenth of the rows of one part move all weights but those apart from it.
        let mut lies = truth;
        for &row in honest.apart[0].rows.iter().step_by(10) {
            lies[row].0 = (lies[row].0 + 1) % 4;
        }
        let lied = choose(&lies);
        assert_eq!(honest.members, lied.members);
        assert_eq!(honest.apart[0], lied.apart[0]);
        assert_ne!(honest.apart[1], lied.apart[1]);
        assert_ne!(honest.weights, lied.weights);
    }

    #[test]
    fn what_ships_is_no_worse_than_the_best_alone() {
        let best = panel(&[0.95, 0.8, 0.8], 8_000, false, &[1.0; 3]);
        assert!(0.95 <= best.accuracy, "{best:?}");
        let sum: f32 = best.weights.iter().sum();
        assert!((sum - 1.0).abs() < 1e-3 && best.weights.iter().all(|&weight| 0.0 < weight));
    }

    #[test]
    fn who_knows_nothing_stays_at_home_unless_it_is_the_fastest_and_good_enough() {
        let slow = panel(&[0.9, 0.9, 0.25], 2_000, false, &[1.0, 2.0, 9.0]);
        assert_eq!(slow.members, [0, 1]);
        let fast = panel(&[0.9, 0.9, 0.25], 2_000, false, &[1.0, 2.0, 0.1]);
        assert_eq!(fast.members, [0, 1], "it is too much worse");
        assert_eq!(panel(&[0.25], 2_000, false, &[1.0]).members, [0], "somebody ships");
    }

    #[test]
    fn without_scores_the_vote_is_hard() {
        let (opinions, truth, blocks) = heard(&[0.9, 0.8], 2_000, false);
        let votes: Vec<Opinion> =
            opinions.iter().map(|it| Opinion::Votes(it.votes(CLASSES))).collect();
        let panel = choose(Hearing {
            scales: &[Scale::Even; 2],
            opinions: &votes.iter().collect::<Vec<_>>(),
            micros: &[1.0, 1.0],
            truth: &truth,
            blocks: &blocks,
            classes: CLASSES,
        });
        assert_eq!(panel.rule, Rule::Hard);
        assert!((0.88..0.92).contains(&panel.accuracy));
    }
}
