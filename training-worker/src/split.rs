//! Which rows teach, which choose, and which are only asked at the end.
//!
//! Rows that belong together stay together: neighbouring windows of one person look alike, and a
//! score over people that were trained on says nothing about the next one. So whole groups are held
//! out where the data has groups; else the last part of each class in time, with a gap before it.
//!
//! More data never moves a row that an earlier revision trained on into the held-out part: groups
//! keep their part when others follow, and the last part of a longer class is newer still. Only so
//! may a candidate be compared with the revision before it.

use crate::draw::{Draw, hash, hash_bytes};

/// Row numbers of each part, growing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Members are fitted on these.
    pub training: Vec<usize>,
    /// Weights, the gate's threshold and the frontier are chosen on these.
    pub validation: Vec<usize>,
    /// Measured at the end, and never used to choose anything.
    pub held_out: Vec<usize>,
    /// How the parts were made.
    pub kind: Kind,
}

/// What keeps the parts of a [`Split`] apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole groups: persons, days, devices.
    Group,
    /// The order of the rows, class by class.
    Time,
    /// Chance: right only for rows that have nothing to do with each other.
    Stratified,
}

impl Kind {
    /// The name on the wire and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Time => "time",
            Self::Stratified => "stratified",
        }
    }
}

/// Why rows cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Too little to train, choose and check with.
    #[error(
        "{enough} of the {classes} classes have {ROWS_MIN} rows or more; training needs two such classes"
    )]
    TooFew {
        /// Classes with enough rows.
        enough: usize,
        /// All classes.
        classes: usize,
    },
}

/// A class with fewer rows is only trained on: one row to learn, one to choose, one to check.
pub const ROWS_MIN: usize = 3;
/// Of so many groups, in order of appearance, one chooses and one checks.
const GROUPS_PER_ROUND: usize = 6;
/// Fewer groups cannot be split into three parts.
const GROUPS_MIN: usize = 3;
/// A part by groups must hold this share of the classes, or time splits better.
const COVERED_MIN: f64 = 0.75;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Training,
    Validation,
    HeldOut,
}

/// Splits rows by group where `groups` names the group of each row (it may be empty), else by time.
///
/// With fewer than three groups, or where groups would leave too many classes out of a part, rows
/// are split by time.
///
/// # Errors
///
/// [`SplitError::TooFew`] unless two classes have [`ROWS_MIN`] rows.
pub fn split(
    labels: &[u16],
    groups: &[u32],
    classes: usize,
    seed: u64,
) -> Result<Split, SplitError> {
    let counts = enough(labels, classes)?;
    if groups.len() == labels.len()
        && let Some(split) = by_group(labels, groups, &counts, seed)
    {
        return Ok(split);
    }
    Ok(by_time(labels, &counts))
}

/// Splits rows by chance, class by class. For rows in no order and of no group only.
///
/// # Errors
///
/// [`SplitError::TooFew`] unless two classes have [`ROWS_MIN`] rows.
pub fn stratified(labels: &[u16], classes: usize, seed: u64) -> Result<Split, SplitError> {
    let counts = enough(labels, classes)?;
    let mut seen = vec![0_usize; counts.len()];
    let parts = labels.iter().map(|&label| {
        // Of every six rows of a class, in order, one chooses and one checks.
        let class = usize::from(label);
        let at = seen[class];
        seen[class] += 1;
        place(at, hash(&[seed, u64::from(label)]))
    });
    Ok(collect(parts, Kind::Stratified))
}

/// Whether a correction is kept back to compare revisions with; one in five is. It follows from its
/// key alone, so that it never moves.
#[must_use]
pub fn keeps_back(key: &[u8], seed: u64) -> bool {
    hash_bytes(seed, key).is_multiple_of(5)
}

fn enough(labels: &[u16], classes: usize) -> Result<Vec<usize>, SplitError> {
    let mut counts = vec![0_usize; classes];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    let enough = counts.iter().filter(|&&count| ROWS_MIN <= count).count();
    if enough < 2 { Err(SplitError::TooFew { enough, classes }) } else { Ok(counts) }
}

