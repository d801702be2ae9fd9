//! The rows of a Parquet file, as the text that a table of comma-separated values would have.
//!
//! Numbers go through text and come back the same; what is gained is one set of rules for what a
//! column is and what is wrong with a cell.

use std::fs::File;

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray as _,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_schema::DataType;
use csv::StringRecord;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::Problem;

/// Values that are unpacked at once, at most, but for a row that is wider.
const BATCH_VALUES_MAX: usize = 1 << 18;

/// A Parquet file that is read row by row.
pub(super) struct Parquet {
    heading: StringRecord,
    batches: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    at: usize,
    /// Rows that were read, and all that there are.
    read: (u64, u64),
}

impl Parquet {
    /// Opens a file that begins like Parquet.
    pub(super) fn open(file: File) -> Result<Self, Problem> {
        // Types as Parquet has them: a category is its text.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(Problem::Parquet)?;
        let heading: StringRecord =
            builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let batch = (BATCH_VALUES_MAX / heading.len().max(1)).clamp(1, 4096);
        let batches = builder.with_batch_size(batch).build().map_err(Problem::Parquet)?;
        Ok(Self { heading, batches, batch: None, at: 0, read: (0, rows) })
    }

    /// The names of the columns.
    pub(super) fn heading(&self) -> &StringRecord {
        &self.heading
    }

    /// How many rows there are and how many were read.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.read.1, self.read.0)
    }

    /// Puts the next row into `record`; its number, counted from 1, or `None` at the end.
    pub(super) fn read(&mut self, record: &mut StringRecord) -> Result<Option<u64>, Problem> {
        while self.batch.as_ref().is_none_or(|batch| self.at == batch.num_rows()) {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let wrong = |error| Problem::Parquet(parquet::errors::ParquetError::from(error));
            self.batch = Some(batch.map_err(wrong)?);
            self.at = 0;
        }
        record.clear();
        for column in self.batch.iter().flat_map(RecordBatch::columns) {
            record.push_field(&cell(column.as_ref(), self.at));
        }
        self.at += 1;
        self.read.0 += 1;
        Ok(Some(self.read.0))
    }
}

/// The text of a cell: empty where nothing stands, the name of the type where it is no text.
fn cell(column: &dyn Array, at: usize) -> String {
    if column.is_null(at) {
        return String::new();
    }
    macro_rules! number {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(at).to_string()
        };
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type is a feature or a label")]
    match column.data_type() {
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Boolean => u8::from(column.as_boolean().value(at)).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(at).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(at).to_owned(),
        DataType::Utf8View => column.as_string_view().value(at).to_owned(),
        other => other.to_string(),
    }
}
