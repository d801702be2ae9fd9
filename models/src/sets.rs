//! Sets of classes that hold the true one as often as is asked, where one class is too much to say.
//!
//! A set holds every class that has enough of the full vote. How much is enough is measured: on rows
//! whose class is known, of which no member and no weight that is counted had seen the row, it is the
//! largest share that the true class reaches as often as is asked.
//!
//! # Source
//!
//! Split conformal prediction (Vovk, Gammerman and Shafer, 2005; Angelopoulos and Bates, 2021) with the
//! share of the true class as its score: the least ambiguous sets of Sadinle, Lei and Wasserman (2019).
//! Rows of one person or one hour are no independent witnesses, so blocks of rows count alike, however
//! many rows they have, and one more block is expected that knows nothing (Lee, Barber and Willett,
//! 2023). Counting in whole numbers, and the winner that is always in its set, are ours.

use crate::{check, frontier::Subset, member::ModelError, schema::ClassId, vote::VOTE};

/// How often a set holds the true class, in thousandths: 500 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coverage(u16);

/// What every bundle is measured for, as far as there are rows enough.
pub const USUAL: [Coverage; 4] = [Coverage(800), Coverage(900), Coverage(950), Coverage(990)];

/// All of something, in thousandths.
const WHOLE: u16 = 1000;

impl Coverage {
    /// The least and the most that can be asked for: below the one a set says little, above the other
    /// hardly any task has witnesses enough.
    pub const RANGE: (f64, f64) = (0.5, 0.999);

    /// `thousandths` of the rows; `None` beyond 500 to 999.
    #[must_use]
    pub fn of_thousandths(thousandths: u32) -> Option<Self> {
        let known = u16::try_from(thousandths).ok()?;
        (500..WHOLE).contains(&known).then_some(Self(known))
    }

    /// A share of the rows; rounded up to the next thousandth, so that no less is promised than was
    /// asked for. `None` beyond 0.5 to 0.999.
    #[must_use]
    pub fn of_share(share: f64) -> Option<Self> {
        let (least, most) = Self::RANGE;
        if !(least..=most).contains(&share) {
            return None;
        }
        // 0.9 is a little less than nine tenths; what is off by so little is the next thousandth.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 500 and 999"
        )]
        let thousandths = (share * f64::from(WHOLE) - 1e-6).ceil() as u32;
        Self::of_thousandths(thousandths)
    }

    /// In thousandths.
    #[must_use]
    pub fn thousandths(self) -> u16 {
        self.0
    }

    /// As a share of the rows.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// How many blocks of rows it takes at least to promise so much: with `n` of them there must be
    /// one whose rank is `⌈(n + 1)·coverage⌉`.
    #[must_use]
    pub fn blocks_min(self) -> usize {
        usize::from(self.0).div_ceil(usize::from(WHOLE - self.0))
    }
}

/// Too few independent rows to promise so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a coverage of {} takes {} groups or stretches of time to measure it on, and there are {blocks}",
    coverage.share(), coverage.blocks_min()
)]
pub struct TooFew {
    /// What was asked for.
    pub coverage: Coverage,
    /// How many there are.
    pub blocks: usize,
}

/// A row whose class is known, as a calibration sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Rows of one block are alike: of one person, or of one stretch of time.
    pub block: usize,
    /// What the true class has of the full vote, in parts of [`VOTE`].
    pub share: u32,
}

/// From which share of the full vote on a class is in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// How often sets of it hold the true class.
    pub coverage: Coverage,
    /// The least share of a class in the set, in parts of [`VOTE`].
    pub least: u32,
}

/// The levels of one choice of members, measured for these and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The members that vote.
    pub subset: Subset,
    /// Whether the gate stands in front of them.
    pub gated: bool,
    /// In order of coverage; the shares never rise, so that sets of less coverage lie within those of
    /// more.
    pub levels: Vec<Level>,
}

/// What is measured of all choices that a device may be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// At most one for each choice, in order.
    pub ladders: Vec<Ladder>,
}

/// Most ladders: as many choices as a report may list.
pub const LADDERS_MAX: usize = 4_096;
/// Most levels of a ladder.
pub const LEVELS_MAX: usize = 8;

