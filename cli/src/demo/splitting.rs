//! What a data set is split into: rows to train on, traffic, and rows to compare revisions on.

use std::collections::BTreeMap;

use super::rows::Rows;

/// Share of the rows, or of the groups, that is held out when nobody says which.
const HELD_OUT: f64 = 0.3;
/// With fewer groups the last rows are held out instead.
const GROUPS_MIN: usize = 4;
/// Blocks of a held-out group that are traffic and comparison in turn.
const BLOCKS: usize = 8;

/// A data set in three parts that share no row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Split {
    /// What is imported.
    pub(crate) train: Rows,
    /// What is asked, and corrected where it was answered wrongly.
    pub(crate) traffic: Rows,
    /// What revisions are compared on.
    pub(crate) held_out: Rows,
    /// How it was split, in words.
    pub(crate) how: String,
}

/// Why a data set cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    /// Nothing to train on.
    #[error("no row is left to train on: hold out fewer rows with --test-where")]
    NoTraining,
    /// One class, or none.
    #[error("only one class is left to train on: hold out other rows with --test-where")]
    OneClass,
    /// Nothing to ask.
    #[error("{held_out} rows are held out; at least {least} are needed for traffic and comparison", least = 2 * BLOCKS)]
    NoTraffic {
        /// How many are.
        held_out: usize,
    },
}

/// Splits `rows`; `picked` says which are held out, when somebody has said so.
pub(crate) fn split(rows: &Rows, picked: Option<&[bool]>) -> Result<Split, SplitError> {
    let groups = groups(rows);
    let (held_out, how): (Vec<bool>, String) = if let Some(picked) = picked {
        (picked.to_vec(), "as --test-where says".to_owned())
    } else if GROUPS_MIN <= groups.len() {
        let kept = groups.len() - share(groups.len());
        let last: Vec<&str> = groups[kept..].to_vec();
        let held_out = rows.groups.iter().map(|group| last.contains(&group.as_str())).collect();
        (held_out, format!("the last {} of {} groups", last.len(), groups.len()))
    } else {
        (
            last_of_each_class(rows),
            "the last 30 % of each class, in the order of the file".to_owned(),
        )
    };

    let train: Vec<usize> = (0..rows.len()).filter(|&row| !held_out[row]).collect();
    let asked: Vec<usize> = (0..rows.len()).filter(|&row| held_out[row]).collect();
    if train.is_empty() {
        return Err(SplitError::NoTraining);
    }
    if train.iter().all(|&row| rows.classes[row] == rows.classes[train[0]]) {
        return Err(SplitError::OneClass);
    }
    if asked.len() < 2 * BLOCKS {
        return Err(SplitError::NoTraffic { held_out: asked.len() });
    }
    let (traffic, compared) = alternate(rows, &asked);
    Ok(Split {
        train: rows.select(&train),
        traffic: rows.select(&traffic),
        held_out: rows.select(&compared),
        how,
    })
}

/// The groups, in order of appearance.
fn groups(rows: &Rows) -> Vec<&str> {
    let mut seen = std::collections::BTreeSet::new();
    rows.groups.iter().map(String::as_str).filter(|group| seen.insert(*group)).collect()
}

fn share(count: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count"
    )]
    let share = (count as f64 * HELD_OUT).round() as usize;
    share.max(1)
}

fn last_of_each_class(rows: &Rows) -> Vec<bool> {
    let mut of_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, &class) in rows.classes.iter().enumerate() {
        of_class.entry(class).or_default().push(row);
    }
    let mut held_out = vec![false; rows.len()];
    // A class with a single row is trained on: nobody could learn it otherwise.
    for of_it in of_class.values().filter(|of_it| of_it.len() > 1) {
        for &row in &of_it[of_it.len() - share(of_it.len())..] {
            held_out[row] = true;
        }
    }
    held_out
}

/// Cuts the rows of each group into [`BLOCKS`] blocks, by turns traffic and comparison. The last row
/// of each block is left out: neighbouring windows share samples.
fn alternate(rows: &Rows, asked: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut of_group: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for &row in asked {
        of_group.entry(rows.group(row)).or_default().push(row);
    }
    let mut parts = (Vec::new(), Vec::new());
    for of_it in of_group.values() {
        let length = of_it.len().div_ceil(BLOCKS).max(1);
        for (nth, block) in of_it.chunks(length).enumerate() {
            let kept = if block.len() > 2 { &block[..block.len() - 1] } else { block };
            if nth % 2 == 0 { parts.0.extend(kept) } else { parts.1.extend(kept) }
        }
    }
    parts.0.sort_unstable();
    parts.1.sort_unstable();
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(groups: usize, per_group: usize, classes: usize) -> Rows {
        let mut rows = Rows::new(1);
        for row in 0..groups.max(1) * per_group {
            let value = f32::from(u16::try_from(row).unwrap());
            let group = (groups > 0).then(|| format!("g{}", row / per_group));
            rows.push(&[value], row % classes, group.as_deref());
        }
        rows
    }

    proptest! {
        #[test]
        fn no_row_is_in_two_parts_and_no_group_both_trains_and_is_asked(
            groups in 0_usize..8, per_group in 120_usize..160, classes in 2_usize..5,
        ) {
            let rows = rows(groups, per_group, classes);
            let split = split(&rows, None).unwrap();
            let mut all: Vec<u32> = [&split.train, &split.traffic, &split.held_out]
                .iter()
                .flat_map(|part| part.values.iter().map(|value| value.to_bits()))
                .collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), count);
            prop_assert!(count <= rows.len());
            if GROUPS_MIN <= groups {
                for group in &split.traffic.groups {
                    prop_assert!(!split.train.groups.contains(group));
                }
            }
            for part in [&split.traffic, &split.held_out] {
                let seen: std::collections::BTreeSet<_> = part.classes.iter().collect();
                prop_assert_eq!(seen.len(), classes, "every class is asked");
            }
        }
    }

    #[test]
    fn rows_sorted_by_class_still_hold_out_every_class() {
        let mut rows = Rows::new(1);
        for row in 0..120_u8 {
            rows.push(&[f32::from(row)], usize::from(row / 40), None);
        }
        let split = split(&rows, None).unwrap();
        for class in 0..3 {
            assert!(
                split.train.classes.contains(&class) && split.held_out.classes.contains(&class)
            );
        }
    }

    #[test]
    fn what_is_picked_is_held_out() {
        let rows = rows(0, 100, 2);
        let picked: Vec<bool> = (0..100).map(|row| row >= 60).collect();
        let split = split(&rows, Some(&picked)).unwrap();
        assert_eq!(split.train.len(), 60);
        assert!(split.traffic.values.iter().all(|&value| 60.0 <= value));
    }

    #[test]
    fn each_way_of_being_impossible_has_its_name() {
        let rows = rows(0, 100, 2);
        assert_eq!(split(&rows, Some(&[true; 100])), Err(SplitError::NoTraining));
        assert_eq!(split(&rows, Some(&[false; 100])), Err(SplitError::NoTraffic { held_out: 0 }));
        let odd: Vec<bool> = (0..100).map(|row| row % 2 == 1).collect();
        assert_eq!(split(&rows, Some(&odd)), Err(SplitError::OneClass));
    }
}
