//! Columns to comparable sizes before a model sees them, fitted on training rows only.

use std::{cmp::Reverse, collections::BinaryHeap};

use models::{Features, Preparation, Step};

use super::{
    Preparing,
    components::{PrepareError, standardised_components},
    discriminants::standardised_discriminants,
    matrix::{means, narrow},
};

/// What is done to a sample, and `samples` to which it was done; `None` for samples as they are.
///
/// # Errors
///
/// [`PrepareError`] when there are no such directions to be had. `labels`, each below `classes`, are what
/// discriminants tell apart.
pub fn prepare(
    preparing: Preparing,
    samples: &Features,
    (labels, classes): (&[u16], usize),
) -> Result<(Preparation, Option<Features>), PrepareError> {
    let most = match preparing {
        Preparing::Nothing => return Ok((Preparation::default(), None)),
        Preparing::Standardised => samples.width(),
        Preparing::Projected(most) => most,
        Preparing::Discriminated(most) => {
            let preparation = standardised_discriminants(samples, labels, classes, most)?;
            let prepared = preparation.features(samples).map_err(PrepareError::Lowered)?;
            return Ok((preparation, Some(prepared)));
        }
    };
    // To turn all columns would change no distance.
    let preparation = if most < samples.width() {
        standardised_components(samples, most)?
    } else {
        Preparation { steps: vec![standardise(samples)] }
    };
    let prepared = preparation.features(samples).map_err(PrepareError::Lowered)?;
    Ok((preparation, Some(prepared)))
}

/// One value in so many may reach further than the size of its column.
const RARE: usize = 1000;

/// A deviation below this share of the column's magnitude is rounding noise, not information.
const CONSTANT: f64 = 1e-6;

/// Columns are in one unit when so many of those that vary span at least half of what the widest
/// one spans.
const ALIKE: f64 = 0.6;

/// A column's range counts up to so many times the reach of all but the rare values.
const RANGE_MAX: f64 = 6.0;

/// Moves every column to mean 0 and to a comparable size; a constant column becomes 0.
///
/// Columns in one unit, such as the pixels of an image, are all multiplied by the same factor: that
/// one pixel varies less than another says something, and to blow up those at the rim only adds
/// noise. On MNIST this is worth a point and a half to kNN and one to the RBF SVM.
///
/// Columns in different units each get their own factor. The size is the range, not the deviation: a
/// column that is nearly always still and sometimes far away would else outweigh those that say
/// something about every sample. A range that a few wild values made is cut short. On HAPT's six
/// activities the range is worth two points to kNN and half a point to the RBF SVM. The ends of a
/// few hundred rows are chance; there the size is the deviation, which over the five folds of ESC-10 is
/// worth two and a half points to both.
///
/// All columns together keep a mean variance of 1, so that settings mean the same for every task.
#[must_use]
pub fn standardise(samples: &Features) -> Step {
    let width = samples.width();
    let mean = means(samples.values(), width);
    let spreads = spreads(samples, &mean);
    let varying: Vec<&Spread> = spreads.iter().filter(|spread| !spread.constant).collect();
    let one_unit = in_one_unit(&varying);
    let few = samples.len() < RARE;
    #[expect(clippy::cast_precision_loss, reason = "a width in memory")]
    let columns = varying.len() as f64;
    let size = |spread: &Spread| if one_unit { 1.0 } else { spread.size(few) };
    let variance: f64 = varying.iter().map(|it| (it.deviation / size(it)).powi(2)).sum();
    let scale = if varying.is_empty() { 1.0 } else { (columns / variance).sqrt() };
    let factor = spreads.iter().map(|spread| {
        let factor = if spread.constant { 0.0 } else { narrow(scale / size(spread)) };
        if factor.is_finite() { factor } else { 0.0 }
    });
    Step::Standardise { factor: factor.collect(), mean: mean.iter().copied().map(narrow).collect() }
}

/// How the values of a column lie around their mean.
#[derive(Clone, Debug)]
struct Spread {
    deviation: f64,
    /// How far all but the rare ones lie from the mean.
    reach: f64,
    /// From the least to the most.
    range: f64,
    constant: bool,
}

impl Spread {
    /// What becomes 1; `few` rows do not know their ends.
    fn size(&self, few: bool) -> f64 {
        if few {
            self.deviation
        } else {
            self.range.min(RANGE_MAX * self.reach.max(self.deviation))
        }
    }
}

