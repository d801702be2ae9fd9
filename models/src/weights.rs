//! How much a member's vote counts, from its votes on validation rows only.

use crate::{metrics::Share, schema::ClassId};

/// The least that a vote counts. Members that are no better than guessing are kept above zero, so
/// that corrections can bring them back, and far below the others.
pub const WEIGHT_MIN: f32 = 0.01;

/// The weight of a member that was right on `right` validation rows of a task with `classes`
/// classes: `ln(p·(K - 1) / (1 - p))`, at least [`WEIGHT_MIN`].
///
/// `p` is the share of rows, smoothed by one hit and one miss, so that a member that never erred on
/// few rows does not outvote all others together.
///
/// # Source
///
/// For members that err independently, `ln(p / (1 - p))` makes the weighted vote the best there is
/// (Kuncheva, *Combining Pattern Classifiers*, 2004, section 4.3.2). The `K - 1` is that of SAMME
/// (Zhu, Zou, Rosset and Hastie, 2009): with more than two classes, guessing is right less often
/// than half. MLIoT's slides only say that votes are weighted; smoothing and floor are ours.
#[must_use]
pub fn vote_weight(right: Share, classes: usize) -> f32 {
    let smoothed = |count: u64| as_f64(count) + 1.0;
    let odds = smoothed(right.hits) / smoothed(right.of.saturating_sub(right.hits));
    let others = as_f64(u64::try_from(classes.max(2) - 1).unwrap_or(u64::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of counts is small")]
    let weight = (odds * others).ln() as f32;
    weight.max(WEIGHT_MIN)
}

/// [`vote_weight`] of each member from its votes, `[member][row]`.
#[must_use]
pub fn vote_weights(truth: &[ClassId], votes: &[Vec<ClassId>], classes: usize) -> Vec<f32> {
    let right = |votes: &Vec<ClassId>| {
        let pairs = truth.iter().zip(votes);
        pairs.fold(Share::default(), |Share { hits, of }, (truth, vote)| Share {
            hits: hits + u64::from(truth == vote),
            of: of + 1,
        })
    };
    votes.iter().map(|votes| vote_weight(right(votes), classes)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows; exact below 2⁵³")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_perfect_member_of_few_rows_counts_less_than_a_good_one_of_many() {
        let few = vote_weight(Share { hits: 3, of: 3 }, 2);
        let many = vote_weight(Share { hits: 950, of: 1000 }, 2);
        assert!(few < many);
    }

    #[test]
    fn a_guess_counts_next_to_nothing() {
        assert_eq!(vote_weight(Share { hits: 100, of: 1000 }, 10), WEIGHT_MIN.max(0.0));
        assert_eq!(vote_weight(Share { hits: 0, of: 1000 }, 10), WEIGHT_MIN);
        assert!(WEIGHT_MIN < vote_weight(Share { hits: 130, of: 1000 }, 10));
    }

    proptest! {
        #[test]
        fn every_weight_is_positive_finite_and_grows_with_what_was_right(
            of in 1_u64..=u64::MAX, hits: u64, classes in 0_usize..10_000,
        ) {
            let hits = hits % of;
            let less = vote_weight(Share { hits, of }, classes);
            let more = vote_weight(Share { hits: hits + 1, of }, classes);
            prop_assert!(less.is_finite() && 0.0 < less && less <= more);
        }
    }
}
