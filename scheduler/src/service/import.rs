//! Importing samples: checked row by row as they come, written to a file, made part of the task
//! only when all of them were good.

use std::time::Duration;

use models::ShapeError;
use proto::{parse::ParseError, v1};
use store::samples::{Chunk, SamplesError, SamplesWriter};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Services;
use crate::{
    error::{asked, malformed},
    registry::{AddSamples, Summary, no_task},
};

/// Rows of one import.
const ROWS_MAX: u64 = 50_000_000;
/// Groups of one import: subjects, days and devices are fewer.
const GROUPS_MAX: usize = 100_000;
/// Longest name of a group, in bytes.
const GROUP_BYTES_MAX: usize = 200;
/// Chunks that wait for the disk.
const CHUNKS_WAITING: usize = 4;
/// An import that sends nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Services {
    /// Takes one import.
    pub(super) async fn import(
        &self,
        mut stream: Streaming<v1::ImportChunk>,
    ) -> Result<v1::ImportReply, Status> {
        let _permit = self.upload()?;
        let first = next(&mut stream)
            .await?
            .ok_or_else(|| Status::invalid_argument("an import has at least one chunk"))?;
        let name = first.task.clone();
        let book = self.vault.books().tasks.get(&name).cloned().ok_or_else(|| no_task(&name))?;
        let schema = &book.task.schema;
        let mut checks = Checks {
            width: schema.width(),
            classes: schema.classes().len(),
            grouped: !first.groups.is_empty(),
            summary: Summary::new(schema.width(), schema.classes().len()),
        };
        let announced = usize::try_from(first.width).unwrap_or(usize::MAX);
        if announced != checks.width {
            let error = ShapeError::Width { expected: checks.width, actual: announced };
            return Err(malformed(&error));
        }

        // The file is written on a thread of its own; dropping the sender early drops the file.
        let unique = runtime::secret::random::<8>()
            .map_err(|_| Status::internal("the system has no random numbers"))?;
        let file = format!("{}.parquet", runtime::secret::hex(&unique));
        let path = self.vault.samples_file(book.id, &file);
        let features = schema.features().to_vec();
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let written = path.clone();
        let writer = tokio::task::spawn_blocking(move || write(&written, &features, receiver));

        let mut chunk = Some(first);
        let received = loop {
            let Some(message) = chunk else { break Ok(()) };
            let checked = match checks.check(message) {
                Ok(checked) => checked,
                Err(status) => break Err(status),
            };
            if sender.send(Step::Rows(checked)).await.is_err() {
                // The writer has ended; it says why.
                break Ok(());
            }
            chunk = match next(&mut stream).await {
                Ok(chunk) => chunk,
                Err(status) => break Err(status),
            };
        };
        let received = received.and_then(|()| {
            if checks.summary.rows == 0 {
                return Err(Status::invalid_argument("there are no rows to import"));
            }
            Ok(())
        });
        if received.is_ok() {
            let _the_writer_says_why = sender.send(Step::End).await;
        }
        drop(sender);
        let outcome = writer.await.map_err(|_| Status::internal("the samples were not written"))?;
        received?;
        outcome.map_err(|error| {
            tracing::error!(error = %runtime::Report(&error), "samples were not written");
            Status::internal(runtime::Report(&error).to_string())
        })?;

        let rows = checks.summary.rows;
        let add = AddSamples { task: name, task_id: book.id, file, summary: checks.summary };
        match asked(self.registry.ask(add).await) {
            Ok(total) => Ok(v1::ImportReply { rows, total }),
            Err(status) => {
                // Nobody refers to the file, so nobody will miss it.
                if let Err(error) = tokio::fs::remove_file(&path).await {
                    tracing::warn!(%error, "a samples file that nobody uses was left behind");
                }
                Err(status)
            }
        }
    }
}

async fn next(stream: &mut Streaming<v1::ImportChunk>) -> Result<Option<v1::ImportChunk>, Status> {
    tokio::time::timeout(SILENCE_MAX, stream.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!(
            "nothing came for {} s; nothing was imported",
            SILENCE_MAX.as_secs()
        ))
    })?
}

/// What the writing thread is told.
enum Step {
    Rows(Chunk),
    /// All rows were good: make the file whole.
    End,
}

fn write(
    path: &std::path::Path,
    features: &[String],
    mut steps: mpsc::Receiver<Step>,
) -> Result<(), SamplesError> {
    let mut writer = SamplesWriter::create(path, features)?;
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::Rows(chunk) => writer.push(&chunk)?,
            Step::End => return writer.finish().map(|_| ()),
        }
    }
    // The import broke off: the file goes with the writer.
    Ok(())
}

/// What every row of an import has to be.
struct Checks {
    width: usize,
    classes: usize,
    grouped: bool,
    summary: Summary,
}

impl Checks {
    /// The rows of a chunk, or which of them is wrong, counted from the start of the import.
    fn check(&mut self, message: v1::ImportChunk) -> Result<Chunk, Status> {
        let before = self.summary.rows;
        let width = u32::try_from(self.width).unwrap_or(u32::MAX);
        if message.width != 0 && message.width != width {
            return Err(Status::invalid_argument(format!(
                "the width changes from {width} to {} after row {before}",
                message.width
            )));
        }
        let row_number = |row: usize| before + u64::try_from(row).unwrap_or(u64::MAX) + 1;
        let samples = proto::parse::samples(width, &message.values).map_err(|error| {
            if let ParseError::Samples(ShapeError::NotFinite { row, column }) = error {
                return Status::invalid_argument(format!(
                    "row {}: the value in column {} is not a finite number; nothing was imported",
                    row_number(row),
                    column + 1
                ));
            }
            malformed(&error)
        })?;
        let rows = samples.len();
        if message.labels.len() != rows {
            return Err(malformed(&ParseError::Rows {
                rows,
                what: "labels",
                actual: message.labels.len(),
            }));
        }
        let groups = if self.grouped { rows } else { 0 };
        if message.groups.len() != groups {
            return Err(malformed(&ParseError::Rows {
                rows,
                what: "groups (give one to each row, or none to any)",
                actual: message.groups.len(),
            }));
        }
        let mut labels = Vec::with_capacity(rows);
        for (row, &label) in message.labels.iter().enumerate() {
            let id = u16::try_from(label).ok().filter(|&id| usize::from(id) < self.classes);
            let id = id.ok_or_else(|| {
                Status::invalid_argument(format!(
                    "row {}: label {label} is none of the {} classes; nothing was imported",
                    row_number(row),
                    self.classes
                ))
            })?;
            labels.push(id);
        }
        if let Some(row) = message
            .groups
            .iter()
            .position(|group| group.is_empty() || GROUP_BYTES_MAX < group.len())
        {
            return Err(Status::invalid_argument(format!(
                "row {}: a group has 1 to {GROUP_BYTES_MAX} bytes; nothing was imported",
                row_number(row)
            )));
        }
        let chunk = Chunk { values: samples.values().to_vec(), labels, groups: message.groups };
        self.summary.add(&chunk.values, &chunk.labels, &chunk.groups);
        if ROWS_MAX < self.summary.rows {
            return Err(Status::invalid_argument(format!(
                "more than {ROWS_MAX} rows; split the import"
            )));
        }
        if GROUPS_MAX < self.summary.groups.len() {
            return Err(Status::invalid_argument(format!(
                "more than {GROUPS_MAX} groups; is this the column of the groups?"
            )));
        }
        Ok(chunk)
    }
}
