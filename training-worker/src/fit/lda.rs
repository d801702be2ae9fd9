//! Linear discriminant analysis: the class whose rows would most likely lie there, if those of every class
//! scattered alike.
//!
//! Source: Fisher 1936; Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, 4.3. Ours: how
//! strongly the scatter is regularised, as for the discriminants that kNN and the RBF SVM may see. With
//! more columns than rows the dual equations are solved, which are as many as there are rows.

use super::{
    FitError, Lesson,
    linear::Fitted,
    matrix::{gram_of, multiply, narrow, view, view_mut},
    ridge::solve,
};

/// How much the scatter is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What of the mean scatter is added to that of every direction: few rows make some directions look
    /// as if nothing ever changed along them.
    pub shrinkage: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shrinkage: 0.03 }
    }
}

/// And as much at least, of standardised columns: of one row a class, nothing scatters.
const ADDED_MIN: f64 = 1e-6;

#[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let (n, width) = (lesson.samples.len(), lesson.samples.width());
    let shares = lesson.shares();
    let means = means(lesson, &shares);
    lesson.stop.check()?;
    let scatter: f64 =
        (0..n).map(|row| centred(lesson, &means, row).map(|x| x * x).sum::<f64>()).sum();
    let added = (settings.shrinkage * scatter / width as f64).max(ADDED_MIN * n as f64);
    let mut weights = if width <= n {
        let within = gram_of(lesson.samples.values(), width, |row, _, out| {
            out.extend(centred(lesson, &means, row).map(narrow));
        });
        lesson.stop.check()?;
        solve(within, width, added, &means, lesson.classes)?
    } else {
        dual(lesson, &means, added)?
    };
    weights.iter_mut().for_each(|weight| *weight *= n as f64);
    let rows = weights.chunks_exact(width).zip(means.chunks_exact(width)).zip(&shares);
    let bias = rows.map(|((weights, mean), share)| {
        let length: f64 = weights.iter().zip(mean).map(|(weight, mean)| weight * mean).sum();
        (share / n as f64).max(f64::MIN_POSITIVE).ln() - 0.5 * length
    });
    let bias = bias.collect();
    let mut fitted = Fitted { width, weights, bias };
    let present = (0..lesson.classes).filter(|&class| 0.0 < shares[class]);
    fitted.centre(&present.collect::<Vec<_>>());
    if fitted.is_finite() { Ok(fitted) } else { Err(FitError::Diverged { what: "lda" }) }
}

/// `[classes, width]`: the mean of each class; 0 of one without rows.
fn means(lesson: &Lesson<'_>, shares: &[f64]) -> Vec<f64> {
    let width = lesson.samples.width();
    let mut means = vec![0.0_f64; lesson.classes * width];
    for (at, (row, &label)) in lesson.samples.rows().zip(lesson.labels).enumerate() {
        let weight = f64::from(lesson.weight(at)) / shares[usize::from(label)];
        let sums = &mut means[usize::from(label) * width..][..width];
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * f64::from(value));
    }
    means
}

/// How far a row lies from the mean of its class, times the root of what it counts.
fn centred<'a>(
    lesson: &Lesson<'a>,
    means: &'a [f64],
    row: usize,
) -> impl Iterator<Item = f64> + use<'a> {
    let width = lesson.samples.width();
    let mean = &means[usize::from(lesson.labels[row]) * width..][..width];
    let root = f64::from(lesson.weight(row)).sqrt();
    let samples = lesson.samples;
    samples.row(row).iter().zip(mean).map(move |(&x, mean)| root * (f64::from(x) - mean))
}

/// `(CᵀC + αI)⁻¹ m = (m - Cᵀ (CCᵀ + αI)⁻¹ C m) / α` for the mean `m` of every class, where `C` is the centred
/// rows.
fn dual(lesson: &Lesson<'_>, means: &[f64], added: f64) -> Result<Vec<f64>, FitError> {
    let (n, width, classes) = (lesson.samples.len(), lesson.samples.width(), lesson.classes);
    let rows: Vec<f64> = (0..n).flat_map(|row| centred(lesson, means, row)).collect();
    let rows = view(&rows, n, width);
    let mut matrix = vec![0.0_f64; n * n];
    multiply(view_mut(&mut matrix, n, n), rows, rows.transpose());
    lesson.stop.check()?;
    let mut right = vec![0.0_f64; classes * n];
    multiply(view_mut(&mut right, classes, n), view(means, classes, width), rows.transpose());
    let solution = solve(matrix, n, added, &right, classes)?;
    let mut weights = vec![0.0_f64; classes * width];
    multiply(view_mut(&mut weights, classes, width), view(&solution, classes, n), rows);
    for (weight, mean) in weights.iter_mut().zip(means) {
        *weight = (mean - *weight) / added;
    }
    Ok(weights)
}
