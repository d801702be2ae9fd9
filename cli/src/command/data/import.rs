//! `sensemble data import`: the labelled rows of a file, all or none; `data check`: what is odd about
//! them, without importing any.

use std::{collections::HashMap, path::PathBuf};

use client::{Chunker, ImportError, Sample};
use proto::v1;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    classes_file::ClassesFile,
    command::{Call, progress},
    failure::{Doing as _, Failure, Outcome},
    inspection::Inspection,
    output,
    samples::{SampleReader, Wanted},
    table_file::{Columns, FeatureColumns, Picked, Problem, Row, TableError},
};

/// Chunks that are read ahead of the network at most.
const CHUNKS_AHEAD_MAX: usize = 4;
/// Rows from one movement of the bar to the next.
const ROWS_PER_MOVE: u64 = 256;

/// What `data import` and `data check` are told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The task.
    task: String,
    /// A table of samples (CSV, gzip, Parquet), whose columns are found by their names; a matrix
    /// (IDX, NPY); for a task that takes sounds a table with a column `file`, or a folder of
    /// folders named after the classes.
    file: PathBuf,
    /// The column that holds the class, by its name or by an id.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Where the labels of a matrix are: IDX, NPY, or a table with the column `--label`.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Leave out rows with a cell that is missing or no finite number.
    #[arg(long)]
    skip_incomplete: bool,
    /// The column that says which rows belong together; the one of the task when absent.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// A table `id,name,background` that names the ids in the label column.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Only rows whose cell is one of these; may be said more than once.
    #[arg(long = "where", value_name = "COLUMN=V1,V2")]
    picked: Vec<Picked>,
}

/// What is known before the first row.
struct Opened {
    admin: client::Admin,
    rows: Rows,
}

impl Options {
    async fn open(&self, call: &Call) -> Result<Opened, Failure> {
        let admin = call.admin().await?;
        let task = admin.task(&self.task).await?;
        let file = self.classes.as_deref().map(ClassesFile::read).transpose()?;
        let labels = Labels::of(&task, file.as_ref());
        let columns = Columns {
            features: FeatureColumns::ByLayout,
            label: self.label.clone(),
            group: self.group.clone(),
            picked: self.picked.clone(),
            extra: Vec::new(),
            skip_incomplete: self.skip_incomplete,
        };
        let wanted = Wanted::of(&task, columns)?.grouped().labelled(self.labels.clone());
        let reader = SampleReader::open(&self.file, &wanted)?;
        let stat = admin.samples(&self.task).await?;
        let known = if stat.rows == 0 { &[][..] } else { &stat.columns };
        let known = known.iter().map(|it| (it.min, it.max)).collect();
        let inspection = Inspection::new(&task.features, &task.classes, known);
        let bar = progress::of_bytes(reader.progress().0);
        let (column, picked) = (self.label.clone().unwrap_or_default(), !self.picked.is_empty());
        Ok(Opened { admin, rows: Rows { reader, task, labels, column, picked, inspection, bar } })
    }
}

/// Looks at the file and imports nothing.
pub(super) async fn check(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{} was not checked", options.file.display());
    let Opened { mut rows, .. } = options.open(call).await.doing(doing)?;
    let (findings, count) = tokio::task::spawn_blocking(move || {
        let mut row = Row::default();
        while rows.next(&mut row)?.is_some() {}
        rows.bar.finish_and_clear();
        Ok::<_, TableError>((rows.findings(), rows.inspection.rows()))
    })
    .await??;
    if call.json() {
        output::json(&json!({ "task": options.task, "rows": count, "warnings": findings }))?;
    } else {
        findings.iter().try_for_each(|finding| output::line(format_args!("- {finding}")))?;
        let odd = if findings.is_empty() { "nothing is odd about them" } else { "see above" };
        output::line(format_args!("{count} rows can be imported; {odd}"))?;
    }
    Ok(if findings.is_empty() { Outcome::Done } else { Outcome::Unsatisfied })
}

/// Streams the file up.
pub(super) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let name = options.task.clone();
    let doing = || format!("{} was not imported", options.file.display());
    let Opened { admin, rows } = options.open(call).await.doing(doing)?;
    let bar = rows.bar.clone();
    let (chunks, ready) = mpsc::channel(CHUNKS_AHEAD_MAX);
    let reading = tokio::task::spawn_blocking(move || rows.send(&chunks));
    let imported = admin.import(ReceiverStream::new(ready)).await;
    bar.finish_and_clear();
    let reply = match imported {
        Ok(reply) => reply,
        Err(ImportError::Source(error)) => {
            let missing =
                matches!(error.problem, Problem::EmptyCell { .. } | Problem::NotFinite { .. });
            return Err(Failure::from(error).hint(match missing {
                true => "nothing of it was imported; --skip-incomplete leaves such rows out",
                false => "nothing of it was imported",
            }));
        }
        Err(ImportError::Client(error)) => return Err(error).doing(doing),
    };
    let findings = reading.await?;
    if call.json() {
        output::json(&json!({
            "task": name, "rows": reply.rows, "total": reply.total, "warnings": findings,
        }))?;
    } else {
        findings.iter().for_each(|finding| eprintln!("note: {finding}"));
        output::line(format_args!("imported {} rows; {name} has {} now", reply.rows, reply.total))?;
    }
    Ok(Outcome::Done)
}

