//! In how many bits the numbers of a model are written.

use half::f16;

/// The form that long numbers of a model have in a bundle. In memory all of them are single: an answer takes as
/// long with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    Single,
    /// 16 bits, binary16 of IEEE 754; every number is one of those.
    Half,
}

/// The nearest number of half precision to each; `None` where one is too far from zero to have any.
pub(crate) fn halved(values: &[f32]) -> Option<Vec<f32>> {
    let halved = |&value: &f32| {
        let half = f16::from_f32(value);
        half.is_finite().then(|| half.to_f32())
    };
    values.iter().map(halved).collect()
}

/// Whether `value` is the same in half precision, to its sign.
#[inline]
pub(crate) fn is_half(value: f32) -> bool {
    let bits = value.to_bits();
    // Most are among those that both forms have with a whole fraction.
    let among = (LEAST_WHOLE..=LARGEST).contains(&(bits & !SIGN));
    let exact = || f16::from_f32(value).to_f32().to_bits() == bits;
    if among { bits & BEYOND == 0 } else { exact() }
}

/// The sign of a number in single precision.
const SIGN: u32 = 1 << 31;
/// What of a fraction in single precision half precision has no room for.
const BEYOND: u32 = (1 << 13) - 1;
/// 2⁻¹⁴: what is nearer to zero has less of a fraction in half precision.
const LEAST_WHOLE: u32 = 0x3880_0000;
/// 65 504, the largest of half precision.
const LARGEST: u32 = 0x477f_e000;

/// The 16 bits of each of `values`, which are of half precision.
pub(crate) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
}

/// What [`to_bytes`] wrote.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let (halves, _) = bytes.as_chunks();
    halves.iter().map(|&half| f16::from_le_bytes(half).to_f32()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_half_precision_is_read_as_it_was_written() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits).to_f32();
            let read = from_bytes(&to_bytes(&[value]));
            assert_eq!(read[0].to_bits(), value.to_bits(), "{bits:#06x}");
            if value.is_finite() {
                assert!(is_half(value), "{value}");
                assert_eq!(halved(&[value]), Some(vec![value]));
            }
        }
    }

    #[test]
    fn the_nearest_is_taken_and_of_two_the_even_one() {
        // Between 1 and 2 neighbours are 2⁻¹⁰ apart, below 2⁻¹⁴ they are 2⁻²⁴ apart.
        let step = 2_f32.powi(-10);
        let near = [1.0 + 0.4 * step, 1.0 + 0.5 * step, 1.0 + 1.5 * step, 1e-9, -1e-9, 65_519.0];
        let halves = halved(&near).unwrap();
        assert_eq!(halves, [1.0, 1.0, 1.0 + 2.0 * step, 0.0, -0.0, 65_504.0]);
        assert!(halves[4].is_sign_negative());
        assert!(halves.iter().all(|&half| is_half(half)));
        assert!(!near.iter().any(|&value| is_half(value)));
    }

    #[test]
    fn whoever_has_more_of_a_fraction_or_is_farther_from_zero_is_not_of_half_precision() {
        // Around every number of half precision, and from both ends of where its fraction is whole.
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits).to_f32();
            for near in [-0x1001_i32, -0x1000, -1, 1, 0x0fff, 0x1000] {
                let near = f32::from_bits(value.to_bits().wrapping_add_signed(near));
                let same = f16::from_f32(near).to_f32().to_bits() == near.to_bits();
                assert_eq!(is_half(near), same, "{near:e}");
            }
        }
    }

    #[test]
    fn what_is_too_large_has_no_half() {
        for large in [65_520.0, f32::MAX, f32::INFINITY, f32::NAN] {
            assert_eq!(halved(&[0.0, large]), None);
            assert_eq!(halved(&[0.0, -large]), None);
        }
    }
}
