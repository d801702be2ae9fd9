//! Which rows teach, which choose, and which are only asked at the end.
//!
//! Rows that belong together stay together: neighbouring windows of one person look alike, and a
//! score over people that were trained on says nothing about the next one. So whole groups are kept
//! apart where the data has groups; else stretches of time, class by class.
//!
//! A sixth of the rows is held out. The others fall into folds: what a member votes for rows of one
//! fold, when it was fitted on the others, chooses weights and thresholds; the member that serves is
//! then fitted on all folds. A single, smaller validation part would leave too little to choose by
//! and too little to learn from: the twenty-one people of HAPT would teach by thirteen and choose by
//! four.
//!
//! More data never moves a row that an earlier revision trained on into the held-out part: groups
//! keep their part when others follow, and the last part of a longer class is newer still. Only so
//! may a candidate be compared with the revision before it.

use std::collections::BTreeMap;

use crate::draw::{Draw, hash, hash_bytes};

/// Row numbers of each part, growing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Members are fitted on these.
    pub training: Vec<usize>,
    /// The fold of each training row.
    pub folds: Vec<Fold>,
    /// How many folds there are; at least two.
    pub count: usize,
    /// Measured at the end, and never used to choose anything.
    pub held_out: Vec<usize>,
    /// How the parts were made.
    pub kind: Kind,
}

/// What a training row does besides teaching the member that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fold {
    /// Is asked after the others taught, and teaches for every other fold.
    Of(usize),
    /// Teaches for every fold and is never asked: a correction up to the last landmark.
    Always,
    /// Neither teaches for a fold nor is asked: too close to a border between folds.
    Border,
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

/// A class with fewer rows is only trained on: one row for each fold, and one to check with.
pub const ROWS_MIN: usize = 3;
/// Of so many groups, in order of appearance, one is held out.
const ROUND: usize = 6;
/// Fewer groups cannot be split into three parts.
const GROUPS_MIN: usize = 3;
/// A part by groups must hold this share of the classes, or time splits better.
const COVERED_MIN: f64 = 0.75;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    HeldOut,
    Fold(usize),
}

fn parts_of(ask: &Ask<'_>, folds: usize) -> impl Iterator<Item = Part> + Clone + use<> {
    ask.hold_out.then_some(Part::HeldOut).into_iter().chain((0..folds).map(Part::Fold))
}

/// How the rows of a task are split.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The class of each row, below `classes`.
    pub labels: &'a [u16],
    /// The group of each row; empty when the task has none.
    pub groups: &'a [u32],
    /// How many classes there are.
    pub classes: usize,
    /// How many folds are wanted; fewer when there are too few rows or groups, never below two.
    pub folds: usize,
    /// Whether a sixth is held out; not when other rows are there to measure with.
    pub hold_out: bool,
    /// Decides which groups go where.
    pub seed: u64,
}

/// Splits rows by group where there are groups, else by time.
///
/// With fewer than three groups, or where groups would leave too many classes out of a part, rows
/// are split by time.
///
/// # Errors
///
/// [`SplitError::TooFew`] unless two classes have [`ROWS_MIN`] rows.
pub fn split(ask: Ask<'_>) -> Result<Split, SplitError> {
    let counts = enough(ask)?;
    if ask.groups.len() == ask.labels.len()
        && let Some(split) = by_group(ask, &counts)
    {
        return Ok(split);
    }
    Ok(by_time(ask, fewest_folds(ask, &counts)))
}

/// Splits rows by chance, class by class. For rows in no order and of no group only.
///
/// # Errors
///
/// [`SplitError::TooFew`] unless two classes have [`ROWS_MIN`] rows.
pub fn stratified(ask: Ask<'_>) -> Result<Split, SplitError> {
    let counts = enough(ask)?;
    let folds = fewest_folds(ask, &counts);
    let mut parts = vec![Part::HeldOut; ask.labels.len()];
    for (class, rows) in by_class(ask).into_iter().enumerate() {
        if counts[class] < ROWS_MIN {
            rows.iter().enumerate().for_each(|(at, &row)| parts[row] = Part::Fold(at % folds));
            continue;
        }
        let seed = hash(&[ask.seed, class as u64]);
        let mut own: Vec<Part> = (0..rows.len()).map(|at| place(&ask, at, folds, seed)).collect();
        fill(&ask, &mut own, folds);
        rows.iter().zip(own).for_each(|(&row, part)| parts[row] = part);
    }
    Ok(collect(parts.into_iter(), folds, Kind::Stratified))
}

/// As many folds as are wanted, but no more than every class has rows for.
fn fewest_folds(ask: Ask<'_>, counts: &[usize]) -> usize {
    let least = counts.iter().filter(|&&count| ROWS_MIN <= count).min().copied();
    ask.folds.min(least.map_or(2, |rows| rows - 1)).max(2)
}

