//! `TreeEnsembleClassifier`: forests and boosted trees, as converters of scikit-learn, XGBoost and
//! LightGBM write them.
//!
//! Every comparison with a threshold of any precision is one `x <= t` of single precision: of the
//! numbers that a sample can hold, `x < t` are those up to the largest one below `t`. So each walk
//! ends at the very leaf it ends at elsewhere, zeroes of both signs and denormals included.
//!
//! # Source
//!
//! ai.onnx.ml 1 to 3. What two classes with the weights of one mean is said nowhere but in the code of
//! onnxruntime (`tree_ensemble_aggregator.h`): above ½ where no weight is negative, else above 0.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use models::{
    Family, Model,
    member::{Boosted, Forest, Trees, tree::LEAF},
};

use super::{
    Link, OnnxError,
    file::{Node, Tensor, Values},
    node_error,
};

/// Most values in the leaves of a forest, and most trees with those that stand in for none.
const VALUES_MAX: usize = 16 << 20;

/// A lowered ensemble of trees: the model, its family, and how to read its scores.
pub(super) struct Lowered {
    pub(super) family: Family,
    pub(super) model: Model,
    pub(super) link: Link,
}

/// A node as the file has it.
#[derive(Clone, Copy)]
struct Branch<'a> {
    mode: &'a str,
    feature: i64,
    value: f64,
    yes: i64,
    no: i64,
}

/// Where a sample goes.
enum Way {
    /// To the first when `x[feature] <= threshold`, else to the second.
    Cut {
        feature: u32,
        threshold: f32,
        low: i64,
        high: i64,
    },
    /// To this one, whatever the sample.
    Only(i64),
    Leaf,
}

/// What each leaf gives to each class; tree and node name it.
type Gifts = BTreeMap<(i64, i64), Vec<(usize, f32)>>;

/// Lowers the node for samples of `width` values and so many classes.
pub(super) fn lower(node: &Node<'_>, width: usize, classes: usize) -> Result<Lowered, OnnxError> {
    let wrong = |why: &str| node_error(node, why);
    let link = match node.text("post_transform", "NONE")? {
        "NONE" => Link::Shares,
        "SOFTMAX" => Link::Softmax,
        "LOGISTIC" => Link::Logistic,
        other => return Err(wrong(&format!("has the transform {other}, which is not understood"))),
    };
    let gifts = gifts(node, classes)?;
    let base = match numbers(node, "base_values")? {
        base if base.is_empty() => vec![0.0; classes],
        base => base,
    };
    let ids: BTreeSet<usize> = gifts.values().flatten().map(|&(class, _)| class).collect();
    let negative = gifts.values().flatten().any(|&(_, weight)| weight < 0.0);
    let one_of_two = classes == 2 && ids.len() == 1;
    let mut gifts = gifts;
    let (base, link) = if one_of_two {
        // All weights belong to the second class, whatever number they carry.
        gifts.values_mut().flatten().for_each(|(class, _)| *class = 1);
        let own = match base[..] {
            [own] => own,
            [_, own] => own,
            _ => return Err(wrong("has base values for other classes than its own")),
        };
        match (negative, link) {
            // σ(s) and 1 - σ(s) are the softmax of s and 0.
            (true, Link::Logistic) => (vec![0.0, own], Link::Softmax),
            (true, Link::Shares) => (vec![0.0, own], Link::Margin),
            (false, Link::Shares) => (vec![0.5, own], Link::Complement),
            (false, _) => {
                return Err(wrong(
                    "has no negative weight in front of a transform: runtimes part its classes at ½, \
                     those that fitted it at 0",
                ));
            }
            (true, _) => return Err(wrong("has one score for two classes and a softmax")),
        }
    } else {
        (base, link)
    };
    if base.len() != classes || !base.iter().all(|it| it.is_finite()) {
        return Err(wrong("has base values that are not one finite number for each class"));
    }
    let planted = Planted::of(node, width)?;
    // What adds up to shares is a forest, however many classes a leaf gives to.
    let shares = !negative && matches!(link, Link::Shares | Link::Complement);
    let boosted = if shares { None } else { planted.boosted(&gifts, &base, classes) };
    let (family, model) = match boosted.transpose().map_err(wrong)? {
        Some(model) => (Family::Boosted, Model::Boosted(model)),
        None => {
            let whole = |gift: &Vec<(usize, f32)>| gift.len() == classes;
            if negative && !one_of_two && !gifts.values().all(whole) {
                return Err(wrong("has negative weights in leaves that leave classes out"));
            }
            let forest = planted.forest(&gifts, &base, classes).map_err(wrong)?;
            (Family::Forest, Model::Forest(forest))
        }
    };
    Ok(Lowered { family, model, link })
}

