//! Samples in Parquet files: one column per feature, a label, and a group where there is one.
//!
//! ```text
//! column   type      what
//! x:NAME   f32       a feature, in the order of the task's schema
//! label    u16       class id
//! group    string    subject, day or device; null where there is none
//! ```
//!
//! A file is written under a temporary name, synced and renamed, so that a file with its final
//! name is whole. It is never changed afterwards. Row groups are bounded, so that reading and
//! writing take a bounded amount of memory whatever the length of the file.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    Array as _, ArrayRef, Float32Array, RecordBatch, StringArray, UInt16Array,
    cast::AsArray as _,
    types::{Float32Type, UInt16Type},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::Compression,
    errors::ParquetError,
    file::properties::WriterProperties,
};

/// Bytes of values that one row group holds at most, before compression.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Bytes of values that one chunk holds at most when read back.
const CHUNK_BYTES: usize = 1 << 18;

/// Some rows of samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// Row-major, as many per row as there are features.
    pub values: Vec<f32>,
    /// One class id per row.
    pub labels: Vec<u16>,
    /// One group per row, or empty when there are none.
    pub groups: Vec<String>,
}

/// Why samples were not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file or its folder cannot be used.
    #[error("cannot use the samples file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Values, labels and groups that do not belong together.
    #[error(
        "{values} values, {labels} labels and {groups} groups do not make rows of {width} features"
    )]
    Ragged {
        /// How many values.
        values: usize,
        /// How many labels.
        labels: usize,
        /// How many groups.
        groups: usize,
        /// Features per row.
        width: usize,
    },
    /// Parquet cannot write or read it.
    #[error("the samples file {path} is damaged or of another kind; import the samples again")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What Parquet says.
        #[source]
        source: ParquetError,
    },
    /// Columns of another task.
    #[error("the samples file {path} does not have the columns of {width} features")]
    Columns {
        /// The file.
        path: PathBuf,
        /// Features of the task.
        width: usize,
    },
}

/// A samples file that is being written. Dropped before [`SamplesWriter::finish`], it leaves
/// nothing.
#[derive(Debug)]
pub struct SamplesWriter {
    path: PathBuf,
    temporary: PathBuf,
    width: usize,
    rows: u64,
    schema: SchemaRef,
    /// `None` once finished.
    writer: Option<ArrowWriter<File>>,
}

impl SamplesWriter {
    /// Begins the file `path` for samples of `features`.
    ///
    /// # Errors
    ///
    /// [`SamplesError::File`] when it cannot be created.
    pub fn create(path: &Path, features: &[String]) -> Result<Self, SamplesError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let file_error = |source| SamplesError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(file_error)?;
        }
        let file = File::create(&temporary).map_err(file_error)?;

        let mut fields: Vec<Field> = features
            .iter()
            .map(|name| Field::new(format!("x:{name}"), DataType::Float32, false))
            .collect();
        fields.push(Field::new("label", DataType::UInt16, false));
        fields.push(Field::new("group", DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
            .set_max_row_group_row_count(Some(rows_of(ROW_GROUP_BYTES, features.len())))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|source| SamplesError::Parquet { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            width: features.len(),
            rows: 0,
            schema,
            writer: Some(writer),
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    ///
    /// [`SamplesError::Ragged`] when the parts have different numbers of rows; nothing is
    /// appended then. [`SamplesError::Parquet`] when writing fails.
    pub fn push(&mut self, chunk: &Chunk) -> Result<(), SamplesError> {
        let rows = chunk.labels.len();
        if chunk.values.len() != rows.saturating_mul(self.width)
            || !(chunk.groups.is_empty() || chunk.groups.len() == rows)
        {
            return Err(SamplesError::Ragged {
                values: chunk.values.len(),
                labels: rows,
                groups: chunk.groups.len(),
                width: self.width,
            });
        }
        let mut columns: Vec<ArrayRef> = (0..self.width)
            .map(|column| {
                let values = chunk.values.iter().skip(column).step_by(self.width).copied();
                Arc::new(Float32Array::from_iter_values(values)) as ArrayRef
            })
            .collect();
        columns.push(Arc::new(UInt16Array::from(chunk.labels.clone())));
        columns.push(if chunk.groups.is_empty() {
            Arc::new(StringArray::new_null(rows))
        } else {
            Arc::new(StringArray::from_iter_values(&chunk.groups))
        });
        let path = self.path.clone();
        let parquet_error = move |source| SamplesError::Parquet { path, source };
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| parquet_error.clone()(error.into()))?;
        self.writer
            .as_mut()
            .expect("the writer is there until `finish` consumes self")
            .write(&batch)
            .map_err(parquet_error)?;
        self.rows += u64::try_from(rows).expect("a length fits in 64 bits");
        Ok(())
    }

    /// Makes the file whole and durable under its name, and says how many rows it has.
    ///
    /// # Errors
    ///
    /// [`SamplesError::Parquet`] or [`SamplesError::File`]; the file is not there then.
    pub fn finish(mut self) -> Result<u64, SamplesError> {
        let writer = self.writer.take().expect("the writer is there until `finish` consumes self");
        let file = writer
            .into_inner()
            .map_err(|source| SamplesError::Parquet { path: self.path.clone(), source })?;
        let file_error = |source| SamplesError::File { path: self.path.clone(), source };
        file.sync_all().map_err(file_error)?;
        std::fs::rename(&self.temporary, &self.path).map_err(file_error)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error)?;
        }
        Ok(self.rows)
    }
}

