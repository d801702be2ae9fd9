//! Layers of numbers: what scalers, projections and networks do to a row, one after the other, and
//! how they become a preparation and a model.
//!
//! What stands before the first dense layer that is followed by an activation prepares; the rest is
//! the model. A scale behind a dense layer, or behind an activation, as batch normalisation leaves it,
//! is multiplied into the weights, in double precision.

use std::rc::Rc;

use models::{
    Family, Model, Precision, Preparation, Step,
    member::{Dense, Linear, Mlp},
    schema::FEATURES_MAX,
};

/// Most values of one layer's weights.
const WEIGHTS_MAX: usize = 16 << 20;

/// One thing that is done to a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layer {
    /// Keep these columns.
    Select(Vec<u32>),
    /// `(x - mean) · factor`.
    Scale { mean: Vec<f32>, factor: Vec<f32> },
    /// `weights · x + bias`.
    Dense { weights: Vec<f32>, bias: Vec<f32> },
    /// What is below zero becomes zero.
    Relu,
}

/// Layers from the input on. Clones share them: every value of a graph has its own chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    layers: Vec<Rc<Layer>>,
    /// Values that come out.
    pub(super) width: usize,
}

impl Chain {
    /// The input as it is.
    pub(super) fn new(width: usize) -> Self {
        Self { layers: Vec::new(), width }
    }

    /// Keeps `columns`.
    pub(super) fn select(mut self, columns: Vec<u32>) -> Result<Self, &'static str> {
        if columns.is_empty() || columns.iter().any(|&it| self.width <= it as usize) {
            return Err("takes columns that are not there");
        }
        self.width = columns.len();
        self.layers.push(Rc::new(Layer::Select(columns)));
        Ok(self)
    }

    /// Subtracts `mean`, column by column.
    pub(super) fn minus(mut self, mean: &[f32]) -> Result<Self, &'static str> {
        let mean = self.spread(mean)?;
        let factor = vec![1.0; self.width];
        self.layers.push(Rc::new(Layer::Scale { mean, factor }));
        Ok(self)
    }

    /// Multiplies with `factor`, column by column; with a subtraction before it that is one step.
    pub(super) fn times(mut self, factor: &[f32]) -> Result<Self, &'static str> {
        let factor = self.spread(factor)?;
        match self.layers.last_mut().map(Rc::make_mut) {
            Some(Layer::Scale { factor: ones, .. }) if ones.iter().all(|&it| it == 1.0) => {
                *ones = factor;
            }
            _ => {
                let mean = vec![0.0; self.width];
                self.layers.push(Rc::new(Layer::Scale { mean, factor }));
            }
        }
        Ok(self)
    }

    /// Adds `shift`: to the bias of a dense layer right before it, else column by column.
    pub(super) fn plus(mut self, shift: &[f32]) -> Result<Self, &'static str> {
        let shift = self.spread(shift)?;
        match self.layers.last_mut().map(Rc::make_mut) {
            Some(Layer::Dense { bias, .. }) if bias.iter().all(|&it| it == 0.0) => {
                *bias = shift;
                Ok(self)
            }
            _ => {
                let mean: Vec<f32> = shift.iter().map(|it| -it).collect();
                self.minus(&mean)
            }
        }
    }

    /// `weights · x + bias`; weights are `[outputs, width]`.
    pub(super) fn dense(mut self, weights: Vec<f32>, bias: Vec<f32>) -> Result<Self, &'static str> {
        if self.width.checked_mul(bias.len()) != Some(weights.len()) || bias.is_empty() {
            return Err("has weights that do not fit what comes in");
        }
        if WEIGHTS_MAX < weights.len() || FEATURES_MAX < bias.len() {
            return Err("has more weights than a member may hold");
        }
        if !weights.iter().chain(&bias).all(|it| it.is_finite()) {
            return Err("has weights that are not finite");
        }
        self.width = bias.len();
        self.layers.push(Rc::new(Layer::Dense { weights, bias }));
        Ok(self)
    }

    /// Cuts off what is below zero.
    pub(super) fn relu(mut self) -> Self {
        // Twice is once.
        if self.layers.last().is_none_or(|last| **last != Layer::Relu) {
            self.layers.push(Rc::new(Layer::Relu));
        }
        self
    }

    /// One number, or one for each column, as one for each column.
    fn spread(&self, values: &[f32]) -> Result<Vec<f32>, &'static str> {
        if !values.iter().all(|it| it.is_finite()) {
            return Err("has a number that is not finite");
        }
        match values {
            [one] => Ok(vec![*one; self.width]),
            all if all.len() == self.width => Ok(all.to_vec()),
            _ => Err("has as many numbers as nothing else"),
        }
    }

    /// All layers as a preparation for another model.
    pub(super) fn preparation(self) -> Result<Preparation, &'static str> {
        preparation(self.owned())
    }

    /// Values that changing the last layer would copy.
    pub(super) fn last_values(&self) -> usize {
        match self.layers.last().map(|last| &**last) {
            Some(Layer::Dense { weights, bias }) => weights.len() + bias.len(),
            Some(Layer::Select(_) | Layer::Scale { .. } | Layer::Relu) | None => self.width,
        }
    }

    fn owned(self) -> Vec<Layer> {
        self.layers.into_iter().map(Rc::unwrap_or_clone).collect()
    }

    /// The scores that come out, as a preparation and a model.
    pub(super) fn model(self) -> Result<(Family, Preparation, Model), &'static str> {
        let outputs = self.width;
        let mut layers = merged(self.owned())?;
        let first = layers.iter().position(|it| *it == Layer::Relu);
        let Some(first) = first else {
            let Some(Layer::Dense { weights, bias }) = layers.pop() else {
                return Err("does not end in a dense layer");
            };
            let width = weights.len() / outputs;
            let model = Model::Linear(Linear { width, weights, bias });
            return Ok((Family::LinearSvm, preparation(layers)?, model));
        };
        let network = layers.split_off(first.checked_sub(1).ok_or(ACTIVATED)?);
        let mut dense = Vec::new();
        let mut layers_left = network.into_iter();
        loop {
            match layers_left.next() {
                Some(Layer::Dense { weights, bias }) => dense.push(Dense { weights, bias }),
                _ => return Err(ACTIVATED),
            }
            match layers_left.next() {
                Some(Layer::Relu) => {}
                None => break,
                Some(_) => return Err("has two layers of a network with no ReLU between them"),
            }
        }
        let width = dense[0].weights.len() / dense[0].bias.len();
        let model = Model::Mlp(Mlp { width, layers: dense, precision: Precision::Single });
        Ok((Family::Mlp, preparation(layers)?, model))
    }

    /// The same, with a first output that is always zero: of one output that says "the second".
    pub(super) fn against_zero(mut self) -> Result<Self, &'static str> {
        match self.layers.last_mut().map(Rc::make_mut) {
            Some(Layer::Dense { weights, bias }) if bias.len() == 1 => {
                let width = weights.len();
                weights.splice(0..0, std::iter::repeat_n(0.0, width));
                bias.insert(0, 0.0);
                self.width = 2;
                Ok(self)
            }
            _ => Err("does not end in a dense layer with one output"),
        }
    }
}

