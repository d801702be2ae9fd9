//! What is done to samples before a model sees them, fitted on training rows only.

use models::{Features, Step};

use super::matrix::{gram, means, narrow, view};

/// Why a preparation was not fitted.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The eigenvectors were not found.
    #[error("the principal components were not found: {reason}")]
    Eigen {
        /// What the library said.
        reason: String,
    },
}

/// One value in so many may reach further than the size of its column.
const RARE: usize = 1000;

/// A deviation below this share of the column's magnitude is rounding noise, not information.
const CONSTANT: f64 = 1e-6;

/// Moves every column to mean 0 and a comparable size; a constant column becomes 0.
///
/// The size is not the deviation but how far all but one value in a thousand reach, at least the
/// deviation: a column that is nearly always still and sometimes far away would else outweigh those
/// that say something about every sample. All columns together keep a mean variance of 1, so that
/// settings mean the same for every task.
///
/// On HAPT's six activities this is worth half a point to a point to linear and kernel members
/// and two to kNN, against plain deviations; on the other sets it changes nothing.
#[must_use]
pub fn standardise(samples: &Features) -> Step {
    let width = samples.width();
    let mean = means(samples.values(), width);
    let mut squares = vec![0.0_f64; width];
    for row in samples.rows() {
        for ((square, &value), mean) in squares.iter_mut().zip(row).zip(&mean) {
            *square += (f64::from(value) - mean).powi(2);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let count = samples.len().max(1) as f64;
    let last = samples.len() - 1 - samples.len() / RARE;
    let mut far = Vec::with_capacity(samples.len());
    let mut variance = 0.0;
    let mut columns = 0.0;
    let mut factor = Vec::with_capacity(width);
    for (column, (square, mean)) in squares.iter().zip(&mean).enumerate() {
        let deviation = (square / count).sqrt();
        if deviation <= CONSTANT * mean.abs() || deviation < f64::from(f32::MIN_POSITIVE) {
            factor.push(0.0);
            continue;
        }
        far.clear();
        let values = samples.values()[column..].iter().step_by(width);
        far.extend(values.map(|&value| (f64::from(value) - mean).abs()));
        let (_, reach, _) = far.select_nth_unstable_by(last, f64::total_cmp);
        let size = reach.max(deviation);
        variance += (deviation / size).powi(2);
        columns += 1.0;
        factor.push(size.recip());
    }
    let scale = if columns == 0.0 { 1.0 } else { (columns / variance).sqrt() };
    let factor = factor.into_iter().map(|factor| {
        let factor = narrow(factor * scale);
        if factor.is_finite() { factor } else { 0.0 }
    });
    Step::Standardise { factor: factor.collect(), mean: mean.iter().copied().map(narrow).collect() }
}

/// Projects to the `most` directions of largest variance, fewer when there are fewer columns or
/// rows.
///
/// # Errors
///
/// [`PrepareError::Eigen`] when the eigenvectors are not found, which finite samples do not cause.
pub fn principal_components(samples: &Features, most: usize) -> Result<Step, PrepareError> {
    let width = samples.width();
    let mean = means(samples.values(), width);
    let mut covariance = gram(samples.values(), &mean);
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let count = samples.len().max(1) as f64;
    covariance.iter_mut().for_each(|value| *value /= count);
    let eigen = view(&covariance, width, width)
        .self_adjoint_eigen(faer::Side::Lower)
        .map_err(|error| PrepareError::Eigen { reason: format!("{error:?}") })?;
    let vectors = eigen.U();
    let kept = most.min(width).min(samples.len()).max(1);
    let mut components = Vec::with_capacity(kept * width);
    for at in 0..kept {
        // Eigenvalues grow; the sign of a vector is the library's choice, so fix it.
        let vector: Vec<f64> = (0..width).map(|row| vectors[(row, width - 1 - at)]).collect();
        let largest =
            vector.iter().copied().fold(0.0_f64, |a, b| if a.abs() < b.abs() { b } else { a });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        components.extend(vector.iter().map(|value| narrow(sign * value)));
    }
    Ok(Step::Project { mean: mean.iter().copied().map(narrow).collect(), components })
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
    fn the_first_component_is_the_direction_of_largest_variance() {
        let values = (0_u8..50)
            .flat_map(|i| [f32::from(i) * 3.0, f32::from(i) * 4.0 + f32::from(i % 2), 7.0]);
        let samples = Features::new(3, values.collect()).unwrap();
        let Step::Project { components, .. } = principal_components(&samples, 2).unwrap() else {
            panic!()
        };
        assert_eq!(components.len(), 6);
        assert!((components[0] - 0.6).abs() < 0.01 && (components[1] - 0.8).abs() < 0.01);
        assert!(components[2].abs() < 1e-6);
    }

    #[test]
    fn there_are_never_more_components_than_rows() {
        let samples = Features::new(3, vec![0.0, 1.0, 2.0, 1.0, 1.0, 5.0]).unwrap();
        let Step::Project { components, .. } = principal_components(&samples, 48).unwrap() else {
            panic!()
        };
        assert_eq!(components.len(), 2 * 3);
    }
}
