//! Labelled rows of features, from a file of whatever kind a task takes.
//!
//! | the task takes | from |
//! | --- | --- |
//! | features | a table (CSV, gzip or Parquet), or a matrix (IDX, NPY) with `--labels` |
//! | windows | a table of raw samples, in the order of time |
//! | sounds | a table with a column `file`, a folder of folders named after classes, one clip |
//! | images | a matrix of eight-bit pixels with `--labels`, or a table of pixels |
//!
//! What a file begins with says what it is; its name may say anything. Raw input becomes features
//! here, with the code of `signals`, before anything goes over the wire.

mod clips;
mod images;
mod matrix;
mod windows;

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use proto::v1;
use scheduler::task_file::{Cutting, Task};
use signals::Input;

use self::{clips::Clips, images::Images, windows::Windows};
pub(crate) use self::{clips::clip_labels, matrix::Matrix};
use crate::{
    failure::Failure,
    table_file::{Columns, FeatureColumns, Problem, Row, TableError, TableReader},
};

/// What is wanted of a file.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// What the task takes.
    pub(crate) input: Input,
    /// How recordings are cut into windows.
    pub(crate) cutting: Cutting,
    /// Label, group and what rows are picked by; the features are said by the input.
    pub(crate) columns: Columns,
    /// The column of the groups, as the task names it.
    pub(crate) group: Option<String>,
    /// Where the labels of a matrix are.
    pub(crate) labels: Option<PathBuf>,
    /// Whether rows without a label are of no use.
    pub(crate) labelled: bool,
}

impl Wanted {
    /// What a task wants of a file, with the label, group and picks of `columns`.
    ///
    /// # Errors
    ///
    /// A task file that this version does not read.
    pub(crate) fn of(task: &v1::TaskView, columns: Columns) -> Result<Self, Failure> {
        let parsed = Task::parse(&task.toml)?;
        let (input, cutting, group) = (parsed.input, parsed.cutting, parsed.group);
        Ok(Self { input, cutting, columns, group, labels: None, labelled: false })
    }

    /// The same, with the groups of the rows: those of the task where none were asked for.
    pub(crate) fn grouped(mut self) -> Self {
        // What has no column of labels has none of groups.
        let table = self.columns.label.is_some();
        self.columns.group = self.columns.group.or(self.group.clone().filter(|_| table));
        self
    }

    /// The same, where every row must have a label: in its column, or in a file of their own.
    pub(crate) fn labelled(self, labels: Option<PathBuf>) -> Self {
        Self { labelled: true, labels, ..self }
    }
}

/// A file that is read row by row.
pub(crate) enum SampleReader {
    /// Rows of a table, as they are.
    Table(Box<TableReader>),
    /// Rows of a matrix, as they are.
    Matrix(Box<Matrix>),
    /// Windows of the samples of a table.
    Windows(Box<Windows>),
    /// Stretches of clips.
    Clips(Box<Clips>),
    /// Images, from a matrix or a table.
    Images(Box<Images>),
}

impl SampleReader {
    /// Opens a file, or a folder of clips.
    ///
    /// # Errors
    ///
    /// [`TableError`] when it cannot be read or is not what `wanted` asks for.
    pub(crate) fn open(path: &Path, wanted: &Wanted) -> Result<Self, TableError> {
        let said = |problem| TableError { file: path.display().to_string(), problem };
        let matrix =
            path.is_file() && Matrix::is_one(path).map_err(|it| said(Problem::Open(it)))?;
        let in_folders = matches!(wanted.input, Input::Audio(_)) && path.is_dir();
        let somewhere =
            if matrix { wanted.labels.is_some() } else { wanted.columns.label.is_some() };
        if wanted.labelled && !somewhere && !in_folders {
            return Err(said(Problem::NoLabels { matrix }));
        }
        let columns = |features| Columns { features, ..wanted.columns.clone() };
        Ok(match &wanted.input {
            Input::Features(names) if matrix => {
                let matrix = Matrix::labelled(path, wanted.labels.as_deref(), &wanted.columns)?;
                if matrix.width() != names.len() {
                    let (expected, actual) = (names.len(), matrix.width());
                    return Err(said(Problem::Width { expected, actual }));
                }
                Self::Matrix(Box::new(matrix))
            }
            Input::Features(names) => {
                let columns = columns(FeatureColumns::Named(names.clone()));
                Self::Table(Box::new(TableReader::open(path, &columns)?))
            }
            Input::Window(window) => {
                let mut columns = columns(FeatureColumns::Named(window.channels().to_vec()));
                columns.extra.extend(wanted.cutting.recording.clone());
                let table = TableReader::open(path, &columns)?;
                Self::Windows(Box::new(Windows::new(table, window.clone(), &wanted.cutting)))
            }
            Input::Audio(sound) => {
                Self::Clips(Box::new(Clips::open(path, sound, &wanted.columns)?))
            }
            Input::Image(image) => {
                let pixels = if matrix {
                    Self::Matrix(Box::new(Matrix::labelled(
                        path,
                        wanted.labels.as_deref(),
                        &wanted.columns,
                    )?))
                } else {
                    Self::Table(Box::new(TableReader::open(
                        path,
                        &columns(FeatureColumns::ByLayout),
                    )?))
                };
                Self::Images(Box::new(Images::new(pixels, image.clone())))
            }
        })
    }

    /// How much there is and how much of it was read, in units of its own.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match self {
            Self::Table(table) => table.progress(),
            Self::Matrix(matrix) => matrix.progress(),
            Self::Windows(windows) => windows.table().progress(),
            Self::Clips(clips) => clips.progress(),
            Self::Images(images) => images.pixels().progress(),
        }
    }

    /// The next row of features; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`TableError`] for what is not as the first row promised.
    pub(crate) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        match self {
            Self::Table(table) => table.next_row(),
            Self::Matrix(matrix) => matrix.next_row(),
            Self::Windows(windows) => windows.next_row(),
            Self::Clips(clips) => clips.next_row(),
            Self::Images(images) => images.next_row(),
        }
    }

    /// How many rows were left out because a cell was missing or no finite number.
    pub(crate) fn skipped(&self) -> u64 {
        match self {
            Self::Table(table) => table.skipped(),
            Self::Windows(windows) => windows.table().skipped(),
            Self::Images(images) => images.pixels().skipped(),
            Self::Matrix(_) | Self::Clips(_) => 0,
        }
    }

    /// An error about this file.
    pub(crate) fn error(&self, problem: Problem) -> TableError {
        match self {
            Self::Table(table) => table.error(problem),
            Self::Matrix(matrix) => matrix.error(problem),
            Self::Windows(windows) => windows.table().error(problem),
            Self::Clips(clips) => clips.error(problem),
            Self::Images(images) => images.pixels().error(problem),
        }
    }
}

/// The beginning of a file, unpacked where it is packed.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut packed = BufReader::new(File::open(path)?);
    let mut begin = Vec::new();
    if packed.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        // What is broken further on is said by whoever reads it.
        let _broken = MultiGzDecoder::new(packed).take(8).read_to_end(&mut begin);
    } else {
        packed.take(8).read_to_end(&mut begin)?;
    }
    Ok(begin)
}

#[cfg(test)]
mod tests;
