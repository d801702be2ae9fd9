//! The weighted vote: its count, its tie rule, and when it is decided.
//!
//! Votes are counted in whole numbers. Sums of whole numbers do not depend on the order in which
//! members are asked, so a vote that ends early has exactly the winner that the full vote has,
//! whatever the order and however close the race: no margin for rounding is needed.

use crate::{kernel::exp_of_negative, schema::ClassId};

/// What one member has to give: all of it to one class in a hard vote, in shares to several classes
/// in a soft one.
pub const VOTE: u32 = 1 << 20;

/// What all members of an ensemble count together has so many bits. With [`VOTE`] it stays far below
/// 2⁶⁴.
const COUNT_BITS: u64 = 40;

/// How what members give becomes what a class has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// Shares are added up: the mean of probabilities, or of whole votes.
    #[default]
    Linear,
    /// Logarithms are added up: a share is how far a probability is above [`LEAST`], on the way from there to 1
    /// in logarithms, and what a class has is again a probability.
    Logarithmic,
}

/// In a logarithmic pool nobody thinks a class less likely than this: what one member has never seen is
/// not impossible.
///
/// Ours; chosen on other partings (ADR 0045): with .05 less is gained, with .01 and below a single member that is
/// surely wrong takes more from rows that are unlike those that taught it.
pub const LEAST: f64 = 0.02;
/// `-ln` of [`LEAST`]: what a whole vote stands for.
#[expect(clippy::cast_possible_truncation, reason = "rounded to the nearest")]
pub(crate) const WHOLE: f32 = 3.912_023_005_428_146_f64 as f32;

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

/// Positive finite weights as whole numbers in the same proportions, at least 1 each.
///
/// They are multiplied by a power of two, so that weights whose sums an `f32` holds keep exactly
/// those sums: what would be a tie is one. Others are kept to 2⁻³⁹ of the sum.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most the sum, which is scaled to below 2⁴⁰"
)]
pub fn counts(weights: &[f32]) -> Vec<u64> {
    /// The exponent field of 1.0, and what is left of the 64 bits behind it.
    const ONE: u64 = 1023;
    const FRACTION_BITS: u32 = 52;
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let exponent = sum.to_bits() >> FRACTION_BITS;
    // Sums of positive f32 lie between 2⁻¹⁴⁹ and 2¹³⁴: far from the ends of an exponent field.
    let scale = f64::from_bits((2 * ONE + COUNT_BITS - 1 - exponent) << FRACTION_BITS);
    let count = |&weight: &f32| ((f64::from(weight) * scale).round() as u64).max(1);
    weights.iter().map(count).collect()
}

/// A vote while it is counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// For each class, Σ over members of count × share of [`VOTE`].
    sums: Vec<u64>,
    pool: Pool,
}

impl Tally {
    /// Begins a count for `classes` classes.
    pub fn begin(&mut self, classes: usize, pool: Pool) {
        self.pool = pool;
        self.sums.clear();
        self.sums.resize(classes, 0);
    }

    /// A member that counts `count` gives its whole vote to `class`.
    ///
    /// # Panics
    ///
    /// When `class` is beyond those of [`Tally::begin`].
    pub fn cast(&mut self, class: ClassId, count: u64) {
        self.sums[class.index()] += count * u64::from(VOTE);
    }

    /// A member that counts `count` gives each class a share of [`VOTE`].
    pub fn share_out(&mut self, shares: &[u32], count: u64) {
        for (sum, &share) in self.sums.iter_mut().zip(shares) {
            *sum += count * u64::from(share);
        }
    }

