//! Sets of classes: how much of a vote is enough, for every choice that a device may be given, and
//! what became of that on held-out rows.

use models::{
    Cast, ClassId, Ensemble, Ladder, Level, Sets, Share, Subset, SubsetMeasure,
    recount::full_vote,
    sets::{TooFew, Witness},
    vote::{Pool, VOTE, counts, parts},
};

use super::{BenchError, Workbench, gates::Candidate};
use crate::panel::Panel;

/// Sets that promise to hold the true class so often, on rows that nobody has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetMeasure {
    /// What is promised.
    pub level: Level,
    /// Groups or stretches of time that it was calibrated on.
    pub blocks: usize,
    /// Held-out rows whose class was in the set, of all.
    pub held: Share,
    /// Classes in all sets together.
    pub classes: u64,
}

/// What was said of the rows that choose or of those that measure, and what the gate does to them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    casts: &'a [Cast],
    pool: Pool,
    truth: &'a [ClassId],
    margins: Option<(&'a Candidate, &'a [f32])>,
    background: Option<ClassId>,
}

impl Rows<'_> {
    /// What each class has of the answer for `row`, in parts of [`VOTE`], and which class wins.
    fn shares(
        &self,
        counts: &[u64],
        choice: (Subset, bool),
        row: usize,
        sums: &mut [u64],
    ) -> ClassId {
        let (subset, gated) = choice;
        let stops = gated
            && self.margins.is_some_and(|(candidate, margins)| candidate.gate.stops(margins[row]));
        if let Some(background) = self.background.filter(|_| stops) {
            sums.fill(0);
            sums[background.index()] = u64::from(VOTE);
            return background;
        }
        let of = full_vote((self.casts, counts), subset, row, sums);
        let (mut winner, mut most) = (0, 0);
        for (class, &sum) in (0_u16..).zip(&*sums) {
            if most < sum {
                (winner, most) = (class, sum);
            }
        }
        let shares: Vec<u32> = parts(self.pool, sums, of).collect();
        sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum = u64::from(share));
        ClassId(winner)
    }
}

impl Workbench {
    /// Refuses what the policy promises of sets, if there can never be witnesses enough for it.
    ///
    /// # Errors
    ///
    /// [`BenchError::Sets`].
    pub fn can_promise(&self) -> Result<(), BenchError> {
        let Some(coverage) = self.terms.coverage else { return Ok(()) };
        let blocks: std::collections::BTreeSet<u32> = self.blocks().into_iter().collect();
        let blocks = blocks.len();
        if blocks < coverage.blocks_min() {
            return Err(BenchError::Sets(TooFew { coverage, blocks }));
        }
        Ok(())
    }

    /// `ensemble` with a ladder for every choice of `frontier` and for all members, and what the
    /// levels of all members do to held-out rows.
    ///
    /// Each row is judged by members that were fitted without its fold, weighed without its part of
    /// the blocks: what calibrates had met neither (A-10 for the members; ADR 0026 says what follows
    /// from it and what does not).
    pub(super) fn with_sets(
        &self,
        ensemble: Ensemble,
        panel: &Panel,
        frontier: &[SubsetMeasure],
        gate: Option<&Candidate>,
    ) -> Result<(Ensemble, Vec<SetMeasure>), BenchError> {
        let background = self.material.schema.background();
        let casts = self.casts(&ensemble, panel, |it| &it.across);
        let across = Rows {
            casts: &casts,
            pool: panel.rule.pool(),
            truth: &self.truth[..self.rows_heard()],
            margins: gate.map(|it| (it, it.across.as_slice())),
            background,
        };
        let whole = (Subset::all(panel.members.len()), gate.is_some());
        let mut choices: Vec<(Subset, bool)> =
            frontier.iter().map(|it| (it.subset, it.gated)).collect();
        choices.extend([(whole.0, false), whole]);
        choices.sort_unstable();
        choices.dedup();
        let mut ladders = Vec::with_capacity(choices.len());
        let mut blocks = 0;
        for choice in choices {
            let witnesses = self.witnesses(&across, panel, choice);
            let distinct = witnesses.iter().map(|it| it.block);
            blocks = distinct.collect::<std::collections::BTreeSet<usize>>().len();
            let ladder = Ladder::measure(choice, &witnesses, self.terms.coverage);
            let ladder = ladder.map_err(BenchError::Sets)?;
            if !ladder.levels.is_empty() {
                ladders.push(ladder);
            }
        }
        let ensemble = ensemble.with_sets(Sets { ladders }).map_err(BenchError::Lowered)?;
        let casts = self.casts(&ensemble, panel, |it| &it.held_out);
        let held_out = Rows {
            casts: &casts,
            pool: panel.rule.pool(),
            truth: &self.material.held_out.truth,
            margins: gate.map(|it| (it, it.held_out.as_slice())),
            background,
        };
        let levels = ensemble.voting().sets.ladder(whole.0, whole.1);
        let levels = levels.map(|it| it.levels.clone()).unwrap_or_default();
        let measures = self.measure_sets(&held_out, panel, whole, &levels, blocks);
        Ok((ensemble, measures))
    }

    /// What the true class of each row that chooses has of a vote that had not seen the row.
    fn witnesses(&self, rows: &Rows<'_>, panel: &Panel, choice: (Subset, bool)) -> Vec<Witness> {
        let blocks = self.blocks();
        let mut sums = vec![0; self.material.schema.classes().len()];
        let mut witnesses = Vec::with_capacity(rows.truth.len());
        for apart in &panel.apart {
            let counts = counts(&apart.weights);
            for &row in &apart.rows {
                rows.shares(&counts, choice, row, &mut sums);
                let block = usize::try_from(blocks[row]).expect("32 bits fit in a usize");
                let share = u32::try_from(sums[rows.truth[row].index()]).unwrap_or(VOTE);
                witnesses.push(Witness { block, share });
            }
        }
        witnesses
    }

    fn measure_sets(
        &self,
        rows: &Rows<'_>,
        panel: &Panel,
        choice: (Subset, bool),
        levels: &[Level],
        blocks: usize,
    ) -> Vec<SetMeasure> {
        let counts = counts(&panel.weights);
        let of = u64::try_from(rows.truth.len()).unwrap_or(u64::MAX);
        let new =
            |&level: &Level| SetMeasure { level, blocks, held: Share { hits: 0, of }, classes: 0 };
        let mut measures: Vec<SetMeasure> = levels.iter().map(new).collect();
        let mut sums = vec![0; self.material.schema.classes().len()];
        for (row, &truth) in rows.truth.iter().enumerate() {
            let winner = rows.shares(&counts, choice, row, &mut sums);
            for measure in &mut measures {
                let shares = sums.iter().map(|&share| u32::try_from(share).unwrap_or(VOTE));
                for class in measure.level.set(winner, shares) {
                    measure.classes += 1;
                    measure.held.hits += u64::from(class == truth);
                }
            }
        }
        measures
    }
}
