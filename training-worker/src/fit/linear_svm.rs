//! Linear SVM: dual coordinate descent, one class against the rest.
//!
//! Source: Hsieh et al., "A Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008:
//! algorithm 3 with the squared hinge loss, as in LIBLINEAR. The intercept is the weight of one more
//! column, which holds the same value in each row. Ours: that value grows with the rows, and all classes step
//! together, row by row, so that a row is read from memory once for all of them and not once for each.

use models::member::Linear;

use super::{
    FitError, Lesson,
    matrix::{NullaryFnOnce, Squares, add_scaled, dot, narrow, vectorised},
};
use crate::draw::Draw;

/// How the margin is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What a row inside the margin costs.
    pub cost: f32,
    /// Stops when the projected gradients lie this close together.
    pub tolerance: f32,
    /// Most passes over the rows.
    pub passes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cost: 0.01, tolerance: 0.1, passes: 100 }
    }
}

/// One separating plane per class.
#[derive(Debug)]
pub(super) struct Fitted {
    width: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// `[n, classes]`: what each row adds to each plane; the planes follow from these alone.
    #[cfg(test)]
    pub(super) alphas: Vec<f32>,
    /// The square of what the column of the intercept holds.
    #[cfg(test)]
    pub(super) lever_square: f32,
}

impl Fitted {
    pub(super) fn lower(self) -> Linear {
        Linear { width: self.width, weights: self.weights, bias: self.bias }
    }
}

/// The score of a class without rows: nobody says what it looks like, so it is never the largest.
const ABSENT: f32 = -1e6;

/// The square of what the column of the intercept holds is the mean square of a row over this, 1 at least.
///
/// An intercept is kept small as weights are. Beside many columns a column of ones is nothing, so that an
/// intercept would come dear and planes would lean towards rare classes. In a row of few columns that
/// lean does no harm: on the room's sensors it helps (docs/decisions/0041-an-intercept-among-many-columns.md).
const COLUMNS_OF_AN_INTERCEPT: f64 = 16.0;

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let mut planes = Planes::new(settings, lesson);
    planes.descend(settings, lesson)?;
    let Planes { weights, bias, .. } = planes;
    if bias.iter().chain(&weights).any(|value| !value.is_finite()) {
        return Err(FitError::Diverged { what: "linear-svm" });
    }
    Ok(Fitted {
        width: lesson.samples.width(),
        weights,
        bias,
        #[cfg(test)]
        alphas: planes.alphas,
        #[cfg(test)]
        lever_square: planes.lever_square,
    })
}

/// The planes between each class and the rest, while they are found.
struct Planes<'a> {
    lesson: &'a Lesson<'a>,
    /// `|x|²`, the square of the intercept's column, and the diagonal of each row.
    curvatures: Vec<f32>,
    /// The square of what the column of the intercept holds.
    lever_square: f32,
    /// One over twice what a row inside the margin costs, for a row that counts 1.
    diagonal: f32,
    /// `[n, classes]`.
    alphas: Vec<f32>,
    /// `[n, classes]`: rows that shrinking has put aside for a class.
    aside: Vec<bool>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    order: Vec<usize>,
    /// The classes that still move, with their gradients of the pass before.
    moving: Vec<Moving>,
}

/// What [`COLUMNS_OF_AN_INTERCEPT`] says, where rows have these `squares`.
#[expect(clippy::cast_precision_loss, reason = "a count of rows in memory")]
fn lever_square(lesson: &Lesson<'_>, squares: &[f32]) -> f32 {
    let counted = squares.iter().enumerate();
    let sum: f64 =
        counted.map(|(row, &square)| f64::from(lesson.weight(row)) * f64::from(square)).sum();
    narrow((sum / squares.len() as f64 / COLUMNS_OF_AN_INTERCEPT).max(1.0))
}

/// A class that still moves.
#[derive(Clone, Copy)]
struct Moving {
    class: usize,
    /// A row whose gradient is above this, and that does not count, is put aside.
    aside_above: f32,
    /// Largest and smallest projected gradient of this pass.
    most: f32,
    least: f32,
    /// Whether any row is put aside.
    shrunk: bool,
}

