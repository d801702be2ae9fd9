//! Release: whether a candidate may replace what is served.
//!
//! The candidate and the baseline answered the same held-out rows and the same corrections. Rows
//! that both answer alike say nothing; of the others (the discordant pairs) a candidate that is as
//! good wins about half. It is refused when it wins so few of them that this would be a rare
//! accident, overall or in any class.
//!
//! # Source
//!
//! McNemar's test in its exact, one-sided form (McNemar 1947; the binomial of the discordant
//! pairs), with Bonferroni's correction over the classes. That corrections count as a hard bound,
//! and the level of the test, are ours.

use proto::v1::PairedComparison;

/// A candidate that is as good is refused by accident at most this often, overall and again over
/// all classes together.
pub const LEVEL: f64 = 0.05;
/// More rows than any task has; keeps the arithmetic exact.
const ROWS_MAX: u64 = 1 << 40;

/// Why a candidate is not released.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Counts that contradict each other.
    #[error("the comparison contradicts itself: {0}")]
    Contradiction(&'static str),
    /// Nothing was compared.
    #[error("nothing was compared: there are no held-out rows and no corrections")]
    Nothing,
    /// Worse on all rows together.
    #[error(
        "worse on held-out rows: it alone is right on {candidate}, the baseline alone on {baseline} \
         (p = {p:.4}, below {level:.4})"
    )]
    Worse {
        /// Rows that only the candidate answers rightly.
        candidate: u64,
        /// Rows that only the baseline answers rightly.
        baseline: u64,
        /// How rare that is when both are as good.
        p: f64,
        /// What it had to reach.
        level: f64,
    },
    /// Worse on the rows of one class.
    #[error(
        "worse on class {class}: it alone is right on {candidate}, the baseline alone on {baseline} \
         (p = {p:.4}, below {level:.4})"
    )]
    WorseClass {
        /// Index of the class.
        class: usize,
        /// Rows that only the candidate answers rightly.
        candidate: u64,
        /// Rows that only the baseline answers rightly.
        baseline: u64,
        /// How rare that is when both are as good.
        p: f64,
        /// What it had to reach.
        level: f64,
    },
    /// Forgets what users said.
    #[error(
        "answers {candidate} of {corrections} corrections as users said, the baseline {baseline}"
    )]
    Corrections {
        /// How many were asked.
        corrections: u64,
        /// How many the candidate answers as users said.
        candidate: u64,
        /// How many the baseline does.
        baseline: u64,
    },
    /// Not better by as much as the policy asks.
    #[error("gains {gain:.4} of accuracy; the policy asks for {min_gain:.4}")]
    Gain {
        /// Share of held-out rows gained.
        gain: f64,
        /// What the policy asks for.
        min_gain: f64,
    },
}

/// Whether the candidate may be released.
///
/// # Errors
///
/// [`Refusal`] with the first reason against it, in the order of its variants.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^40 are exact")]
pub fn judge(comparison: &PairedComparison, min_gain: f64) -> Result<(), Refusal> {
    check(comparison)?;
    let (candidate, baseline) = (comparison.only_candidate_right, comparison.only_baseline_right);
    let p = at_most(candidate, candidate + baseline);
    if p < LEVEL {
        return Err(Refusal::Worse { candidate, baseline, p, level: LEVEL });
    }
    let classes = comparison
        .class_only_candidate_right
        .iter()
        .zip(&comparison.class_only_baseline_right)
        .enumerate();
    let level = LEVEL / comparison.class_only_candidate_right.len().max(1) as f64;
    for (class, (&candidate, &baseline)) in classes {
        let p = at_most(candidate, candidate + baseline);
        if p < level {
            return Err(Refusal::WorseClass { class, candidate, baseline, p, level });
        }
    }
    if comparison.corrections_candidate_right < comparison.corrections_baseline_right {
        return Err(Refusal::Corrections {
            corrections: comparison.corrections,
            candidate: comparison.corrections_candidate_right,
            baseline: comparison.corrections_baseline_right,
        });
    }
    if 0.0 < min_gain {
        let gain = (candidate as f64 - baseline as f64) / comparison.rows.max(1) as f64;
        if gain < min_gain {
            return Err(Refusal::Gain { gain, min_gain });
        }
    }
    Ok(())
}