/// Whether a correction is kept back to compare revisions with; one in five is. It follows from its
/// key alone, so that it never moves.
#[must_use]
pub fn keeps_back(key: &[u8], seed: u64) -> bool {
    hash_bytes(seed, key).is_multiple_of(5)
}

fn enough(ask: Ask<'_>) -> Result<Vec<usize>, SplitError> {
    let classes = ask.classes;
    let mut counts = vec![0_usize; classes];
    for &label in ask.labels {
        counts[usize::from(label)] += 1;
    }
    let enough = counts.iter().filter(|&&count| ROWS_MIN <= count).count();
    if enough < 2 { Err(SplitError::TooFew { enough, classes }) } else { Ok(counts) }
}

/// The rows of each class, in order.
fn by_class(ask: Ask<'_>) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); ask.classes];
    for (row, &label) in ask.labels.iter().enumerate() {
        rows[usize::from(label)].push(row);
    }
    rows
}

/// The part of the group or row that appears `at`-th. In each round of six a random one is held
/// out; the others go to the folds in turn.
fn place(ask: &Ask<'_>, at: usize, folds: usize, seed: u64) -> Part {
    if !ask.hold_out {
        return Part::Fold(at % folds);
    }
    let (round, position) = (at / ROUND, at % ROUND);
    let mut places: [usize; ROUND] = std::array::from_fn(|place| place);
    Draw::new(hash(&[seed, round as u64])).shuffle(&mut places);
    match places[position].checked_sub(1) {
        None => Part::HeldOut,
        Some(other) => Part::Fold((round * (ROUND - 1) + other) % folds),
    }
}

/// Fills the parts that an incomplete round has left empty, from the largest other one.
fn fill(ask: &Ask<'_>, parts: &mut [Part], folds: usize) {
    for needed in parts_of(ask, folds) {
        if parts.contains(&needed) {
            continue;
        }
        let count = |part: Part| parts.iter().filter(|&&it| it == part).count();
        let most = parts_of(ask, folds).max_by_key(|&part| count(part)).expect("two parts or more");
        if let Some(last) = parts.iter().rposition(|&part| part == most && count(most) > 1) {
            parts[last] = needed;
        }
    }
}

fn by_group(ask: Ask<'_>, counts: &[usize]) -> Option<Split> {
    let mut position = BTreeMap::new();
    for &group in ask.groups {
        let next = position.len();
        position.entry(group).or_insert(next);
    }
    if position.len() < GROUPS_MIN {
        return None;
    }
    let folds = ask.folds.min(position.len() - 1).max(2);
    let mut parts: Vec<Part> =
        (0..position.len()).map(|at| place(&ask, at, folds, ask.seed)).collect();
    fill(&ask, &mut parts, folds);
    // Which classes each group has, to see what a part would teach or check.
    let mut present = vec![vec![false; counts.len()]; parts.len()];
    for (label, group) in ask.labels.iter().zip(ask.groups) {
        present[position[group]][usize::from(*label)] = true;
    }
    // What nobody teaches, nobody can learn: the last group with such a class teaches.
    for class in (0..counts.len()).filter(|&class| 0 < counts[class]) {
        let taught = (0..parts.len()).any(|it| present[it][class] && parts[it] != Part::HeldOut);
        if !taught {
            let held_out = parts.iter().filter(|&&part| part == Part::HeldOut).count();
            let group = (0..parts.len()).rev().find(|&group| present[group][class])?;
            if held_out < 2 {
                return None;
            }
            parts[group] = Part::Fold(0);
        }
    }
    // The held-out groups, and those that teach for each fold, know most classes.
    let occurring: Vec<usize> =
        (0..counts.len()).filter(|&class| ROWS_MIN <= counts[class]).collect();
    #[expect(clippy::cast_precision_loss, reason = "counts of classes")]
    let covered = |of: &dyn Fn(Part) -> bool| {
        let has = |class: usize| (0..parts.len()).any(|it| of(parts[it]) && present[it][class]);
        let covered = occurring.iter().filter(|&&class| has(class)).count();
        COVERED_MIN <= covered as f64 / occurring.len() as f64
    };
    let teaches = |fold: usize| move |part| part != Part::HeldOut && part != Part::Fold(fold);
    let measures = !ask.hold_out || covered(&|part| part == Part::HeldOut);
    if !measures || !(0..folds).all(|fold| covered(&teaches(fold))) {
        return None;
    }
    Some(collect(ask.groups.iter().map(|group| parts[position[group]]), folds, Kind::Group))
}