impl<'a> Planes<'a> {
    fn new(settings: &Settings, lesson: &'a Lesson<'a>) -> Self {
        let (n, width) = (lesson.samples.len(), lesson.samples.width());
        let diagonal = 0.5 / settings.cost;
        let mut curvatures = vectorised(Squares { rows: lesson.samples.values(), width });
        let lever_square = lever_square(lesson, &curvatures);
        for (row, square) in curvatures.iter_mut().enumerate() {
            *square += lever_square + diagonal / lesson.weight(row);
        }
        let counts = lesson.counts();
        let moving = (0..lesson.classes).filter(|&class| 0 < counts[class]).map(Moving::new);
        Self {
            lesson,
            curvatures,
            lever_square,
            diagonal,
            alphas: vec![0.0; n * lesson.classes],
            aside: vec![false; n * lesson.classes],
            weights: vec![0.0; lesson.classes * width],
            bias: counts.iter().map(|&count| if count == 0 { ABSENT } else { 0.0 }).collect(),
            order: (0..n).collect(),
            moving: moving.collect(),
        }
    }

    fn descend(&mut self, settings: &Settings, lesson: &Lesson<'_>) -> Result<(), FitError> {
        let mut draw = Draw::new(lesson.seed);
        for _ in 0..settings.passes {
            lesson.stop.check()?;
            draw.shuffle(&mut self.order);
            vectorised(Pass(&mut *self));
            for moving in std::mem::take(&mut self.moving) {
                let close = moving.most - moving.least <= settings.tolerance;
                if close && !moving.shrunk {
                    continue;
                }
                let mut next = Moving::new(moving.class);
                if close {
                    // Done with the rows in play: look once more at those put aside.
                    let rows = self.aside.iter_mut().skip(moving.class).step_by(lesson.classes);
                    rows.for_each(|aside| *aside = false);
                } else {
                    next.shrunk = moving.shrunk;
                    if 0.0 < moving.most {
                        next.aside_above = moving.most;
                    }
                }
                self.moving.push(next);
            }
            if self.moving.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Moving {
    fn new(class: usize) -> Self {
        Self {
            class,
            aside_above: f32::INFINITY,
            most: f32::NEG_INFINITY,
            least: f32::INFINITY,
            shrunk: false,
        }
    }
}

/// One step for each row in play of each class that moves.
struct Pass<'a, 'b>(&'a mut Planes<'b>);

impl NullaryFnOnce for Pass<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(planes) = self;
        let (width, classes) = (planes.lesson.samples.width(), planes.lesson.classes);
        for &row in &planes.order {
            let x = planes.lesson.samples.row(row);
            let label = usize::from(planes.lesson.labels[row]);
            let diagonal = planes.diagonal / planes.lesson.weight(row);
            for moving in &mut planes.moving {
                let class = moving.class;
                let at = row * classes + class;
                if planes.aside[at] {
                    continue;
                }
                let weights = &mut planes.weights[class * width..][..width];
                let side = if label == class { 1.0 } else { -1.0 };
                let alpha = planes.alphas[at];
                let score = dot(weights, x) + planes.bias[class];
                let slope = side * score - 1.0 + diagonal * alpha;
                let projected = if alpha == 0.0 {
                    if moving.aside_above < slope {
                        planes.aside[at] = true;
                        moving.shrunk = true;
                        continue;
                    }
                    slope.min(0.0)
                } else {
                    slope
                };
                moving.most = moving.most.max(projected);
                moving.least = moving.least.min(projected);
                if projected.abs() > 1e-12 {
                    let moved = (alpha - slope / planes.curvatures[row]).max(0.0);
                    let step = side * (moved - alpha);
                    planes.alphas[at] = moved;
                    add_scaled(weights, step, x);
                    planes.bias[class] += planes.lever_square * step;
                }
            }
        }
    }
}
