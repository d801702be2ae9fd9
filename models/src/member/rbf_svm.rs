//! Support vector machine with a radial basis function kernel, one against one.

/// For each pair of classes `(a, b)`, `a < b`, a vote: `Σ coef·K(x, sv) + bias > 0` says `a`.
///
/// Layout as in LIBSVM (Chang and Lin, 2011): support vectors are grouped by class; the vector `j`
/// of class `c` has `classes - 1` coefficients, one for each other class in order. The class with
/// most votes wins. The tie rule is ours: by the sum of the decision values, then the smallest id.
#[derive(Clone, Debug, PartialEq)]
pub struct RbfSvm {
    /// `K(x, y) = exp(-gamma |x - y|²)`; positive.
    pub gamma: f32,
    /// Values per vector.
    pub width: usize,
    /// Support vectors of each class, in class order; 0 for a class without training rows.
    pub counts: Vec<u32>,
    /// `[n, width]`, row-major, grouped by class.
    pub vectors: Vec<f32>,
    /// `[n, classes - 1]`, row-major.
    pub coefficients: Vec<f32>,
    /// One per pair, in the order (0,1), (0,2), …, (1,2), ….
    pub bias: Vec<f32>,
}