    /// The winner, if members that count `left` together and have not been asked cannot change it.
    /// With nobody left there always is one.
    ///
    /// A tie goes to the smallest class, so a class that would have to draw level with a smaller
    /// one has lost already.
    #[must_use]
    pub fn decided(&self, left: u64) -> Option<ClassId> {
        let left = left * u64::from(VOTE);
        let (mut winner, mut most) = (0, 0);
        // The most that a class before the winner has, and one after it.
        let (mut before, mut after) = (0, 0);
        for (class, &sum) in (0_u16..).zip(&self.sums) {
            if most < sum {
                // All classes so far have at most what the leader had.
                (winner, before, most, after) = (class, most, sum, 0);
            } else if class != 0 {
                after = after.max(sum);
            }
        }
        let ahead = winner == 0 || before + left < most;
        (ahead && after + left <= most).then_some(ClassId(winner))
    }

    /// What each class has, in class order.
    pub(crate) fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// What `class` has for certain of all that members who count `of` together can give, 0 to 1, if some who
    /// count `left` have not been asked: as if those were against it.
    #[must_use]
    pub fn share(&self, class: ClassId, of: u64, left: u64) -> f32 {
        Reading::new(self.pool, &self.sums, of, left).share(self.sums[class.index()])
    }

    /// [`Tally::share`] of every class, in order.
    pub fn shares(&self, of: u64, left: u64) -> impl Iterator<Item = f32> {
        let reading = Reading::new(self.pool, &self.sums, of, left);
        self.sums.iter().map(move |&sum| reading.share(sum))
    }
}

/// What each class has of the full vote of members who count `of` together, in parts of [`VOTE`], rounded
/// down: whole numbers, the same on every machine.
pub fn parts(pool: Pool, sums: &[u64], of: u64) -> impl Iterator<Item = u32> {
    let reading = Reading::new(pool, sums, of, 0);
    sums.iter().map(move |&sum| match pool {
        Pool::Linear => u32::try_from(sum / of.max(1)).unwrap_or(VOTE).min(VOTE),
        Pool::Logarithmic => whole(reading.share(sum)),
    })
}

/// What sums of a count say.
#[derive(Clone, Copy)]
struct Reading {
    pool: Pool,
    /// What members can give.
    all: f64,
    /// In a logarithmic pool: the most that a class has, Σ over classes of how likely it is beside that one, and how
    /// many times likelier every other class may become.
    most: u64,
    together: f32,
    grows: f32,
}

impl Reading {
    #[expect(clippy::cast_precision_loss, reason = "a share of it is a share")]
    fn new(pool: Pool, sums: &[u64], of: u64, left: u64) -> Self {
        let all = of.max(1) as f64 * f64::from(VOTE);
        let linear = Self { pool, all, most: 0, together: 1.0, grows: 1.0 };
        if pool == Pool::Linear {
            return linear;
        }
        let most = sums.iter().copied().max().unwrap_or(0);
        let reading = Self { most, ..linear };
        let together = sums.iter().map(|&sum| reading.beside_the_most(sum)).sum();
        let left = exp_of_negative(-WHOLE * narrow(left as f64 / of.max(1) as f64));
        Self { together, grows: left.recip(), ..reading }
    }

