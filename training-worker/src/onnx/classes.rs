//! The classes of a lowered model in another order: a task names its classes as it likes.

use models::{
    Model, Rows,
    member::{Boosted, Dense, Forest, Linear, Mlp, RbfSvm},
};

/// Class `i` becomes what was `order[i]`.
pub(super) fn in_order(model: Model, order: &[usize]) -> Model {
    let taken = |values: &[f32], width: usize| -> Vec<f32> {
        order.iter().flat_map(|&class| &values[class * width..][..width]).copied().collect()
    };
    match model {
        Model::Linear(Linear { width, weights, bias }) => {
            let (weights, bias) = (taken(&weights, width), taken(&bias, 1));
            Model::Linear(Linear { width, weights, bias })
        }
        Model::Mlp(Mlp { width, mut layers, precision }) => {
            if let Some(Dense { weights, bias }) = layers.last_mut() {
                let inputs = weights.len() / bias.len();
                (*weights, *bias) = (taken(weights, inputs), taken(bias, 1));
            }
            Model::Mlp(Mlp { width, layers, precision })
        }
        Model::Forest(Forest { trees, classes, leaves }) => {
            let leaves = leaves.chunks_exact(classes).flat_map(|leaf| taken(leaf, 1)).collect();
            Model::Forest(Forest { trees, classes, leaves })
        }
        Model::Boosted(Boosted { mut trees, base, leaves }) => {
            let rounds = trees.roots.chunks_exact(base.len());
            trees.roots =
                rounds.flat_map(|round| order.iter().map(|&class| round[class])).collect();
            Model::Boosted(Boosted { trees, base: taken(&base, 1), leaves })
        }
        Model::RbfSvm(svm) => Model::RbfSvm(machines(svm, order)),
        // Labels of rows: what was called `order[i]` is called `i`.
        Model::Knn(mut knn) => {
            for label in &mut knn.labels {
                let class = order.iter().position(|&it| it == usize::from(*label));
                *label = class.and_then(|it| u16::try_from(it).ok()).unwrap_or(*label);
            }
            Model::Knn(knn)
        }
    }
}

/// Vectors are grouped by class, and a pair that stands the other way round says the opposite.
fn machines(svm: RbfSvm, order: &[usize]) -> RbfSvm {
    let RbfSvm { gamma, width, counts, vectors, coefficients, bias, verdict } = svm;
    let Rows::Exact(rows) = &vectors else { unreachable!("a lowered machine has exact rows") };
    let classes = counts.len();
    let others = classes - 1;
    // Where a class is among the others of `of`.
    let among = |class: usize, of: usize| if class < of { class } else { class - 1 };
    let firsts: Vec<usize> = counts
        .iter()
        .scan(0, |sum, &count| {
            let first = *sum;
            *sum += count as usize;
            Some(first)
        })
        .collect();
    let mut moved = RbfSvm {
        gamma,
        width,
        counts: order.iter().map(|&class| counts[class]).collect(),
        vectors: Rows::Exact(Vec::new()),
        coefficients: Vec::with_capacity(coefficients.len()),
        bias: Vec::with_capacity(bias.len()),
        verdict,
    };
    let mut values = Vec::with_capacity(rows.len());
    let sign = |a: usize, b: usize| if a < b { 1.0 } else { -1.0 };
    for (new, &class) in order.iter().enumerate() {
        for vector in firsts[class]..firsts[class] + counts[class] as usize {
            values.extend_from_slice(&rows[vector * width..][..width]);
            let own = &coefficients[vector * others..][..others];
            for (against, &other) in order.iter().enumerate().filter(|&(at, _)| at != new) {
                // The pair was (min, max) of the old numbers and is (min, max) of the new ones.
                let turned = sign(class, other) * sign(new, against);
                moved.coefficients.push(turned * own[among(other, class)]);
            }
        }
    }
    moved.vectors = Rows::Exact(values);
    let pair = |a: usize, b: usize| a * (2 * classes - a - 1) / 2 + (b - a - 1);
    for (new, &a) in order.iter().enumerate() {
        for &b in &order[new + 1..] {
            moved.bias.push(sign(a, b) * bias[pair(a.min(b), a.max(b))]);
        }
    }
    moved
}
