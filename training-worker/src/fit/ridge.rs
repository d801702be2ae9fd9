//! Ridge classifier: least squares on ±1 targets, one class against the rest.
//!
//! The normal equations are summed in double precision over blocks of rows and solved by Cholesky
//! with its pivots checked: a nearly singular solve would silently predict a single class. With more
//! columns than rows the dual equations are solved instead, which are as many as there are rows.

use faer::{Side, linalg::solvers::Solve};

use super::{
    FitError, Lesson,
    linear::Fitted,
    matrix::{multiply, view, view_mut, weighted_gram, weighted_means},
};

/// How strongly weights are kept small.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Added to the diagonal of the Gram matrix, times the number of rows.
    ///
    /// In shares of the rows, because the Gram matrix of standardised columns has the number of
    /// rows on its diagonal: the same setting then means the same for few rows and for many.
    pub alpha: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 1e-3 }
    }
}

/// A pivot below this share of the largest one means that the solution is noise.
const PIVOT_SHARE_MIN: f64 = 1e-11;
/// How often the regularisation is multiplied by ten before giving up.
const ATTEMPTS: u32 = 6;

#[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let (n, width) = (lesson.samples.len(), lesson.samples.width());
    let mean = weighted_means(lesson.samples.values(), width, |row| lesson.weight(row));
    let alpha = settings.alpha * n as f64;
    let weights =
        if width <= n { primal(lesson, &mean, alpha)? } else { dual(lesson, &mean, alpha)? };
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(FitError::Diverged { what: "ridge" });
    }
    let bias = weights
        .chunks_exact(width)
        .zip(lesson.shares())
        .map(|(weights, share)| {
            let target = 2.0 * share / n as f64 - 1.0;
            target - weights.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>()
        })
        .collect();
    Ok(Fitted { width, weights, bias })
}

/// `(XᵀX + αI) w = Xᵀy` on centred columns, for every class.
fn primal(lesson: &Lesson<'_>, mean: &[f64], alpha: f64) -> Result<Vec<f64>, FitError> {
    let width = lesson.samples.width();
    let matrix = weighted_gram(lesson.samples.values(), mean, |row| lesson.weight(row));
    lesson.stop.check()?;
    // Xᵀy for targets of ±1 is twice the sum over the class less the sum over all; centring the
    // columns takes away what the mean of the targets would add.
    let mut right = vec![0.0_f64; lesson.classes * width];
    for (at, (row, &label)) in lesson.samples.rows().zip(lesson.labels).enumerate() {
        let twice = 2.0 * f64::from(lesson.weight(at));
        let sums = &mut right[usize::from(label) * width..][..width];
        for ((sum, &value), mean) in sums.iter_mut().zip(row).zip(mean) {
            *sum += twice * (f64::from(value) - mean);
        }
    }
    solve(matrix, width, alpha, &right, lesson.classes)
}

/// `w = Xᵀ (XXᵀ + αI)⁻¹ y` on centred columns, for every class.
#[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
fn dual(lesson: &Lesson<'_>, mean: &[f64], alpha: f64) -> Result<Vec<f64>, FitError> {
    let (n, width) = (lesson.samples.len(), lesson.samples.width());
    // Rows and targets times the root of what a row counts.
    let roots: Vec<f64> = (0..n).map(|row| f64::from(lesson.weight(row)).sqrt()).collect();
    let centred: Vec<f64> = lesson
        .samples
        .rows()
        .zip(&roots)
        .flat_map(|(row, root)| {
            row.iter().zip(mean).map(move |(&value, mean)| root * (f64::from(value) - mean))
        })
        .collect();
    let centred = view(&centred, n, width);
    let mut matrix = vec![0.0_f64; n * n];
    multiply(view_mut(&mut matrix, n, n), centred, centred.transpose());
    lesson.stop.check()?;
    let mut right = vec![0.0_f64; lesson.classes * n];
    for (class, (targets, share)) in right.chunks_exact_mut(n).zip(lesson.shares()).enumerate() {
        let mean = 2.0 * share / n as f64 - 1.0;
        for ((target, &label), root) in targets.iter_mut().zip(lesson.labels).zip(&roots) {
            let side = if usize::from(label) == class { 1.0 } else { -1.0 };
            *target = root * (side - mean);
        }
    }
    let solution = solve(matrix, n, alpha, &right, lesson.classes)?;
    let mut weights = vec![0.0_f64; lesson.classes * width];
    multiply(
        view_mut(&mut weights, lesson.classes, width),
        view(&solution, lesson.classes, n),
        centred,
    );
    Ok(weights)
}

/// Solves `(matrix + αI) x = right` for each row of `right`; a larger α is taken, aloud, when the
/// pivots say that the solution would be noise.
pub(super) fn solve(
    mut matrix: Vec<f64>,
    order: usize,
    alpha: f64,
    right: &[f64],
    count: usize,
) -> Result<Vec<f64>, FitError> {
    let mean = (0..order).map(|at| matrix[at * order + at]).fold(0.0_f64, f64::max);
    let mut alpha = alpha.max(f64::MIN_POSITIVE);
    let mut added = 0.0;
    for _ in 0..ATTEMPTS {
        for at in 0..order {
            matrix[at * order + at] += alpha - added;
        }
        added = alpha;
        if let Ok(factor) = view(&matrix, order, order).llt(Side::Lower) {
            let pivots = (0..order).map(|at| factor.L()[(at, at)].powi(2));
            let (least, most) = pivots.fold((f64::INFINITY, 0.0_f64), |(least, most), pivot| {
                (least.min(pivot), most.max(pivot))
            });
            if PIVOT_SHARE_MIN * most < least {
                let solution = factor.solve(view(right, count, order).transpose());
                return Ok((0..count)
                    .flat_map(|row| (0..order).map(move |at| (at, row)))
                    .map(|at| solution[at])
                    .collect());
            }
        }
        let stronger = (alpha * 10.0).max(mean * 1e-9).max(1e-9);
        tracing::warn!(
            alpha,
            stronger,
            "equations are nearly singular; regularising them more strongly"
        );
        alpha = stronger;
    }
    Err(FitError::Singular { alpha: format!("{alpha:.3e}") })
}
