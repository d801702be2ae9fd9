//! What a job works with: rows that teach, rows that choose, rows that are only asked at the end.

use std::sync::Arc;

use models::{ClassId, Features, Schema};

use crate::{
    landmark::landmark,
    plan::{self, Size},
    split::{Ask, Fold, Kind, Split, SplitError, keeps_back, split},
    table::Table,
};

/// How many rows a correction counts for in training.
///
/// Whoever corrects an answer does not want to do it twice: among five nearest neighbours, three
/// copies of the corrected sample have the majority.
pub const CORRECTION_ROWS: usize = 3;

/// Rows whose class is known, to be asked.
#[derive(Clone, Debug)]
pub struct Checks {
    /// `[n, width]`, as an app sends them.
    pub samples: Features,
    /// The class of each.
    pub truth: Vec<ClassId>,
    /// The group of each; empty when the task has none.
    pub groups: Vec<u32>,
}

/// Rows that a member is fitted on.
#[derive(Clone, Debug)]
pub struct Lessons {
    /// `[n, width]`, as an app sends them.
    pub samples: Arc<Features>,
    /// The class of each.
    pub labels: Vec<u16>,
}

/// One fold of the training rows, and those that teach who is asked about it.
#[derive(Clone, Debug)]
pub struct Across {
    /// The rows of the other folds.
    pub lessons: Lessons,
    /// The rows of this fold, or every second or third of them when there are many.
    pub checks: Checks,
}

/// Most rows that choose. Votes of a thousand rows more would cost more than they tell.
const CHECKS_MAX: usize = 6_000;

/// So many of the first samples and corrections may have taught a member that was fitted elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Samples, in the scheduler's order.
    pub samples: usize,
    /// Corrections, in the scheduler's order.
    pub corrections: usize,
}

impl Seen {
    /// None of the rows.
    pub const NOTHING: Self = Self { samples: 0, corrections: 0 };

    /// Whether what `other` saw is among it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.samples <= self.samples && other.corrections <= self.corrections
    }
}

/// Rows that a member has not seen must be at least so many to choose by,
const UNSEEN_MIN: usize = 200;
/// at least one in so many of those that would choose without it,
const UNSEEN_PART: usize = 4;
/// and at least so many to measure with.
const UNSEEN_HELD_OUT_MIN: usize = 30;

/// All rows of a job, parted once and for all.
#[derive(Debug)]
pub struct Material {
    /// What goes in and comes out.
    pub schema: Schema,
    /// What serves is fitted on these: samples and the corrections that teach.
    pub lessons: Lessons,
    /// How many rows the folds are made of: without the corrections since the last landmark, which only
    /// what serves has learnt. What depends on an amount of rows depends on this one.
    pub settled_rows: usize,
    /// Weights, threshold and frontier come from votes across these.
    pub folds: Vec<Across>,
    /// Samples that only measure.
    pub held_out: Checks,
    /// Corrections that only measure.
    pub kept_back: Checks,
    /// Every correction, to see what people would still have to say again.
    pub corrections: Checks,
    /// How the samples were parted.
    pub kind: Kind,
    /// Rows that teach, and neither choose nor measure, because somebody has seen them.
    pub set_aside: Seen,
}

impl Material {
    /// Parts the rows of `table`.
    ///
    /// # Errors
    ///
    /// [`SplitError`] when there are too few rows to train, choose and check with.
    pub fn new(schema: Schema, table: Table, seed: u64) -> Result<Self, SplitError> {
        Self::parted(schema, table, None, &[], seed)
    }

    /// The same beside members that were fitted elsewhere: what one of them may have seen teaches
    /// others, and neither chooses nor measures, as long as enough rows are left that none of them
    /// has seen. Where too few are left, those members have to stay out that have seen most:
    /// [`Material::set_aside`] does not cover what they have seen.
    ///
    /// # Errors
    ///
    /// As [`Material::new`].
    pub fn beside(
        seen: &[Seen],
        schema: Schema,
        table: Table,
        seed: u64,
    ) -> Result<Self, SplitError> {
        Self::parted(schema, table, None, seen, seed)
    }

    /// All rows of `table` teach and choose; other rows are there to measure with.
    ///
    /// # Errors
    ///
    /// [`SplitError`] when there are too few rows to train and choose with.
    pub fn measured_by(
        held_out: Checks,
        schema: Schema,
        table: Table,
        seed: u64,
    ) -> Result<Self, SplitError> {
        Self::parted(schema, table, Some(held_out), &[], seed)
    }

