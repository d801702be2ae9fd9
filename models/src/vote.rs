//! The weighted vote and its tie rule.

use crate::schema::ClassId;

/// The class of the largest value; of equal ones the first, so a tie goes to the smallest
/// [`ClassId`].
///
/// NaN never wins. When nothing wins (no values, or nothing but NaN and negative infinity) the
/// answer is class 0: there is always an answer, and it is always a class.
///
/// # Source
///
/// The slides of MLIoT say nothing of ties; the rule is ours.
#[must_use]
pub fn first_largest(values: &[f32]) -> ClassId {
    let mut best = 0;
    let mut largest = f32::NEG_INFINITY;
    for (index, &value) in (0_u16..).zip(values) {
        if largest < value {
            largest = value;
            best = index;
        }
    }
    ClassId(best)
}

/// The weighted vote over votes that were cast before, for measuring many subsets of the same
/// members: no inference, and no work for classes that nobody voted for.
#[derive(Clone, Debug)]
pub struct Tally {
    sums: Vec<f32>,
}

impl Tally {
    /// For a task of `classes` classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { sums: vec![0.0; classes] }
    }

    /// What [`crate::Ensemble::answer`] says when members vote like this: the same sums in the same
    /// order, the same rule for ties.
    ///
    /// # Panics
    ///
    /// When a vote is for a class beyond those of [`Tally::new`].
    pub fn winner(&mut self, votes: impl Iterator<Item = (ClassId, f32)> + Clone) -> ClassId {
        for (class, weight) in votes.clone() {
            self.sums[class.index()] += weight;
        }
        let mut winner = ClassId(0);
        let mut largest = 0.0;
        for (class, _) in votes.clone() {
            let sum = self.sums[class.index()];
            if largest < sum || (largest <= sum && class < winner) {
                (winner, largest) = (class, sum);
            }
        }
        for (class, _) in votes {
            self.sums[class.index()] = 0.0;
        }
        winner
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_winner_is_the_first_largest_of_the_sums(
            votes in prop::collection::vec((0_u16..5, 1_u8..4), 0..12),
        ) {
            let votes = votes.iter().map(|&(class, weight)| (ClassId(class), f32::from(weight)));
            let mut sums = [0.0; 5];
            for (class, weight) in votes.clone() {
                sums[class.index()] += weight;
            }
            let mut tally = Tally::new(5);
            prop_assert_eq!(tally.winner(votes.clone()), first_largest(&sums));
            prop_assert_eq!(tally.winner(votes), first_largest(&sums), "it forgets");
        }
    }

    #[test]
    fn a_tie_goes_to_the_smallest_class() {
        assert_eq!(first_largest(&[1.0, 2.0, 2.0]), ClassId(1));
        assert_eq!(first_largest(&[0.0, -0.0]), ClassId(0));
    }

    #[test]
    fn what_is_not_a_number_never_wins() {
        assert_eq!(first_largest(&[f32::NAN, -1.0, f32::NAN]), ClassId(1));
        assert_eq!(first_largest(&[f32::NAN; 3]), ClassId(0));
        assert_eq!(first_largest(&[]), ClassId(0));
        assert_eq!(first_largest(&[-1.0, f32::INFINITY]), ClassId(1));
    }
}
