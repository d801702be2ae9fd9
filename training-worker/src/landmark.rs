//! Landmarks: how many of the corrections teach the members that choose.
//!
//! The members that serve learn every correction at once. Those that are fitted without a fold each, whose
//! votes choose weights, columns, gates and thresholds, learn new ones only at landmarks: once those that
//! they have not learnt would be more than a twentieth of the rows that teach. Between two landmarks a
//! retraining has nothing to fit across the folds that it has not fitted before.
//!
//! Ours (docs/decisions/0037-steps-are-kept.md).

use crate::material::CORRECTION_ROWS;

/// Corrections that the folds have not learnt are at most one in so many of the rows that teach.
const PART: usize = 20;

/// How many of so many corrections that teach have been learnt by the folds, beside so many samples that
/// teach: the first ones, in the scheduler's order.
///
/// It depends on nothing else, so that every attempt at a job, and every later job, has the same
/// landmarks until samples are added.
#[must_use]
pub fn landmark(samples: usize, corrections: usize) -> usize {
    let mut learnt = 0;
    while let Some(next) = next(samples, learnt).filter(|&next| next <= corrections) {
        learnt = next;
    }
    learnt
}

/// The fewest corrections of which too many would not be learnt: (n - learnt) * 3 * 20 exceeds the samples
/// and n * 3.
fn next(samples: usize, learnt: usize) -> Option<usize> {
    let least = learnt.checked_mul(CORRECTION_ROWS * PART)?.checked_add(samples)?;
    Some(least / (CORRECTION_ROWS * (PART - 1)) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_the_folds_have_not_learnt_is_at_most_a_twentieth(
            samples in 0_usize..20_000, corrections in 0_usize..3_000,
        ) {
            let learnt = landmark(samples, corrections);
            prop_assert!(learnt <= corrections);
            let rows = samples + CORRECTION_ROWS * corrections;
            prop_assert!(PART * CORRECTION_ROWS * (corrections - learnt) <= rows);
        }

        #[test]
        fn the_folds_learn_no_sooner_than_they_must(
            samples in 0_usize..20_000, corrections in 0_usize..3_000,
        ) {
            let (before, after) = (landmark(samples, corrections), landmark(samples, corrections + 1));
            // Either nothing changes, or one correction more would have been too many.
            let rows = samples + CORRECTION_ROWS * (corrections + 1);
            let too_many = rows < PART * CORRECTION_ROWS * (corrections + 1 - before);
            prop_assert_eq!(after, if too_many { corrections + 1 } else { before });
        }
    }

    #[test]
    fn beside_few_samples_a_handful_is_learnt_at_once_and_beside_many_a_hundred_waits() {
        assert_eq!((1..=4).map(|it| landmark(50, it)).collect::<Vec<_>>(), [1, 2, 3, 3]);
        assert_eq!(landmark(50, 19), 19);
        assert_eq!(landmark(5_800, 101), 0);
        assert_eq!(landmark(5_800, 102), 102);
    }
}