/// Trees with a payload of their own for each leaf, and which leaf of the file that is.
struct Planted {
    trees: Trees,
    /// Tree and node of each payload, tree by tree.
    leaves: Vec<(i64, i64)>,
    /// The first payload of each tree.
    firsts: Vec<usize>,
}

impl Planted {
    fn of(node: &Node<'_>, width: usize) -> Result<Self, OnnxError> {
        let wrong = |why: &str| node_error(node, why);
        let branches = branches(node)?;
        let mut order: Vec<i64> = Vec::new();
        let mut roots: BTreeMap<i64, i64> = BTreeMap::new();
        let trees = node.integers("nodes_treeids")?;
        for (tree, id) in trees.iter().zip(node.integers("nodes_nodeids")?) {
            // The first node of a tree in the file is its root.
            roots.entry(*tree).or_insert_with(|| {
                order.push(*tree);
                id
            });
        }
        let mut planted = Self { trees: Trees::default(), leaves: Vec::new(), firsts: Vec::new() };
        let index = |at: usize| u32::try_from(at).map_err(|_| wrong("has too many nodes"));
        for tree in order {
            let trees = &mut planted.trees;
            planted.firsts.push(planted.leaves.len());
            trees.roots.push(index(trees.feature.len())?);
            let mut grown = BTreeSet::new();
            let mut waiting = VecDeque::from([(trees.feature.len(), roots[&tree])]);
            push_leaf(trees);
            while let Some((at, mut id)) = waiting.pop_front() {
                let way = loop {
                    if !grown.insert(id) {
                        return Err(wrong("has a tree in which two ways lead to one node"));
                    }
                    let branch = branches.get(&(tree, id));
                    let branch = branch.ok_or_else(|| wrong("has a branch that leads nowhere"))?;
                    match branch.way(width).map_err(wrong)? {
                        Way::Only(next) => id = next,
                        way @ (Way::Cut { .. } | Way::Leaf) => break way,
                    }
                };
                let trees = &mut planted.trees;
                match way {
                    Way::Cut { feature, threshold, low, high } => {
                        let child = trees.feature.len();
                        trees.feature[at] = feature;
                        trees.threshold[at] = threshold;
                        trees.child[at] = index(child)?;
                        push_leaf(trees);
                        push_leaf(trees);
                        waiting.extend([(child, low), (child + 1, high)]);
                    }
                    Way::Leaf | Way::Only(_) => {
                        trees.child[at] = index(planted.leaves.len())?;
                        planted.leaves.push((tree, id));
                    }
                }
            }
        }
        if planted.trees.roots.is_empty() {
            return Err(wrong("has no tree"));
        }
        Ok(planted)
    }

