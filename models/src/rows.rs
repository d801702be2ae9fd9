//! Rows that a sample is compared with: as they are, or with a byte for each value.
//!
//! A kNN and an RBF SVM are mostly rows, and an answer reads all of them: a quarter of the bytes is a
//! quarter of the bundle and of what a small device streams from its memory. All values share one
//! step, so that distances stay distances; sums of squares of bytes are whole numbers, the same in any
//! order and on any machine, and may therefore end early.

use crate::{
    check,
    kernel::{squared_distances, squared_distances_of_bytes, squared_distances_of_many},
    member::ModelError,
};

/// `[n, width]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Single precision.
    Exact(Vec<f32>),
    /// A byte for each value.
    Compact(Compact),
}

/// A value is `low + step · byte`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compact {
    /// What byte 0 stands for.
    pub low: f32,
    /// What a byte more stands for; positive.
    pub step: f32,
    /// `[n, width]`, row-major.
    pub bytes: Vec<u8>,
}

/// Most values of a compact row: the sum of so many squares of bytes fits in 32 bits.
pub const COMPACT_WIDTH_MAX: usize = 66_000;

/// The largest byte.
const TOP: f32 = 255.0;

impl Rows {
    /// How many values there are.
    #[must_use]
    pub fn values(&self) -> usize {
        match self {
            Self::Exact(rows) => rows.len(),
            Self::Compact(rows) => rows.bytes.len(),
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = match self {
            Self::Exact(rows) => size_of_val(rows.as_slice()),
            Self::Compact(rows) => rows.bytes.len(),
        };
        u64::try_from(size).expect("a size fits in 64 bits")
    }

    /// The same rows with a byte for each value, all from the least to the largest. `None` when they
    /// are so already, or too wide.
    #[must_use]
    pub fn compacted(&self, width: usize) -> Option<Self> {
        let Self::Exact(rows) = self else { return None };
        let low = rows.iter().copied().fold(f32::INFINITY, f32::min);
        let high = rows.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = high / TOP - low / TOP;
        if COMPACT_WIDTH_MAX < width || !low.is_finite() || !(f32::MIN_POSITIVE..).contains(&step) {
            return None;
        }
        let mut compact = Compact { low, step, bytes: Vec::with_capacity(rows.len()) };
        compact.bytes = rows.iter().map(|&value| compact.byte(value)).collect();
        Some(Self::Compact(compact))
    }

    /// `|row - x|²` of each row, in order. `spare` is a buffer.
    pub(crate) fn distances(&self, x: &[f32], spare: &mut Vec<u8>, mut then: impl FnMut(f32)) {
        match self {
            Self::Exact(rows) => squared_distances(rows, x, then),
            Self::Compact(rows) => {
                rows.take(x, spare);
                squared_distances_of_bytes(&rows.bytes, spare, |sum| then(rows.distance(sum)));
            }
        }
    }

    /// [`Rows::distances`] of several samples side by side: the same distances in the same order.
    pub(crate) fn distances_of_many(
        &self,
        xs: &[f32],
        width: usize,
        mut then: impl FnMut(usize, f32),
    ) {
        match self {
            Self::Exact(rows) => squared_distances_of_many(rows, xs, width, then),
            Self::Compact(rows) => {
                let mut spare = Vec::with_capacity(width);
                for (sample, x) in xs.chunks_exact(width).enumerate() {
                    rows.take(x, &mut spare);
                    squared_distances_of_bytes(&rows.bytes, &spare, |sum| {
                        then(sample, rows.distance(sum));
                    });
                }
            }
        }
    }

    /// They are as long as they should be, and finite.
    pub(crate) fn check(
        &self,
        what: &'static str,
        count: usize,
        width: usize,
    ) -> Result<(), ModelError> {
        let area = check::area(what, count, width)?;
        match self {
            Self::Exact(rows) => {
                check::length(what, rows, area)?;
                check::finite(what, rows)
            }
            Self::Compact(Compact { low, step, bytes }) => {
                check::length(what, bytes, area)?;
                check::at_most(what, width, COMPACT_WIDTH_MAX)?;
                check::finite(what, &[*low])?;
                check::positive(what, *step)
            }
        }
    }
}

impl Compact {
    /// The byte nearest to `value`; what lies outside gets the first or the last.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to a byte saturates, and 0 for NaN is as good as any"
    )]
    fn byte(&self, value: f32) -> u8 {
        ((value - self.low) / self.step + 0.5) as u8
    }

    pub(crate) fn take(&self, x: &[f32], bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend(x.iter().map(|&value| self.byte(value)));
    }

    /// The squared distance that a sum of squares of bytes stands for.
    #[expect(clippy::cast_precision_loss, reason = "a distance in single precision, as all are")]
    pub(crate) fn distance(&self, sum: u32) -> f32 {
        sum as f32 * self.square()
    }

    /// The largest sum of a squared distance that is no larger than `limit`, or a little more: a row too many is
    /// compared in vain, one too few would be missed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates: infinity is the largest whole number"
    )]
    pub(crate) fn sum_within(&self, limit: f32) -> u32 {
        (limit / self.square() * (1.0 + 1e-6)).ceil() as u32
    }

    /// The squared distance that a sum of 1 stands for.
    fn square(&self) -> f32 {
        (self.step * self.step).clamp(f32::MIN_POSITIVE, f32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_without_a_range_or_too_wide_stay_as_they_are() {
        assert_eq!(Rows::Exact(vec![2.0; 8]).compacted(4), None);
        assert_eq!(Rows::Exact(vec![]).compacted(4), None);
        assert_eq!(Rows::Exact(vec![f32::MIN_POSITIVE, 0.0]).compacted(2), None);
        let wide = Rows::Exact((0..66_001_u32).map(|it| if it == 0 { 1.0 } else { 0.0 }).collect());
        assert_eq!(wide.compacted(66_001), None);
        let far = Rows::Exact(vec![f32::MAX, f32::MIN]);
        assert!(far.compacted(2).unwrap().check("rows", 1, 2).is_ok());
    }

    proptest! {
        #[test]
        fn a_compact_distance_is_off_by_less_than_two_steps(
            rows in prop::collection::vec(-9.0_f32..9.0, 4 * 21..=4 * 21),
            x in prop::collection::vec(-9.0_f32..9.0, 21..=21),
        ) {
            let exact = Rows::Exact(rows);
            let compact = exact.compacted(21).unwrap();
            let Rows::Compact(Compact { step, .. }) = &compact else { unreachable!() };
            let (mut one, mut other, mut many) = (vec![], vec![], vec![]);
            exact.distances(&x, &mut vec![], |distance| one.push(distance.sqrt()));
            compact.distances(&x, &mut vec![], |distance| other.push(distance));
            compact.distances_of_many(&x, 21, |_, distance| many.push(distance));
            prop_assert_eq!(&many, &other);
            // Half a step for each value of the row, and as much for the sample unless it lies outside.
            let outside = x.iter().map(|&x| f64::from((x.abs() - 8.0).max(0.0)).powi(2));
            let most = 21.0_f64.sqrt() * f64::from(*step) + outside.sum::<f64>().sqrt();
            for (one, other) in one.iter().zip(&other) {
                prop_assert!(f64::from((one - other.sqrt()).abs()) <= most + 1.0, "{one} {other}");
            }
        }
    }
}
