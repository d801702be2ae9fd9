//! Small made-up data for tests: clouds of points, one per class, that overlap at their edges.

use models::{
    ClassId, Features,
    member::{Buffers, Model},
};

use super::{Lesson, Stop};
use crate::draw::Draw;

/// Rows with their classes.
pub(super) struct Clouds {
    pub(super) samples: Features,
    pub(super) labels: Vec<u16>,
    pub(super) classes: usize,
}

/// `rows` points of `classes` classes around corners of a cube, in `width` dimensions of which the
/// last is constant.
pub(super) fn clouds(rows: usize, width: usize, classes: usize, seed: u64) -> Clouds {
    let mut draw = Draw::new(seed);
    let mut values = Vec::with_capacity(rows * width);
    let mut labels = Vec::with_capacity(rows);
    for row in 0..rows {
        let class = row % classes;
        for column in 0..width {
            let corner = if class >> (column % 8) & 1 == 1 { 2.5 } else { -2.5 };
            let value = if column + 1 == width { 3.0 } else { corner + draw.normal() };
            values.push(super::matrix::narrow(value));
        }
        labels.push(u16::try_from(class).unwrap());
    }
    Clouds { samples: Features::new(width, values).unwrap(), labels, classes }
}

impl Clouds {
    pub(super) fn lesson<'a>(&'a self, stop: &'a Stop) -> Lesson<'a> {
        Lesson::new(&self.samples, &self.labels, self.classes, stop)
    }

    /// The share of rows that `model` names rightly.
    pub(super) fn accuracy(&self, model: &Model) -> f64 {
        let right = self
            .samples
            .rows()
            .zip(&self.labels)
            .filter(|(row, label)| vote(model, row, self.classes) == ClassId(**label));
        right.count() as f64 / self.labels.len() as f64
    }
}

/// What a lowered model votes for.
pub(super) fn vote(model: &Model, row: &[f32], classes: usize) -> ClassId {
    model.vote(row, &mut vec![0.0; classes], &mut Buffers::default())
}

/// The scores of a lowered model.
pub(super) fn scores(model: &Model, row: &[f32], classes: usize) -> Vec<f32> {
    let mut out = vec![0.0; classes];
    model.scores(row, &mut out, &mut Buffers::default());
    out
}

/// What a number can be at most, at least and just so.
const EDGES: [f32; 13] = [
    0.0,
    -0.0,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-40,
    -1e-45,
    -1.5,
    3.0,
    1e6,
    -1e6,
    1e30,
    f32::MAX,
    f32::MIN,
];

/// Beyond this, sums of products leave single precision, and which way of adding them up overflows
/// first says nothing.
pub(super) const COMPARABLE: f32 = 1e30;

/// Ten thousand inputs and more to compare two ways of computing with: points like those of training, points
/// far away, and the edges of what a number can be.
pub(super) fn inputs(width: usize) -> Vec<Vec<f32>> {
    let mut draw = Draw::new(99);
    let mut inputs: Vec<Vec<f32>> = Vec::new();
    for scale in [1.0, 3.0, 100.0] {
        for _ in 0..3_400 {
            let row = (0..width).map(|_| super::matrix::narrow(draw.normal() * scale));
            inputs.push(row.collect());
        }
    }
    for edge in EDGES {
        inputs.push(vec![edge; width]);
        let mut one = vec![0.25; width];
        one[0] = edge;
        inputs.push(one);
    }
    inputs
}