    /// As boosted trees, where every leaf of a tree gives to one and the same class.
    fn boosted(
        &self,
        gifts: &Gifts,
        base: &[f32],
        classes: usize,
    ) -> Option<Result<Boosted, &'static str>> {
        let mut of_class = vec![Vec::new(); classes];
        let ends = self.firsts.iter().skip(1).copied().chain([self.leaves.len()]);
        for (tree, (&first, end)) in self.firsts.iter().zip(ends).enumerate() {
            let mut class = None;
            for leaf in &self.leaves[first..end] {
                match gifts.get(leaf).map(Vec::as_slice) {
                    Some(&[(own, _)]) if class.is_none_or(|class| class == own) => {
                        class = Some(own)
                    }
                    // A leaf without a gift gives nothing to whom it may.
                    None => {}
                    Some(_) => return None,
                }
            }
            of_class[class.unwrap_or(0)].push(self.trees.roots[tree]);
        }
        let rounds = of_class.iter().map(Vec::len).max().unwrap_or(0);
        if rounds.checked_mul(classes).is_none_or(|it| VALUES_MAX < it) {
            return Some(Err("has far more trees for one class than for others"));
        }
        let mut trees = self.trees.clone();
        let mut leaves: Vec<f32> =
            self.leaves.iter().map(|leaf| gifts.get(leaf).map_or(0.0, |it| it[0].1)).collect();
        // A class with fewer trees than others has leaves that give nothing for the rest.
        let nothing = u32::try_from(trees.feature.len()).ok();
        let (Some(nothing), Ok(payload)) = (nothing, u32::try_from(leaves.len())) else {
            return Some(Err("has too many nodes"));
        };
        if of_class.iter().any(|own| own.len() < rounds) {
            push_leaf(&mut trees);
            trees.child[nothing as usize] = payload;
            leaves.push(0.0);
        }
        trees.roots.clear();
        for round in 0..rounds {
            let roots = of_class.iter().map(|own| own.get(round).copied().unwrap_or(nothing));
            trees.roots.extend(roots);
        }
        // Base values are added last, as they are elsewhere: the same sums, to the last bit.
        if base.iter().any(|&it| it != 0.0) {
            for &own in base {
                let root = u32::try_from(trees.feature.len());
                let (Ok(root), Ok(payload)) = (root, u32::try_from(leaves.len())) else {
                    return Some(Err("has too many nodes"));
                };
                push_leaf(&mut trees);
                trees.child[root as usize] = payload;
                trees.roots.push(root);
                leaves.push(own);
            }
        }
        Some(Ok(Boosted { trees, base: vec![0.0; classes], leaves }))
    }

    /// As a forest: every leaf gives to every class.
    fn forest(&self, gifts: &Gifts, base: &[f32], classes: usize) -> Result<Forest, &'static str> {
        let based = base.iter().any(|&it| it != 0.0);
        let count = self.leaves.len() + usize::from(based);
        if count.checked_mul(classes).is_none_or(|it| VALUES_MAX < it) {
            return Err("has more leaves times classes than a member may hold");
        }
        let mut leaves = vec![0.0; count * classes];
        for (leaf, row) in self.leaves.iter().zip(leaves.chunks_exact_mut(classes)) {
            for &(class, weight) in gifts.get(leaf).into_iter().flatten() {
                row[class] += weight;
            }
        }
        let mut trees = self.trees.clone();
        if based {
            // Base values are added last, as they are elsewhere.
            let at = trees.feature.len();
            let payload = self.leaves.len();
            let (Ok(root), Ok(payload)) = (u32::try_from(at), u32::try_from(payload)) else {
                return Err("has too many nodes");
            };
            push_leaf(&mut trees);
            trees.child[at] = payload;
            trees.roots.push(root);
            leaves[self.leaves.len() * classes..].copy_from_slice(base);
        }
        Ok(Forest { trees, classes, leaves })
    }
}

fn push_leaf(trees: &mut Trees) {
    trees.feature.push(LEAF);
    trees.threshold.push(0.0);
    trees.child.push(0);
}

impl Branch<'_> {
    fn way(&self, width: usize) -> Result<Way, &'static str> {
        // Whether the way of `x <= t` is that of yes, and whether `t` itself takes it.
        let (low_is_yes, closed) = match self.mode {
            "LEAF" => return Ok(Way::Leaf),
            "BRANCH_LEQ" => (true, true),
            "BRANCH_LT" => (true, false),
            "BRANCH_GT" => (false, true),
            "BRANCH_GTE" => (false, false),
            _ => return Err("has a branch other than <=, <, > and >="),
        };
        let (low, high) = if low_is_yes { (self.yes, self.no) } else { (self.no, self.yes) };
        let feature = u32::try_from(self.feature).ok();
        let feature = feature.filter(|&it| (it as usize) < width);
        let feature = feature.ok_or("looks at a column that its input does not have")?;
        if self.value.is_nan() {
            return Err("has a threshold that is no number");
        }
        let threshold = largest_below(self.value, closed);
        Ok(if f32::MAX <= threshold {
            Way::Only(low)
        } else if threshold < f32::MIN {
            Way::Only(high)
        } else {
            Way::Cut { feature, threshold, low, high }
        })
    }
}

/// The largest `f32` that is at most `value`, or below it unless `closed`; may be infinite.
#[expect(clippy::cast_possible_truncation, reason = "rounded down right after")]
fn largest_below(value: f64, closed: bool) -> f32 {
    let near = value as f32;
    let beyond = if closed { value < f64::from(near) } else { value <= f64::from(near) };
    if beyond { near.next_down() } else { near }
}

