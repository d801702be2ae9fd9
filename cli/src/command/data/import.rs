//! `sensemble data import`: the labelled rows of a table, all or none.

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
    output,
    table_file::{Columns, FeatureColumns, Picked, Problem, TableError, TableReader},
};

/// Chunks that are read ahead of the network at most.
const CHUNKS_AHEAD_MAX: usize = 4;

/// What `data import` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The task.
    task: String,
    /// A table of samples (.csv or .csv.gz); the features are found by their names.
    file: PathBuf,
    /// The column that holds the class, by its name or by an id.
    #[arg(long, value_name = "COLUMN")]
    label: String,
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

/// Streams the table up.
pub(super) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let name = options.task.clone();
    let doing = || format!("{} was not imported", options.file.display());
    let admin = call.admin().await.doing(doing)?;
    let task = admin.task(&name).await.doing(doing)?;
    let file = options.classes.as_deref().map(ClassesFile::read).transpose().doing(doing)?;
    let labels = Labels::of(&task, file.as_ref());
    let columns = Columns {
        features: FeatureColumns::Named(task.features.clone()),
        label: Some(options.label.clone()),
        group: options.group.clone().or_else(|| group_of(&task.toml)),
        picked: options.picked.clone(),
        extra: Vec::new(),
    };

    let reader = TableReader::open(&options.file, &columns)?;
    let bar = progress::of_bytes(reader.progress().0);
    let (chunks, ready) = mpsc::channel(CHUNKS_AHEAD_MAX);
    let reading = tokio::task::spawn_blocking({
        let (bar, label, picked) = (bar.clone(), options.label.clone(), !options.picked.is_empty());
        move || {
            // Nobody listens any more once the scheduler has refused.
            let _refused = read(reader, &task, &labels, &label, picked, &bar, &chunks);
        }
    });
    let imported = admin.import(ReceiverStream::new(ready)).await;
    bar.finish_and_clear();
    reading.abort();
    let reply = match imported {
        Ok(reply) => reply,
        Err(ImportError::Source(error)) => {
            return Err(Failure::from(error).hint("nothing of it was imported"));
        }
        Err(ImportError::Client(error)) => return Err(error).doing(doing),
    };
    if call.json() {
        output::json(&json!({ "task": name, "rows": reply.rows, "total": reply.total }))?;
    } else {
        output::line(format_args!("imported {} rows; {name} has {} now", reply.rows, reply.total))?;
    }
    Ok(Outcome::Done)
}

type Chunks = mpsc::Sender<Result<v1::ImportChunk, TableError>>;

/// Reads the table into chunks; the first error ends it and is the last thing sent.
fn read(
    mut reader: TableReader,
    task: &v1::TaskView,
    labels: &Labels,
    column: &str,
    picked: bool,
    bar: &indicatif::ProgressBar,
    chunks: &Chunks,
) -> Result<(), mpsc::error::SendError<Result<v1::ImportChunk, TableError>>> {
    let width = u32::try_from(task.features.len()).unwrap_or(u32::MAX);
    let mut chunker = Chunker::new(&task.name, width);
    let mut rows = 0_u64;
    loop {
        let row = match reader.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => return chunks.blocking_send(Err(error)),
        };
        rows += 1;
        let Some(label) = labels.id(&row.label) else {
            let problem = Problem::Label {
                line: row.line,
                column: column.to_owned(),
                label: row.label.clone(),
                known: labels.known(),
            };
            return chunks.blocking_send(Err(reader.error(problem)));
        };
        let group = (!row.group.is_empty()).then_some(row.group.as_str());
        if let Some(chunk) = chunker.push(Sample { values: &row.values, label, group }) {
            bar.set_position(reader.progress().1);
            chunks.blocking_send(Ok(chunk))?;
        }
    }
    match chunker.take() {
        Some(chunk) => chunks.blocking_send(Ok(chunk)),
        None if rows == 0 => chunks.blocking_send(Err(reader.error(Problem::NoRows { picked }))),
        None => Ok(()),
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

    /// The classes in words, the first of many.
    pub(in crate::command) fn known(&self) -> String {
        let shown = self.shown.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
        if 20 < self.shown.len() { shown + ", …" } else { shown }
    }
}

/// The group column that a task file names.
fn group_of(toml: &str) -> Option<String> {
    let table: toml::Table = toml.parse().ok()?;
    Some(table.get("input")?.get("group")?.as_str()?.to_owned())
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

    #[test]
    fn the_group_column_stands_in_the_task_file() {
        let toml = "[input]\nkind = \"features\"\ngroup = \"day\"\n";
        assert_eq!(group_of(toml).as_deref(), Some("day"));
        assert_eq!(group_of("[input]\n"), None);
    }
}
