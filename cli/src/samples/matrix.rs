//! A matrix of numbers without names: IDX (the format of MNIST) or NPY, plain or packed with gzip.
//!
//! The first dimension counts the rows; whatever the others are, a row is their values in order.
//! Rows are read one by one, so that no size that a header claims is ever allocated.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::beginning;
use crate::table_file::{Columns, FeatureColumns, Metered, Problem, Row, TableError, TableReader};

/// Most dimensions.
const DIMENSIONS_MAX: usize = 8;
/// Longest header of an NPY file, in bytes.
const HEADER_BYTES_MAX: usize = 1 << 16;
/// Most labels of a labels file.
const LABELS_MAX: usize = 50_000_000;

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// A matrix that is read row by row.
pub(crate) struct Matrix {
    file: String,
    reader: Box<dyn Read + Send>,
    element: Element,
    big_endian: bool,
    shape: Vec<usize>,
    labels: Labels,
    bytes: Vec<u8>,
    row: Row,
    file_bytes: u64,
    file_read: Arc<AtomicU64>,
}

/// Where the labels are.
enum Labels {
    None,
    Matrix(std::vec::IntoIter<String>),
    Table(Box<TableReader>),
}

impl Matrix {
    /// Whether a file begins like a matrix.
    pub(crate) fn is_one(path: &Path) -> std::io::Result<bool> {
        let begin = beginning(path)?;
        let idx = matches!(begin[..], [0, 0, 0x08..=0x0e, 1..=8, ..]);
        Ok(idx || begin.starts_with(b"\x93NUMPY"))
    }

    /// Opens a matrix and the file of its labels, where there is one: a matrix, or a table whose
    /// columns are said by `columns`.
    pub(crate) fn labelled(
        path: &Path,
        labels: Option<&Path>,
        columns: &Columns,
    ) -> Result<Self, TableError> {
        let mut matrix = Self::alone(path)?;
        if let Some(labels) = labels {
            matrix.labels = Labels::open(labels, columns)?;
        }
        Ok(matrix)
    }

    /// Opens a matrix without labels.
    fn alone(path: &Path) -> Result<Self, TableError> {
        let said = |problem| TableError { file: path.display().to_string(), problem };
        let file = File::open(path).map_err(|error| said(Problem::Open(error)))?;
        let file_bytes = file.metadata().map_err(|error| said(Problem::Open(error)))?.len();
        let (metered, file_read) = Metered::new(file);
        let mut packed = BufReader::with_capacity(1 << 16, metered);
        let begin = packed.fill_buf().map_err(|error| said(Problem::Open(error)))?;
        let mut reader: Box<dyn Read + Send> = if begin.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(MultiGzDecoder::new(packed)))
        } else {
            Box::new(packed)
        };
        let (element, big_endian, shape) = heading(&mut reader).map_err(said)?;
        let width = shape[1..].iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
        let width = width.filter(|it| (1..=models::schema::FEATURES_MAX).contains(it));
        let Some(width) = width else {
            return Err(said(broken(format!("rows of {:?} values are no samples", &shape[1..]))));
        };
        let bytes = vec![0; width * element.bytes()];
        Ok(Self {
            file: path.display().to_string(),
            reader,
            element,
            big_endian,
            shape,
            labels: Labels::None,
            bytes,
            row: Row::default(),
            file_bytes,
            file_read,
        })
    }

    /// The dimensions; the first counts the rows.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values of a row.
    pub(crate) fn width(&self) -> usize {
        self.bytes.len() / self.element.bytes()
    }

    /// The size of the file and how much of it was read, in bytes as they are on disk.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.file_bytes, self.file_read.load(Ordering::Relaxed))
    }

    /// An error about this file.
    pub(crate) fn error(&self, problem: Problem) -> TableError {
        TableError { file: self.file.clone(), problem }
    }

    /// The next row, whose number stands where a table has its line; `None` at the end.
    pub(crate) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        let rows = u64::try_from(self.shape[0]).unwrap_or(u64::MAX);
        if self.row.line == rows {
            return match self.labels.next(&mut self.row)? {
                true => Err(self.error(Problem::LabelCount { rows })),
                false => Ok(None),
            };
        }
        self.row.line += 1;
        self.row.number = self.row.line;
        if let Err(error) = self.reader.read_exact(&mut self.bytes) {
            let line = self.row.line;
            return Err(self.error(broken(format!("row {line} of {rows} cannot be read: {error}"))));
        }
        self.row.values.clear();
        for bytes in self.bytes.chunks_exact(self.element.bytes()) {
            self.row.values.push(self.element.value(bytes, self.big_endian));
        }
        if let Some(column) = self.row.values.iter().position(|value| !value.is_finite()) {
            let (line, column) = (self.row.line, format!("value {}", column + 1));
            let cell = "NaN or too large".to_owned();
            return Err(self.error(Problem::NotFinite { line, column, cell }));
        }
        match self.labels {
            Labels::None => {}
            Labels::Matrix(_) | Labels::Table(_) => {
                if !self.labels.next(&mut self.row)? {
                    return Err(self.error(Problem::LabelCount { rows }));
                }
            }
        }
        Ok(Some(&self.row))
    }
}

