//! From the scores of a member to its shares of a soft vote: probabilities, as whole numbers.
//!
//! ```text
//! p(c) = e^(slope·s(c)) / Σ e^(slope·s)
//! ```
//!
//! One number per member, fitted on rows that it was not fitted on, makes scores of every family
//! comparable: margins, logits, counts of neighbours and sums of leaves alike (temperature scaling,
//! Guo et al., ICML 2017). One exponential for each class, and the class with the largest score
//! keeps the largest share.

use crate::{
    kernel::{exponentials, finite, natural_log},
    member::ModelError,
    vote::{VOTE, WHOLE},
};

/// How sharply a member's scores part its vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softness {
    /// Multiplies the evidence before the exponential; positive and finite.
    pub slope: f32,
}

/// What scores of a member are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evidence as it is: a little more is a little likelier.
    Even,
    /// Whole votes of pairs, and beside them, squeezed into ±⅓, the sum of the decision values.
    VotesOfPairs,
}

/// The least and the largest slope that is looked for.
const SLOPES: (f32, f32) = (1e-4, 1e4);
/// Steps of the search for a slope: each keeps 0.618 of what is left of eight powers of ten.
const STEPS: usize = 24;
/// What the vote of a pair counts at least beside the decision values of an RBF SVM.
const VOTE_OF_PAIR_MIN: f32 = 3.0;
/// Nobody is surer than this: one wrong row must not decide a slope.
const SURE: f64 = 1e-6;

impl Softness {
    /// Turns `scores` of a member into its shares, which sum to [`VOTE`] but for
    /// rounding. `scores` is used up.
    pub fn shares(self, scale: Scale, scores: &mut [f32], shares: &mut [u32]) {
        self.probabilities(scale, scores);
        let whole: f32 = scores.iter().sum();
        let each = scaled(whole);
        for (share, &score) in shares.iter_mut().zip(&*scores) {
            *share = part(score * each);
        }
    }

    /// Turns `scores` of a member into what it gives to a logarithmic pool: `1 - ln p / ln ε` of each class,
    /// in parts of [`VOTE`], 0 for what is no likelier than ε ([`LEAST`](crate::vote::LEAST)). `scores` is used up.
    pub fn log_shares(self, scale: Scale, scores: &mut [f32], shares: &mut [u32]) {
        /// Parts of a vote for each unit of a natural logarithm.
        const UNIT: f32 = scaled(WHOLE);
        to_distances(scale, scores);
        for (share, &distance) in shares.iter_mut().zip(&*scores) {
            *share = part(self.slope * distance * UNIT);
        }
        exponentials(scores, self.slope);
        let whole: f32 = scores.iter().sum();
        let left = VOTE - part(natural_log(whole) * UNIT);
        shares.iter_mut().for_each(|share| *share = left.saturating_sub(*share));
    }

    /// `e^(slope·(s - largest s))` of each score: probabilities that do not sum to 1 yet.
    fn probabilities(self, scale: Scale, scores: &mut [f32]) {
        to_distances(scale, scores);
        exponentials(scores, self.slope);
    }

    /// The slope under which rows are most likely to be what they are.
    ///
    /// # Shapes
    ///
    /// `scores` is `[n, classes]`, `truth` is `[n]`.
    #[must_use]
    pub fn fit(scale: Scale, scores: &[f32], truth: &[u16], classes: usize) -> Self {
        let mut row = vec![0.0; classes];
        let mut loss = |slope: f64| -> f64 {
            let softness = Self { slope: narrow(slope.exp()) };
            let rows = scores.chunks_exact(classes).zip(truth);
            rows.map(|(scores, &truth)| {
                row.copy_from_slice(scores);
                softness.probabilities(scale, &mut row);
                let whole: f32 = row.iter().sum();
                -(f64::from(row[usize::from(truth)]) / f64::from(whole)).max(SURE).ln()
            })
            .sum()
        };
        // Golden section over the logarithm of the slope: the loss has a single valley.
        let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (f64::from(SLOPES.0).ln(), f64::from(SLOPES.1).ln());
        let (mut a, mut b) = (high - golden * (high - low), low + golden * (high - low));
        let (mut at_a, mut at_b) = (loss(a), loss(b));
        for _ in 0..STEPS {
            if at_a <= at_b {
                (high, b, at_b) = (b, a, at_a);
                a = high - golden * (high - low);
                at_a = loss(a);
            } else {
                (low, a, at_a) = (a, b, at_b);
                b = low + golden * (high - low);
                at_b = loss(b);
            }
        }
        Self { slope: narrow(f64::midpoint(low, high).exp()) }
    }

    /// It is a positive finite slope.
    pub(crate) fn check(self) -> Result<(), ModelError> {
        crate::check::positive("slope", self.slope)
    }
}

/// How far the evidence for each class is behind the largest.
fn to_distances(scale: Scale, scores: &mut [f32]) {
    evidence(scale, scores);
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    for score in scores {
        *score = largest - *score;
    }
}

