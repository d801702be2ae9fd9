//! Samples in a file: a table of comma-separated values, plain or packed with gzip, or Parquet.
//!
//! ```text
//! temperature,humidity,label,day         the heading names the columns, each once
//! 21.5,40,empty,monday                   features are finite numbers
//! 22.1,38,one_person,monday              the label, the group and what rows are picked by are text
//! ```
//!
//! Which columns are features is said by their names ([`FeatureColumns::Named`], in any order of
//! the file) or by the layout: everything left of the label, or right of it when it is first.
//! Bytes from outside are untrusted: every way of being wrong is an error that names the file, the
//! line and the column, and nothing is read that has no bound.

mod bounded;
mod columns;
mod parquet;
mod picked;
mod problem;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use csv::StringRecord;
use flate2::bufread::MultiGzDecoder;

use self::{bounded::Budget, columns::Layout, parquet::Parquet};
pub(crate) use self::{
    bounded::Metered,
    columns::{Columns, FeatureColumns},
    picked::Picked,
    problem::{Problem, TableError},
};

/// Most values that [`read`] holds at once: 2 GiB of `f32`.
const VALUES_MAX: usize = 1 << 29;

/// A table that is read row by row.
pub(crate) struct TableReader {
    file: String,
    records: Records,
    layout: Layout,
    record: StringRecord,
    row: Row,
    skip_incomplete: bool,
    skipped: u64,
}

/// Where rows come from.
enum Records {
    Csv {
        csv: csv::Reader<Box<dyn Read + Send>>,
        budget: Budget,
        file_bytes: u64,
        file_read: Arc<std::sync::atomic::AtomicU64>,
    },
    Parquet(Box<Parquet>),
}

impl Records {
    /// Puts the next row into `record`; its line, or `None` at the end.
    fn read(&mut self, record: &mut StringRecord) -> Result<Option<u64>, Problem> {
        match self {
            Self::Csv { csv, budget, .. } => {
                budget.refill();
                let more = csv.read_record(record)?;
                Ok(more.then(|| record.position().map_or(0, csv::Position::line)))
            }
            Self::Parquet(parquet) => parquet.read(record),
        }
    }
}

/// One row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// The line of the file where it begins; the heading is line 1. Where a file has no lines, the
    /// row counted from 1.
    pub(crate) line: u64,
    /// Which row of the file it is, those that were not picked included: neighbours follow each
    /// other.
    pub(crate) number: u64,
    /// In the order of [`TableReader::features`].
    pub(crate) values: Vec<f32>,
    /// The cell of the label column; empty when none was asked for.
    pub(crate) label: String,
    /// The cell of the group column; empty when none was asked for.
    pub(crate) group: String,
    /// The cells of [`Columns::extra`], in that order.
    pub(crate) extra: Vec<String>,
}

impl TableReader {
    /// Opens the table and reads its heading.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the file cannot be read, has no heading, or lacks a column that `columns`
    /// names.
    pub(crate) fn open(path: &Path, columns: &Columns) -> Result<Self, TableError> {
        let file = path.display().to_string();
        Self::begin(path, columns).map_err(|problem| TableError { file, problem })
    }

    fn begin(path: &Path, columns: &Columns) -> Result<Self, Problem> {
        let file = File::open(path).map_err(Problem::Open)?;
        let file_bytes = file.metadata().map_err(Problem::Open)?.len();
        let (metered, file_read) = Metered::new(file);
        let mut packed = BufReader::with_capacity(1 << 16, metered);
        // What the file begins with says what it is; its name may say anything.
        let begin = packed.fill_buf().map_err(Problem::Open)?;
        let (gzip, parquet) = (begin.starts_with(&[0x1f, 0x8b]), begin.starts_with(b"PAR1"));
        let (records, heading) = if parquet {
            let parquet = Parquet::open(File::open(path).map_err(Problem::Open)?)?;
            let heading = parquet.heading().clone();
            (Records::Parquet(Box::new(parquet)), heading)
        } else {
            let plain: Box<dyn Read + Send> =
                if gzip { Box::new(MultiGzDecoder::new(packed)) } else { Box::new(packed) };
            let (bounded, budget) = Budget::over(plain);
            let mut csv = csv::ReaderBuilder::new()
                .flexible(true)
                .buffer_capacity(1 << 16)
                .from_reader(Box::new(bounded) as Box<dyn Read + Send>);
            let heading = csv.headers()?.clone();
            (Records::Csv { csv, budget, file_bytes, file_read }, heading)
        };
        let layout = Layout::of(&heading, columns)?;
        Ok(Self {
            file: path.display().to_string(),
            records,
            layout,
            record: StringRecord::new(),
            row: Row::default(),
            skip_incomplete: columns.skip_incomplete,
            skipped: 0,
        })
    }