    fn parted(
        schema: Schema,
        table: Table,
        measure: Option<Checks>,
        seen: &[Seen],
        seed: u64,
    ) -> Result<Self, SplitError> {
        let classes = schema.classes().len();
        let size = Size { rows: table.labels().len(), width: schema.width(), classes };
        let folds = plan::folds(size);
        let (labels, groups) = (table.labels(), table.groups());
        let Split { training, folds, count, held_out, kind } =
            split(Ask { labels, groups, classes, folds, hold_out: measure.is_none(), seed })?;
        let sheet = Sheet::of(table);
        let corrected: Vec<usize> = (sheet.samples.len()..sheet.labels.len()).collect();
        let (back, teach): (Vec<usize>, Vec<usize>) = corrected
            .iter()
            .partition(|&&row| keeps_back(&sheet.keys[row - sheet.samples.len()], seed));
        let all: Vec<usize> = training.iter().chain(&teach).copied().collect();
        let every = training.len().div_ceil(CHECKS_MAX);
        let learnt = landmark(training.len(), teach.len());
        let settled_rows = training.len() + CORRECTION_ROWS * learnt;
        let folds = folds.into_iter().chain(std::iter::repeat(Fold::Always));
        let settled = training.into_iter().chain(teach.into_iter().take(learnt));
        let rows: Vec<(usize, Fold)> = settled.zip(folds).collect();
        let set_aside = sheet.most_that_leave_enough(seen, &rows, &held_out);
        let unseen = |row: &usize| sheet.unseen(*row, set_aside);
        let across = |asked: usize| {
            let of = |wanted: &dyn Fn(Fold) -> bool| -> Vec<usize> {
                rows.iter().filter(|(_, fold)| wanted(*fold)).map(|(row, _)| *row).collect()
            };
            let teaching = of(&|fold| match fold {
                Fold::Of(fold) => fold != asked,
                Fold::Always => true,
                Fold::Border => false,
            });
            let asked = of(&|fold| fold == Fold::Of(asked)).into_iter().filter(unseen);
            let asked: Vec<usize> = asked.step_by(every).collect();
            Across { lessons: sheet.lessons(&teaching), checks: sheet.checks(&asked) }
        };
        let checks =
            |rows: &[usize]| sheet.checks(&rows.iter().copied().filter(unseen).collect::<Vec<_>>());
        Ok(Self {
            lessons: sheet.lessons(&all),
            settled_rows,
            // A fold that nobody may be asked about teaches for the others.
            folds: (0..count).map(across).filter(|it| !it.checks.truth.is_empty()).collect(),
            held_out: measure.unwrap_or_else(|| checks(&held_out)),
            kept_back: checks(&back),
            corrections: checks(&corrected),
            kind,
            set_aside,
            schema,
        })
    }

    /// The classes of the rows that choose, fold after fold.
    #[must_use]
    pub fn truth(&self) -> Vec<ClassId> {
        self.folds.iter().flat_map(|across| &across.checks.truth).copied().collect()
    }

    /// The groups of the rows that choose; empty when the task has none.
    #[must_use]
    pub fn groups(&self) -> Vec<u32> {
        self.folds.iter().flat_map(|across| &across.checks.groups).copied().collect()
    }
}

/// Samples, and the corrections behind them.
struct Sheet {
    samples: Features,
    corrected: Features,
    labels: Vec<u16>,
    groups: Vec<u32>,
    keys: Vec<Vec<u8>>,
}

impl Sheet {
    fn of(table: Table) -> Self {
        let mut labels = table.labels().to_vec();
        let groups = table.groups().to_vec();
        labels.extend_from_slice(&table.corrections().labels);
        let keys = table.corrections().keys.clone();
        let (samples, corrected) = table.into_samples();
        Self { samples, corrected, labels, groups, keys }
    }

    fn row(&self, row: usize) -> &[f32] {
        match row.checked_sub(self.samples.len()) {
            None => self.samples.row(row),
            Some(row) => self.corrected.row(row),
        }
    }

    fn unseen(&self, row: usize, seen: Seen) -> bool {
        match row.checked_sub(self.samples.len()) {
            None => seen.samples <= row,
            Some(correction) => seen.corrections <= correction,
        }
    }

    /// What the most may have seen without leaving too few rows to choose by and to measure with.
    fn most_that_leave_enough(
        &self,
        seen: &[Seen],
        rows: &[(usize, Fold)],
        held_out: &[usize],
    ) -> Seen {
        let mut most_first = seen.to_vec();
        most_first.sort_unstable();
        let asked: Vec<usize> =
            rows.iter().filter(|it| matches!(it.1, Fold::Of(_))).map(|it| it.0).collect();
        let enough = |seen: &Seen| {
            let left = |rows: &[usize]| rows.iter().filter(|&&it| self.unseen(it, *seen)).count();
            UNSEEN_MIN.max(asked.len() / UNSEEN_PART) <= left(&asked)
                && UNSEEN_HELD_OUT_MIN <= left(held_out)
        };
        // One that has seen more samples but fewer corrections than another needs both.
        while let Some(most) = most_first.pop() {
            let both = most_first.iter().fold(most, |both, it| Seen {
                samples: both.samples.max(it.samples),
                corrections: both.corrections.max(it.corrections),
            });
            if both == Seen::NOTHING || enough(&both) {
                return both;
            }
        }
        Seen::NOTHING
    }

