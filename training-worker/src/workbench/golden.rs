//! Which rows an ensemble takes with it, so that whoever loads it can see whether it still says what
//! it said here.

use models::{Ensemble, golden};

use super::{BenchError, Workbench};

impl Workbench {
    /// `ensemble` with as many golden rows as it can afford: training rows, shared out among the
    /// classes, each class's spread over its own. Never a held-out row.
    pub(super) fn with_golden(&self, ensemble: Ensemble) -> Result<Ensemble, BenchError> {
        let lessons = &self.material.lessons;
        let picked = spread(&lessons.labels, golden::affordable(&ensemble));
        let rows = picked.into_iter().map(|row| lessons.samples.row(row));
        ensemble.with_golden(rows).map_err(BenchError::Lowered)
    }
}

/// `count` rows, or all: one of each class in turn, those of a class as far from each other as they
/// can be. Growing.
fn spread(labels: &[u16], count: usize) -> Vec<usize> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        let class = usize::from(label);
        classes.resize_with(classes.len().max(class + 1), Vec::new);
        classes[class].push(row);
    }
    classes.retain(|rows| !rows.is_empty());
    let mut shares = vec![0; classes.len()];
    let mut left = count.min(labels.len());
    while 0 < left {
        for (share, rows) in shares.iter_mut().zip(&classes) {
            if 0 < left && *share < rows.len() {
                *share += 1;
                left -= 1;
            }
        }
    }
    let middle = |(rows, share): (&Vec<usize>, usize)| -> Vec<usize> {
        // The middle of each of so many stretches: where a recording begins is seldom typical.
        (0..share).map(|at| rows[(2 * at + 1) * rows.len() / (2 * share)]).collect()
    };
    let mut picked: Vec<usize> = classes.iter().zip(shares).flat_map(middle).collect();
    picked.sort_unstable();
    picked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_class_has_its_turn_before_one_has_two() {
        let labels: Vec<u16> = (0..90).map(|row| if row < 80 { 0 } else { row % 3 }).collect();
        let classes = |count| -> Vec<u16> {
            let mut classes: Vec<u16> =
                spread(&labels, count).into_iter().map(|row| labels[row]).collect();
            classes.sort_unstable();
            classes
        };
        assert_eq!(classes(1), [0]);
        assert_eq!(classes(3), [0, 1, 2]);
        assert_eq!(classes(5), [0, 0, 1, 1, 2]);
        assert_eq!(spread(&labels, 1), [41], "the middle of the 83 rows of class 0");
    }

    proptest! {
        #[test]
        fn as_many_different_rows_as_are_wanted_or_there_are(
            labels in prop::collection::vec(0_u16..5, 0..60), count in 0_usize..20,
        ) {
            let picked = spread(&labels, count);
            prop_assert_eq!(picked.len(), count.min(labels.len()));
            prop_assert!(picked.array_windows().all(|[a, b]| a < b));
            prop_assert!(picked.iter().all(|&row| row < labels.len()));
        }
    }
}