/// The part of the group or row that appears `at`-th: in each round of six, a random one is for
/// validation and another one is held out.
fn place(at: usize, seed: u64) -> Part {
    let (round, position) = (at / GROUPS_PER_ROUND, at % GROUPS_PER_ROUND);
    let mut places = [0, 1, 2, 3, 4, 5];
    Draw::new(hash(&[seed, round as u64])).shuffle(&mut places);
    match places[position] {
        0 => Part::HeldOut,
        1 => Part::Validation,
        _ => Part::Training,
    }
}

fn by_group(labels: &[u16], groups: &[u32], counts: &[usize], seed: u64) -> Option<Split> {
    let mut order: Vec<u32> = Vec::new();
    let mut position = std::collections::BTreeMap::new();
    for &group in groups {
        position.entry(group).or_insert_with(|| {
            order.push(group);
            order.len() - 1
        });
    }
    if order.len() < GROUPS_MIN {
        return None;
    }
    let mut parts: Vec<Part> = (0..order.len()).map(|at| place(at, seed)).collect();
    // A first, incomplete round may have left a part empty: the last groups fill it.
    for needed in [Part::HeldOut, Part::Validation] {
        if !parts.contains(&needed) {
            let last = parts.iter().rposition(|&part| part == Part::Training)?;
            parts[last] = needed;
        }
    }
    // Rows of each class in each group, to see what a part would teach or check.
    let mut present = vec![vec![false; counts.len()]; order.len()];
    for (label, group) in labels.iter().zip(groups) {
        present[position[group]][usize::from(*label)] = true;
    }
    let has = |parts: &[Part], part: Part, class: usize| {
        parts.iter().zip(&present).any(|(&it, classes)| it == part && classes[class])
    };
    // What nobody teaches, nobody can learn: a group with a class that training lacks teaches.
    for class in (0..counts.len()).filter(|&class| 0 < counts[class]) {
        if !has(&parts, Part::Training, class) {
            let group = (0..order.len()).rev().find(|&group| {
                present[group][class]
                    && parts.iter().filter(|&&part| part == parts[group]).count() > 1
            })?;
            parts[group] = Part::Training;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of classes")]
    let covered = |part: Part| {
        let occurring: Vec<usize> =
            (0..counts.len()).filter(|&class| ROWS_MIN <= counts[class]).collect();
        let covered = occurring.iter().filter(|&&class| has(&parts, part, class)).count();
        covered as f64 / occurring.len() as f64
    };
    if [Part::Validation, Part::HeldOut].into_iter().any(|part| covered(part) < COVERED_MIN) {
        return None;
    }
    Some(collect(groups.iter().map(|group| parts[position[group]]), Kind::Group))
}

fn by_time(labels: &[u16], counts: &[usize]) -> Split {
    let mut seen = vec![0_usize; counts.len()];
    let mut split =
        Split { training: vec![], validation: vec![], held_out: vec![], kind: Kind::Time };
    for (row, &label) in labels.iter().enumerate() {
        let class = usize::from(label);
        let (at, count) = (seen[class], counts[class]);
        seen[class] += 1;
        if count < ROWS_MIN {
            split.training.push(row);
            continue;
        }
        let held_out = (count * 3 / 20).max(1);
        let validation = (count * 4 / 20).max(1);
        // Neighbours across a border are nearly the same moment: some rows are left out there.
        let gap = (count / 40).min(8);
        let held_out_from = count - held_out;
        let validation_from = held_out_from - validation;
        if held_out_from <= at {
            split.held_out.push(row);
        } else if validation_from <= at && at + gap < held_out_from {
            split.validation.push(row);
        } else if at + gap < validation_from {
            split.training.push(row);
        }
    }
    split
}

fn collect(parts: impl Iterator<Item = Part>, kind: Kind) -> Split {
    let mut split = Split { training: vec![], validation: vec![], held_out: vec![], kind };
    for (row, part) in parts.enumerate() {
        match part {
            Part::Training => split.training.push(row),
            Part::Validation => split.validation.push(row),
            Part::HeldOut => split.held_out.push(row),
        }
    }
    split
}