fn check(comparison: &PairedComparison) -> Result<(), Refusal> {
    let c = comparison;
    let counts = [
        c.rows,
        c.both_right,
        c.only_candidate_right,
        c.only_baseline_right,
        c.corrections,
        c.corrections_candidate_right,
        c.corrections_baseline_right,
    ];
    let classes = c.class_only_candidate_right.iter().chain(&c.class_only_baseline_right);
    if counts.iter().chain(classes.clone()).any(|&count| ROWS_MAX < count) {
        return Err(Refusal::Contradiction("a count is beyond any number of rows"));
    }
    if c.rows < c.both_right + c.only_candidate_right + c.only_baseline_right {
        return Err(Refusal::Contradiction("more right answers than rows"));
    }
    if c.class_only_candidate_right.len() != c.class_only_baseline_right.len() {
        return Err(Refusal::Contradiction("the two lists of classes differ in length"));
    }
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    if sum(&c.class_only_candidate_right) > c.only_candidate_right
        || sum(&c.class_only_baseline_right) > c.only_baseline_right
    {
        return Err(Refusal::Contradiction("more discordant rows in the classes than in all"));
    }
    if c.corrections < c.corrections_candidate_right.max(c.corrections_baseline_right) {
        return Err(Refusal::Contradiction("more right answers than corrections"));
    }
    if c.rows == 0 && c.corrections == 0 {
        return Err(Refusal::Nothing);
    }
    Ok(())
}

/// The probability of at most `wins` heads in `tosses` of a fair coin.
///
/// Exact up to rounding: terms are summed from the largest down, relative to it, until they no
/// longer count.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^41 are exact")]
fn at_most(wins: u64, tosses: u64) -> f64 {
    const TERMS_MAX: u64 = 2_000_000;
    if tosses <= wins {
        return 1.0;
    }
    // More than half of the heads is no reason to refuse, and the sum below is for the lower tail.
    if tosses < 2 * wins {
        return 1.0 - at_most(tosses - wins - 1, tosses);
    }
    let n = tosses as f64;
    let k = wins as f64;
    let log_largest = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) - n * 2.0_f64.ln();
    let mut sum = 1.0;
    let mut term = 1.0;
    for below in 0..wins.min(TERMS_MAX) {
        // C(n, k-1) = C(n, k) · k / (n - k + 1)
        let at = (wins - below) as f64;
        term *= at / (n - at + 1.0);
        sum += term;
        if term < f64::EPSILON * sum {
            break;
        }
    }
    (log_largest + sum.ln()).exp().min(1.0)
}

