//! What a job works with: rows that teach, rows that choose, rows that are only asked at the end.

use std::sync::Arc;

use models::{ClassId, Features, Schema};

use crate::{
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

/// All rows of a job, parted once and for all.
#[derive(Debug)]
pub struct Material {
    /// What goes in and comes out.
    pub schema: Schema,
    /// What serves is fitted on these: samples and the corrections that teach.
    pub lessons: Lessons,
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
}

impl Material {
    /// Parts the rows of `table`.
    ///
    /// # Errors
    ///
    /// [`SplitError`] when there are too few rows to train, choose and check with.
    pub fn new(schema: Schema, table: Table, seed: u64) -> Result<Self, SplitError> {
        Self::parted(schema, table, None, seed)
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
        Self::parted(schema, table, Some(held_out), seed)
    }

    fn parted(
        schema: Schema,
        table: Table,
        measure: Option<Checks>,
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
        let folds = folds.into_iter().chain(std::iter::repeat(Fold::Always));
        let rows: Vec<(usize, Fold)> = training.into_iter().chain(teach).zip(folds).collect();
        let all: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
        let every = all.len().div_ceil(CHECKS_MAX);
        let across = |asked: usize| {
            let of = |wanted: &dyn Fn(Fold) -> bool| -> Vec<usize> {
                rows.iter().filter(|(_, fold)| wanted(*fold)).map(|(row, _)| *row).collect()
            };
            let teaching = of(&|fold| match fold {
                Fold::Of(fold) => fold != asked,
                Fold::Always => true,
                Fold::Border => false,
            });
            let asked: Vec<usize> =
                of(&|fold| fold == Fold::Of(asked)).into_iter().step_by(every).collect();
            Across { lessons: sheet.lessons(&teaching), checks: sheet.checks(&asked) }
        };
        Ok(Self {
            lessons: sheet.lessons(&all),
            folds: (0..count).map(across).collect(),
            held_out: measure.unwrap_or_else(|| sheet.checks(&held_out)),
            kept_back: sheet.checks(&back),
            corrections: sheet.checks(&corrected),
            kind,
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
