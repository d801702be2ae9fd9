//! The ensemble that the members make: who ships, behind which gate, and what is known of it.

use std::collections::BTreeMap;

use models::{
    Cast, ClassId, Confidence, Confusion, Ensemble, Gate, Parts, Share, Speed, Subset,
    SubsetMeasure, Voting, Weighted,
    confidence::{Outcome, calibration_error},
    frontier::{Votes, measure, undominated},
    gate::Threshold,
    recount::{Counted, Recount, in_order},
};

use super::{BenchError, MemberMeasure, SetMeasure, Standing, Workbench, gates::Candidate};
use crate::panel::{Hearing, Opinion, Panel, choose};

/// An ensemble and what is known of it.
#[derive(Debug)]
pub struct Assembled {
    /// What would be served.
    pub ensemble: Ensemble,
    /// Each member alone, in the order of members.
    pub members: Vec<MemberMeasure>,
    /// Members that stand but do not ship: the vote is as good without them.
    pub left_out: Vec<MemberMeasure>,
    /// How many rows chose.
    pub rows: usize,
    /// Share of the rows that choose that were answered rightly by panels chosen without them.
    pub expected: f64,
    /// Choices of members that no other beats, on validation rows.
    pub frontier: Vec<SubsetMeasure>,
    /// The gate on validation rows.
    pub gate: Option<Threshold>,
    /// All members, gate included, on held-out rows.
    pub held_out: Confusion,
    /// How far confidences lie from how often answers of the vote were right, on held-out rows.
    pub calibration_error: f64,
    /// Sets of classes by all members, behind the gate, on held-out rows.
    pub sets: Vec<SetMeasure>,
}

/// Stretches of time of a fold that are witnesses of their own.
const STRETCHES: usize = 10;

impl Workbench {
    /// The ensemble of all members that stand, measured.
    ///
    /// # Errors
    ///
    /// [`BenchError::Nobody`] before the first member stands.
    pub fn assemble(&self) -> Result<Assembled, BenchError> {
        if self.standing.is_empty() {
            return Err(BenchError::Nobody);
        }
        let truth = &self.truth[..self.rows_heard()];
        let panel = choose(Hearing {
            scales: &self.standing.iter().map(|it| it.member.model.scale()).collect::<Vec<_>>(),
            opinions: &self.standing.iter().map(|it| &it.across).collect::<Vec<_>>(),
            micros: &self
                .standing
                .iter()
                .map(|it| Speed::USUAL.micros(it.work))
                .collect::<Vec<_>>(),
            truth,
            blocks: &self.blocks(),
            classes: self.material.schema.classes().len(),
        });
        let mut ensemble = self.ensemble(&panel, None)?;
        let casts = self.casts(&ensemble, &panel, |it| &it.across);
        let votes = Votes { truth, members: &casts, margins: None };
        let mut measures = measure(&ensemble, votes);
        let all = Subset::all(panel.members.len());
        let vote = measures.iter().find(|it| it.subset == all).map(|it| it.work);
        let best = self.gate_that_pays(vote.unwrap_or_else(|| ensemble.work(all)));
        if let Some(Candidate { gate, across, .. }) = best {
            ensemble = self.ensemble(&panel, Some(gate.clone()))?;
            measures = measure(&ensemble, Votes { margins: Some(across), ..votes });
        }
        humble(&mut measures, all);
        if self.terms.coverage.is_some() {
            to_the_end(&mut measures, &ensemble, best.map(|it| it.chosen.stopped));
        }
        let frontier = undominated(&measures);
        let confidence = self.confidence(&ensemble, &casts, &frontier);
        let ensemble = ensemble.with_confidence(confidence).map_err(BenchError::Lowered)?;
        let (ensemble, sets) = self.with_sets(ensemble, &panel, &frontier, best)?;
        let ensemble = self.with_golden(ensemble)?;
        let shipped = panel.members.iter().zip(&panel.weights);
        let members = shipped.map(|(&at, &weight)| MemberMeasure {
            weight,
            ..self.measure_alone(&self.standing[at])
        });
        let left_out = self.standing.iter().enumerate();
        let left_out = left_out.filter(|(at, _)| !panel.members.contains(at));
        let (held_out, sure) = self.vote_held_out(&ensemble, &panel, best);
        Ok(Assembled {
            members: members.collect(),
            left_out: left_out.map(|(_, standing)| self.measure_alone(standing)).collect(),
            frontier,
            gate: best.map(|candidate| candidate.chosen),
            held_out,
            calibration_error: calibration_error(&sure),
            sets,
            rows: truth.len(),
            expected: panel.accuracy,
            ensemble,
        })
    }

    /// Which rows that choose are alike: of one group, or of one stretch of a fold.
    pub(super) fn blocks(&self) -> Vec<u32> {
        let groups = self.material.groups();
        if !groups.is_empty() {
            return groups;
        }
        let mut blocks = Vec::with_capacity(self.truth.len());
        for fold in &self.material.folds {
            let rows = fold.checks.truth.len();
            let first = blocks.last().map_or(0, |last| last + 1);
            let stretch = |row: usize| u32::try_from(row * STRETCHES / rows).unwrap_or(0);
            blocks.extend((0..rows).map(|row| first + stretch(row)));
        }
        blocks
    }

    fn measure_alone(&self, standing: &Standing) -> MemberMeasure {
        let classes = self.material.schema.classes().len();
        let votes = standing.across.votes(classes);
        let truth = &self.truth[..votes.len()];
        MemberMeasure {
            family: standing.member.family,
            origin: standing.origin.clone(),
            weight: 0.0,
            accuracy: Confusion::of(classes, truth, &votes).accuracy().value(),
            fit_seconds: standing.fit_seconds,
            work: standing.work,
            bytes: standing.member.model.shipped_bytes(),
        }
    }

