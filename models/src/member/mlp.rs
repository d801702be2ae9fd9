//! Multi-layer perceptron: dense layers with ReLU between them.

use super::{Buffers, ModelError};
use crate::{
    check,
    kernel::{finite, products},
    precision::{Precision, halved},
    work::Work,
};

/// Most layers.
pub const LAYERS_MAX: usize = 64;

/// `y = weights · x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// `[outputs, inputs]`, row-major.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// Dense layers, ReLU after each but the last, whose outputs are the scores of the classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// Values per input.
    pub width: usize,
    /// At least one; each takes what the one before it gives.
    pub layers: Vec<Dense>,
    /// That of the weights.
    pub precision: Precision,
}

impl Dense {
    /// Replaces `out` by the layer's outputs for `x`.
    fn outputs(&self, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        products(&self.weights, x, |product| out.push(product));
        for (y, bias) in out.iter_mut().zip(&self.bias) {
            *y += bias;
        }
    }
}

impl Mlp {
    /// With weights of half precision, unless it has them already or one is too large.
    pub(super) fn halved(&self) -> Option<Self> {
        if self.precision == Precision::Half {
            return None;
        }
        let layers = self.layers.iter();
        let layers = layers.map(|Dense { weights, bias }| {
            Some(Dense { weights: halved(weights)?, bias: bias.clone() })
        });
        let layers = layers.collect::<Option<_>>()?;
        Some(Self { width: self.width, layers, precision: Precision::Half })
    }

    pub(super) fn scores(&self, x: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        let Buffers { a: input, b: output, .. } = buffers;
        input.clear();
        input.extend_from_slice(x);
        let Some((last, hidden)) = self.layers.split_last() else { return };
        for layer in hidden {
            layer.outputs(input, output);
            for y in output.iter_mut() {
                // `finite` keeps an overflow in one layer from becoming NaN in the next.
                *y = finite(*y).max(0.0);
            }
            std::mem::swap(input, output);
        }
        last.outputs(input, output);
        out.copy_from_slice(output);
    }

    /// The arrays fit each other, inputs of `width` values and `classes` classes.
    pub(super) fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        super::same_width("mlp width", self.width, width)?;
        check::some("mlp layers", self.layers.len())?;
        check::at_most("mlp layers", self.layers.len(), LAYERS_MAX)?;
        let mut inputs = width;
        for Dense { weights, bias } in &self.layers {
            check::some("mlp bias", bias.len())?;
            check::length("mlp weights", weights, check::area("mlp weights", bias.len(), inputs)?)?;
            check::finite("mlp weights", weights)?;
            check::precise("mlp weights", weights, self.precision)?;
            check::finite("mlp bias", bias)?;
            inputs = bias.len();
        }
        super::same_width("mlp outputs", inputs, classes)
    }

    pub(super) fn work(&self) -> Work {
        let madds = self.layers.iter().map(|layer| super::count_of(&layer.weights)).sum();
        Work { madds, ..Work::default() }
    }
}
