//! Samples: a file that is whole is made part of a task, all or nothing.

use std::collections::BTreeSet;

use kameo::message::{Context, Message};
use serde_json::json;

use super::{Registry, RegistryError, signed};
use crate::journal::Entry;

/// Make a samples file part of its task.
pub struct AddSamples {
    /// The task.
    pub task: String,
    /// Its id: a task that was removed and applied again since is another one.
    pub task_id: i64,
    /// The name of the file in the folder of the task; it is whole and durable.
    pub file: String,
    /// What is in it.
    pub summary: Summary,
}

/// What is in a samples file.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// How many rows.
    pub rows: u64,
    /// How many of each class.
    pub per_class: Vec<u64>,
    /// Smallest value, sum of values and largest value of each column.
    pub columns: Vec<(f32, f64, f32)>,
    /// The groups; kept in a table of their own.
    #[serde(skip)]
    pub groups: BTreeSet<String>,
}

impl Summary {
    /// A summary of no rows.
    #[must_use]
    pub fn new(width: usize, classes: usize) -> Self {
        Self {
            rows: 0,
            per_class: vec![0; classes],
            columns: vec![(f32::INFINITY, 0.0, f32::NEG_INFINITY); width],
            groups: BTreeSet::new(),
        }
    }

    /// Adds rows that were checked: as wide as the summary, labels within the classes.
    pub fn add(&mut self, values: &[f32], labels: &[u16], groups: &[String]) {
        for row in values.chunks_exact(self.columns.len()) {
            for ((low, sum, high), &value) in self.columns.iter_mut().zip(row) {
                *low = low.min(value);
                *sum += f64::from(value);
                *high = high.max(value);
            }
        }
        for &label in labels {
            self.per_class[usize::from(label)] += 1;
        }
        self.rows += u64::try_from(labels.len()).expect("a length fits in 64 bits");
        for group in groups {
            if !self.groups.contains(group) {
                self.groups.insert(group.clone());
            }
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.rows += other.rows;
        for (count, more) in self.per_class.iter_mut().zip(&other.per_class) {
            *count += more;
        }
        for (column, more) in self.columns.iter_mut().zip(&other.columns) {
            *column = (column.0.min(more.0), column.1 + more.1, column.2.max(more.2));
        }
        self
    }
}

impl Message<AddSamples> for Registry {
    type Reply = Result<u64, RegistryError>;

    async fn handle(
        &mut self,
        AddSamples { task: name, task_id, file, summary }: AddSamples,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let book = self.task(&name)?;
        if book.id != task_id {
            return Err(RegistryError::NotNow(format!(
                "task {name:?} was removed and applied again meanwhile; import once more"
            )));
        }
        let mut change = self.change().await?;
        let body = serde_json::to_string(&summary)
            .map_err(|error| RegistryError::State(sqlx::Error::Encode(error.into())))?;
        sqlx::query(
            "INSERT INTO sample_files (task_id, file, rows, summary, at_ms) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(task_id)
        .bind(&file)
        .bind(signed(summary.rows))
        .bind(body)
        .bind(signed(change.now_ms))
        .execute(&mut *change.transaction)
        .await?;
        for group in &summary.groups {
            sqlx::query("INSERT OR IGNORE INTO sample_groups (task_id, name) VALUES (?, ?)")
                .bind(task_id)
                .bind(group)
                .execute(&mut *change.transaction)
                .await?;
        }
        let total = book.samples + summary.rows;
        change
            .record(&[Entry {
                kind: "samples.imported",
                task: name.clone(),
                text: format!("{} rows imported, {total} in all", summary.rows),
                detail: json!({ "rows": summary.rows, "per_class": summary.per_class }),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&name]).await?;
        Ok(total)
    }
}
