//! What a job works with: rows that teach, rows that choose, rows that are only asked at the end.

use models::{ClassId, Features, Schema};

use crate::{
    split::{Kind, Split, SplitError, keeps_back, split},
    table::Table,
};

/// How many rows a correction counts for in training.
///
/// Whoever corrects an answer does not want to do it twice: among five nearest neighbours, three
/// copies of the corrected sample have the majority.
pub const CORRECTION_ROWS: usize = 3;

/// Rows whose class is known and that no member is fitted on.
#[derive(Clone, Debug)]
pub struct Checks {
    /// `[n, width]`, as an app sends them.
    pub samples: Features,
    /// The class of each.
    pub truth: Vec<ClassId>,
    /// The group of each; empty when the task has none.
    pub groups: Vec<u32>,
}

/// All rows of a job, parted once and for all.
#[derive(Debug)]
pub struct Material {
    /// What goes in and comes out.
    pub schema: Schema,
    /// Members are fitted on these: samples and the corrections that teach.
    pub training: Features,
    /// The class of each.
    pub labels: Vec<u16>,
    /// Weights, threshold and frontier come from these.
    pub validation: Checks,
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
        let classes = schema.classes().len();
        let Split { training, validation, held_out, kind } =
            split(table.labels(), table.groups(), classes, seed)?;
        let (labels, groups) = (table.labels().to_vec(), table.groups().to_vec());
        let said = table.corrections();
        let (said_labels, said_keys) = (said.labels.clone(), said.keys.clone());
        let (samples, corrected) = table.into_samples();
        let checks = |samples: &Features, labels: &[u16], groups: &[u32], rows: &[usize]| Checks {
            samples: samples.select(rows),
            truth: rows.iter().map(|&row| ClassId(labels[row])).collect(),
            groups: rows.iter().filter_map(|&row| groups.get(row).copied()).collect(),
        };
        let all: Vec<usize> = (0..said_labels.len()).collect();
        let (back, teach): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|&&row| keeps_back(&said_keys[row], seed));
        let validation = checks(&samples, &labels, &groups, &validation);
        let held_out = checks(&samples, &labels, &groups, &held_out);
        let kept_back = checks(&corrected, &said_labels, &[], &back);
        let corrections = checks(&corrected, &said_labels, &[], &all);
        let mut taught: Vec<u16> = training.iter().map(|&row| labels[row]).collect();
        let mut values =
            Vec::with_capacity((training.len() + teach.len() * CORRECTION_ROWS) * samples.width());
        training.iter().for_each(|&row| values.extend_from_slice(samples.row(row)));
        for &row in &teach {
            for _ in 0..CORRECTION_ROWS {
                values.extend_from_slice(corrected.row(row));
                taught.push(said_labels[row]);
            }
        }
        let training = Features::new(samples.width(), values).expect("rows of samples are samples");
        Ok(Self {
            schema,
            training,
            labels: taught,
            validation,
            held_out,
            kept_back,
            corrections,
            kind,
        })
    }
}
