//! Discriminants: the directions in which classes differ most, measured by how far rows of one class
//! scatter.
//!
//! Source: Fisher's linear discriminants for many classes (Rao 1948; Hastie, Tibshirani and Friedman, *The
//! Elements of Statistical Learning*, 4.3.3). In them the scatter within a class is 1 in every
//! direction, so that the nearest neighbour is the nearest in units of what changes nothing. Ours: how
//! strongly the scatter is regularised.

use faer::{Side, linalg::solvers::Solve as _};
use models::{Features, Preparation, Step, kernel::finite};

use super::{
    components::{EXACT_MAX, Eigen, NOISE, PrepareError, project},
    matrix::{gram_of, view},
    preparing::standardise,
};

/// What of the mean scatter is added to that of every direction: few rows make some directions look
/// as if nothing ever changed along them.
const SHRINKAGE: f64 = 0.03;

/// And as much at least, of standardised columns: of one row a class, nothing scatters.
const ADDED_MIN: f64 = 1e-6;

/// Whether discriminants of so many columns and classes are to be had: the work grows with the cube of
/// either.
pub(super) fn are_found(width: usize, classes: usize) -> bool {
    (2..=EXACT_MAX).contains(&width) && (2..=EXACT_MAX).contains(&classes)
}

/// [`standardise`], and then at most `most` discriminants of `labels`, each below `classes`; there is one
/// fewer than classes.
///
/// # Errors
///
/// [`PrepareError::Eigen`] when they are not found: of one class alone, or of more than 1 024 columns or
/// classes.
#[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
pub fn standardised_discriminants(
    samples: &Features,
    labels: &[u16],
    classes: usize,
    most: usize,
) -> Result<Preparation, PrepareError> {
    let (rows, width) = (samples.len() as f64, samples.width());
    let refused = |reason: &str| PrepareError::Eigen { reason: reason.to_owned() };
    if !are_found(width, classes) {
        return Err(refused("no discriminants of so many columns or classes, or of one alone"));
    }
    let first = standardise(samples);
    // Standardised columns have no mean but what rounding leaves of it.
    let mut sums = vec![0.0_f64; classes * width];
    let mut counts = vec![0_usize; classes];
    let mut scaled = Vec::with_capacity(width);
    for (row, &label) in samples.rows().zip(labels) {
        scaled.clear();
        scale(&first, row, &mut scaled);
        counts[usize::from(label)] += 1;
        let sums = &mut sums[usize::from(label) * width..][..width];
        sums.iter_mut().zip(&scaled).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    // What rows scatter in all, less what the means of classes do, is what they do within classes.
    let mut within = gram_of(samples.values(), width, |_, row, out| scale(&first, row, out));
    // `[width, classes]`: the means, each as long as its share says.
    let mut means = vec![0.0_f64; width * classes];
    for (class, (sums, &count)) in sums.chunks_exact(width).zip(&counts).enumerate() {
        let root = (count.max(1) as f64 * rows).sqrt();
        for (at, sum) in sums.iter().enumerate() {
            means[at * classes + class] = sum / root;
        }
    }
    for a in 0..width {
        for b in 0..=a {
            let of = |at: usize| &means[at * classes..][..classes];
            let between: f64 = of(a).iter().zip(of(b)).map(|(a, b)| a * b).sum();
            within[a * width + b] = within[a * width + b] / rows - between;
        }
    }
    let mean = (0..width).map(|at| within[at * width + at]).sum::<f64>() / width as f64;
    let added = (SHRINKAGE * mean).max(ADDED_MIN);
    (0..width).for_each(|at| within[at * width + at] += added);
    let factor = view(&within, width, width)
        .llt(Side::Lower)
        .map_err(|error| PrepareError::Eigen { reason: format!("{error:?}") })?;
    let solved = factor.solve(view(&means, width, classes));
    // How far the means lie from each other in units of the scatter within.
    let mut apart = vec![0.0_f64; classes * classes];
    for a in 0..classes {
        for b in 0..=a {
            let products = (0..width).map(|at| means[at * classes + a] * solved[(at, b)]);
            apart[a * classes + b] = products.sum();
        }
    }
    let eigen = Eigen::of(&apart, classes)?;
    let kept = most.min(classes - 1).min(width);
    let noise = NOISE * eigen.value(0).max(1.0);
    let kept = (0..kept).take_while(|&at| noise < eigen.value(at)).count();
    if kept == 0 {
        return Err(refused("the classes have the same mean"));
    }
    let mut directions = Vec::with_capacity(kept * width);
    for at in 0..kept {
        let length = eigen.value(at).sqrt();
        directions.extend((0..width).map(|column| {
            let parts =
                (0..classes).map(|class| solved[(column, class)] * eigen.vector((at, class)));
            parts.sum::<f64>() / length
        }));
    }
    let project = project(&directions, &vec![0.0; width]);
    Ok(Preparation { steps: vec![first, project] })
}

/// What standardising makes of a row, at the end of `out`.
fn scale(first: &Step, row: &[f32], out: &mut Vec<f32>) {
    if let Step::Standardise { mean, factor } = first {
        let scaled = row.iter().zip(mean).zip(factor);
        out.extend(scaled.map(|((x, mean), factor)| finite(finite(x - mean) * factor)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{draw::Draw, fit::matrix::narrow};

    /// Three classes that differ along the second column, which varies least, and along the difference
    /// of the third and the fourth, which vary together.
    fn samples(rows: usize) -> (Features, Vec<u16>) {
        let mut draw = Draw::new(9);
        let mut values = Vec::new();
        let labels: Vec<u16> = (0..3).cycle().take(rows).collect();
        for &label in &labels {
            let [second, apart] = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]][usize::from(label)];
            let together = 8.0 * draw.normal();
            values.extend(
                [
                    100.0 * draw.normal(),
                    second + 0.1 * draw.normal(),
                    together + 4.0 * apart + 0.4 * draw.normal(),
                    together - 4.0 * apart + 0.4 * draw.normal(),
                ]
                .map(narrow),
            );
        }
        (Features::new(4, values).unwrap(), labels)
    }

    #[test]
    fn rows_of_a_class_lie_together_and_classes_apart() {
        let (samples, labels) = samples(900);
        let found = standardised_discriminants(&samples, &labels, 3, 56).unwrap();
        let projected = found.features(&samples).unwrap();
        assert_eq!(projected.width(), 2, "one fewer than classes");
        let of = |class: u16| {
            let rows = projected.rows().zip(&labels).filter(move |(_, label)| **label == class);
            rows.map(|(row, _)| [f64::from(row[0]), f64::from(row[1])]).collect::<Vec<_>>()
        };
        let classes: Vec<Vec<[f64; 2]>> = (0..3).map(of).collect();
        let means: Vec<[f64; 2]> = classes
            .iter()
            .map(|rows| [0, 1].map(|at| rows.iter().map(|row| row[at]).sum::<f64>() / 300.0))
            .collect();
        for (rows, mean) in classes.iter().zip(&means) {
            for at in 0..2 {
                let squares = rows.iter().map(|row| (row[at] - mean[at]).powi(2));
                let scatter = squares.sum::<f64>() / 300.0;
                // What regularises keeps it below 1.
                assert!(0.01 < scatter && scatter < 1.1, "{scatter}");
            }
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let squares = [0, 1].map(|at| f64::powi(means[a][at] - means[b][at], 2));
            assert!(3.0 < squares.iter().sum::<f64>().sqrt(), "{a} {b}: {means:?}");
        }
        let fewer = standardised_discriminants(&samples, &labels, 3, 1).unwrap();
        assert_eq!(fewer.features(&samples).unwrap().width(), 1);
    }

    #[test]
    fn where_classes_have_one_mean_or_columns_are_too_many_there_is_an_error() {
        let (samples, labels) = samples(60);
        let one_class = vec![1; 60];
        assert!(standardised_discriminants(&samples, &one_class, 2, 9).is_err());
        assert!(standardised_discriminants(&samples, &labels, 1, 9).is_err());
        let equal = Features::new(2, [1.0, 2.0].repeat(60)).unwrap();
        assert!(standardised_discriminants(&equal, &labels, 3, 9).is_err());
        let wide = Features::new(1025, vec![0.5; 2 * 1025]).unwrap();
        assert!(standardised_discriminants(&wide, &[0, 1], 2, 9).is_err());
        assert!(standardised_discriminants(&samples, &labels, 1025, 9).is_err());
        // Fewer rows than columns are no obstacle.
        let few = Features::new(4, samples.values()[..12].to_vec()).unwrap();
        assert!(standardised_discriminants(&few, &labels[..3], 3, 9).is_ok());
    }
}
