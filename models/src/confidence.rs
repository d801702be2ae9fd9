//! How often an answer with a certain count is right: measured, not hoped.
//!
//! A share of the vote is no probability: three members that err together agree when they are
//! wrong. So for each number of members that were asked, a curve from the share of *their* weight
//! that the winner has to how often such a winner was right, on rows that no member was fitted on.
//! A vote that ended after two of seven is judged by votes of two, never by what the other five
//! might have said.

use crate::{check, member::ModelError};

/// For each number of members asked, a curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confidence {
    /// One for votes of one member, of two, and so on; the last is also for more. Empty: nobody has
    /// measured it.
    pub curves: Vec<Curve>,
}

/// From the share of the asked weight to how often the winner is right: straight between knots,
/// level beyond the first and the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Shares of the asked weight, growing; at least one, at most [`KNOTS_MAX`].
    pub shares: Vec<f32>,
    /// How often such a winner is right, 0 to 1, never falling.
    pub right: Vec<f32>,
}

/// Most knots of a curve.
pub const KNOTS_MAX: usize = 16;

/// A vote that was counted on a row whose class is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How many members were asked.
    pub asked: usize,
    /// The share of their weight that the winner had.
    pub share: f32,
    /// Whether it was right.
    pub right: bool,
}

/// Fewer votes of so many members say too little about them; all votes together speak instead.
const VOTES_MIN: usize = 100;

impl Confidence {
    /// Measures how often winners are right, from votes about rows that no member was fitted on.
    ///
    /// For each number of members up to the most that were asked, one curve.
    #[must_use]
    pub fn fit(outcomes: &[Outcome]) -> Self {
        let most = outcomes.iter().map(|outcome| outcome.asked).max().unwrap_or(0);
        let of = |asked: Option<usize>| -> Vec<(f32, bool)> {
            let mut votes: Vec<(f32, bool)> = outcomes
                .iter()
                .filter(|it| asked.is_none_or(|asked| it.asked == asked))
                .map(|it| (it.share, it.right))
                .collect();
            votes.sort_by(|a, b| a.0.total_cmp(&b.0));
            votes
        };
        let all = of(None);
        let curve = |asked: usize| {
            let own = of(Some(asked));
            Curve::fit(if own.len() < VOTES_MIN { &all } else { &own })
        };
        Self { curves: (1..=most.min(crate::ensemble::MEMBERS_MAX)).map(curve).collect() }
    }

    /// Whether anything was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.curves.is_empty()
    }

    /// How often a winner is right that has `share` of the weight of the `asked` members; `share`
    /// itself when nothing was measured.
    #[must_use]
    pub fn of(&self, asked: u32, share: f32) -> f32 {
        let last = self.curves.len().saturating_sub(1);
        let at = usize::try_from(asked.saturating_sub(1)).unwrap_or(last).min(last);
        self.curves.get(at).map_or(share, |curve| curve.at(share))
    }

    /// Every curve holds.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        check::at_most("confidence curves", self.curves.len(), crate::ensemble::MEMBERS_MAX)?;
        for Curve { shares, right } in &self.curves {
            check::some("knots", shares.len())?;
            check::at_most("knots", shares.len(), KNOTS_MAX)?;
            check::length("confidences", right, shares.len())?;
            check::finite("knots", shares)?;
            check::finite("confidences", right)?;
            let grows = shares.array_windows().all(|[a, b]| a < b);
            let never_falls = right.array_windows().all(|[a, b]| a <= b);
            let within = right.iter().all(|right| (0.0..=1.0).contains(right));
            if !(grows && never_falls && within) {
                return Err(ModelError::Order { what: "a confidence curve" });
            }
        }
        Ok(())
    }
}

impl Curve {
    /// The never falling curve through votes in order of share.
    ///
    /// Votes are taken together by the dozen and more, so that one of them moves little; each heap
    /// counts one more that was right and one that was wrong, so that nobody is certain; and where a
    /// heap was right less often than one before it, both are taken together.
    ///
    /// # Source
    ///
    /// Isotonic regression by pooling adjacent violators (Ayer et al., 1955; for calibration Zadrozny
    /// and Elkan, 2002). Heaps and smoothing are ours.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "shares")]
    fn fit(votes: &[(f32, bool)]) -> Self {
        /// Votes, how many of them right, and the sum of their shares.
        #[derive(Clone, Copy)]
        struct Heap(usize, usize, f64);
        let right = |heap: Heap| (heap.1 as f64 + 1.0) / (heap.0 as f64 + 2.0);
        let mean = |heap: Heap| heap.2 / heap.0 as f64;
        let mut heaps: Vec<Heap> = Vec::new();
        for votes in votes.chunks(votes.len().div_ceil(KNOTS_MAX).max(12)) {
            let sum = votes.iter().map(|vote| f64::from(vote.0)).sum();
            heaps.push(Heap(votes.len(), votes.iter().filter(|vote| vote.1).count(), sum));
            while let [.., a, b] = heaps[..]
                && (right(b) <= right(a) || mean(b) as f32 <= mean(a) as f32)
            {
                heaps.truncate(heaps.len() - 2);
                heaps.push(Heap(a.0 + b.0, a.1 + b.1, a.2 + b.2));
            }
        }
        if heaps.is_empty() {
            return Self { shares: vec![0.0], right: vec![0.0] };
        }
        Self {
            shares: heaps.iter().map(|&heap| mean(heap) as f32).collect(),
            right: heaps.iter().map(|&heap| right(heap) as f32).collect(),
        }
    }