    fn features(&self, rows: impl Iterator<Item = usize>) -> Features {
        let mut values = Vec::new();
        rows.for_each(|row| values.extend_from_slice(self.row(row)));
        Features::new(self.samples.width(), values).expect("rows of samples are samples")
    }

    fn checks(&self, rows: &[usize]) -> Checks {
        Checks {
            samples: self.features(rows.iter().copied()),
            truth: rows.iter().map(|&row| ClassId(self.labels[row])).collect(),
            groups: rows.iter().filter_map(|&row| self.groups.get(row).copied()).collect(),
        }
    }

    fn lessons(&self, rows: &[usize]) -> Lessons {
        let times = |row: usize| if row < self.samples.len() { 1 } else { CORRECTION_ROWS };
        let repeated = || rows.iter().flat_map(|&row| std::iter::repeat_n(row, times(row)));
        Lessons {
            samples: Arc::new(self.features(repeated())),
            labels: repeated().map(|row| self.labels[row]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::SampleChunk;

    use super::*;

    const CLASSES: usize = 2;

    /// So many samples of two classes in turn; the value of a sample is its number.
    fn table(rows: u16) -> Table {
        let mut table = Table::new(1, CLASSES);
        let values: Vec<f32> = (0..rows).map(f32::from).collect();
        let chunk = SampleChunk {
            width: 1,
            values: proto::parse::pack(&values),
            labels: (0..rows).map(|row| u32::from(row % 2)).collect(),
            ..SampleChunk::default()
        };
        table.take(&chunk).unwrap();
        table
    }

    fn material(rows: u16, seen: &[Seen]) -> Material {
        let schema = Schema::new(vec!["a".to_owned()], vec!["x".to_owned(), "y".to_owned()], None);
        Material::beside(seen, schema.unwrap(), table(rows), 7).unwrap()
    }

    fn seen(samples: usize) -> Seen {
        Seen { samples, ..Seen::NOTHING }
    }

    #[test]
    fn rows_that_somebody_has_seen_teach_and_neither_choose_nor_measure() {
        let material = material(1_000, &[seen(400)]);
        assert_eq!(material.set_aside, seen(400));
        let taught = |row: f32| material.lessons.samples.values().contains(&row);
        assert!((0..400_u16).map(f32::from).filter(|&row| taught(row)).count() > 300);
        let folds = material.folds.iter().map(|fold| &fold.checks);
        for checks in folds.chain([&material.held_out]) {
            assert!(!checks.truth.is_empty());
            assert!(checks.samples.values().iter().all(|&row| 400.0 <= row), "{checks:?}");
        }
    }

    #[test]
    fn what_serves_learns_every_correction_and_the_folds_learn_them_at_landmarks() {
        let corrected = |count: u16| {
            let mut table = table(1_000);
            let values: Vec<f32> = (0..count).map(|row| 5_000.0 + f32::from(row)).collect();
            let chunk = SampleChunk {
                width: 1,
                values: proto::parse::pack(&values),
                labels: vec![1; count.into()],
                corrections: true,
                keys: (0..count).map(|row| row.to_le_bytes().to_vec().into()).collect(),
                ..SampleChunk::default()
            };
            table.take(&chunk).unwrap();
            let names = vec!["x".to_owned(), "y".to_owned()];
            let schema = Schema::new(vec!["a".to_owned()], names, None).unwrap();
            Material::new(schema, table, 7).unwrap()
        };
        let learnt = |lessons: &Lessons| {
            let rows = lessons.samples.values().iter().filter(|&&row| 5_000.0 <= row);
            rows.count() / CORRECTION_ROWS
        };
        let (before, few, many) = (corrected(0), corrected(10), corrected(60));
        for material in [&few, &many] {
            let teach = material.corrections.truth.len() - material.kept_back.truth.len();
            assert_eq!(learnt(&material.lessons), teach);
            assert_eq!(material.truth(), before.truth());
            assert_eq!(material.held_out.truth, before.held_out.truth);
        }
        for ((before, few), many) in before.folds.iter().zip(&few.folds).zip(&many.folds) {
            assert_eq!(before.lessons.samples, few.lessons.samples);
            assert_eq!(before.checks.samples, many.checks.samples);
            assert!((20..60).contains(&learnt(&many.lessons)));
        }
        assert_eq!(before.settled_rows, few.settled_rows);
        assert!(few.settled_rows < many.settled_rows);
    }

    #[test]
    fn too_few_unseen_rows_are_not_all_that_chooses() {
        let (all, plain) = (material(1_000, &[seen(1_000)]), material(1_000, &[]));
        assert_eq!(all.set_aside, Seen::NOTHING);
        assert_eq!(all.truth(), plain.truth());
        assert_eq!(all.held_out.truth, plain.held_out.truth);
        // The one who has seen fewer takes part all the same.
        let both = material(1_000, &[seen(400), seen(1_000), Seen::NOTHING]);
        assert_eq!(both.set_aside, seen(400));
    }
}
