//! Linear SVM: dual coordinate descent, one class against the rest.
//!
//! Source: Hsieh et al., "A Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008:
//! algorithm 3 with the squared hinge loss, as in LIBLINEAR. The intercept is the weight of one more
//! column of ones.

use models::member::Linear;

use super::{
    FitError, Lesson,
    matrix::{add_scaled, dot, squares, vectorised},
};
use crate::draw::{Draw, hash};

/// How the margin is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What a row inside the margin costs.
    pub cost: f32,
    /// Stops when the projected gradients lie this close together.
    pub tolerance: f32,
    /// Most passes over the rows of a class.
    pub passes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cost: 0.01, tolerance: 0.2, passes: 20 }
    }
}

/// One separating plane per class.
#[derive(Debug)]
pub(super) struct Fitted {
    width: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// `[classes, n]`: what each row adds to each plane; the planes follow from these alone.
    #[cfg(test)]
    pub(super) alphas: Vec<f32>,
}

impl Fitted {
    pub(super) fn lower(self) -> Linear {
        Linear { width: self.width, weights: self.weights, bias: self.bias }
    }
}

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let width = lesson.samples.width();
    let diagonal = 0.5 / settings.cost;
    let curvatures: Vec<f32> = vectorised(squares, (lesson.samples.values(), width))
        .into_iter()
        .map(|square| square + 1.0 + diagonal)
        .collect();
    let mut weights = Vec::with_capacity(lesson.classes * width);
    let mut bias = Vec::with_capacity(lesson.classes);
    #[cfg(test)]
    let mut alphas = Vec::new();
    for (class, count) in lesson.counts().into_iter().enumerate() {
        if count == 0 {
            // Nobody says what this class looks like: never the largest score.
            weights.extend(std::iter::repeat_n(0.0, width));
            bias.push(ABSENT);
            #[cfg(test)]
            alphas.extend(std::iter::repeat_n(0.0, lesson.samples.len()));
            continue;
        }
        let mut plane = Plane::new(lesson, class, &curvatures, diagonal);
        plane.descend(settings, lesson)?;
        if !plane.bias.is_finite() || plane.weights.iter().any(|weight| !weight.is_finite()) {
            return Err(FitError::Diverged { what: "linear-svm" });
        }
        weights.append(&mut plane.weights);
        bias.push(plane.bias);
        #[cfg(test)]
        alphas.append(&mut plane.alphas);
    }
    Ok(Fitted {
        width,
        weights,
        bias,
        #[cfg(test)]
        alphas,
    })
}

/// The score of a class without rows.
const ABSENT: f32 = -1e6;

/// The plane between one class and the rest, while it is found.
struct Plane<'a> {
    lesson: &'a Lesson<'a>,
    class: usize,
    /// `|x|² + 1 + diagonal` of each row.
    curvatures: &'a [f32],
    diagonal: f32,
    alphas: Vec<f32>,
    weights: Vec<f32>,
    bias: f32,
    /// Rows in play first; those that shrinking has put aside behind them.
    order: Vec<usize>,
}

/// Largest and smallest projected gradient of a pass.
#[derive(Clone, Copy)]
struct Span {
    most: f32,
    least: f32,
}

impl<'a> Plane<'a> {
    fn new(lesson: &'a Lesson<'a>, class: usize, curvatures: &'a [f32], diagonal: f32) -> Self {
        Self {
            lesson,
            class,
            curvatures,
            diagonal,
            alphas: vec![0.0; lesson.samples.len()],
            weights: vec![0.0; lesson.samples.width()],
            bias: 0.0,
            order: (0..lesson.samples.len()).collect(),
        }
    }

    fn descend(&mut self, settings: &Settings, lesson: &Lesson<'_>) -> Result<(), FitError> {
        let mut draw = Draw::new(hash(&[lesson.seed, self.class as u64]));
        let all = self.order.len();
        let everything = Span { most: f32::INFINITY, least: f32::NEG_INFINITY };
        let (mut active, mut before) = (all, everything);
        for _ in 0..settings.passes {
            lesson.stop.check()?;
            draw.shuffle(&mut self.order[..active]);
            let (left, span) = vectorised(pass, (&mut *self, active, before));
            active = left;
            if span.most - span.least <= settings.tolerance {
                if active == all {
                    break;
                }
                // Done with the rows in play: look once more at those put aside.
                (active, before) = (all, everything);
                continue;
            }
            before = Span {
                most: if span.most <= 0.0 { f32::INFINITY } else { span.most },
                least: if 0.0 <= span.least { f32::NEG_INFINITY } else { span.least },
            };
        }
        Ok(())
    }
}

/// One step for each row in play; gives how many stay in play.
#[inline(always)]
fn pass((plane, mut active, before): (&mut Plane<'_>, usize, Span)) -> (usize, Span) {
    let mut span = Span { most: f32::NEG_INFINITY, least: f32::INFINITY };
    let mut at = 0;
    while at < active {
        let row = plane.order[at];
        let x = plane.lesson.samples.row(row);
        let mine = usize::from(plane.lesson.labels[row]) == plane.class;
        let side = if mine { 1.0 } else { -1.0 };
        let alpha = plane.alphas[row];
        let slope = side * (dot(&plane.weights, x) + plane.bias) - 1.0 + plane.diagonal * alpha;
        let projected = if alpha == 0.0 {
            if before.most < slope {
                active -= 1;
                plane.order.swap(at, active);
                continue;
            }
            slope.min(0.0)
        } else {
            slope
        };
        span.most = span.most.max(projected);
        span.least = span.least.min(projected);
        if projected.abs() > 1e-12 {
            let moved = (alpha - slope / plane.curvatures[row]).max(0.0);
            let step = side * (moved - alpha);
            plane.alphas[row] = moved;
            add_scaled(&mut plane.weights, step, x);
            plane.bias += step;
        }
        at += 1;
    }
    (active, span)
}