type Chunks = mpsc::Sender<Result<v1::ImportChunk, TableError>>;

/// A file that is read with the eyes of a task.
struct Rows {
    reader: SampleReader,
    task: v1::TaskView,
    labels: Labels,
    /// The label column.
    column: String,
    picked: bool,
    inspection: Inspection,
    bar: indicatif::ProgressBar,
}

impl Rows {
    /// Puts the next row into `row`; its class, or `None` after the last of at least one.
    fn next(&mut self, row: &mut Row) -> Result<Option<u32>, TableError> {
        let (total, done) = self.reader.progress();
        if self.inspection.rows().is_multiple_of(ROWS_PER_MOVE) {
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
        let Some(read) = self.reader.next_row()? else {
            if self.inspection.rows() == 0 {
                return Err(self.reader.error(Problem::NoRows { picked: self.picked }));
            }
            return Ok(None);
        };
        row.clone_from(read);
        let Some(label) = self.labels.id(&row.label) else {
            let problem = Problem::Label {
                line: row.line,
                column: self.column.clone(),
                label: row.label.clone(),
                known: self.labels.known(),
            };
            return Err(self.reader.error(problem));
        };
        self.inspection.push(&row.values, label, &row.group);
        Ok(Some(label))
    }

    /// Sends the file in chunks; the first error ends it and is the last thing sent. What is odd
    /// about the rows.
    fn send(mut self, chunks: &Chunks) -> Vec<String> {
        let width = u32::try_from(self.task.features.len()).unwrap_or(u32::MAX);
        let mut chunker = Chunker::new(&self.task.name, width);
        let mut row = Row::default();
        // Nobody listens any more once the scheduler has refused, and says why.
        loop {
            let chunk = match self.next(&mut row) {
                Ok(Some(label)) => {
                    let group = (!row.group.is_empty()).then_some(row.group.as_str());
                    chunker.push(Sample { values: &row.values, label, group })
                }
                Ok(None) => break,
                Err(error) => {
                    let _refused = chunks.blocking_send(Err(error));
                    return Vec::new();
                }
            };
            if let Some(chunk) = chunk
                && chunks.blocking_send(Ok(chunk)).is_err()
            {
                return Vec::new();
            }
        }
        if let Some(chunk) = chunker.take() {
            let _refused = chunks.blocking_send(Ok(chunk));
        }
        self.findings()
    }

    fn findings(&self) -> Vec<String> {
        self.inspection.findings(self.reader.skipped())
    }
}

/// What may stand in a label column, and the class that it means.
#[derive(Debug)]
pub(in crate::command) struct Labels {
    ids: HashMap<String, u32>,
    shown: Vec<String>,
}

impl Labels {
    /// Class names, the cells that the task file names, and the ids that a classes file names.
    pub(in crate::command) fn of(task: &v1::TaskView, file: Option<&ClassesFile>) -> Self {
        let by_name: HashMap<&str, u32> =
            task.classes.iter().map(String::as_str).zip(0..).collect();
        let mut ids: HashMap<String, u32> =
            by_name.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
        let from_task = task.label_ids.iter();
        let from_file = file.into_iter().flat_map(|file| &file.classes).map(|it| (&it.0, &it.1));
        // A classes file that was named just now knows better than the task file.
        for (cell, name) in from_task.chain(from_file) {
            if let Some(id) = by_name.get(name.as_str()) {
                ids.insert(cell.clone(), *id);
            }
        }
        let cell_of = |id: u32, name: &str| {
            let cells = ids.iter().filter(|(cell, it)| **it == id && *cell != name);
            cells.map(|(cell, _)| cell).min().cloned()
        };
        let shown = task.classes.iter().zip(0..).map(|(name, id)| match cell_of(id, name) {
            Some(cell) => format!("{name} ({cell})"),
            None => name.clone(),
        });
        let shown = shown.collect();
        Self { ids, shown }
    }

    /// The class that `cell` means.
    pub(in crate::command) fn id(&self, cell: &str) -> Option<u32> {
        self.ids.get(cell).copied()
    }

    /// The classes in words, all of them.
    pub(in crate::command) fn shown(&self) -> &[String] {
        &self.shown
    }

    /// The classes in words, the first of many.
    pub(in crate::command) fn known(&self) -> String {
        let shown = self.shown.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
        if 20 < self.shown.len() { shown + ", …" } else { shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_name_or_an_id() {
        let task = v1::TaskView {
            classes: ["empty", "one", "two"].map(str::to_owned).to_vec(),
            label_ids: [("0".to_owned(), "empty".to_owned())].into(),
            ..Default::default()
        };
        let class = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        let file = ClassesFile {
            classes: vec![class("1", "one"), class("9", "someone else")],
            background: None,
        };
        let labels = Labels::of(&task, Some(&file));
        for (cell, id) in [("empty", 0), ("0", 0), ("one", 1), ("1", 1), ("two", 2)] {
            assert_eq!(labels.id(cell), Some(id), "{cell}");
        }
        assert_eq!(labels.id("9"), None, "a class of the file that is none of the task");
        assert_eq!(labels.known(), "empty (0), one (1), two");
    }
}