const ACTIVATED: &str = "has an activation without a dense layer right before it";

/// Scales that stand behind a dense layer or a ReLU are multiplied into the weights beside them.
fn merged(layers: Vec<Layer>) -> Result<Vec<Layer>, &'static str> {
    let mut backward: Vec<Layer> = Vec::with_capacity(layers.len());
    let prepares = prepares(&layers);
    for (layer, prepares) in layers.into_iter().zip(prepares) {
        match (layer, backward.last_mut()) {
            (Layer::Scale { mean, factor }, Some(Layer::Dense { weights, bias })) if !prepares => {
                let inputs = weights.len() / bias.len();
                let rows = weights.chunks_exact_mut(inputs).zip(bias.iter_mut());
                for ((row, bias), (mean, factor)) in rows.zip(mean.iter().zip(&factor)) {
                    row.iter_mut().for_each(|it| *it = narrow(f64::from(*it) * f64::from(*factor)));
                    *bias = narrow((f64::from(*bias) - f64::from(*mean)) * f64::from(*factor));
                }
            }
            (layer, _) => backward.push(layer),
        }
    }
    // What is left behind a ReLU belongs to the dense layer that follows.
    let first = backward.iter().position(|it| *it == Layer::Relu).unwrap_or(backward.len());
    let mut merged: Vec<Layer> = Vec::with_capacity(backward.len());
    while let Some(layer) = backward.pop() {
        match (layer, merged.last_mut()) {
            (Layer::Scale { mean, factor }, next) if first < backward.len() => {
                let Some(Layer::Dense { weights, bias }) = next else {
                    return Err("scales an activation with no dense layer right behind it");
                };
                for (row, bias) in weights.chunks_exact_mut(mean.len()).zip(bias.iter_mut()) {
                    let mut shift = f64::from(*bias);
                    for ((weight, mean), factor) in row.iter_mut().zip(&mean).zip(&factor) {
                        let scaled = f64::from(*weight) * f64::from(*factor);
                        shift -= scaled * f64::from(*mean);
                        *weight = narrow(scaled);
                    }
                    *bias = narrow(shift);
                }
            }
            (layer, _) => merged.push(layer),
        }
    }
    merged.reverse();
    let finite = |layer: &Layer| match layer {
        Layer::Dense { weights, bias } => weights.iter().chain(bias).all(|it| it.is_finite()),
        Layer::Select(_) | Layer::Scale { .. } | Layer::Relu => true,
    };
    if merged.iter().all(finite) { Ok(merged) } else { Err("has weights that are not finite") }
}

/// For each layer, whether a dense one follows it before any activation: then it prepares for that.
fn prepares(layers: &[Layer]) -> Vec<bool> {
    let mut dense_follows = false;
    let mut found: Vec<bool> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        found.push(dense_follows);
        match layer {
            Layer::Dense { .. } => dense_follows = true,
            Layer::Relu => dense_follows = false,
            Layer::Select(_) | Layer::Scale { .. } => {}
        }
    }
    found.reverse();
    found
}

fn preparation(layers: Vec<Layer>) -> Result<Preparation, &'static str> {
    let mut steps: Vec<Step> = Vec::new();
    for layer in layers {
        match layer {
            Layer::Select(columns) => steps.push(Step::Select { columns }),
            Layer::Scale { mean, factor } => steps.push(Step::Standardise { mean, factor }),
            Layer::Dense { weights, bias } => {
                let width = weights.len() / bias.len();
                // A subtraction before a projection is a part of it.
                let mean = match steps.last() {
                    Some(Step::Standardise { mean, factor })
                        if factor.iter().all(|&it| it == 1.0) =>
                    {
                        Some(mean.clone())
                    }
                    _ => None,
                };
                if mean.is_some() {
                    steps.pop();
                }
                let mean = mean.unwrap_or_else(|| vec![0.0; width]);
                steps.push(Step::Project { mean, components: weights });
                if bias.iter().any(|&it| it != 0.0) {
                    let factor = vec![1.0; bias.len()];
                    let mean = bias.iter().map(|it| -it).collect();
                    steps.push(Step::Standardise { mean, factor });
                }
            }
            Layer::Relu => return Err("has an activation in front of another model"),
        }
    }
    Ok(Preparation { steps })
}

#[expect(clippy::cast_possible_truncation, reason = "members have single precision")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}