    /// The curve at `share`.
    #[must_use]
    pub fn at(&self, share: f32) -> f32 {
        let above = self.shares.partition_point(|&knot| knot <= share);
        let last = self.shares.len() - 1;
        if above == 0 {
            return self.right[0];
        }
        if last < above {
            return self.right[last];
        }
        let (low, high) = (self.shares[above - 1], self.shares[above]);
        let part = (share - low) / (high - low);
        self.right[above - 1] + part * (self.right[above] - self.right[above - 1])
    }
}

/// How far confidences lie from how often answers were right, on average over answers: the expected
/// calibration error, in ten heaps of equal size.
///
/// # Source
///
/// Naeini, Cooper and Hauskrecht, AAAI 2015; heaps of equal size, since most answers are sure.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
pub fn calibration_error(answers: &[(f32, bool)]) -> f64 {
    let mut answers = answers.to_vec();
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heaps = answers.chunks(answers.len().div_ceil(10).max(1));
    let off: f64 = heaps
        .map(|heap| {
            let said: f64 = heap.iter().map(|answer| f64::from(answer.0)).sum();
            let right = heap.iter().filter(|answer| answer.1).count() as f64;
            (said - right).abs()
        })
        .sum();
    off / answers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::synthetic::Numbers;

    /// Votes whose winners are right as often as `truth` says for their share.
    fn votes(count: usize, asked: usize, truth: impl Fn(f32) -> f32, seed: u64) -> Vec<Outcome> {
        let numbers = &mut Numbers::new(seed);
        let mut vote = || {
            let share = 0.75 + numbers.one() / 4.0;
            let right = numbers.one() / 2.0 + 0.5 < truth(share);
            Outcome { asked, share, right }
        };
        (0..count).map(|_| vote()).collect()
    }

    #[test]
    fn a_confidence_is_how_often_such_a_vote_was_right() {
        // Two members agree too readily: where they say s, s² is right. One member says it as it is.
        let mut outcomes = votes(8_000, 2, |share| share * share, 1);
        outcomes.extend(votes(8_000, 1, |share| share, 2));
        let confidence = Confidence::fit(&outcomes);
        confidence.check().unwrap();
        for share in [0.55_f32, 0.7, 0.8, 0.9] {
            assert!((confidence.of(2, share) - share * share).abs() < 0.05, "{share}");
            assert!((confidence.of(1, share) - share).abs() < 0.05, "{share}");
            assert_eq!(confidence.of(9, share), confidence.of(2, share), "the last is for more");
        }
        let fresh = votes(8_000, 2, |share| share * share, 3);
        let said = |of: &dyn Fn(f32) -> f32| -> Vec<(f32, bool)> {
            fresh.iter().map(|it| (of(it.share), it.right)).collect()
        };
        let measured = calibration_error(&said(&|share| confidence.of(2, share)));
        let hoped = calibration_error(&said(&|share| share));
        assert!(measured < 0.03 && 0.1 < hoped, "{measured} {hoped}");
    }

    #[test]
    fn a_few_votes_make_nobody_certain() {
        let outcomes = votes(20, 1, |_| 1.0, 4);
        let confidence = Confidence::fit(&outcomes);
        assert!(confidence.of(1, 1.0) < 0.97);
        assert!(!Confidence::fit(&[]).is_measured());
        assert_eq!(Confidence::default().of(3, 0.25), 0.25);
    }

    proptest! {
        #[test]
        fn every_fit_is_a_curve_and_never_falls(
            votes in prop::collection::vec((1_usize..5, 0_u8..20, any::<bool>()), 0..400),
        ) {
            let outcomes: Vec<Outcome> = votes
                .into_iter()
                .map(|(asked, share, right)| Outcome { asked, share: f32::from(share) / 20.0, right })
                .collect();
            let confidence = Confidence::fit(&outcomes);
            prop_assert_eq!(confidence.check(), Ok(()));
            for asked in 1..6 {
                let mut last = 0.0;
                for share in 0_u8..=20 {
                    let now = confidence.of(asked, f32::from(share) / 20.0);
                    prop_assert!(!confidence.is_measured() || (last <= now && now <= 1.0));
                    last = now;
                }
            }
        }
    }
}
