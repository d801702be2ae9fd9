//! Support vector machine with a radial basis function kernel, one against one.

use super::{Buffers, ModelError};
use crate::{
    check,
    kernel::{exponentials, finite},
    rows::Rows,
    work::Work,
};

/// For each pair of classes `(a, b)`, `a < b`, a decision: `Σ coef·K(x, sv) + bias > 0` says `a`.
///
/// Layout as in LIBSVM (Chang and Lin, 2011): support vectors are grouped by class; the vector `j`
/// of class `c` has `classes - 1` coefficients, one for each other class in order.
#[derive(Clone, Debug, PartialEq)]
pub struct RbfSvm {
    /// `K(x, y) = exp(-gamma |x - y|²)`; positive.
    pub gamma: f32,
    /// Values per vector.
    pub width: usize,
    /// Support vectors of each class, in class order; 0 for a class without training rows.
    pub counts: Vec<u32>,
    /// `[n, width]`, row-major, grouped by class.
    pub vectors: Rows,
    /// `[n, classes - 1]`, row-major.
    pub coefficients: Vec<f32>,
    /// One per pair, in the order (0,1), (0,2), …, (1,2), ….
    pub bias: Vec<f32>,
    /// What the decisions of the pairs make of the classes.
    pub verdict: Verdict,
}

/// What the decisions of all pairs make of the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The class with most votes wins, as in LIBSVM. The tie rule is ours: by the sum of the decision
    /// values, then the smallest id.
    ///
    /// A score is the votes of a class plus a number within ±⅓ that grows with that sum,
    /// `s / (3(|s| + 1))`, as in scikit-learn's `_ovr_decision_function`. A class without support vectors had no
    /// training rows: it takes part in no pair, and its score is -1.
    Votes,
    /// The class that is least short of winning all its pairs: a score is the sum of those of its decision
    /// values that go against it, `Σ min(0, d)`. This rule is ours.
    ///
    /// Who wins all pairs has 0 and everybody else less, so LIBSVM elects the same, unless classes beat each
    /// other in a circle. Votes jump where a pair is undecided, and hardly say how sure they are; this does. A
    /// class without support vectors has the least score there is.
    Shortfall,
}

impl RbfSvm {
    /// `out[c]` becomes the score of class `c`, as [`RbfSvm::verdict`] says.
    pub(super) fn scores(&self, x: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let Buffers { a: kernels, b: sums, bytes, .. } = buffers;
        kernels.clear();
        self.vectors.distances(x, bytes, |distance| kernels.push(distance));
        self.decide(kernels, sums, out);
    }

    /// [`RbfSvm::scores`] of several samples side by side: the same distances in the same order.
    pub(super) fn scores_of_many(&self, xs: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let mut kernels = vec![Vec::new(); xs.len() / self.width];
        self.vectors.distances_of_many(xs, self.width, |sample, distance| {
            kernels[sample].push(distance);
        });
        for (kernels, out) in kernels.iter_mut().zip(out.chunks_exact_mut(self.counts.len())) {
            self.decide(kernels, &mut buffers.b, out);
        }
    }

    /// From squared distances to scores.
    fn decide(&self, kernels: &mut [f32], sums: &mut Vec<f32>, out: &mut [f32]) {
        let classes = self.counts.len();
        exponentials(kernels, self.gamma);

        // What the vectors of class `a` say against each other class: one pass over coefficients.
        // sums[a·classes + b] = Σ over vectors of a of coefficient(a against b)·K.
        sums.clear();
        sums.resize(classes * classes, 0.0);
        let mut first = 0;
        for (a, &count) in self.counts.iter().enumerate() {
            let end = first + count as usize;
            let rows = &self.coefficients[first * (classes - 1)..end * (classes - 1)];
            let against = &mut sums[a * classes..][..classes];
            add_up(rows, &kernels[first..end], &mut against[..classes - 1]);
            // Itself is left out in a row of coefficients.
            against[a..].rotate_right(1);
            first = end;
        }

        out.fill(0.0);
        match self.verdict {
            Verdict::Votes => self.count_votes(sums, out),
            Verdict::Shortfall => self.add_shortfalls(sums, out),
        }
    }

    /// Calls `decided` with each pair of classes that rows taught, and the decision.
    fn pairs(&self, sums: &mut [f32], mut decided: impl FnMut(&mut [f32], usize, usize, f32)) {
        let classes = self.counts.len();
        let mut pair = 0;
        for a in 0..classes {
            for b in a + 1..classes {
                let bias = self.bias[pair];
                pair += 1;
                if self.counts[a] == 0 || self.counts[b] == 0 {
                    continue;
                }
                let decision = sums[a * classes + b] + sums[b * classes + a] + bias;
                decided(sums, a, b, decision);
            }
        }
    }

