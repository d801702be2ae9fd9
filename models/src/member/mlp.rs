//! Multi-layer perceptron: dense layers with ReLU between them.

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
}