/// `ln(n!)`: the sum for small `n`, Stirling's series beyond, exact to about 1e-13.
fn ln_factorial(n: f64) -> f64 {
    if n < 32.0 {
        let mut sum = 0.0;
        let mut at = 2.0;
        while at <= n {
            sum += f64::ln(at);
            at += 1.0;
        }
        return sum;
    }
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (2.0 * std::f64::consts::PI * n).ln() + series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compared(candidate: u64, baseline: u64) -> PairedComparison {
        PairedComparison {
            rows: 1000,
            both_right: 500,
            only_candidate_right: candidate,
            only_baseline_right: baseline,
            class_only_candidate_right: vec![candidate, 0],
            class_only_baseline_right: vec![baseline, 0],
            ..PairedComparison::default()
        }
    }

    #[test]
    fn the_binomial_is_the_one_of_the_tables() {
        assert!((at_most(0, 5) - 0.031_25).abs() < 1e-12);
        assert!((at_most(2, 10) - 0.054_687_5).abs() < 1e-12);
        assert!((at_most(5, 10) - 0.623_046_875).abs() < 1e-12);
        assert!((at_most(8, 10) - 0.989_257_812_5).abs() < 1e-12);
        // The sum of the first 471 coefficients over 2^1000, in exact fractions.
        assert!((at_most(470, 1000) - 0.031_011_597_549_181_59).abs() < 1e-12);
    }

    #[test]
    fn a_candidate_that_loses_more_than_chance_allows_is_refused() {
        assert!(matches!(judge(&compared(2, 12), 0.0), Err(Refusal::Worse { .. })));
        assert_eq!(judge(&compared(5, 7), 0.0), Ok(()));
        assert_eq!(judge(&compared(0, 0), 0.0), Ok(()));
    }

    #[test]
    fn a_class_that_pays_for_the_others_is_seen() {
        let mut comparison = compared(40, 12);
        comparison.class_only_candidate_right = vec![40, 0];
        comparison.class_only_baseline_right = vec![0, 12];
        assert!(matches!(judge(&comparison, 0.0), Err(Refusal::WorseClass { class: 1, .. })));
    }

    #[test]
    fn what_users_said_is_not_forgotten() {
        let mut comparison = compared(5, 0);
        comparison.corrections = 25;
        comparison.corrections_baseline_right = 3;
        comparison.corrections_candidate_right = 2;
        assert!(matches!(judge(&comparison, 0.0), Err(Refusal::Corrections { .. })));
        comparison.corrections_candidate_right = 3;
        assert_eq!(judge(&comparison, 0.0), Ok(()));
    }

    #[test]
    fn a_policy_may_ask_for_a_gain() {
        assert_eq!(judge(&compared(15, 5), 0.01), Ok(()));
        assert!(matches!(judge(&compared(14, 5), 0.01), Err(Refusal::Gain { .. })));
    }

    #[test]
    fn counts_that_contradict_each_other_are_refused() {
        let mut comparison = compared(5, 5);
        comparison.rows = 509;
        assert!(matches!(judge(&comparison, 0.0), Err(Refusal::Contradiction(_))));
        comparison.rows = u64::MAX;
        assert!(matches!(judge(&comparison, 0.0), Err(Refusal::Contradiction(_))));
        assert_eq!(judge(&PairedComparison::default(), 0.0), Err(Refusal::Nothing));
    }

    proptest! {
        #[test]
        fn a_candidate_that_wins_as_many_as_it_loses_is_released(
            candidate in 0_u64..10_000, less in 0_u64..10_000,
        ) {
            let baseline = candidate.saturating_sub(less);
            let comparison = PairedComparison {
                rows: 20_000,
                only_candidate_right: candidate,
                only_baseline_right: baseline,
                ..PairedComparison::default()
            };
            prop_assert_eq!(judge(&comparison, 0.0), Ok(()));
        }

        #[test]
        fn it_is_refused_only_when_chance_would_rarely_do_so(
            candidate in 0_u64..200, baseline in 0_u64..200,
        ) {
            // The tail by brute force, as a sum of products.
            let n = candidate + baseline;
            let mut term = 0.5_f64.powi(i32::try_from(n).unwrap());
            let mut tail = term;
            for k in 0..candidate {
                term *= (n - k) as f64 / (k + 1) as f64;
                tail += term;
            }
            let comparison = PairedComparison {
                rows: 1000,
                only_candidate_right: candidate,
                only_baseline_right: baseline,
                ..PairedComparison::default()
            };
            let refused = judge(&comparison, 0.0).is_err();
            if (tail - LEVEL).abs() > 1e-9 {
                prop_assert_eq!(refused, tail < LEVEL);
            }
        }

        #[test]
        fn never_panics(counts in prop::array::uniform7(any::<u64>()), classes: Vec<u64>) {
            let [rows, both_right, only_candidate_right, only_baseline_right, corrections,
                corrections_candidate_right, corrections_baseline_right] = counts;
            let comparison = PairedComparison {
                rows, both_right, only_candidate_right, only_baseline_right, corrections,
                corrections_candidate_right, corrections_baseline_right,
                class_only_candidate_right: classes.clone(),
                class_only_baseline_right: classes,
            };
            let _any_answer_will_do = judge(&comparison, 0.0);
        }
    }
}
