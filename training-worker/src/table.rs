//! The rows of a job as they come from the scheduler: chunk by chunk, checked, bounded.

use std::collections::BTreeMap;

use models::Features;
use proto::{parse, v1::SampleChunk};

/// Most bytes of sample values that a job takes. Training keeps about six copies.
pub const VALUES_BYTES_MAX: usize = 1 << 30;

/// Samples and corrections of a task, in the scheduler's order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    width: usize,
    classes: usize,
    values: Vec<f32>,
    labels: Vec<u16>,
    /// Number of the group of each row, by first appearance; empty when the task has none.
    groups: Vec<u32>,
    names: BTreeMap<String, u32>,
    corrections: Corrections,
}

/// Corrections: samples whose true class a person named.
#[derive(Clone, Debug, Default)]
pub struct Corrections {
    values: Vec<f32>,
    /// Class ids.
    pub labels: Vec<u16>,
    /// What tells them apart: the id of the prediction that was corrected.
    pub keys: Vec<Vec<u8>>,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The chunk is not samples.
    #[error("a chunk of samples cannot be read")]
    Chunk(#[source] parse::ParseError),
    /// A chunk of another width than the task has.
    #[error("samples of {actual} values in a task with {expected} features")]
    Width {
        /// What the task has.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// Labels, groups or keys that do not fit the rows.
    #[error("{rows} rows came with {actual} {what}")]
    Rows {
        /// How many rows.
        rows: usize,
        /// What does not fit.
        what: &'static str,
        /// How many of them.
        actual: usize,
    },
    /// A label beyond the classes.
    #[error("a row has class {class}, but the task has {classes} classes")]
    Class {
        /// The label.
        class: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// More than a job takes.
    #[error(
        "the samples take more than {VALUES_BYTES_MAX} bytes; \
         train on fewer rows or features"
    )]
    TooLarge,
}

impl Table {
    /// No rows yet, of a task with `width` features and `classes` classes.
    #[must_use]
    pub fn new(width: usize, classes: usize) -> Self {
        Self { width, classes, ..Self::default() }
    }

    /// Takes one chunk, wholly or not at all.
    ///
    /// # Errors
    ///
    /// A [`TableError`] that says what is wrong with the chunk.
    pub fn take(&mut self, chunk: &SampleChunk) -> Result<(), TableError> {
        if chunk.labels.is_empty() && chunk.values.is_empty() {
            return Ok(());
        }
        let samples = parse::samples(chunk.width, &chunk.values).map_err(TableError::Chunk)?;
        if samples.width() != self.width {
            return Err(TableError::Width { expected: self.width, actual: samples.width() });
        }
        let rows = samples.len();
        let fits = |what, actual: usize| {
            if actual == rows { Ok(()) } else { Err(TableError::Rows { rows, what, actual }) }
        };
        fits("labels", chunk.labels.len())?;
        if chunk.corrections {
            fits("keys", chunk.keys.len())?;
        } else if !chunk.groups.is_empty() || !self.groups.is_empty() {
            fits("groups", chunk.groups.len())?;
            // Rows before that had no group.
            fits("groups", if self.groups.len() == self.labels.len() { rows } else { 0 })?;
        }
        let held = self.values.len() + self.corrections.values.len() + samples.values().len();
        if VALUES_BYTES_MAX / 4 < held {
            return Err(TableError::TooLarge);
        }
        let labels = chunk
            .labels
            .iter()
            .map(|&class| match u16::try_from(class) {
                Ok(label) if usize::from(label) < self.classes => Ok(label),
                Ok(_) | Err(_) => Err(TableError::Class { class, classes: self.classes }),
            })
            .collect::<Result<Vec<u16>, TableError>>()?;
        if chunk.corrections {
            self.corrections.values.extend_from_slice(samples.values());
            self.corrections.labels.extend(labels);
            self.corrections.keys.extend(chunk.keys.iter().map(|key| key.to_vec()));
            return Ok(());
        }
        self.values.extend_from_slice(samples.values());
        self.labels.extend(labels);
        for name in &chunk.groups {
            let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
            let group = self.names.get(name).copied().unwrap_or_else(|| {
                self.names.insert(name.clone(), next);
                next
            });
            self.groups.push(group);
        }
        Ok(())
    }

    /// The samples, without corrections.
    #[must_use]
    pub fn samples(&self) -> Features {
        Features::new(self.width, self.values.clone()).expect("every chunk was checked")
    }

    /// The class of each sample.
    #[must_use]
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The group of each sample; empty when the task has none.
    #[must_use]
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// What people said.
    #[must_use]
    pub fn corrections(&self) -> &Corrections {
        &self.corrections
    }

    /// The samples of the corrections.
    #[must_use]
    pub fn corrected_samples(&self) -> Features {
        Features::new(self.width, self.corrections.values.clone()).expect("every chunk was checked")
    }

    /// The values of samples and corrections together, given up by the table.
    #[must_use]
    pub fn into_samples(self) -> (Features, Features) {
        let features = |values| Features::new(self.width, values).expect("every chunk was checked");
        (features(self.values), features(self.corrections.values))
    }
}