fn collect(parts: impl Iterator<Item = Part>, count: usize, kind: Kind) -> Split {
    let mut split = Split { training: vec![], folds: vec![], count, held_out: vec![], kind };
    for (row, part) in parts.enumerate() {
        match part {
            Part::HeldOut => split.held_out.push(row),
            Part::Fold(fold) => {
                split.training.push(row);
                split.folds.push(Fold::Of(fold));
            }
        }
    }
    split
}

/// Of each class the last part in time is held out, and the rest is cut into stretches, where it
/// pauses if it pauses near a cut: the same class on another occasion is what has to be recognised.
fn by_time(ask: Ask<'_>, count: usize) -> Split {
    let mut kept: Vec<(usize, Fold)> = Vec::new();
    let mut held_out = Vec::new();
    for rows in by_class(ask) {
        if rows.len() < ROWS_MIN {
            kept.extend(rows.into_iter().zip((0..count).cycle().map(Fold::Of)));
            continue;
        }
        // Neighbours across a border are nearly the same moment: some rows are left out there.
        let gap = (rows.len() / 40).min(8);
        let held = if ask.hold_out { (rows.len() * 3 / 20).max(1) } else { 0 };
        let (before, last) = rows.split_at(rows.len() - held);
        held_out.extend_from_slice(last);
        let border = if held == 0 { 0 } else { gap.min(before.len().saturating_sub(count)) };
        let before = &before[..before.len() - border];
        let cuts: Vec<usize> = (1..count).map(|fold| cut(before, fold, count)).collect();
        for (at, &row) in before.iter().enumerate() {
            let fold = cuts.iter().filter(|&&cut| cut <= at).count();
            let near =
                |&cut: &usize| at.abs_diff(cut) < gap / 2 && before[cut] - before[cut - 1] <= gap;
            kept.push((row, if cuts.iter().any(near) { Fold::Border } else { Fold::Of(fold) }));
        }
    }
    kept.sort_by_key(|(row, _)| *row);
    held_out.sort_unstable();
    let (training, folds) = kept.into_iter().unzip();
    Split { training, folds, count, held_out, kind: Kind::Time }
}

