//! Principal components: the directions in which samples vary most.
//!
//! Three ways to the same answer, by what is small. Few columns: the eigenvectors of their
//! covariance. Fewer rows than columns: those of the rows' products, so that no matrix is as large as
//! the columns squared. Many of both: subspace iteration from random directions.
//!
//! Source: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 2011,
//! algorithm 4.4, with the covariance never formed.

use faer::Side;
use models::{Features, ModelError, Preparation, Step, kernel::finite};

use super::{
    matrix::{gram, gram_of, means, multiply, narrow, view, view_mut},
    preparing::standardise,
};
use crate::draw::Draw;

/// Why a preparation was not fitted.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The eigenvectors were not found.
    #[error("the directions to project to were not found: {reason}")]
    Eigen {
        /// What the library said.
        reason: String,
    },
    /// Steps that do not fit the samples: a bug of ours.
    #[error("the samples cannot be prepared so")]
    Lowered(#[source] ModelError),
}

/// A projection and what it keeps.
#[derive(Clone, Debug)]
pub struct Components {
    /// To the components.
    pub project: Step,
    /// The share of all variance that each component has, falling.
    pub explained: Vec<f64>,
}

/// Up to this order all eigenvectors are found: a second of work, which grows with its cube.
pub(super) const EXACT_MAX: usize = 1024;
/// Directions that are followed beyond those wanted, so that the last wanted ones are right.
const SPARE: usize = 12;
/// How often the random directions are turned towards the components.
const TURNS: usize = 5;
/// Rows multiplied at once.
const BLOCK_ROWS: usize = 512;
/// A component with less than this share of the largest one's variance is rounding noise.
pub(super) const NOISE: f64 = 1e-10;

/// Projects to the `most` directions of largest variance, fewer when there are fewer columns or
/// rows.
///
/// # Errors
///
/// [`PrepareError::Eigen`] when the eigenvectors are not found, which finite samples do not cause.
pub fn principal_components(samples: &Features, most: usize) -> Result<Components, PrepareError> {
    find(samples, most, EXACT_MAX)
}

/// [`standardise`], and then [`principal_components`] of what that makes of `samples`. Of up to 1 024
/// columns no more than some hundred standardised rows are in memory at once.
///
/// # Errors
///
/// As [`principal_components`].
pub fn standardised_components(
    samples: &Features,
    most: usize,
) -> Result<Preparation, PrepareError> {
    let (rows, width) = (samples.len(), samples.width());
    let first = standardise(samples);
    let project = match &first {
        Step::Standardise { mean, factor } if width <= rows && width <= EXACT_MAX => {
            let gram = gram_of(samples.values(), width, |_, row, out| {
                let scaled = row.iter().zip(mean).zip(factor);
                out.extend(scaled.map(|((x, mean), factor)| finite(finite(x - mean) * factor)));
            });
            let kept = most.min(width).max(1);
            let (vectors, _) = of_gram(&gram, width, kept)?;
            // Standardised columns have no mean but what rounding leaves of it.
            project(&vectors, &vec![0.0; width])
        }
        Step::Standardise { .. } | Step::Select { .. } | Step::Project { .. } => {
            let alone = Preparation { steps: vec![first.clone()] };
            let standardised = alone.features(samples).map_err(PrepareError::Lowered)?;
            principal_components(&standardised, most)?.project
        }
    };
    Ok(Preparation { steps: vec![first, project] })
}

fn find(samples: &Features, most: usize, exact_max: usize) -> Result<Components, PrepareError> {
    let (rows, width) = (samples.len(), samples.width());
    let mean = means(samples.values(), width);
    let kept = most.min(width).min(rows).max(1);
    let (vectors, variances) = if width <= rows && width <= exact_max {
        of_columns(samples, &mean, kept)?
    } else if rows <= exact_max {
        of_rows(samples, &mean, kept)?
    } else {
        of_many(samples, &mean, kept)?
    };
    let all = total(samples, &mean);
    let explained = variances.iter().map(|it| if 0.0 < all { it / all } else { 0.0 }).collect();
    Ok(Components { project: project(&vectors, &mean), explained })
}

/// The projection to unit vectors.
pub(super) fn project(vectors: &[f64], mean: &[f64]) -> Step {
    let mut components = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks_exact(mean.len()) {
        // The sign of a vector is the library's choice, so fix it.
        let largest =
            vector.iter().copied().fold(0.0_f64, |a, b| if a.abs() < b.abs() { b } else { a });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        components.extend(vector.iter().map(|value| narrow(sign * value)));
    }
    Step::Project { mean: mean.iter().copied().map(narrow).collect(), components }
}