    /// What each member of `ensemble` gives to the count of each row.
    pub(super) fn casts(
        &self,
        ensemble: &Ensemble,
        panel: &Panel,
        opinion: impl Fn(&Standing) -> &Opinion,
    ) -> Vec<Cast> {
        let members = panel.members.iter().enumerate();
        let casts = members.map(|(member, &at)| match opinion(&self.standing[at]) {
            Opinion::Scores(scores) => ensemble.cast(member, scores),
            Opinion::Votes(votes) => Cast::Classes(votes.clone()),
        });
        casts.collect()
    }

    /// What became of held-out rows, from the votes of each member: the rule of
    /// [`Ensemble::predict`], without asking every member again. And of those that were voted on, how
    /// sure the answer was and whether it was right.
    fn vote_held_out(
        &self,
        ensemble: &Ensemble,
        panel: &Panel,
        gate: Option<&Candidate>,
    ) -> (Confusion, Vec<(f32, bool)>) {
        let casts = self.casts(ensemble, panel, |it| &it.held_out);
        let members = in_order(ensemble, Subset::all(casts.len()));
        let mut recount = Recount::new(ensemble, &casts);
        let mut confusion = Confusion::new(self.material.schema.classes().len());
        let mut sure = Vec::with_capacity(self.material.held_out.truth.len());
        for (row, &truth) in self.material.held_out.truth.iter().enumerate() {
            let stops = gate.is_some_and(|it| it.gate.stops(it.held_out[row]));
            let given = match self.material.schema.background() {
                Some(background) if stops => background,
                Some(_) | None => {
                    let counted = recount.count(row, &members);
                    let asked = u32::try_from(counted.asked).unwrap_or(u32::MAX);
                    let confidence = ensemble.voting().confidence.of(asked, counted.share);
                    sure.push((confidence, counted.class == truth));
                    counted.class
                }
            };
            confusion.add(truth, given);
        }
        (confusion, sure)
    }

    /// How often votes are right, from those of all members and of every choice that a device may
    /// be given, each ended as early as it ends there, and those of all members also as they stand
    /// before: a deadline may end them anywhere.
    fn confidence(
        &self,
        ensemble: &Ensemble,
        casts: &[Cast],
        frontier: &[SubsetMeasure],
    ) -> Confidence {
        let all = Subset::all(casts.len());
        let mut subsets: Vec<Subset> = frontier.iter().map(|measure| measure.subset).collect();
        subsets.push(all);
        subsets.sort_unstable();
        subsets.dedup();
        let mut recount = Recount::new(ensemble, casts);
        let truth = &self.truth[..self.rows_heard()];
        let mut outcomes = Vec::with_capacity(subsets.len() * truth.len());
        let outcome = |counted: Counted, truth: ClassId| {
            let Counted { class, asked, share } = counted;
            Outcome { asked, share, right: class == truth }
        };
        for subset in subsets {
            let members = in_order(ensemble, subset);
            for (row, &truth) in truth.iter().enumerate() {
                if subset == all {
                    let mut note = |counted| outcomes.push(outcome(counted, truth));
                    recount.count_each(row, &members, &mut note);
                } else {
                    outcomes.push(outcome(recount.count(row, &members), truth));
                }
            }
        }
        Confidence::fit(&outcomes)
    }

    /// An ensemble of some members that holds; preparations that nobody names are left out.
    fn ensemble(&self, panel: &Panel, gate: Option<Gate>) -> Result<Ensemble, BenchError> {
        let shipped = panel.members.iter().zip(&panel.weights);
        let mut members: Vec<Weighted> = shipped
            .map(|(&at, &weight)| Weighted { weight, member: self.standing[at].member.clone() })
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
        let voting = Voting { rule: panel.rule.clone(), ..Voting::default() };
        Ensemble::new(Parts { schema, preparations, gate, members, voting, golden: Vec::new() })
            .map_err(BenchError::Lowered)
    }
}

/// Where every answer has a set every vote goes to its end, and costs what that costs.
fn to_the_end(measures: &mut [SubsetMeasure], ensemble: &Ensemble, stopped: Option<Share>) {
    for measure in measures {
        measure.work = match stopped.filter(|_| measure.gated) {
            Some(Share { hits, of }) => ensemble.gated_work(measure.subset, of - hits, of),
            None => ensemble.work(measure.subset),
        };
    }
}

/// Lets no part of a panel look better than the whole, beyond half a row.
///
/// Of 127 choices some do best on the rows that choose by luck alone, and a scheduler that wants the
/// best would take just those: on the gas sensors two members that are right in 98.7 % of the rows
/// of one batch, and in 32 % of the next, where all seven are right in 82 %. Whoever does harm for
/// sure has been left out of the panel before.
fn humble(measures: &mut [SubsetMeasure], all: Subset) {
    let whole: Vec<SubsetMeasure> =
        measures.iter().filter(|it| it.subset == all).copied().collect();
    for measure in measures.iter_mut().filter(|it| it.subset != all) {
        let Some(whole) = whole.iter().find(|it| it.gated == measure.gated) else { continue };
        // The standard error knows how many rows there were.
        let row =
            whole.standard_error.powi(2) / (whole.accuracy * (1.0 - whole.accuracy)).max(1e-9);
        let below = |share: f64| (share - 0.5 * row.clamp(1e-9, 1e-2)).max(0.0);
        measure.accuracy = measure.accuracy.min(below(whole.accuracy));
        measure.balanced_accuracy = measure.balanced_accuracy.min(below(whole.balanced_accuracy));
    }
}