impl Labels {
    fn open(path: &Path, columns: &Columns) -> Result<Self, TableError> {
        let said = |problem| TableError { file: path.display().to_string(), problem };
        if !Matrix::is_one(path).map_err(|error| said(Problem::Open(error)))? {
            let columns = Columns {
                features: FeatureColumns::Named(Vec::new()),
                label: Some(columns.label.clone().unwrap_or_else(|| "label".to_owned())),
                ..columns.clone()
            };
            return Ok(Self::Table(Box::new(TableReader::open(path, &columns)?)));
        }
        let mut matrix = Matrix::alone(path)?;
        if matrix.width() != 1 || LABELS_MAX < matrix.shape[0] {
            return Err(said(broken("labels are one whole number a row".to_owned())));
        }
        let mut labels = Vec::new();
        while let Some(row) = matrix.next_row()? {
            labels.push(row.values[0].to_string());
        }
        Ok(Self::Matrix(labels.into_iter()))
    }

    /// Puts the next label into `row`; whether there was one.
    fn next(&mut self, row: &mut Row) -> Result<bool, TableError> {
        match self {
            Self::None => Ok(false),
            Self::Matrix(labels) => match labels.next() {
                Some(label) => {
                    row.label = label;
                    Ok(true)
                }
                None => Ok(false),
            },
            Self::Table(table) => match table.next_row()? {
                Some(labelled) => {
                    row.label.clone_from(&labelled.label);
                    row.group.clone_from(&labelled.group);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The number in `bytes`, of which there are as many as it takes; infinite when `f32` cannot
    /// hold it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "features are 32-bit numbers, whatever a file holds"
    )]
    fn value(self, bytes: &[u8], big_endian: bool) -> f32 {
        let mut wide = [0; 8];
        for (at, byte) in bytes.iter().enumerate() {
            wide[if big_endian { bytes.len() - 1 - at } else { at }] = *byte;
        }
        let [a, b, c, d, ..] = wide;
        match self {
            Self::U8 => f32::from(a),
            Self::I8 => f32::from(i8::from_le_bytes([a])),
            Self::U16 => f32::from(u16::from_le_bytes([a, b])),
            Self::I16 => f32::from(i16::from_le_bytes([a, b])),
            Self::U32 => u32::from_le_bytes([a, b, c, d]) as f32,
            Self::I32 => i32::from_le_bytes([a, b, c, d]) as f32,
            Self::U64 => u64::from_le_bytes(wide) as f32,
            Self::I64 => i64::from_le_bytes(wide) as f32,
            Self::F32 => f32::from_le_bytes([a, b, c, d]),
            Self::F64 => f64::from_le_bytes(wide) as f32,
        }
    }
}

fn broken(what: String) -> Problem {
    Problem::Matrix { what }
}

/// How the numbers are written, and the dimensions.
fn heading(reader: &mut dyn Read) -> Result<(Element, bool, Vec<usize>), Problem> {
    let mut begin = [0; 4];
    exactly(reader, &mut begin)?;
    let (element, big_endian, shape) = if begin[..2] == [0, 0] {
        let element = match begin[2] {
            0x08 => Element::U8,
            0x09 => Element::I8,
            0x0b => Element::I16,
            0x0c => Element::I32,
            0x0d => Element::F32,
            0x0e => Element::F64,
            other => return Err(broken(format!("IDX has no kind of number {other:#04x}"))),
        };
        let mut shape = Vec::new();
        for _ in 0..usize::from(begin[3]).min(DIMENSIONS_MAX + 1) {
            let mut side = [0; 4];
            exactly(reader, &mut side)?;
            shape.push(usize::try_from(u32::from_be_bytes(side)).unwrap_or(usize::MAX));
        }
        (element, true, shape)
    } else {
        npy(reader)?
    };
    if shape.is_empty() || DIMENSIONS_MAX < shape.len() {
        return Err(broken(format!("{} dimensions; 1 to {DIMENSIONS_MAX} are read", shape.len())));
    }
    Ok((element, big_endian, shape))
}

/// The rest of the heading of an NPY file, of which four bytes are read.
///
/// # Source
///
/// NumPy's NEP 1: magic, version, length, and a Python dictionary with three keys.
fn npy(reader: &mut dyn Read) -> Result<(Element, bool, Vec<usize>), Problem> {
    let mut rest = [0; 6];
    exactly(reader, &mut rest)?;
    let [b'P', b'Y', major, _, low, high] = rest else {
        return Err(broken("its heading is not NPY's".to_owned()));
    };
    let mut length = usize::from(u16::from_le_bytes([low, high]));
    if 1 < major {
        let mut more = [0; 2];
        exactly(reader, &mut more)?;
        let long = u32::from_le_bytes([low, high, more[0], more[1]]);
        length = usize::try_from(long).unwrap_or(usize::MAX);
    }
    if HEADER_BYTES_MAX < length {
        return Err(broken(format!("a heading of {length} bytes")));
    }
    let mut header = vec![0; length];
    exactly(reader, &mut header)?;
    let header = String::from_utf8_lossy(&header);
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    let missing = || broken(format!("its heading says {:?}", header.trim()));

    if after("'fortran_order':").ok_or_else(missing)?.starts_with("True") {
        return Err(broken("it lies column by column: save it with order=\"C\"".to_owned()));
    }
    let kind = after("'descr':").ok_or_else(missing)?.trim_start_matches(['\'', '"']);
    let kind = kind.split(['\'', '"']).next().unwrap_or_default();
    let (order, number) = kind.split_at_checked(1).ok_or_else(missing)?;
    let element = match number {
        "u1" | "b1" => Element::U8,
        "i1" => Element::I8,
        "u2" => Element::U16,
        "i2" => Element::I16,
        "u4" => Element::U32,
        "i4" => Element::I32,
        "u8" => Element::U64,
        "i8" => Element::I64,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return Err(broken(format!("numbers of the kind {kind:?} are not read"))),
    };
    let sides = after("'shape':").and_then(|it| it.strip_prefix('('));
    let sides = sides.and_then(|it| it.split_once(')')).ok_or_else(missing)?.0;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape = sides.map(str::parse).collect::<Result<Vec<usize>, _>>().map_err(|_| missing())?;
    Ok((element, order == ">", shape))
}

fn exactly(reader: &mut dyn Read, bytes: &mut [u8]) -> Result<(), Problem> {
    reader.read_exact(bytes).map_err(|error| broken(format!("its heading cannot be read: {error}")))
}