/// `[kept, width]` unit vectors, and the sum of squares along each.
type Directions = (Vec<f64>, Vec<f64>);

/// From the covariance of the columns.
fn of_columns(samples: &Features, mean: &[f64], kept: usize) -> Result<Directions, PrepareError> {
    of_gram(&gram(samples.values(), mean), mean.len(), kept)
}

fn of_gram(gram: &[f64], width: usize, kept: usize) -> Result<Directions, PrepareError> {
    let eigen = Eigen::of(gram, width)?;
    let vectors =
        (0..kept).flat_map(|at| (0..width).map(move |row| (at, row))).map(|it| eigen.vector(it));
    Ok((vectors.collect(), (0..kept).map(|at| eigen.value(at)).collect()))
}

/// From the products of the rows with each other: `X Xᵀ u = λ u` makes `Xᵀ u / √λ` a component.
fn of_rows(samples: &Features, mean: &[f64], kept: usize) -> Result<Directions, PrepareError> {
    let (rows, width) = (samples.len(), mean.len());
    let centred = centred(samples.values(), mean);
    let mut products = vec![0.0_f64; rows * rows];
    let mut part = vec![0.0_f32; rows * rows];
    let columns = view(&centred, rows, width);
    // Sums of so few columns lose nothing in single precision.
    for first in (0..width).step_by(BLOCK_ROWS) {
        let block = columns.subcols(first, BLOCK_ROWS.min(width - first));
        multiply(view_mut(&mut part, rows, rows), block, block.transpose());
        products.iter_mut().zip(&part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    let eigen = Eigen::of(&products, rows)?;
    // Directions without variance have no component; one row, or equal ones, keep a single one.
    let kept = (0..kept).take_while(|&at| NOISE * eigen.value(0) < eigen.value(at)).count().max(1);
    let mut vectors = Vec::with_capacity(kept * width);
    for at in 0..kept {
        let from = vectors.len();
        vectors.resize(from + width, 0.0_f64);
        for (row, values) in centred.chunks_exact(width).enumerate() {
            let factor = eigen.vector((at, row));
            for (sum, &value) in vectors[from..].iter_mut().zip(values) {
                *sum += factor * f64::from(value);
            }
        }
        let length = vectors[from..].iter().map(|it| it * it).sum::<f64>().sqrt();
        if 0.0 < length {
            vectors[from..].iter_mut().for_each(|it| *it /= length);
        }
    }
    Ok((vectors, (0..kept).map(|at| eigen.value(at).max(0.0)).collect()))
}

/// By turning random directions towards the components: each turn multiplies them by the
/// covariance, row by row, and makes them perpendicular again.
fn of_many(samples: &Features, mean: &[f64], kept: usize) -> Result<Directions, PrepareError> {
    let width = mean.len();
    let count = (kept + SPARE).min(width);
    let mut draw = Draw::new(PROBE_SEED);
    let mut directions: Vec<f32> = (0..count * width).map(|_| narrow(draw.normal())).collect();
    for _ in 0..TURNS {
        directions = perpendicular(&directions, width)?;
        directions = turned(samples, mean, &directions, width).0;
    }
    let directions = perpendicular(&directions, width)?;
    let count = directions.len() / width;
    // Among these directions, the components are the eigenvectors of what they see.
    let (_, seen) = turned(samples, mean, &directions, width);
    let eigen = Eigen::of(&seen, count)?;
    let kept = kept.min(count);
    let mut vectors = vec![0.0_f64; kept * width];
    for (at, vector) in vectors.chunks_exact_mut(width).enumerate() {
        for (from, direction) in directions.chunks_exact(width).enumerate() {
            let factor = eigen.vector((at, from));
            for (sum, &value) in vector.iter_mut().zip(direction) {
                *sum += factor * f64::from(value);
            }
        }
    }
    Ok((vectors, (0..kept).map(|at| eigen.value(at)).collect()))
}

/// The random directions are always the same ones.
const PROBE_SEED: u64 = 0x9ca;

/// `[count, width]` directions times the covariance of the columns, and the `[count, count]`
/// products of the projected rows. Neither is divided by the number of rows.
fn turned(
    samples: &Features,
    mean: &[f64],
    directions: &[f32],
    width: usize,
) -> (Vec<f32>, Vec<f64>) {
    let count = directions.len() / width;
    let mut turned = vec![0.0_f32; count * width];
    let mut seen = vec![0.0_f64; count * count];
    let mut part = vec![0.0_f32; count * count];
    let directions = view(directions, count, width);
    for block in samples.values().chunks(BLOCK_ROWS * width) {
        let rows = block.len() / width;
        let centred = centred(block, mean);
        let mut projected = vec![0.0_f32; rows * count];
        let (block, all) = (view(&centred, rows, width), view_mut(&mut projected, rows, count));
        multiply(all, block, directions.transpose());
        let all = view(&projected, rows, count);
        super::matrix::add_product(view_mut(&mut turned, count, width), all.transpose(), block);
        multiply(view_mut(&mut part, count, count), all.transpose(), all);
        seen.iter_mut().zip(&part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    (turned, seen)
}

/// Perpendicular unit vectors that span the same directions, fewer when some follow from others.
fn perpendicular(directions: &[f32], width: usize) -> Result<Vec<f32>, PrepareError> {
    let mut directions = directions.to_vec();
    // Twice: what single precision leaves of the first time, the second takes away.
    for _ in 0..2 {
        let count = directions.len() / width;
        let mut products = vec![0.0_f64; count * count];
        for a in 0..count {
            for b in 0..=a {
                let (a_values, b_values) =
                    (&directions[a * width..][..width], &directions[b * width..][..width]);
                let pairs = a_values.iter().zip(b_values);
                products[a * count + b] = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            }
        }
        let eigen = Eigen::of(&products, count)?;
        let kept = (0..count).take_while(|&at| NOISE * eigen.value(0) < eigen.value(at)).count();
        let kept = kept.max(1);
        let mut factors = Vec::with_capacity(kept * count);
        for at in 0..kept {
            let length = eigen.value(at).max(f64::MIN_POSITIVE).sqrt();
            factors.extend((0..count).map(|from| narrow(eigen.vector((at, from)) / length)));
        }
        let mut turned = vec![0.0_f32; kept * width];
        multiply(
            view_mut(&mut turned, kept, width),
            view(&factors, kept, count),
            view(&directions, count, width),
        );
        directions = turned;
    }
    Ok(directions)
}

/// Eigenvalues and eigenvectors of a symmetric matrix, the largest first.
pub(super) struct Eigen {
    vectors: faer::Mat<f64>,
    values: Vec<f64>,
}

impl Eigen {
    /// Of `[order, order]`, of which only the lower triangle is read.
    pub(super) fn of(matrix: &[f64], order: usize) -> Result<Self, PrepareError> {
        let found = view(matrix, order, order)
            .self_adjoint_eigen(Side::Lower)
            .map_err(|error| PrepareError::Eigen { reason: format!("{error:?}") })?;
        let values = (0..order).map(|at| found.S()[at]).collect();
        Ok(Self { vectors: found.U().to_owned(), values })
    }

    /// The library has them growing.
    pub(super) fn value(&self, at: usize) -> f64 {
        self.values[self.values.len() - 1 - at]
    }

    /// One number of eigenvector `at`.
    pub(super) fn vector(&self, (at, row): (usize, usize)) -> f64 {
        self.vectors[(row, self.values.len() - 1 - at)]
    }
}

/// Rows less their mean.
fn centred(rows: &[f32], mean: &[f64]) -> Vec<f32> {
    let mut centred = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(mean.len()) {
        centred.extend(row.iter().zip(mean).map(|(&value, mean)| narrow(f64::from(value) - mean)));
    }
    centred
}

/// The sum of squares of all columns around their means.
fn total(samples: &Features, mean: &[f64]) -> f64 {
    let squares = samples.rows().map(|row| {
        row.iter().zip(mean).map(|(&value, mean)| (f64::from(value) - mean).powi(2)).sum::<f64>()
    });
    squares.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(found: &Components) -> &[f32] {
        let Step::Project { components, .. } = &found.project else { panic!() };
        components
    }

    /// Rows of a few hidden causes, the first the strongest, and a little noise.
    fn caused(rows: usize, width: usize, causes: usize) -> Features {
        let mut draw = Draw::new(3);
        let ways: Vec<f64> = (0..causes * width).map(|_| draw.normal()).collect();
        let mut values = Vec::with_capacity(rows * width);
        for _ in 0..rows {
            let strengths: Vec<f64> = (0..causes)
                .map(|at| draw.normal() * 3.0_f64.powi(-i32::try_from(at).unwrap()))
                .collect();
            for column in 0..width {
                let sum: f64 = strengths
                    .iter()
                    .enumerate()
                    .map(|(at, it)| it * ways[at * width + column])
                    .sum();
                values.push(narrow(5.0 + sum + 0.001 * draw.normal()));
            }
        }
        Features::new(width, values).unwrap()
    }

    #[test]
    fn components_of_rows_that_are_standardised_on_the_way_are_the_same() {
        let samples = caused(300, 20, 4);
        let there = standardised_components(&samples, 3).unwrap();
        let alone = Preparation { steps: vec![standardise(&samples)] };
        let standardised = alone.features(&samples).unwrap();
        let found = principal_components(&standardised, 3).unwrap();
        let Step::Project { components, .. } = &there.steps[1] else { panic!() };
        for (one, other) in components.iter().zip(parts(&found)) {
            assert!((one - other).abs() < 1e-4, "{one} {other}");
        }
        // Fewer rows than columns take the other way.
        let few = caused(10, 20, 4);
        assert_eq!(standardised_components(&few, 3).unwrap().steps.len(), 2);
    }

    #[test]
    fn the_first_component_is_the_direction_of_largest_variance() {
        let values = (0_u8..50)
            .flat_map(|i| [f32::from(i) * 3.0, f32::from(i) * 4.0 + f32::from(i % 2), 7.0]);
        let samples = Features::new(3, values.collect()).unwrap();
        let found = principal_components(&samples, 2).unwrap();
        let components = parts(&found);
        assert_eq!(components.len(), 6);
        assert!((components[0] - 0.6).abs() < 0.01 && (components[1] - 0.8).abs() < 0.01);
        assert!(components[2].abs() < 1e-6);
        assert!(0.99 < found.explained[0] && found.explained[1] < 0.01);
        assert!((found.explained.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn there_are_never_more_components_than_rows() {
        let samples = Features::new(3, vec![0.0, 1.0, 2.0, 1.0, 1.0, 5.0]).unwrap();
        let found = principal_components(&samples, 48).unwrap();
        // Two rows vary in one direction only.
        assert_eq!(parts(&found).len(), 3);
        assert!((found.explained[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn rows_and_random_directions_find_what_the_columns_find() {
        let (rows, width, kept) = (90, 70, 4);
        let samples = caused(rows, width, kept);
        let mean = means(samples.values(), width);
        let (exact, variances) = of_columns(&samples, &mean, kept).unwrap();
        for found in [of_rows(&samples, &mean, kept), of_many(&samples, &mean, kept)] {
            let (vectors, found) = found.unwrap();
            for at in 0..kept {
                assert!((found[at] / variances[at] - 1.0).abs() < 1e-3, "{found:?} {variances:?}");
                let pairs = exact[at * width..][..width].iter().zip(&vectors[at * width..]);
                let near = pairs.map(|(a, b)| a * b).sum::<f64>().abs();
                assert!(0.9999 < near, "component {at}: {near}");
            }
        }
    }

    #[test]
    fn a_million_columns_of_a_few_rows_have_components() {
        let (rows, width) = (6, 1_000_000);
        let mut draw = Draw::new(1);
        let values = (0..rows * width).map(|_| narrow(draw.unit())).collect();
        let samples = Features::new(width, values).unwrap();
        let found = principal_components(&samples, 48).unwrap();
        assert_eq!(parts(&found).len(), 5 * width);
        assert!((found.explained.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn equal_rows_have_a_component_without_variance() {
        let samples = Features::new(3, [1.0, 2.0, 3.0].repeat(2)).unwrap();
        let found = principal_components(&samples, 2).unwrap();
        assert_eq!(found.explained, [0.0]);
    }

    #[test]
    fn large_samples_take_the_random_way_to_the_same_components() {
        let samples = caused(300, 40, 3);
        let (exact, random) = (find(&samples, 3, 1024).unwrap(), find(&samples, 3, 10).unwrap());
        for (a, b) in parts(&exact).iter().zip(parts(&random)) {
            assert!((a - b).abs() < 2e-3, "{a} {b}");
        }
    }
}