impl Level {
    /// Measures how much of the vote a class must have, so that the true class of a row of a block
    /// like these has it as often as `coverage` says.
    ///
    /// If blocks are exchangeable with the one that the next row comes from, and `share` is what
    /// the true class has of the very vote that will be counted, sets hold the true class with at
    /// least this probability, over blocks and rows together. Nothing is promised of a single class or
    /// a single block.
    ///
    /// # Errors
    ///
    /// [`TooFew`] where no share would do: then nothing is promised.
    #[expect(clippy::cast_precision_loss, reason = "counts of rows and blocks")]
    pub fn measure(witnesses: &[Witness], coverage: Coverage) -> Result<Self, TooFew> {
        let mut rows = std::collections::BTreeMap::<usize, usize>::new();
        witnesses.iter().for_each(|it| *rows.entry(it.block).or_default() += 1);
        let blocks = rows.len();
        if blocks < coverage.blocks_min() {
            return Err(TooFew { coverage, blocks });
        }
        // Each block counts 1, shared by its rows; one block more is to come, which may lie anywhere.
        let needed = (blocks + 1) as f64 * coverage.share();
        let mut witnesses = witnesses.to_vec();
        witnesses.sort_unstable_by_key(|it| std::cmp::Reverse(it.share));
        let mut reached = 0.0;
        let mut least = 0;
        for Witness { block, share } in witnesses {
            reached += 1.0 / rows[&block] as f64;
            least = share;
            // What is needed is in thousandths, and sums of fractions are off by far less.
            if needed - 1e-6 <= reached {
                break;
            }
        }
        Ok(Self { coverage, least })
    }

    /// The classes that have enough, the winner of the vote always among them; growing.
    ///
    /// `shares` are those of [`parts`](crate::vote::parts), in class order.
    pub fn set(
        self,
        winner: ClassId,
        shares: impl Iterator<Item = u32>,
    ) -> impl Iterator<Item = ClassId> {
        let enough = move |&(class, share): &(ClassId, u32)| self.least <= share || class == winner;
        (0_u16..).map(ClassId).zip(shares).filter(enough).map(|(class, _)| class)
    }
}

impl Ladder {
    /// Measures the usual levels and the `wanted` one, as far as there are blocks enough.
    ///
    /// # Errors
    ///
    /// [`TooFew`] when there are too few for what is `wanted`; others are left out.
    pub fn measure(
        (subset, gated): (Subset, bool),
        witnesses: &[Witness],
        wanted: Option<Coverage>,
    ) -> Result<Self, TooFew> {
        let mut coverages = USUAL.to_vec();
        coverages.extend(wanted);
        coverages.sort_unstable();
        coverages.dedup();
        let mut levels = Vec::with_capacity(coverages.len());
        for coverage in coverages {
            match Level::measure(witnesses, coverage) {
                Ok(level) => levels.push(level),
                Err(few) if Some(coverage) == wanted => return Err(few),
                Err(_) => {}
            }
        }
        Ok(Self { subset, gated, levels })
    }

    /// The level of the least coverage that is no less than `wanted`.
    #[must_use]
    pub fn level(&self, wanted: Coverage) -> Option<Level> {
        self.levels.iter().find(|level| wanted <= level.coverage).copied()
    }

    /// The largest coverage there is.
    #[must_use]
    pub fn most(&self) -> Option<Coverage> {
        self.levels.last().map(|level| level.coverage)
    }
}

impl Sets {
    /// The ladder of a choice of members.
    #[must_use]
    pub fn ladder(&self, subset: Subset, gated: bool) -> Option<&Ladder> {
        let wanted = (subset, gated);
        let at = self.ladders.binary_search_by_key(&wanted, |it| (it.subset, it.gated)).ok()?;
        self.ladders.get(at)
    }

