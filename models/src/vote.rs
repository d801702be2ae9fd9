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

#[cfg(test)]
mod tests {
    use super::*;

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