impl Drop for SamplesWriter {
    fn drop(&mut self) {
        // After `finish` the temporary name is gone already; before it, the file is worth nothing.
        drop(self.writer.take());
        if let Err(error) = std::fs::remove_file(&self.temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a half-written samples file was left behind");
        }
    }
}

/// The chunks of a samples file, in the order they were written.
#[derive(Debug)]
pub struct SamplesReader {
    path: PathBuf,
    width: usize,
    batches: ParquetRecordBatchReader,
}

impl SamplesReader {
    /// Opens the samples file `path` of a task with `width` features.
    ///
    /// # Errors
    ///
    /// [`SamplesError::File`] when it cannot be read, [`SamplesError::Parquet`] when it is damaged,
    /// [`SamplesError::Columns`] when it belongs to another task.
    pub fn open(path: &Path, width: usize) -> Result<Self, SamplesError> {
        let file = File::open(path)
            .map_err(|source| SamplesError::File { path: path.to_owned(), source })?;
        let parquet_error = |source| SamplesError::Parquet { path: path.to_owned(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet_error)?;
        let fields = builder.schema().fields();
        let fits = fields.len() == width + 2
            && fields[..width].iter().all(|field| *field.data_type() == DataType::Float32)
            && *fields[width].data_type() == DataType::UInt16
            && *fields[width + 1].data_type() == DataType::Utf8;
        if !fits {
            return Err(SamplesError::Columns { path: path.to_owned(), width });
        }
        let batches =
            builder.with_batch_size(rows_of(CHUNK_BYTES, width)).build().map_err(parquet_error)?;
        Ok(Self { path: path.to_owned(), width, batches })
    }
}

impl Iterator for SamplesReader {
    type Item = Result<Chunk, SamplesError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.batches.next()? {
            Ok(batch) => Ok(chunk_of(&batch, self.width)),
            Err(error) => {
                Err(SamplesError::Parquet { path: self.path.clone(), source: error.into() })
            }
        })
    }
}

fn chunk_of(batch: &RecordBatch, width: usize) -> Chunk {
    let rows = batch.num_rows();
    let mut values = vec![0.0; rows * width];
    for column in 0..width {
        let from = batch.column(column).as_primitive::<Float32Type>();
        for (row, &value) in from.values().iter().enumerate() {
            values[row * width + column] = value;
        }
    }
    let labels = batch.column(width).as_primitive::<UInt16Type>().values().to_vec();
    let groups = batch.column(width + 1).as_string::<i32>();
    let groups = if groups.null_count() == rows {
        Vec::new()
    } else {
        groups.iter().map(|group| group.unwrap_or_default().to_owned()).collect()
    };
    Chunk { values, labels, groups }
}

/// How many rows of `width` features make `bytes`; at least one.
fn rows_of(bytes: usize, width: usize) -> usize {
    (bytes / (width * size_of::<f32>() + 64)).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(width: usize) -> Vec<String> {
        // One of them is called like a column of ours.
        (0..width).map(|at| if at == 0 { "label".to_owned() } else { format!("f{at}") }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn reads_back_what_it_wrote(
            width in 1_usize..5, sizes in prop::collection::vec(0_usize..40, 0..4), grouped: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a/samples.parquet");
            let mut writer = SamplesWriter::create(&path, &names(width)).unwrap();
            let mut all = Chunk::default();
            let mut next = 0_u16;
            for rows in sizes {
                let mut chunk = Chunk::default();
                for _ in 0..rows {
                    next += 1;
                    chunk.labels.push(next % 7);
                    chunk.values.extend((0..width).map(|_| f32::from(next) / 3.0));
                    if grouped {
                        chunk.groups.push(format!("g{}", next % 3));
                    }
                }
                writer.push(&chunk).unwrap();
                all.values.extend(chunk.values);
                all.labels.extend(chunk.labels);
                all.groups.extend(chunk.groups);
            }
            prop_assert_eq!(writer.finish().unwrap(), u64::from(next));
            let mut read = Chunk::default();
            for chunk in SamplesReader::open(&path, width).unwrap() {
                let chunk = chunk.unwrap();
                read.values.extend(chunk.values);
                read.labels.extend(chunk.labels);
                read.groups.extend(chunk.groups);
            }
            prop_assert_eq!(read, all);
        }
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.parquet");
        let mut writer = SamplesWriter::create(&path, &names(1)).unwrap();
        writer.push(&Chunk { values: vec![1.0], labels: vec![0], groups: vec![] }).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.parquet");
        let mut writer = SamplesWriter::create(&path, &names(2)).unwrap();
        for (values, labels, groups) in [(3, 2, 0), (4, 2, 1), (0, 1, 0)] {
            let chunk = Chunk {
                values: vec![0.0; values],
                labels: vec![0; labels],
                groups: vec![String::new(); groups],
            };
            assert!(matches!(writer.push(&chunk), Err(SamplesError::Ragged { .. })));
        }
        assert_eq!(writer.finish().unwrap(), 0);
    }

    #[test]
    fn another_width_and_a_cut_file_have_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.parquet");
        let writer = SamplesWriter::create(&path, &names(2)).unwrap();
        writer.finish().unwrap();
        assert!(matches!(SamplesReader::open(&path, 3), Err(SamplesError::Columns { .. })));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(SamplesReader::open(&path, 2), Err(SamplesError::Parquet { .. })));
    }
}