/// Where stretch `fold` of `count` begins: at the longest pause within a third of a stretch of
/// where it would begin by number.
fn cut(rows: &[usize], fold: usize, count: usize) -> usize {
    let middle = rows.len() * fold / count;
    let reach = rows.len() / count / 3;
    (middle - reach..=middle + reach)
        .filter(|&at| 0 < at && at < rows.len())
        .max_by_key(|&at| (rows[at] - rows[at - 1], std::cmp::Reverse(at.abs_diff(middle))))
        .unwrap_or(middle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask<'a>(labels: &'a [u16], groups: &'a [u32], folds: usize) -> Ask<'a> {
        let classes = labels.iter().map(|&label| usize::from(label) + 1).max().unwrap_or(0);
        Ask { labels, groups, classes, folds, hold_out: true, seed: 1 }
    }

    #[test]
    fn too_few_rows_are_named() {
        let refused = split(Ask { classes: 3, ..ask(&[0, 0, 0, 1, 1], &[], 2) }).unwrap_err();
        assert_eq!(refused, SplitError::TooFew { enough: 1, classes: 3 });
    }

    #[test]
    fn a_sixth_of_the_groups_is_held_out_and_the_rest_shared_by_the_folds() {
        let groups: Vec<u32> = (0..2400).map(|row| row / 100).collect();
        let labels: Vec<u16> = (0..2400).map(|row| row % 3).collect();
        for folds in [2, 4, 5] {
            let split = split(ask(&labels, &groups, folds)).unwrap();
            assert_eq!((split.kind, split.count), (Kind::Group, folds));
            assert_eq!(split.held_out.len(), 400);
            for fold in 0..folds {
                let rows = split.folds.iter().filter(|&&it| it == Fold::Of(fold)).count();
                assert_eq!(rows, 2000 / folds);
            }
        }
    }

    #[test]
    fn what_is_measured_with_other_rows_holds_nothing_out() {
        let groups: Vec<u32> = (0..2400).map(|row| row / 100).collect();
        let labels: Vec<u16> = (0..2400).map(|row| row % 3).collect();
        for groups in [groups.as_slice(), &[]] {
            let split = split(Ask { hold_out: false, ..ask(&labels, groups, 4) }).unwrap();
            assert!(split.held_out.is_empty());
            let borders = split.folds.iter().filter(|&&fold| fold == Fold::Border).count();
            assert!(2400 <= split.training.len() + 3 * 8 && borders <= 3 * 3 * 8);
            for fold in 0..4 {
                assert!(split.folds.contains(&Fold::Of(fold)));
            }
        }
    }

    #[test]
    fn days_without_events_are_split_by_time() {
        // As in room_occupancy: of three days only the first has all classes.
        let labels: Vec<u16> =
            (0..900).map(|row| if row < 300 { row / 60 % 3 } else { 0 }).collect();
        let groups: Vec<u32> = (0..900).map(|row| row / 300).collect();
        assert_eq!(split(ask(&labels, &groups, 2)).unwrap().kind, Kind::Time);
    }

    #[test]
    fn folds_part_where_a_class_pauses() {
        // Class 1 on two occasions, 40 and 60 rows, with class 0 before, between and after.
        let runs = [(0, 100), (1, 40), (0, 50), (1, 60), (0, 100)];
        let labels: Vec<u16> =
            runs.iter().flat_map(|&(class, rows)| std::iter::repeat_n(class, rows)).collect();
        let split = split(ask(&labels, &[], 2)).unwrap();
        let fold =
            |row: usize| split.training.iter().position(|&it| it == row).map(|at| split.folds[at]);
        assert!((100..140).all(|row| fold(row) == Some(Fold::Of(0))));
        assert!((190..230).all(|row| fold(row) == Some(Fold::Of(1))));
        assert!((235..250).all(|row| split.held_out.contains(&row)));
    }

    fn groups_of(rows: usize, groups: u32) -> Vec<u32> {
        if groups == 0 { vec![] } else { (0..).take(rows).map(|row: u32| row % groups).collect() }
    }

    proptest! {
        #[test]
        fn every_part_has_rows_and_no_row_is_in_two(
            labels in prop::collection::vec(0_u16..4, 12..200),
            groups in 0_u32..9, folds in 0_usize..7, seed: u64,
        ) {
            let groups = groups_of(labels.len(), groups);
            let asked = Ask { seed, ..ask(&labels, &groups, folds) };
            let Ok(split) = split(asked) else { return Ok(()) };
            prop_assert!(2 <= split.count && split.count <= folds.max(2));
            prop_assert!(!split.held_out.is_empty());
            for fold in 0..split.count {
                prop_assert!(split.folds.contains(&Fold::Of(fold)), "{fold} of {split:?}");
            }
            prop_assert_eq!(split.folds.len(), split.training.len());
            prop_assert!(split.training.iter().all(|row| !split.held_out.contains(row)));
            // What occurs is taught.
            for &label in &labels {
                prop_assert!(split.training.iter().any(|&row| labels[row] == label));
            }
        }

        #[test]
        fn no_group_is_in_two_parts(rounds in 1_u32..5, folds in 2_usize..6, seed: u64) {
            let groups: Vec<u32> = (0..rounds * 60).map(|row| row / 10).collect();
            let labels: Vec<u16> = (0..).take(groups.len()).map(|row: u16| row % 2).collect();
            let split = split(Ask { seed, ..ask(&labels, &groups, folds) }).unwrap();
            prop_assert_eq!(split.kind, Kind::Group);
            let mut part = BTreeMap::new();
            for (&row, &fold) in split.training.iter().zip(&split.folds) {
                prop_assert_eq!(*part.entry(groups[row]).or_insert(Some(fold)), Some(fold));
            }
            for &row in &split.held_out {
                prop_assert_eq!(*part.entry(groups[row]).or_insert(None), None);
            }
        }

        #[test]
        fn more_data_holds_out_no_row_that_was_trained_on(
            labels in prop::collection::vec(0_u16..3, 60..300), by_group: bool, seed: u64,
        ) {
            let all = labels.len();
            let groups: Vec<u32> =
                if by_group { (0..).take(all).map(|row: u32| row / 10).collect() } else { vec![] };
            let early = if by_group { 60 } else { all / 2 };
            let taken = |rows: usize| {
                let groups = &groups[..rows.min(groups.len())];
                split(Ask { seed, classes: 3, ..ask(&labels[..rows], groups, 3) })
            };
            let (Ok(before), Ok(after)) = (taken(early), taken(all)) else { return Ok(()) };
            if before.kind == after.kind {
                for row in &after.held_out {
                    prop_assert!(!before.training.contains(row));
                }
            }
        }

        #[test]
        fn a_split_by_chance_takes_every_row_once(
            labels in prop::collection::vec(0_u16..4, 12..200), folds in 2_usize..6, seed: u64,
        ) {
            let asked = Ask { seed, ..ask(&labels, &[], folds) };
            let Ok(split) = stratified(asked) else { return Ok(()) };
            prop_assert_eq!(split.training.len() + split.held_out.len(), labels.len());
            for fold in 0..split.count {
                prop_assert!(split.folds.contains(&Fold::Of(fold)));
            }
        }
    }

    #[test]
    fn one_correction_in_five_is_kept_back() {
        let kept = (0_u32..10_000).filter(|key| keeps_back(&key.to_le_bytes(), 3)).count();
        assert!((1800..2200).contains(&kept), "{kept}");
    }
}
