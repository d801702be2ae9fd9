//! Windows of the raw samples of a table, which stand in the order of time.
//!
//! A window never reaches across the beginning of another recording or group, or across samples
//! that were not picked. Its label is the most frequent one of its samples; of equally frequent
//! ones the earliest.

use std::collections::VecDeque;

use scheduler::task_file::Cutting;
use signals::{Slide, Stretch as _, Window};

use crate::table_file::{Problem, Row, TableError, TableReader};

/// A table that is cut into windows while it is read.
pub(crate) struct Windows {
    table: TableReader,
    slide: Slide,
    share_min: f64,
    /// Line and label of the samples of the window, oldest first.
    samples: VecDeque<(u64, String)>,
    /// Number, recording and group of the last sample.
    last: (u64, Option<String>, String),
    row: Row,
}

impl Windows {
    /// Cuts `table`, whose first further column is the recording where `cutting` names one.
    pub(super) fn new(table: TableReader, window: Window, cutting: &Cutting) -> Self {
        Self {
            table,
            slide: Slide::new(window),
            share_min: cutting.label_share_min,
            samples: VecDeque::new(),
            last: (0, None, String::new()),
            row: Row::default(),
        }
    }

    /// The table that is cut.
    pub(super) fn table(&self) -> &TableReader {
        &self.table
    }

    /// The next window; its line is that of its first sample.
    pub(super) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        loop {
            let Some(sample) = self.table.next_row()? else { return Ok(None) };
            let (number, recording, group) = &self.last;
            let follows = number + 1 == sample.number
                && recording.as_ref() == sample.extra.first()
                && *group == sample.group;
            self.last = (sample.number, sample.extra.first().cloned(), sample.group.clone());
            if !follows {
                self.slide.reset();
                self.samples.clear();
            }
            if self.samples.len() == self.slide.window().length() {
                self.samples.pop_front();
            }
            self.samples.push_back((sample.line, sample.label.clone()));
            let features = match self.slide.push(&sample.values) {
                Ok(Some(features)) => features,
                Ok(None) => continue,
                Err(error) => return Err(self.table.error(Problem::Shape(error))),
            };
            let (label, share) = most_frequent(&self.samples);
            if self.share_min <= share {
                self.row.line = self.samples.front().map_or(0, |it| it.0);
                self.row.number += 1;
                self.row.values = features;
                label.clone_into(&mut self.row.label);
                self.row.group.clone_from(&self.last.2);
                return Ok(Some(&self.row));
            }
        }
    }
}

/// The most frequent label and its share; of equally frequent ones the earliest.
fn most_frequent(samples: &VecDeque<(u64, String)>) -> (&str, f64) {
    let mut counts: Vec<(&str, u32)> = Vec::new();
    for (_, label) in samples {
        match counts.iter_mut().find(|it| it.0 == label) {
            Some((_, count)) => *count += 1,
            None => counts.push((label, 1)),
        }
    }
    let total: u32 = counts.iter().map(|it| it.1).sum();
    let most = counts.into_iter().rev().max_by_key(|it| it.1).unwrap_or(("", 0));
    (most.0, f64::from(most.1) / f64::from(total.max(1)))
}
