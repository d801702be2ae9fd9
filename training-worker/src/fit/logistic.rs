//! Multinomial logistic regression: the likeliest linear scores, kept small.
//!
//! Source: the loss is that of scikit-learn's `LogisticRegression`, the steps are those of L-BFGS (Nocedal and
//! Wright, *Numerical Optimization*, algorithm 7.5). Ours: rows are walked through once for loss and slopes
//! together, a block of them while it lies in the cache; sums over rows are kept in double precision.

use std::collections::VecDeque;

use super::{
    FitError, Lesson,
    linear::Fitted,
    matrix::{BLOCK_ROWS, multiply, narrow, view, view_mut},
};

/// How strongly weights are kept small, and how long they are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Half of it times the squares of the weights is added to the mean loss of a row: 1 / (C · rows) of
    /// scikit-learn.
    pub alpha: f64,
    /// Most steps. The first few say what most rows say, later ones what a few do.
    pub steps: usize,
    /// Ends when no slope of the mean loss is larger.
    pub tolerance: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alpha: 3e-3, steps: 25, tolerance: 1e-4 }
    }
}

/// Steps that are remembered.
const REMEMBERED: usize = 8;
/// Bytes that each weight takes while it is looked for: what is remembered, points, slopes and a
/// direction in double precision, and what meets the rows in single.
pub(super) const BYTES_OF_A_WEIGHT: u64 = REMEMBERED as u64 * 8 + 7 * 8 + 3 * 4;
/// A step is halved so often before it is given up.
const HALVINGS: usize = 12;
/// A step must lower the loss by this share of what its slope promises.
const ENOUGH: f64 = 1e-4;

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let width = lesson.samples.width();
    let counts = lesson.counts();
    let present: Vec<usize> = (0..lesson.classes).filter(|&class| 0 < counts[class]).collect();
    let mut slope = Slope::new(settings, lesson, &present);
    let mut at = vec![0.0; present.len() * (width + 1)];
    let mut slopes = vec![0.0; at.len()];
    // As if the samples said nothing.
    let shares = lesson.shares();
    for (bias, &class) in at[present.len() * width..].iter_mut().zip(&present) {
        *bias = shares[class].ln();
    }
    let mut loss = slope.of(&at, &mut slopes)?;
    if !loss.is_finite() || slopes.iter().any(|slope| !slope.is_finite()) {
        return Err(FitError::Diverged { what: "logistic" });
    }
    let mut memory = Memory::default();
    let (mut next, mut next_slopes) = (at.clone(), slopes.clone());
    for _ in 0..settings.steps {
        if slopes.iter().all(|slope| slope.abs() <= settings.tolerance) {
            break;
        }
        let direction = memory.direction(&slopes);
        let promised = dot(&direction, &slopes);
        let mut step =
            if memory.pairs.is_empty() { 1.0 / dot(&slopes, &slopes).sqrt() } else { 1.0 };
        let mut better = None;
        for _ in 0..HALVINGS {
            for ((next, at), by) in next.iter_mut().zip(&at).zip(&direction) {
                *next = at + step * by;
            }
            let then = slope.of(&next, &mut next_slopes)?;
            if then <= loss + ENOUGH * step * promised {
                better = Some(then);
                break;
            }
            step *= 0.5;
        }
        // As near to the end as sums in single precision tell.
        let Some(then) = better else { break };
        loss = then;
        memory.learn(&at, &next, &slopes, &next_slopes);
        std::mem::swap(&mut at, &mut next);
        std::mem::swap(&mut slopes, &mut next_slopes);
    }
    let (rows, biases) = at.split_at(present.len() * width);
    let mut fitted = Fitted {
        width,
        weights: vec![0.0; lesson.classes * width],
        bias: vec![0.0; lesson.classes],
    };
    for ((&class, row), &bias) in present.iter().zip(rows.chunks_exact(width)).zip(biases) {
        fitted.weights[class * width..][..width].copy_from_slice(row);
        fitted.bias[class] = bias;
    }
    fitted.centre(&present);
    if fitted.is_finite() { Ok(fitted) } else { Err(FitError::Diverged { what: "logistic" }) }
}

/// The mean loss of the rows and its slopes, with buffers that last for a fit.
struct Slope<'a> {
    lesson: &'a Lesson<'a>,
    alpha: f64,
    /// The number of each class among those that have rows.
    numbers: Vec<usize>,
    present: usize,
    /// `[present, width]`, in single precision.
    weights: Vec<f32>,
    /// `[rows of a block, present]`: scores, then how far shares are off.
    scores: Vec<f32>,
    /// `[present, width]`: the slopes of a block.
    part: Vec<f32>,
}