/// What scores say of the classes on a scale without jumps.
///
/// Votes of pairs jump where a pair is undecided, and the sum beside them, which knows how
/// sure it is, is often largest for another class than the one that the pairs elected. A sum has a value
/// for each other class, so a vote counts as many beside it as there are classes: that keeps who was
/// elected, and how sure the sum is. With three for any number of classes, eleven kinds of sounds, one of
/// them half of all, were told apart in 75 % of new recordings where the pairs elect 88 % rightly; with six
/// classes the loss hardly changes, with three or fewer nothing does.
fn evidence(scale: Scale, scores: &mut [f32]) {
    match scale {
        Scale::VotesOfPairs => {
            let classes = u16::try_from(scores.len()).unwrap_or(u16::MAX);
            let vote_of_pair = f32::from(classes).max(VOTE_OF_PAIR_MIN);
            for score in scores {
                if *score < -0.5 {
                    // A class that no row taught.
                    *score = f32::MIN;
                    continue;
                }
                let votes = (*score + 0.5).floor();
                let squeezed = 3.0 * (*score - votes);
                let sum = squeezed / (1.0 - squeezed.abs()).max(1e-4);
                *score = finite(sum + vote_of_pair * votes);
            }
        }
        Scale::Even => scores.iter_mut().for_each(|score| *score = finite(*score)),
    }
}

/// [`VOTE`] for each unit of `whole`.
#[expect(clippy::cast_precision_loss, reason = "2²⁰ is exact")]
const fn scaled(whole: f32) -> f32 {
    VOTE as f32 / whole
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 2²⁰, and a cast saturates"
)]
fn part(share: f32) -> u32 {
    ((share + 0.5) as u32).min(VOTE)
}

#[expect(clippy::cast_possible_truncation, reason = "between the least and the largest slope")]
fn narrow(slope: f64) -> f32 {
    slope as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vote::{LEAST, first_largest};

    fn shares(scale: Scale, slope: f32, scores: &[f32]) -> Vec<u32> {
        let mut shares = vec![0; scores.len()];
        Softness { slope }.shares(scale, &mut scores.to_vec(), &mut shares);
        shares
    }

    #[test]
    fn shares_are_those_of_the_definition() {
        let found = shares(Scale::Even, 2.0, &[0.0, 1.0, -1.0]);
        let sum: f64 = [0.0_f64, 2.0, -2.0].iter().map(|x| x.exp()).sum();
        for (found, x) in found.iter().zip([0.0_f64, 2.0, -2.0]) {
            assert!((f64::from(*found) / f64::from(VOTE) - x.exp() / sum).abs() < 2e-6);
        }
    }

    #[test]
    fn shares_of_a_logarithmic_pool_are_those_of_the_definition() {
        let mut shares = [0; 4];
        let scores = [0.0, 1.0, -1.0, -30.0];
        Softness { slope: 2.0 }.log_shares(Scale::Even, &mut scores.clone(), &mut shares);
        let each = scores.map(|score| (2.0 * f64::from(score)).exp());
        let sum: f64 = each.iter().sum();
        for (share, each) in shares.into_iter().zip(each) {
            let expected = 1.0 - (each / sum).max(LEAST).ln() / LEAST.ln();
            assert!((f64::from(share) / f64::from(VOTE) - expected).abs() < 2e-6, "{share}");
        }
        assert_eq!(shares[3], 0, "as likely as the least is nothing");
    }

    #[test]
    fn the_slope_is_that_of_the_rows() {
        // Two classes with scores ±1: right in three rows of four, so p = 3/4 and slope·2 = ln 3.
        let scores = [1.0, -1.0].repeat(400);
        let truth: Vec<u16> = (0..400).map(|row| u16::from(row % 4 == 0)).collect();
        let Softness { slope } = Softness::fit(Scale::Even, &scores, &truth, 2);
        assert!((slope - 3.0_f32.ln() / 2.0).abs() < 1e-3, "{slope}");
    }

    #[test]
    fn whom_the_pairs_elected_has_the_largest_share() {
        // Eleven classes: the second has one vote more, the first far larger decision values.
        let mut scores = vec![0.0; 11];
        (scores[0], scores[1]) = (8.0 + 4.0 / 15.0, 9.0 - 4.0 / 15.0);
        let shares = shares(Scale::VotesOfPairs, 0.2, &scores);
        assert!(shares[0] < shares[1], "{shares:?}");
    }

    proptest! {
        #[test]
        fn whatever_the_scores_the_shares_are_a_vote(
            bits in prop::collection::vec(any::<u32>(), 2..20), slope in 1e-4_f32..1e4,
        ) {
            let scores: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            for scale in [Scale::Even, Scale::VotesOfPairs] {
                let shares = shares(scale, slope, &scores);
                let sum: u32 = shares.iter().sum();
                prop_assert!(sum.abs_diff(VOTE) <= 20, "{sum}");
                let mut logs = vec![0; scores.len()];
                Softness { slope }.log_shares(scale, &mut scores.clone(), &mut logs);
                prop_assert!(logs.iter().all(|&log| log <= VOTE));
                for (a, b) in shares.iter().zip(&logs).flat_map(|a| shares.iter().zip(&logs).map(move |b| (a, b))) {
                    prop_assert!(a.0 <= b.0 || b.1 <= a.1, "in the same order");
                }
            }
        }

        #[test]
        fn the_largest_score_has_the_largest_share(
            scores in prop::collection::vec(-9.0_f32..9.0, 2..20), slope in 1e-4_f32..1e4,
        ) {
            let shares = shares(Scale::Even, slope, &scores);
            let largest = shares.iter().max().unwrap();
            prop_assert_eq!(&shares[first_largest(&scores).index()], largest);
        }
    }
}
