//! Labelled rows: what is recorded or read, trained on, and held out.

use client::{Chunker, Sample};
use proto::v1;

/// Rows of one task, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// Values per row.
    pub(crate) width: usize,
    /// Row-major.
    pub(crate) values: Vec<f32>,
    /// The true class of each row.
    pub(crate) classes: Vec<usize>,
    /// The group of each row; empty when there are none.
    pub(crate) groups: Vec<String>,
}

impl Rows {
    /// No rows of `width` values.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The values of one row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// The group of one row.
    pub(crate) fn group(&self, row: usize) -> Option<&str> {
        self.groups.get(row).map(String::as_str)
    }

    /// Adds a row; either all rows have a group or none has.
    pub(crate) fn push(&mut self, values: &[f32], class: usize, group: Option<&str>) {
        debug_assert_eq!(values.len(), self.width, "one value for each feature");
        self.values.extend_from_slice(values);
        self.classes.push(class);
        self.groups.extend(group.map(str::to_owned));
    }

    /// Adds all rows of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        for row in 0..other.len() {
            self.push(other.row(row), other.classes[row], other.group(row));
        }
    }

    /// The rows at `rows`, in that order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::new(self.width);
        for &row in rows {
            selected.push(self.row(row), self.classes[row], self.group(row));
        }
        selected
    }

    /// The rows as chunks for an import into `task`.
    pub(crate) fn chunks(&self, task: &str) -> Vec<v1::ImportChunk> {
        let mut chunker = Chunker::new(task, u32::try_from(self.width).unwrap_or(u32::MAX));
        let mut chunks = Vec::new();
        for row in 0..self.len() {
            chunks.extend(chunker.push(Sample {
                values: self.row(row),
                label: u32::try_from(self.classes[row]).unwrap_or(u32::MAX),
                group: self.group(row),
            }));
        }
        chunks.extend(chunker.take());
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_class_and_group() {
        let mut rows = Rows::new(2);
        rows.push(&[1.0, 2.0], 0, Some("a"));
        rows.push(&[3.0, 4.0], 1, Some("b"));
        let last = rows.select(&[1]);
        assert_eq!((last.row(0), last.classes[0], last.group(0)), (&[3.0, 4.0][..], 1, Some("b")));
        let mut both = rows.clone();
        both.extend(&last);
        assert_eq!(both.len(), 3);
        let chunks = both.chunks("task");
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].labels, [0, 1, 1]);
        assert_eq!(chunks[0].groups, ["a", "b", "b"]);
    }
}