impl<'a> Slope<'a> {
    fn new(settings: &Settings, lesson: &'a Lesson<'a>, present: &[usize]) -> Self {
        let width = lesson.samples.width();
        let mut numbers = vec![0; lesson.classes];
        present.iter().enumerate().for_each(|(number, &class)| numbers[class] = number);
        let values = vec![0.0; present.len() * width];
        Self {
            lesson,
            alpha: settings.alpha,
            numbers,
            present: present.len(),
            weights: values.clone(),
            scores: Vec::new(),
            part: values,
        }
    }

    /// The loss at `at`, whose slopes are written to `slopes`.
    #[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
    fn of(&mut self, at: &[f64], slopes: &mut [f64]) -> Result<f64, FitError> {
        let Self { lesson, present, .. } = *self;
        let (n, width) = (lesson.samples.len(), lesson.samples.width());
        let (weights, biases) = at.split_at(present * width);
        self.weights.iter_mut().zip(weights).for_each(|(to, &it)| *to = narrow(it));
        let biases: Vec<f32> = biases.iter().copied().map(narrow).collect();
        slopes.fill(0.0);
        let mut loss = 0.0;
        let blocks = lesson.samples.values().chunks(BLOCK_ROWS * width);
        for (first, block) in blocks.enumerate() {
            lesson.stop.check()?;
            let first = first * BLOCK_ROWS;
            let rows = block.len() / width;
            self.scores.resize(rows * present, 0.0);
            let block = view(block, rows, width);
            let weights = view(&self.weights, present, width);
            multiply(view_mut(&mut self.scores, rows, present), block, weights.transpose());
            let (slopes, bias_slopes) = slopes.split_at_mut(present * width);
            for (row, scores) in self.scores.chunks_exact_mut(present).enumerate() {
                let row = first + row;
                let own = self.numbers[usize::from(lesson.labels[row])];
                let weight = lesson.weight(row);
                loss += f64::from(weight) * f64::from(off(scores, &biases, own));
                for (slope, off) in bias_slopes.iter_mut().zip(scores) {
                    *off *= weight;
                    *slope += f64::from(*off);
                }
            }
            let scores = view(&self.scores, rows, present);
            multiply(view_mut(&mut self.part, present, width), scores.transpose(), block);
            for (slope, &part) in slopes.iter_mut().zip(&self.part) {
                *slope += f64::from(part);
            }
        }
        slopes.iter_mut().for_each(|slope| *slope /= n as f64);
        let mut squares = 0.0;
        for (slope, weight) in slopes.iter_mut().zip(weights) {
            *slope += self.alpha * weight;
            squares += weight * weight;
        }
        Ok(loss / n as f64 + 0.5 * self.alpha * squares)
    }
}

/// Turns scores into how far the share of each class lies above what is true; gives the loss of the row.
#[inline]
fn off(scores: &mut [f32], biases: &[f32], own: usize) -> f32 {
    let mut most = f32::NEG_INFINITY;
    for (score, bias) in scores.iter_mut().zip(biases) {
        *score += bias;
        most = most.max(*score);
    }
    let short = most - scores[own];
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
    scores[own] -= 1.0;
    short + sum.ln()
}

/// The last steps, and how the slopes changed along them.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    /// Their product.
    curvature: f64,
}

impl Memory {
    fn learn(&mut self, at: &[f64], next: &[f64], slopes: &[f64], next_slopes: &[f64]) {
        let less = |a: &[f64], b: &[f64]| -> Vec<f32> {
            a.iter().zip(b).map(|(a, b)| narrow(a - b)).collect()
        };
        let (step, change) = (less(next, at), less(next_slopes, slopes));
        let curvature = dot32(&step, &change);
        // The loss bends upwards everywhere, but for what single precision loses.
        if curvature <= 1e-10 * dot32(&change, &change) {
            return;
        }
        if self.pairs.len() == REMEMBERED {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { step, change, curvature });
    }

    /// Where the loss falls, by what the last steps said of how it bends.
    fn direction(&self, slopes: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = slopes.iter().map(|slope| -slope).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for Pair { step, change, curvature } in self.pairs.iter().rev() {
            let share = mixed(step, &direction) / curvature;
            add(&mut direction, -share, change);
            shares.push(share);
        }
        if let Some(Pair { change, curvature, .. }) = self.pairs.back() {
            let scale = curvature / dot32(change, change);
            direction.iter_mut().for_each(|it| *it *= scale);
        }
        for (Pair { step, change, curvature }, share) in self.pairs.iter().zip(shares.iter().rev())
        {
            let back = mixed(change, &direction) / curvature;
            add(&mut direction, share - back, step);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot32(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn mixed(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum()
}

fn add(y: &mut [f64], factor: f64, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * f64::from(x));
}
