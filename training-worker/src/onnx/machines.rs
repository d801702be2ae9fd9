//! `LinearClassifier` and `SVMClassifier`: linear scores, and support vectors as LIBSVM lays them out.

use models::{
    Family, Model, Rows,
    member::{Linear, RbfSvm, Verdict},
};

use super::{Link, OnnxError, file::Node, layers::narrow, node_error, trees::Lowered};

/// Most numbers of support vectors, or of their coefficients.
const VALUES_MAX: usize = 16 << 20;

/// Lowers a `LinearClassifier` for samples of `width` values.
pub(super) fn linear(node: &Node<'_>, width: usize, classes: usize) -> Result<Lowered, OnnxError> {
    let wrong = |why: &str| node_error(node, why);
    let link = match node.text("post_transform", "NONE")? {
        "NONE" => Link::Margin,
        "SOFTMAX" => Link::Softmax,
        "LOGISTIC" => Link::Logistic,
        other => return Err(wrong(&format!("has the transform {other}, which is not understood"))),
    };
    let weights = node.reals("coefficients")?;
    let bias = node.reals("intercepts")?;
    let bias = if bias.is_empty() { vec![0.0; classes] } else { bias };
    if bias.len() != classes || classes.checked_mul(width) != Some(weights.len()) {
        return Err(wrong("has not one row of coefficients for each class"));
    }
    let model = Model::Linear(Linear { width, weights, bias });
    Ok(Lowered { family: Family::LinearSvm, model, link })
}

/// Lowers an `SVMClassifier`.
///
/// # Source
///
/// LIBSVM's layout: row `j - 1` of the coefficients of a vector of class `i < j`, and row `i` of one
/// of class `j`, belong to the pair.
pub(super) fn support(node: &Node<'_>, width: usize, classes: usize) -> Result<Lowered, OnnxError> {
    let wrong = |why: &str| node_error(node, why);
    let counts = node.integers("vectors_per_class")?;
    let counts: Option<Vec<u32>> = counts.iter().map(|&it| u32::try_from(it).ok()).collect();
    let counts = counts.filter(|it| it.len() == classes);
    let counts = counts.ok_or_else(|| wrong("does not say how many vectors each class has"))?;
    let vectors = node.reals("support_vectors")?;
    let coefficients = node.reals("coefficients")?;
    let bias = node.reals("rho")?;
    let count = counts.iter().try_fold(0_usize, |sum, &it| sum.checked_add(it as usize));
    let count = count.filter(|&it| 0 < it).ok_or_else(|| wrong("has no support vectors"))?;
    let area = |rows: usize| count.checked_mul(rows).filter(|&it| it <= VALUES_MAX);
    let pairs = classes * (classes - 1) / 2;
    if area(width) != Some(vectors.len())
        || area(classes - 1) != Some(coefficients.len())
        || bias.len() != pairs
    {
        return Err(wrong("has arrays that do not fit its vectors, its classes and its input"));
    }
    let parameters = node.reals("kernel_params")?;
    match node.text("kernel_type", "LINEAR")? {
        "RBF" => {
            let [gamma, ..] = parameters[..] else {
                return Err(wrong("does not say how wide its kernel is"));
            };
            let mut turned = vec![0.0; coefficients.len()];
            for (vector, row) in turned.chunks_exact_mut(classes - 1).enumerate() {
                for (against, value) in row.iter_mut().enumerate() {
                    *value = coefficients[against * count + vector];
                }
            }
            let model = RbfSvm {
                gamma,
                width,
                counts,
                vectors: Rows::Exact(vectors),
                coefficients: turned,
                bias,
                // A runtime elects by votes.
                verdict: Verdict::Votes,
            };
            Ok(Lowered { family: Family::RbfSvm, model: Model::RbfSvm(model), link: Link::Votes })
        }
        "LINEAR" if classes == 2 => {
            // One decision: its weights, against their opposite.
            let mut weights = vec![0.0_f64; width];
            for (vector, coefficient) in vectors.chunks_exact(width).zip(&coefficients) {
                for (weight, value) in weights.iter_mut().zip(vector) {
                    *weight += f64::from(*value) * f64::from(*coefficient);
                }
            }
            let opposite = weights.iter().map(|it| narrow(-it));
            let weights = weights.iter().copied().map(narrow).chain(opposite).collect();
            let bias = vec![bias[0], -bias[0]];
            let model = Model::Linear(Linear { width, weights, bias });
            Ok(Lowered { family: Family::LinearSvm, model, link: Link::Votes })
        }
        "LINEAR" => Err(wrong(
            "lets linear machines vote for each pair of classes; a member of linear scores has one for \
             each class: export LinearSVC or LogisticRegression",
        )),
        other => Err(wrong(&format!(
            "has the kernel {other}; those of a member are RBF, and LINEAR for two classes"
        ))),
    }
}