    /// [`Verdict::Votes`] from `sums[a·classes + b]`; `out` was 0.
    fn count_votes(&self, sums: &mut [f32], out: &mut [f32]) {
        let classes = self.counts.len();
        self.pairs(sums, |sums, a, b, decision| {
            out[if 0.0 < decision { a } else { b }] += 1.0;
            // The diagonal is unused: it collects the sum of each class's decision values.
            sums[a * classes + a] += decision;
            sums[b * classes + b] -= decision;
        });
        for (class, score) in out.iter_mut().enumerate() {
            let sum = finite(sums[class * classes + class]);
            *score += sum / (3.0 * (sum.abs() + 1.0));
            if self.counts[class] == 0 {
                *score = -1.0;
            }
        }
    }

    /// [`Verdict::Shortfall`] from `sums[a·classes + b]`; `out` was 0.
    fn add_shortfalls(&self, sums: &mut [f32], out: &mut [f32]) {
        self.pairs(sums, |_, a, b, decision| {
            let (against, by) = if 0.0 < decision { (b, -decision) } else { (a, decision) };
            out[against] += by;
        });
        for (score, &count) in out.iter_mut().zip(&self.counts) {
            *score = if count == 0 { f32::MIN } else { finite(*score) };
        }
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        super::same_width("rbf svm width", self.width, width)?;
        check::positive("rbf svm gamma", self.gamma)?;
        check::length("rbf svm counts", &self.counts, classes)?;
        check::at_most("rbf svm classes", classes, CLASSES_MAX)?;
        let vectors = self.counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        let vectors = usize::try_from(vectors).unwrap_or(usize::MAX);
        check::some("rbf svm vectors", vectors)?;
        self.vectors.check("rbf svm vectors", vectors, width)?;
        check::length(
            "rbf svm coefficients",
            &self.coefficients,
            check::area("rbf svm coefficients", vectors, classes - 1)?,
        )?;
        check::length("rbf svm bias", &self.bias, classes * (classes - 1) / 2)?;
        check::finite("rbf svm coefficients", &self.coefficients)?;
        check::finite("rbf svm bias", &self.bias)
    }

    /// Every vector is read once, and gives one exponential.
    pub(super) fn work(&self) -> Work {
        Work {
            bytes: self.vectors.bytes(),
            exps: self.counts.iter().map(|&count| u64::from(count)).sum(),
            madds: super::count_of(&self.coefficients),
            ..Work::default()
        }
    }
}

/// Most classes: one against one needs a decision for every pair.
pub const CLASSES_MAX: usize = 1_000;
/// `sums[b] = Σ over rows of row[b]·K`, the rows in order; all were 0.
fn add_up(rows: &[f32], kernels: &[f32], sums: &mut [f32]) {
    // Of a width that is known when this is compiled, the sums stay in registers.
    match sums.len() {
        0 => {}
        1 => in_registers::<1>(rows, kernels, sums),
        2 => in_registers::<2>(rows, kernels, sums),
        3 => in_registers::<3>(rows, kernels, sums),
        4 => in_registers::<4>(rows, kernels, sums),
        5 => in_registers::<5>(rows, kernels, sums),
        6 => in_registers::<6>(rows, kernels, sums),
        7 => in_registers::<7>(rows, kernels, sums),
        8 => in_registers::<8>(rows, kernels, sums),
        9 => in_registers::<9>(rows, kernels, sums),
        10 => in_registers::<10>(rows, kernels, sums),
        11 => in_registers::<11>(rows, kernels, sums),
        12 => in_registers::<12>(rows, kernels, sums),
        _ => {
            for (row, &kernel) in rows.chunks_exact(sums.len()).zip(kernels) {
                for (sum, coefficient) in sums.iter_mut().zip(row) {
                    *sum += coefficient * kernel;
                }
            }
        }
    }
}

fn in_registers<const WIDTH: usize>(rows: &[f32], kernels: &[f32], sums: &mut [f32]) {
    let mut lanes = [0.0_f32; WIDTH];
    for (row, &kernel) in rows.as_chunks::<WIDTH>().0.iter().zip(kernels) {
        for (lane, coefficient) in lanes.iter_mut().zip(row) {
            *lane += coefficient * kernel;
        }
    }
    sums.copy_from_slice(&lanes);
}