/// Of every column, in one walk over the rows.
fn spreads(samples: &Features, mean: &[f64]) -> Vec<Spread> {
    let kept = 1 + samples.len() / RARE;
    let mut squares = vec![0.0_f64; mean.len()];
    let mut ends = vec![(f32::INFINITY, f32::NEG_INFINITY); mean.len()];
    // The furthest of each column so far, the nearest of them on top. What is at least 0 has bits
    // in the order of its value.
    let mut furthest = vec![BinaryHeap::with_capacity(kept); mean.len()];
    let mut doors = vec![0.0_f64; mean.len()];
    for (at, row) in samples.rows().enumerate() {
        for column in 0..mean.len() {
            let value = row[column];
            let far = (f64::from(value) - mean[column]).abs();
            squares[column] += far * far;
            let (least, most) = &mut ends[column];
            *least = least.min(value);
            *most = most.max(value);
            if at < kept {
                furthest[column].push(Reverse(far.to_bits()));
            } else if doors[column] < far
                && let Some(mut nearest) = furthest[column].peek_mut()
            {
                *nearest = Reverse(far.to_bits());
            } else {
                continue;
            }
            let nearest = furthest[column].peek().map_or(0, |it| it.0);
            doors[column] = f64::from_bits(nearest);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let count = samples.len().max(1) as f64;
    let columns = squares.iter().zip(mean).zip(ends).zip(doors);
    columns
        .map(|(((square, mean), (least, most)), reach)| {
            let deviation = (square / count).sqrt();
            let noise = deviation <= CONSTANT * mean.abs();
            let constant = noise || deviation < f64::from(f32::MIN_POSITIVE);
            Spread { deviation, reach, range: f64::from(most) - f64::from(least), constant }
        })
        .collect()
}

/// Whether the columns look as if they were measured in the same unit.
fn in_one_unit(varying: &[&Spread]) -> bool {
    let widest = varying.iter().map(|it| it.range).fold(0.0_f64, f64::max);
    let wide = varying.iter().filter(|it| widest <= 2.0 * it.range).count();
    #[expect(clippy::cast_precision_loss, reason = "a width in memory")]
    let enough = ALIKE * varying.len() as f64 <= wide as f64;
    enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_column_becomes_zero() {
        let samples = Features::new(2, vec![1.0, 1e8, 3.0, 1e8, 5.0, 1e8]).unwrap();
        let Step::Standardise { mean, factor } = standardise(&samples) else { panic!() };
        assert_eq!(mean, [3.0, 1e8]);
        assert!((factor[0] - (8.0_f32 / 3.0).sqrt().recip()).abs() < 1e-6);
        assert_eq!(factor[1], 0.0);
    }

    #[test]
    fn columns_in_one_unit_keep_their_proportions() {
        let values = (0_u8..40).flat_map(|it| [f32::from(it), f32::from(it) * 0.6, 7.0]);
        let samples = Features::new(3, values.collect()).unwrap();
        let Step::Standardise { factor, .. } = standardise(&samples) else { panic!() };
        assert!((factor[0] - factor[1]).abs() < 1e-6 && factor[2] == 0.0, "{factor:?}");
    }

    #[test]
    fn columns_in_different_units_become_alike() {
        let values = (0_u8..40).flat_map(|it| [f32::from(it), f32::from(it) * 1000.0]);
        let samples = Features::new(2, values.collect()).unwrap();
        let Step::Standardise { factor, .. } = standardise(&samples) else { panic!() };
        assert!((factor[0] / factor[1] / 1000.0 - 1.0).abs() < 1e-5, "{factor:?}");
    }

    #[test]
    fn one_far_value_in_a_thousand_is_not_the_size_of_a_column() {
        // Two columns in different units; the first has one value that is far away.
        let rows = 2000_u16;
        let values = (0..rows).flat_map(|it| {
            let near = f32::from(it % 3) - 1.0;
            [if it == 77 { 30.0 } else { near }, near * 1e4]
        });
        let samples = Features::new(2, values.collect()).unwrap();
        let mean = means(samples.values(), 2);
        let spreads = spreads(&samples, &mean);
        assert!(spreads[0].reach < 1.1, "{spreads:?}");
        assert!(29.0 < spreads[0].range);
    }
}