fn branches<'a>(node: &Node<'a>) -> Result<BTreeMap<(i64, i64), Branch<'a>>, OnnxError> {
    let trees = node.integers("nodes_treeids")?;
    let ids = node.integers("nodes_nodeids")?;
    let features = node.integers("nodes_featureids")?;
    let yes = node.integers("nodes_truenodeids")?;
    let no = node.integers("nodes_falsenodeids")?;
    let modes = node.texts_of_many("nodes_modes")?;
    let values = wide_numbers(node, "nodes_values")?;
    let count = trees.len();
    let lengths = [ids.len(), features.len(), yes.len(), no.len(), modes.len(), values.len()];
    if lengths.iter().any(|&it| it != count) {
        return Err(node_error(node, "has arrays of different lengths for the nodes of its trees"));
    }
    let mut branches = BTreeMap::new();
    for at in 0..count {
        let branch = Branch {
            mode: modes[at],
            feature: features[at],
            value: values[at],
            yes: yes[at],
            no: no[at],
        };
        if branches.insert((trees[at], ids[at]), branch).is_some() {
            return Err(node_error(node, "names a node twice"));
        }
    }
    Ok(branches)
}

fn gifts(node: &Node<'_>, classes: usize) -> Result<Gifts, OnnxError> {
    let trees = node.integers("class_treeids")?;
    let ids = node.integers("class_nodeids")?;
    let of = node.integers("class_ids")?;
    let weights = numbers(node, "class_weights")?;
    if [ids.len(), of.len(), weights.len()].iter().any(|&it| it != trees.len()) {
        return Err(node_error(node, "has arrays of different lengths for the weights of leaves"));
    }
    let mut gifts = Gifts::new();
    for at in 0..trees.len() {
        let class = usize::try_from(of[at]).ok().filter(|&it| it < classes);
        let class = class.ok_or_else(|| node_error(node, "gives to a class it does not name"))?;
        if !weights[at].is_finite() {
            return Err(node_error(node, "has a weight that is not finite"));
        }
        let gift = gifts.entry((trees[at], ids[at])).or_default();
        match gift.iter_mut().find(|(known, _)| *known == class) {
            Some((_, weight)) => *weight += weights[at],
            None => gift.push((class, weights[at])),
        }
    }
    Ok(gifts)
}

/// Numbers of an attribute, or of the tensor of double precision that may stand for it.
fn wide_numbers(node: &Node<'_>, name: &str) -> Result<Vec<f64>, OnnxError> {
    match node.tensor(&format!("{name}_as_tensor"))? {
        Some(Tensor { values: Values::Reals(values), .. }) => Ok(values),
        Some(_) => Err(node_error(node, "has thresholds or weights that are no numbers")),
        None => Ok(node.reals(name)?.into_iter().map(f64::from).collect()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "members have single precision")]
fn numbers(node: &Node<'_>, name: &str) -> Result<Vec<f32>, OnnxError> {
    Ok(wide_numbers(node, name)?.into_iter().map(|it| it as f32).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sides(threshold: f64, closed: bool, x: f32) -> (bool, bool) {
        let wide = f64::from(x);
        let there = if closed { wide <= threshold } else { wide < threshold };
        (there, x <= largest_below(threshold, closed))
    }

    proptest! {
        #[test]
        fn a_threshold_of_any_precision_parts_the_same_numbers(
            threshold in prop::num::f64::ANY.prop_filter("a number", |it| !it.is_nan()),
            x in prop::num::f32::ANY.prop_filter("finite", |it| it.is_finite()),
            closed: bool,
        ) {
            for x in [x, -x, 0.0, -0.0, f32::MAX, f32::MIN, f32::from_bits(1), -f32::from_bits(1)] {
                let (there, here) = sides(threshold, closed, x);
                prop_assert_eq!(there, here, "{} {} {}", threshold, closed, x);
            }
            // And right beside it.
            let near = largest_below(threshold, true);
            for x in [near, near.next_up(), near.next_down()] {
                if x.is_finite() {
                    let (there, here) = sides(threshold, closed, x);
                    prop_assert_eq!(there, here, "{} {} {}", threshold, closed, x);
                }
            }
        }
    }
}