    /// The names of the features, in the order of a row's values.
    pub(crate) fn features(&self) -> &[String] {
        &self.layout.names
    }

    /// The columns that are none of what was asked for.
    pub(crate) fn ignored(&self) -> &[String] {
        &self.layout.ignored
    }

    /// The size of the file and how much of it was read: bytes as they are on disk, or rows.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match &self.records {
            Records::Csv { file_bytes, file_read, .. } => {
                (*file_bytes, file_read.load(std::sync::atomic::Ordering::Relaxed))
            }
            Records::Parquet(parquet) => parquet.progress(),
        }
    }

    /// How many rows were left out because a cell was missing or no finite number.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next row that is picked; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`TableError`] for a row of another length than the heading, an empty cell, or a feature that
    /// is not a finite number. Rows that are not picked are not looked at.
    pub(crate) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        match self.advance() {
            Ok(true) => Ok(Some(&self.row)),
            Ok(false) => Ok(None),
            Err(problem) => Err(self.error(problem)),
        }
    }

    /// An error about this file.
    pub(crate) fn error(&self, problem: Problem) -> TableError {
        TableError { file: self.file.clone(), problem }
    }

    fn advance(&mut self) -> Result<bool, Problem> {
        loop {
            let Some(line) = self.records.read(&mut self.record)? else { return Ok(false) };
            self.row.number += 1;
            if self.record.len() != self.layout.width {
                return Err(Problem::Ragged {
                    line,
                    expected: self.layout.width,
                    actual: self.record.len(),
                });
            }
            if !self.layout.picks(&self.record) {
                continue;
            }
            match self.layout.fill(&self.record, line, &mut self.row) {
                Ok(()) => return Ok(true),
                Err(Problem::EmptyCell { .. } | Problem::NotFinite { .. })
                    if self.skip_incomplete =>
                {
                    self.skipped += 1;
                }
                Err(problem) => return Err(problem),
            }
        }
    }
}

/// A whole table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// The names of the features.
    pub(crate) features: Vec<String>,
    /// Row-major: `values[row * features.len() + column]`.
    pub(crate) values: Vec<f32>,
    /// The label of each row; empty cells when none was asked for.
    pub(crate) labels: Vec<String>,
    /// The group of each row; empty cells when none was asked for.
    pub(crate) groups: Vec<String>,
    /// The line of the file where each row begins.
    pub(crate) lines: Vec<u64>,
    /// Each of [`Columns::extra`] by its name, one cell for each row.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
    /// The columns that are none of what was asked for.
    pub(crate) ignored: Vec<String>,
}

impl Table {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The values of one row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.features.len()..][..self.features.len()]
    }
}

/// Reads a whole table, which must have a row.
///
/// # Errors
///
/// As [`TableReader::open`] and [`TableReader::next_row`]; [`Problem::NoRows`] for a table without
/// rows, [`Problem::TooLarge`] for one that does not fit in memory.
pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Table, TableError> {
    let mut reader = TableReader::open(path, columns)?;
    let mut table = Table {
        features: reader.features().to_vec(),
        ignored: reader.ignored().to_vec(),
        ..Table::default()
    };
    let mut extra = vec![Vec::new(); columns.extra.len()];
    while let Some(row) = reader.next_row()? {
        if VALUES_MAX < table.values.len() + row.values.len() {
            return Err(reader.error(Problem::TooLarge { values: VALUES_MAX }));
        }
        table.values.extend_from_slice(&row.values);
        table.labels.push(row.label.clone());
        table.groups.push(row.group.clone());
        table.lines.push(row.line);
        for (cells, cell) in extra.iter_mut().zip(&row.extra) {
            cells.push(cell.clone());
        }
    }
    if table.lines.is_empty() {
        return Err(reader.error(Problem::NoRows { picked: !columns.picked.is_empty() }));
    }
    table.extra = columns.extra.iter().cloned().zip(extra).collect();
    Ok(table)
}

#[cfg(test)]
mod tests;
