//! What is odd about samples, said in words while they pass by: nothing here stops an import.
//!
//! Errors are for what cannot work. A column that never changes, a class with three rows, a copy
//! of the label among the features: these work, and make a model that looks better than it is.

mod leak;

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use self::leak::Sampled;

/// Rows of a class below which nothing can be said about it.
const CLASS_ROWS_MIN: u64 = 10;
/// Rows that are remembered to find copies of, at most.
const REMEMBERED_MAX: usize = 1_000_000;
/// Rows below which a column that only rises may do so by chance.
const RISING_ROWS_MIN: u64 = 50;
/// How far outside of what is known a value is odd, as a share of what is known.
const MARGIN: f32 = 0.1;
/// Most columns that are named one by one.
const NAMED_MAX: usize = 5;

/// Looks at rows as they pass by.
pub(crate) struct Inspection {
    features: Vec<String>,
    classes: Vec<String>,
    /// The smallest and largest value that the task has seen in each column; empty when none.
    known: Vec<(f32, f32)>,
    rows: u64,
    per_class: Vec<u64>,
    columns: Vec<Column>,
    seen: HashMap<u64, u32>,
    copies: u64,
    contradictions: u64,
    /// The groups of each class: one of them, and whether there are more.
    homes: BTreeMap<u32, (String, bool)>,
    sampled: Sampled,
}

#[derive(Clone, Debug)]
struct Column {
    min: f32,
    max: f32,
    last: f32,
    rises: u64,
    falls: bool,
    outside: u64,
}

impl Inspection {
    /// Of rows with these features and classes; `known` is the range of each column so far.
    pub(crate) fn new(features: &[String], classes: &[String], known: Vec<(f32, f32)>) -> Self {
        let column = Column {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            last: f32::NEG_INFINITY,
            rises: 0,
            falls: false,
            outside: 0,
        };
        Self {
            features: features.to_vec(),
            classes: classes.to_vec(),
            known: if known.len() == features.len() { known } else { Vec::new() },
            rows: 0,
            per_class: vec![0; classes.len()],
            columns: vec![column; features.len()],
            seen: HashMap::new(),
            copies: 0,
            contradictions: 0,
            homes: BTreeMap::new(),
            sampled: Sampled::new(features.len()),
        }
    }

    /// How many rows passed by.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Looks at a row: as many values as there are features, and a class by its position.
    pub(crate) fn push(&mut self, values: &[f32], class: u32, group: &str) {
        self.rows += 1;
        if let Some(rows) = usize::try_from(class).ok().and_then(|it| self.per_class.get_mut(it)) {
            *rows += 1;
        }
        for (at, (column, &value)) in self.columns.iter_mut().zip(values).enumerate() {
            column.push(value, self.known.get(at));
        }
        let mut hasher = DefaultHasher::new();
        values.iter().for_each(|value| value.to_bits().hash(&mut hasher));
        let hash = hasher.finish();
        let room = self.seen.len() < REMEMBERED_MAX;
        match self.seen.entry(hash) {
            Entry::Occupied(known) if *known.get() == class => self.copies += 1,
            Entry::Occupied(_) => self.contradictions += 1,
            Entry::Vacant(free) if room => _ = free.insert(class),
            Entry::Vacant(_) => {}
        }
        if !group.is_empty() {
            let home = self.homes.entry(class).or_insert_with(|| (group.to_owned(), false));
            home.1 |= home.0 != group;
        }
        self.sampled.push(values, class);
    }

    /// What is odd, in words: what was found, how often, and what to do about it. `skipped` rows
    /// were left out before.
    pub(crate) fn findings(&self, skipped: u64) -> Vec<String> {
        let mut findings = Vec::new();
        let mut say = |text: String| findings.push(text);
        if skipped > 0 {
            say(format!(
                "{skipped} rows were left out because a cell was missing or no finite number: are \
                 they of one class or one sensor? Then what is left says less than it seems"
            ));
        }
        if self.rows == 0 {
            return findings;
        }
        self.of_classes(&mut say);
        self.of_columns(&mut say);
        if self.copies > 0 {
            say(format!(
                "{} of {} rows repeat an earlier row, label and all: a copy that is learnt from and \
                 tested on flatters the accuracy. Remove copies, or give them one group",
                self.copies, self.rows
            ));
        }
        if self.contradictions > 0 {
            say(format!(
                "{} of {} rows have the values of an earlier row and another label: no model can \
                 get both right. Correct the labels, or add what tells them apart",
                self.contradictions, self.rows
            ));
        }
        findings
    }

