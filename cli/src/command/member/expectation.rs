//! What a classifier answered where it was fitted: the answers that the imported one should give.

use std::path::Path;

use crate::{
    command::data::Labels,
    samples::Matrix,
    table_file::{Columns, FeatureColumns, Problem, TableError, TableReader},
};

/// Most rows of expected answers.
const ROWS_MAX: usize = 10_000_000;
/// Most probabilities: 512 MiB.
const VALUES_MAX: usize = 1 << 27;

/// Expected answers, row by row.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    /// The class of each row, by its place in the task; empty when none were given.
    pub(super) classes: Vec<usize>,
    /// `[row, class of the file]`; empty when none were given.
    pub(super) probabilities: Vec<f32>,
}

/// Why a file holds no expected answers.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpectationError {
    /// It is no table and no matrix.
    #[error("the expected answers cannot be read")]
    Table(#[from] TableError),
    /// It is too large.
    #[error("{file} holds more expected answers than are compared")]
    TooMany {
        /// The file.
        file: String,
    },
    /// A matrix of neither labels nor probabilities.
    #[error(
        "{file} has rows of {width} values; expected are one label a row, or the probabilities of \
         {classes} classes"
    )]
    Width {
        /// The file.
        file: String,
        /// What it has.
        width: usize,
        /// How many classes there are.
        classes: usize,
    },
}

impl Expectation {
    /// Adds what stands in `path`: a table with the column `label`, a matrix of one label a row, or one of
    /// the probabilities of all classes in the order of the classifier's file.
    pub(super) fn add(
        &mut self,
        path: &Path,
        labels: &Labels,
        column: &str,
    ) -> Result<(), ExpectationError> {
        let file = path.display().to_string();
        let opened = |error| TableError { file: file.clone(), problem: Problem::Open(error) };
        let wrong = |line: u64, label: &str| Problem::Label {
            line,
            column: column.to_owned(),
            label: label.to_owned(),
            known: labels.known(),
        };
        let class = |cell: &str| labels.id(cell).and_then(|id| usize::try_from(id).ok());
        let too_many = || ExpectationError::TooMany { file: file.clone() };
        if !Matrix::is_one(path).map_err(opened)? {
            let columns = Columns {
                features: FeatureColumns::Named(Vec::new()),
                label: Some(column.to_owned()),
                ..Columns::default()
            };
            let mut table = TableReader::open(path, &columns)?;
            while let Some(row) = table.next_row()? {
                let Some(class) = class(&row.label) else {
                    let problem = wrong(row.line, &row.label.clone());
                    return Err(table.error(problem).into());
                };
                self.classes.push(class);
                if ROWS_MAX < self.classes.len() {
                    return Err(too_many());
                }
            }
            return Ok(());
        }
        let mut matrix = Matrix::labelled(path, None, &Columns::default())?;
        let (width, classes) = (matrix.width(), labels.shown().len());
        if width != 1 && width != classes {
            return Err(ExpectationError::Width { file, width, classes });
        }
        while let Some(row) = matrix.next_row()? {
            if width == classes {
                self.probabilities.extend_from_slice(&row.values);
            } else {
                let (line, cell) = (row.line, row.values[0].to_string());
                match class(&cell) {
                    Some(class) => self.classes.push(class),
                    None => return Err(matrix.error(wrong(line, &cell)).into()),
                }
            }
            if ROWS_MAX < self.classes.len() || VALUES_MAX < self.probabilities.len() {
                return Err(too_many());
            }
        }
        Ok(())
    }
}
