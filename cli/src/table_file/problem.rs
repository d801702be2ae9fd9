//! Why a file is not a table of samples.

use std::io;

/// Why a file is not a table of samples.
#[derive(Debug, thiserror::Error)]
#[error("{file}")]
pub(crate) struct TableError {
    /// The file.
    pub(crate) file: String,
    /// What is the matter with it.
    #[source]
    pub(crate) problem: Problem,
}

/// What is the matter with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// It cannot be opened.
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    /// It cannot be read on: not text, broken gzip, a disk error.
    #[error("it cannot be read")]
    Read(#[source] csv::Error),
    /// Nothing stands in it.
    #[error("it is empty: the first line must name the columns")]
    Empty,
    /// A heading with a gap.
    #[error("column {column} of the heading has no name")]
    Unnamed {
        /// Counted from 1.
        column: usize,
    },
    /// A heading that names two columns alike.
    #[error("the heading names column {column:?} twice")]
    Repeated {
        /// The name.
        column: String,
    },
    /// A column that was asked for is not there.
    #[error("it has no column {column:?}; its columns are {known}")]
    Missing {
        /// The name.
        column: String,
        /// What there is.
        known: String,
    },
    /// The label is all there is.
    #[error("no column is left as a feature; its columns are {known}")]
    NoFeatures {
        /// What there is.
        known: String,
    },
    /// Only a heading, or no row that was picked.
    #[error("it has no rows{}", if *picked { " for which --where holds" } else { "" })]
    NoRows {
        /// Whether rows were picked.
        picked: bool,
    },
    /// A row that is longer or shorter than the heading.
    #[error("line {line} has {actual} cells where the heading has {expected}")]
    Ragged {
        /// Of the file.
        line: u64,
        /// Cells of the heading.
        expected: usize,
        /// Cells of the row.
        actual: usize,
    },
    /// Nothing stands in a cell, or a word for nothing.
    #[error("line {line}, column {column:?}: the value is missing")]
    EmptyCell {
        /// Of the file.
        line: u64,
        /// Its name.
        column: String,
    },
    /// A feature that is no number.
    #[error("line {line}, column {column:?}: {cell:?} is not a number")]
    NotANumber {
        /// Of the file.
        line: u64,
        /// Its name.
        column: String,
        /// What stands there.
        cell: String,
    },
    /// A feature that is NaN, infinite, or too large for 32 bits.
    #[error("line {line}, column {column:?}: {cell:?} is not a finite 32-bit number")]
    NotFinite {
        /// Of the file.
        line: u64,
        /// Its name.
        column: String,
        /// What stands there.
        cell: String,
    },
    /// A label that is no class of the task.
    #[error("line {line}, column {column:?}: {label:?} is not a class; the classes are {known}")]
    Label {
        /// Of the file.
        line: u64,
        /// The name of the label column.
        column: String,
        /// What stands there.
        label: String,
        /// What there is.
        known: String,
    },
    /// Broken Parquet.
    #[error("its Parquet cannot be read")]
    Parquet(#[source] ::parquet::errors::ParquetError),
    /// Neither IDX nor NPY as they are read here.
    #[error("it is no matrix of samples: {what}")]
    Matrix {
        /// What is the matter.
        what: String,
    },
    /// No clip.
    #[error("it is no clip that can be heard")]
    Clip(#[source] signals::ClipError),
    /// Samples of the wrong shape.
    #[error("its samples do not become features")]
    Shape(#[source] models::ShapeError),
    /// Rows of another width than the task takes.
    #[error("its rows have {actual} values and the task takes {expected}")]
    Width {
        /// What the task takes.
        expected: usize,
        /// What a row has.
        actual: usize,
    },
    /// A value that is no grey.
    #[error("line {line}: {value} is no pixel, which is a whole number from 0 to 255")]
    Pixel {
        /// Of the file.
        line: u64,
        /// What stands there.
        value: f32,
    },
    /// Nothing says what the rows are.
    #[error(
        "nothing says which class its rows have: {}",
        if *matrix { "say where the labels are with --labels FILE" } else { "say which column with --label COLUMN" }
    )]
    NoLabels {
        /// Whether it is a matrix, which has no column of labels.
        matrix: bool,
    },
    /// As many labels as rows are needed.
    #[error("it has {rows} rows and the file of the labels has more or fewer")]
    LabelCount {
        /// Rows of the matrix.
        rows: u64,
    },
    /// More than is held in memory at once.
    #[error("it has more than {values} values: pick rows with --where")]
    TooLarge {
        /// The limit.
        values: usize,
    },
}

impl From<csv::Error> for Problem {
    fn from(error: csv::Error) -> Self {
        Self::Read(error)
    }
}
