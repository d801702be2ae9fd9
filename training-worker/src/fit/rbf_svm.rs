//! RBF SVM: one problem for each pair of classes, solved by sequential minimal optimisation.
//!
//! Source: LIBSVM (Chang and Lin, 2011). Ours: kernel rows are computed by one matrix product for
//! the rows that break the conditions most, and kept in a cache of bounded size.

mod few;
mod kernel;
mod pair;

use models::{
    Features, Rows,
    member::{RbfSvm, Verdict},
};

pub(super) use self::pair::Solved;
use self::{
    kernel::Kernel,
    pair::{CHOSEN_MAX, Pair},
};
use super::{
    FitError, Lesson, abreast,
    matrix::{means, narrow},
};

/// How the margins are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What a row inside the margin costs at most.
    pub cost: f64,
    /// The kernel's gamma, times the variance of all columns together.
    pub gamma: f64,
    /// Stops when the conditions are broken by less than this.
    pub tolerance: f64,
    /// Most bytes of kernel rows kept for a pair of classes.
    pub cache_bytes: usize,
    /// Most principal components that a row is projected to beforehand; `None` for none of that.
    pub components: Option<usize>,
    /// Whether a row is projected to the discriminants of the classes instead.
    pub discriminants: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cost: 5.0,
            gamma: 1.0,
            tolerance: 1e-2,
            cache_bytes: 64 << 20,
            components: None,
            discriminants: false,
        }
    }
}

/// The solved pairs.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    samples: &'a Features,
    pub(super) gamma: f32,
    pub(super) classes: usize,
    /// Row numbers of each class.
    pub(super) members: Vec<Vec<usize>>,
    /// For each pair `a < b`, in order: `α·y` of the rows of `a`, then of `b`, and the bias.
    pub(super) pairs: Vec<Solved>,
}

impl Fitted<'_> {
    /// Keeps the rows that any pair leans on.
    pub(super) fn lower(&self) -> RbfSvm {
        let others = self.classes - 1;
        let mut model = RbfSvm {
            gamma: self.gamma,
            width: self.samples.width(),
            counts: Vec::with_capacity(self.classes),
            vectors: Rows::Exact(Vec::new()),
            coefficients: Vec::new(),
            bias: self.pairs.iter().map(|pair| narrow(pair.bias)).collect(),
            verdict: Verdict::Shortfall,
        };
        let mut vectors = Vec::new();
        for (class, rows) in self.members.iter().enumerate() {
            let mut count = 0;
            let mut coefficients = Vec::with_capacity(others);
            for (at, &row) in rows.iter().enumerate() {
                coefficients.clear();
                coefficients.extend((0..self.classes).filter(|&other| other != class).map(
                    |other| {
                        let pair =
                            &self.pairs[pair_of(class.min(other), class.max(other), self.classes)];
                        let side = if class < other { &pair.first } else { &pair.second };
                        narrow(side.get(at).copied().unwrap_or(0.0))
                    },
                ));
                if coefficients.iter().all(|&coefficient| coefficient == 0.0) {
                    continue;
                }
                vectors.extend_from_slice(self.samples.row(row));
                model.coefficients.extend_from_slice(&coefficients);
                count += 1;
            }
            model.counts.push(count);
        }
        model.vectors = Rows::Exact(vectors);
        model
    }

    /// The decision of each pair, in double precision, from all rows.
    #[cfg(test)]
    pub(super) fn decisions(&self, x: &[f32]) -> Vec<f64> {
        let kernel = |row: usize| {
            let y = self.samples.row(row);
            let far: f64 =
                x.iter().zip(y).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            (-f64::from(self.gamma) * far).exp()
        };
        let mut decisions = Vec::new();
        for a in 0..self.classes {
            for b in a + 1..self.classes {
                let pair = &self.pairs[pair_of(a, b, self.classes)];
                let sum = |rows: &[usize], alphas: &[f64]| -> f64 {
                    alphas.iter().zip(rows).map(|(alpha, &row)| alpha * kernel(row)).sum()
                };
                decisions.push(
                    sum(&self.members[a], &pair.first)
                        + sum(&self.members[b], &pair.second)
                        + pair.bias,
                );
            }
        }
        decisions
    }
}

/// Where pair `(a, b)`, `a < b`, stands in the order (0,1), (0,2), …, (1,2), ….
pub(super) fn pair_of(a: usize, b: usize, classes: usize) -> usize {
    a * (2 * classes - a - 1) / 2 + b - a - 1
}

pub(super) fn fit<'a>(settings: &Settings, lesson: &Lesson<'a>) -> Result<Fitted<'a>, FitError> {
    let classes = lesson.classes;
    let mut members = vec![Vec::new(); classes];
    for (row, &label) in lesson.labels.iter().enumerate() {
        members[usize::from(label)].push(row);
    }
    let gamma = gamma(settings, lesson.samples);
    let pairs: Vec<(usize, usize)> =
        (0..classes).flat_map(|a| (a + 1..classes).map(move |b| (a, b))).collect();
    let solve = |at: usize| {
        let (a, b) = pairs[at];
        solve(settings, lesson, gamma, [&members[a], &members[b]])
    };
    let pairs = abreast(lesson.threads, pairs.len(), solve)?;
    Ok(Fitted { samples: lesson.samples, gamma, classes, members, pairs })
}

/// The kernel's gamma: in shares of the variance of a row, so that the same setting means the same
/// for few columns and for many, projected or not.
fn gamma(settings: &Settings, samples: &Features) -> f32 {
    let width = samples.width();
    let mean = means(samples.values(), width);
    let squares = samples.rows().map(|row| {
        row.iter().zip(&mean).map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum::<f64>()
    });
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    let variance = squares.sum::<f64>() / samples.len() as f64;
    // Rows that are all equal have no variance; any gamma will do.
    let gamma = narrow(settings.gamma / variance);
    if gamma.is_finite() { gamma.max(f32::MIN_POSITIVE) } else { 1.0 }
}

/// One pair of classes, by the numbers of their rows.
fn solve(
    settings: &Settings,
    lesson: &Lesson<'_>,
    gamma: f32,
    [first, second]: [&Vec<usize>; 2],
) -> Result<Solved, FitError> {
    lesson.stop.check()?;
    match (first.is_empty(), second.is_empty()) {
        // Against a class without rows, the other one is right.
        (false, true) => Ok(Solved { bias: 1.0, ..Solved::default() }),
        (true, false) => Ok(Solved { bias: -1.0, ..Solved::default() }),
        (true, true) => Ok(Solved::default()),
        (false, false) => {
            let rows: Vec<usize> = first.iter().chain(second).copied().collect();
            let mut values = Vec::with_capacity(rows.len() * lesson.samples.width());
            rows.iter().for_each(|&row| values.extend_from_slice(lesson.samples.row(row)));
            let cost = |&row: &usize| settings.cost * f64::from(lesson.weight(row));
            let costs = rows.iter().map(cost).collect();
            let (width, bytes) = (lesson.samples.width(), settings.cache_bytes);
            let kernel = Kernel::new(values, width, gamma, bytes, 2 * CHOSEN_MAX);
            Pair::new(kernel, first.len(), costs, settings.tolerance).solve(lesson)
        }
    }
}