    fn of_classes(&self, say: &mut impl FnMut(String)) {
        let with_rows = self.per_class.iter().filter(|rows| **rows > 0).count();
        if with_rows == 1 {
            say("all rows are of one class: nothing can be told apart by them alone. Import rows \
                 of the other classes as well"
                .to_owned());
        }
        for (class, rows) in self.classes.iter().zip(&self.per_class) {
            if (1..CLASS_ROWS_MIN).contains(rows) {
                say(format!(
                    "the class {class:?} has {rows} rows here: below {CLASS_ROWS_MIN} it is learnt \
                     by chance and tested on one or two. Collect more of it, or leave it out"
                ));
            }
        }
        let mut groups = self.homes.values().map(|it| &it.0);
        let first = groups.next();
        let several = self.homes.values().any(|it| it.1) || groups.any(|it| Some(it) != first);
        if with_rows > 1 && several {
            let at_home: Vec<&str> = self
                .homes
                .iter()
                .filter(|(_, (_, more))| !more)
                .filter_map(|(class, _)| self.classes.get(usize::try_from(*class).ok()?))
                .map(String::as_str)
                .collect();
            if !at_home.is_empty() {
                say(format!(
                    "{} of {with_rows} classes occur in one group only: {}. A model can know the \
                     group instead of the class, and no other group can tell. Record them in \
                     several groups",
                    at_home.len(),
                    listed(&at_home)
                ));
            }
        }
    }

    fn of_columns(&self, say: &mut impl FnMut(String)) {
        let names = |holds: &dyn Fn(&Column) -> bool| -> Vec<&str> {
            let columns = self.columns.iter().zip(&self.features);
            columns.filter(|it| holds(it.0)).map(|it| it.1.as_str()).collect()
        };
        let still = names(&|it| it.min == it.max);
        if !still.is_empty() && self.rows > 1 {
            say(format!(
                "{} of {} features never change: {}. They tell nothing so far; is a sensor unplugged?",
                still.len(),
                self.features.len(),
                listed(&still)
            ));
        }
        let outside = names(&|it| it.outside > 0);
        if !outside.is_empty() {
            let rows = self.columns.iter().map(|it| it.outside).max().unwrap_or(0);
            let column = self.columns.iter().position(|it| it.outside == rows).unwrap_or(0);
            let (low, high) = self.known.get(column).copied().unwrap_or_default();
            let Column { min, max, .. } = self.columns[column];
            say(format!(
                "{} features leave the range that is known: {}. Most often {:?}: {rows} of {} rows, \
                 {min} to {max} where {low} to {high} was known. Another unit, or another sensor?",
                outside.len(),
                listed(&outside),
                self.features[column],
                self.rows
            ));
        }
        let rising = names(&|it| {
            !it.falls && RISING_ROWS_MIN <= self.rows && self.rows <= it.rises.saturating_mul(2)
        });
        if !rising.is_empty() {
            say(format!(
                "{} only rises from row to row, like a time or a number: it says when a row was \
                 recorded and not what it is. Leave it out of the features",
                listed(&rising)
            ));
        }
        let leaking: Vec<&str> =
            self.sampled.leaks().into_iter().map(|at| self.features[at].as_str()).collect();
        if !leaking.is_empty() {
            say(format!(
                "{} alone tells the classes apart (almost) without error: is it the label in other \
                 words, or known only afterwards? Then leave it out of the features",
                listed(&leaking)
            ));
        }
    }
}

impl Column {
    fn push(&mut self, value: f32, known: Option<&(f32, f32)>) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.rises += u64::from(self.last < value);
        self.falls |= value < self.last;
        self.last = value;
        if let Some(&(low, high)) = known {
            let margin = (high - low) * MARGIN;
            self.outside += u64::from(value < low - margin || high + margin < value);
        }
    }
}

/// The first of `names`, and how many more there are.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