    /// How likely a class is, beside the likeliest.
    #[expect(clippy::cast_precision_loss, reason = "a share of it is a share")]
    fn beside_the_most(&self, sum: u64) -> f32 {
        exp_of_negative(-WHOLE * narrow((self.most - sum) as f64 / self.all))
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of it is a share")]
    fn share(&self, sum: u64) -> f32 {
        match self.pool {
            Pool::Linear => narrow(sum as f64 / self.all).min(1.0),
            Pool::Logarithmic => {
                let own = self.beside_the_most(sum);
                own / (own + (self.together - own).max(0.0) * self.grows)
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share")]
fn narrow(share: f64) -> f32 {
    share as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between 0 and 2²⁰, and a cast saturates"
)]
fn whole(share: f32) -> u32 {
    ((share * VOTE as f32) as u32).min(VOTE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tie_goes_to_the_smallest_class() {
        assert_eq!(first_largest(&[1.0, 2.0, 2.0]), ClassId(1));
        assert_eq!(first_largest(&[0.0, -0.0]), ClassId(0));
        let mut tally = Tally::default();
        tally.begin(3, Pool::Linear);
        tally.cast(ClassId(2), 5);
        tally.cast(ClassId(1), 5);
        assert_eq!(tally.decided(0), Some(ClassId(1)));
    }

    #[test]
    fn what_is_not_a_number_never_wins() {
        assert_eq!(first_largest(&[f32::NAN, -1.0, f32::NAN]), ClassId(1));
        assert_eq!(first_largest(&[f32::NAN; 3]), ClassId(0));
        assert_eq!(first_largest(&[]), ClassId(0));
        assert_eq!(first_largest(&[-1.0, f32::INFINITY]), ClassId(1));
    }

    #[test]
    fn equal_weights_count_alike_and_small_ones_count() {
        assert_eq!(counts(&[0.75, 0.25, 0.5, 0.5]), [3 << 36, 1 << 36, 2 << 36, 2 << 36]);
        assert_eq!(counts(&[f32::MAX / 2.0, f32::MIN_POSITIVE])[1], 1);
        for weights in [[f32::from_bits(1); 64], [f32::MAX / 64.0; 64], [0.1; 64]] {
            let counts = counts(&weights);
            assert!(counts.iter().all(|&count| count == counts[0]));
            let sum: u64 = counts.iter().sum();
            assert!((1 << 39..1 << 40).contains(&sum), "{sum}");
        }
    }

    #[test]
    fn drawing_level_with_a_smaller_class_is_not_enough() {
        let mut tally = Tally::default();
        tally.begin(3, Pool::Linear);
        tally.cast(ClassId(1), 2);
        assert_eq!(tally.decided(2), None, "class 0 may draw level and win");
        tally.begin(3, Pool::Linear);
        tally.cast(ClassId(0), 2);
        assert_eq!(tally.decided(2), Some(ClassId(0)));
        assert_eq!(tally.decided(3), None);
    }

    /// What members that count `count` give: a class, or shares.
    type Cast = (u64, Result<u16, [u32; 4]>);

    fn casts() -> impl Strategy<Value = Vec<Cast>> {
        let shares = prop::array::uniform4(0..=4_u32).prop_map(|parts| {
            let sum = parts.iter().sum::<u32>().max(1);
            parts.map(|part| VOTE / sum * part)
        });
        let cast = prop_oneof![(0_u16..4).prop_map(Ok), shares.prop_map(Err)];
        prop::collection::vec((1_u64..5, cast), 1..9)
    }

    fn take(tally: &mut Tally, (count, cast): &Cast) {
        match cast {
            Ok(class) => tally.cast(ClassId(*class), *count),
            Err(shares) => tally.share_out(shares, *count),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_vote_is_decided_exactly_when_the_rest_cannot_change_it(casts in casts()) {
            let mut full = Tally::default();
            full.begin(4, Pool::Linear);
            casts.iter().for_each(|cast| take(&mut full, cast));
            let winner = full.decided(0).expect("nobody is left");
            let sums: Vec<f32> = full.shares(1, 0).collect();
            prop_assert_eq!(sums.len(), 4);
            let largest = full.sums.iter().max().unwrap();
            prop_assert_eq!(full.sums.iter().position(|sum| sum == largest), Some(winner.index()));

            let mut tally = Tally::default();
            tally.begin(4, Pool::Linear);
            let mut left: u64 = casts.iter().map(|cast| cast.0).sum();
            for cast in &casts {
                left -= cast.0;
                take(&mut tally, cast);
                // Whoever the rest elects together: the leader, or somebody else as well?
                let elects = (0..4).map(|class| {
                    let mut then = tally.clone();
                    then.cast(ClassId(class), left);
                    then.decided(0).expect("nobody is left")
                });
                let elects: std::collections::BTreeSet<ClassId> = elects.collect();
                prop_assert_eq!(tally.decided(left).is_some(), elects.len() == 1);
                prop_assert!(tally.decided(left).is_none_or(|class| class == winner));
            }
        }
    }
}