    /// Ladders are in order and of members that are there, and levels never fall behind.
    pub(crate) fn check(&self, members: usize, gate: bool) -> Result<(), ModelError> {
        check::at_most("ladders", self.ladders.len(), LADDERS_MAX)?;
        let order = |a: &Ladder, b: &Ladder| (a.subset, a.gated) < (b.subset, b.gated);
        if !self.ladders.array_windows().all(|[a, b]| order(a, b)) {
            return Err(ModelError::Order { what: "ladders" });
        }
        for Ladder { subset, gated, levels } in &self.ladders {
            check::some("members of a ladder", usize::from(!subset.is_empty()))?;
            check::at_most("the last member of a ladder", last(*subset), members)?;
            if *gated && !gate {
                return Err(ModelError::Empty { what: "the gate of a gated ladder" });
            }
            check::some("levels", levels.len())?;
            check::at_most("levels", levels.len(), LEVELS_MAX)?;
            let rise = |[a, b]: &[Level; 2]| a.coverage < b.coverage && b.least <= a.least;
            if !levels.array_windows().all(rise) || levels.iter().any(|it| VOTE < it.least) {
                return Err(ModelError::Order { what: "the levels of a ladder" });
            }
        }
        Ok(())
    }
}

/// How many members there are up to the last one of `subset`.
fn last(subset: Subset) -> usize {
    subset.members().last().map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::synthetic::Numbers;

    fn coverage(thousandths: u32) -> Coverage {
        Coverage::of_thousandths(thousandths).unwrap()
    }

    #[test]
    fn a_share_is_a_thousandth_and_never_promises_less() {
        for (share, thousandths) in [(0.5, 500), (0.9, 900), (0.9001, 901), (0.999, 999)] {
            assert_eq!(Coverage::of_share(share), Some(coverage(thousandths)), "{share}");
        }
        for share in [0.0, 0.4999, 0.9991, 1.0, f64::NAN, f64::INFINITY, -0.9] {
            assert_eq!(Coverage::of_share(share), None, "{share}");
        }
    }

    #[test]
    fn too_few_blocks_promise_nothing_and_one_more_is_enough() {
        for (thousandths, needed) in
            [(500, 1), (800, 4), (900, 9), (950, 19), (990, 99), (999, 999)]
        {
            let wanted = coverage(thousandths);
            assert_eq!(wanted.blocks_min(), needed);
            // Three rows of each block: they are no three witnesses.
            let rows = |blocks: usize| -> Vec<Witness> {
                (0..3 * blocks).map(|row| Witness { block: row / 3, share: 7 }).collect()
            };
            let refused = Level::measure(&rows(needed - 1), wanted).unwrap_err();
            assert_eq!(refused, TooFew { coverage: wanted, blocks: needed - 1 });
            assert_eq!(Level::measure(&rows(needed), wanted).unwrap().least, 7);
        }
        let text = TooFew { coverage: coverage(900), blocks: 8 }.to_string();
        assert!(text.starts_with("a coverage of 0.9 takes 9 groups"), "{text}");
    }

    #[test]
    fn without_blocks_the_rank_is_that_of_split_conformal_prediction() {
        // Of 9 rows ⌈10·0.8⌉ = 8 must be covered, of 10 rows ⌈11·0.8⌉ = 9.
        for (rows, left_out) in [(9, 1), (10, 1), (14, 2), (19, 3)] {
            let witnesses: Vec<Witness> = (0..rows)
                .map(|row| Witness { block: row, share: 100 + u32::try_from(row).unwrap() })
                .collect();
            let level = Level::measure(&witnesses, coverage(800)).unwrap();
            let below = witnesses.iter().filter(|it| it.share < level.least).count();
            assert_eq!(below, left_out, "{rows}");
        }
    }

    #[test]
    fn a_block_counts_once_however_many_rows_it_has() {
        // A thousand rows of one sure person beside nine unsure ones.
        let sure = (0..1000).map(|_| Witness { block: 0, share: VOTE });
        let unsure = (1..10).map(|block| Witness { block, share: 5 });
        let witnesses: Vec<Witness> = sure.chain(unsure).collect();
        assert_eq!(Level::measure(&witnesses, coverage(800)).unwrap().least, 5);
    }

    /// The share of a true class in a vote of three: what is left of a whole, and less with luck.
    fn vote(numbers: &mut Numbers, trust: u32) -> ([u32; 3], ClassId) {
        let truth = u16::try_from(numbers.below(3)).unwrap();
        let mut shares = [0; 3].map(|_: u32| numbers.below(VOTE / 3));
        shares[usize::from(truth)] += numbers.below(trust);
        (shares, ClassId(truth))
    }

    fn winner(shares: [u32; 3]) -> ClassId {
        let most = shares.iter().max().unwrap();
        ClassId(u16::try_from(shares.iter().position(|it| it == most).unwrap()).unwrap())
    }

    /// Of exchangeable blocks, each with a trust of its own, so many calibrate, and a row of another one
    /// is asked: whether the true class had enough, and whether it was in the set.
    fn held(seed: u64, calibrating: usize, coverage: Coverage) -> (bool, bool) {
        let numbers = &mut Numbers::new(seed);
        let mut witnesses = Vec::new();
        for block in 0..calibrating {
            let trust = VOTE / 4 + numbers.below(VOTE / 2);
            for _ in 0..=numbers.below(8) {
                let (shares, truth) = vote(numbers, trust);
                witnesses.push(Witness { block, share: shares[truth.index()] });
            }
        }
        let level = Level::measure(&witnesses, coverage).unwrap();
        let trust = VOTE / 4 + numbers.below(VOTE / 2);
        let (shares, truth) = vote(numbers, trust);
        let mut set = level.set(winner(shares), shares.into_iter());
        (level.least <= shares[truth.index()], set.any(|class| class == truth))
    }

    #[test]
    fn sets_hold_the_truth_as_often_as_is_promised_and_not_much_more() {
        // Anew for each seed: the promise is over what calibrates as well. 4 000 draws of a share of
        // p lie within four standard deviations of it but for one time in ten thousand.
        for thousandths in [800, 900, 950] {
            let wanted = coverage(thousandths);
            let held: Vec<(bool, bool)> = (0..4_000).map(|seed| held(seed, 60, wanted)).collect();
            let share = |of: &dyn Fn(&(bool, bool)) -> bool| {
                f64::from(u32::try_from(held.iter().filter(|it| of(it)).count()).unwrap()) / 4_000.0
            };
            let p = wanted.share();
            let off = 4.0 * (p * (1.0 - p) / 4_000.0).sqrt();
            let (enough, in_the_set) = (share(&|it| it.0), share(&|it| it.1));
            assert!(p - off <= enough && enough <= in_the_set, "{thousandths}: {enough}");
            // One block of sixty-one is given away, and ranks are whole.
            assert!(enough <= p + off + 2.0 / 61.0, "{thousandths}: {enough}");
        }
    }

    proptest! {
        #[test]
        fn sets_of_less_coverage_lie_within_those_of_more(
            rows in prop::collection::vec((0_usize..40, 0..=VOTE), 1..300),
            shares in prop::collection::vec(0..=VOTE, 2..6),
            wanted in prop::option::of(500_u32..1000),
        ) {
            let witnesses: Vec<Witness> =
                rows.into_iter().map(|(block, share)| Witness { block, share }).collect();
            let blocks: std::collections::BTreeSet<usize> =
                witnesses.iter().map(|it| it.block).collect();
            let wanted = wanted.map(coverage);
            let ladder = match Ladder::measure((Subset(1), false), &witnesses, wanted) {
                Ok(ladder) => ladder,
                Err(few) => {
                    // It is refused only when it must be.
                    prop_assert!(few.blocks == blocks.len() && few.blocks < few.coverage.blocks_min());
                    prop_assert_eq!(Some(few.coverage), wanted);
                    return Ok(());
                }
            };
            let most = shares.iter().max().unwrap();
            let winner = shares.iter().position(|it| it == most).unwrap();
            let winner = ClassId(u16::try_from(winner).unwrap());
            let mut before: Vec<ClassId> = Vec::new();
            for level in &ladder.levels {
                let set: Vec<ClassId> = level.set(winner, shares.iter().copied()).collect();
                prop_assert!(set.contains(&winner));
                prop_assert!(before.iter().all(|class| set.contains(class)));
                before = set;
            }
            for wanted in (500..1000).map(coverage) {
                let level = ladder.level(wanted);
                prop_assert!(level.is_none_or(|level| wanted <= level.coverage));
                prop_assert_eq!(level.is_some(), Some(wanted) <= ladder.most());
            }
            if !ladder.levels.is_empty() {
                let sets = Sets { ladders: vec![ladder.clone()] };
                prop_assert_eq!(sets.check(1, false), Ok(()));
                prop_assert_eq!(sets.ladder(Subset(1), false), Some(&ladder));
                prop_assert_eq!(sets.ladder(Subset(1), true), None);
            }
        }
    }
}
