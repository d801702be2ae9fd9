//! The walk through a graph: what each value is of the sample, node by node.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use super::{
    Link, OnnxError,
    file::{Graph, Node, Tensor, Values},
    layers::{Chain, narrow},
    machines, node_error,
    trees::{self, Lowered},
};

/// Most values of all layers and models that a walk makes, those that nobody uses included: 128 MiB.
const VALUES_MAX: usize = 32 << 20;
/// Kinds of numbers that samples may be given as: float and double.
const REAL_KINDS: [u64; 2] = [1, 11];

/// What is known of a value.
#[derive(Clone)]
enum Value {
    /// Known without any sample.
    Constant(Rc<Tensor>),
    /// Numbers computed from the sample.
    Rows(Rc<Chain>),
    /// What a classifier says of each class.
    Scores(Rc<Scores>),
    /// One minus what a classifier of one output says.
    Complement(Rc<Scores>),
    /// The position of the class with the largest score.
    Position(Rc<Scores>),
    /// The class itself.
    Label(Rc<Scores>),
    /// Something else that follows from what a classifier says, and from nothing else.
    Derived(Rc<Scores>),
}

/// A classifier: what is done to a sample, and the model that scores it.
#[derive(Clone)]
pub(super) struct Scores {
    pub(super) chain: Chain,
    /// `None` when the outputs of the chain are the scores.
    pub(super) head: Option<Rc<Lowered>>,
    pub(super) link: Link,
    /// The names of the classes, where the file says them.
    pub(super) names: Option<Vec<String>>,
}

/// The operators that are understood, as an error says them.
pub(super) const UNDERSTOOD: &str = "Identity, Cast, Dropout, Flatten, Reshape, Squeeze, Constant, Transpose of \
     constants, Gather and ArrayFeatureExtractor of columns, Imputer of what is missing, Scaler, Sub, Add, \
     Mul, Div, MatMul, Gemm, BatchNormalization, Relu, Sigmoid, Softmax, LogSoftmax, ArgMax, \
     LinearClassifier, SVMClassifier, TreeEnsembleClassifier, Normalizer of scores, ZipMap";

/// Walks through `graph`, whose samples have `width` values.
pub(super) fn walk(graph: &Graph<'_>, width: usize) -> Result<Scores, OnnxError> {
    let [input] = &graph.inputs[..] else {
        return Err(OnnxError::Inputs { found: graph.inputs.len() });
    };
    if !REAL_KINDS.contains(&input.kind) {
        return Err(OnnxError::InputKind { name: input.name.to_owned() });
    }
    match input.dims[..] {
        [_, Some(own)] if own != width => {
            return Err(OnnxError::Width { expected: width, actual: own });
        }
        // Without a shape, as many as the task has.
        [] | [_, _] => {}
        _ => return Err(OnnxError::InputShape { dims: input.dims.len() }),
    }
    let mut walk = Walk { graph, known: BTreeMap::new(), spent: Cell::new(0) };
    walk.known.insert(input.name, Value::Rows(Rc::new(Chain::new(width))));
    for node in &graph.nodes {
        let value = walk.step(node)?;
        for (output, value) in node.outputs.iter().copied().zip(value) {
            if walk.known.insert(output, value).is_some() {
                return Err(node_error(node, "gives a value that another node gave before"));
            }
        }
    }
    walk.outcome()
}

struct Walk<'a> {
    graph: &'a Graph<'a>,
    known: BTreeMap<&'a str, Value>,
    /// Values that were made so far.
    spent: Cell<usize>,
}

impl<'a> Walk<'a> {
    /// What the outputs of a node are.
    fn step(&self, node: &Node<'a>) -> Result<Vec<Value>, OnnxError> {
        let wrong = |why: &str| node_error(node, why);
        let ml = node.domain == "ai.onnx.ml";
        if !ml && !matches!(node.domain, "" | "ai.onnx") {
            return Err(self.unknown(node));
        }
        if node.operator == "Constant" && !ml {
            return Ok(vec![Value::Constant(Rc::new(constant(node)?))]);
        }
        let first = self.value(node, 0)?;
        if let Value::Rows(chain) = &first {
            self.spend(node, chain.last_values())?;
        }
        let one = |value| Ok(vec![value]);
        match (ml, node.operator, first) {
            (false, "Identity" | "Dropout", value) => one(value),
            (false, "Cast", Value::Rows(chain)) => {
                let to = node.integer("to", 0)?.unsigned_abs();
                if !REAL_KINDS.contains(&to) {
                    return Err(wrong("turns numbers into whole ones"));
                }
                one(Value::Rows(chain))
            }
            (false, "Cast", value) => one(value),
            (false, "Flatten", Value::Rows(chain)) => {
                if node.integer("axis", 1)? != 1 {
                    return Err(wrong("flattens rows into one"));
                }
                one(Value::Rows(chain))
            }
            (false, "Reshape", Value::Rows(chain)) => {
                let shape = self.integers(node, 1)?;
                match shape[..] {
                    [_, columns]
                        if columns == -1 || usize::try_from(columns) == Ok(chain.width) =>
                    {
                        one(Value::Rows(chain))
                    }
                    _ => Err(wrong("makes something other than rows out of rows")),
                }
            }
            // A column or a list of classes, a table or a list of scores: the same to us.
            (
                false,
                "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten",
                value @ (Value::Label(_) | Value::Position(_) | Value::Scores(_)),
            ) => one(value),
            (false, "Transpose", Value::Constant(tensor)) => {
                one(Value::Constant(Rc::new(transposed(&tensor).map_err(wrong)?)))
            }
            (
                false,
                "Sub" | "Add" | "Mul" | "Div",
                first @ (Value::Rows(_) | Value::Constant(_)),
            ) => one(self.arithmetic(node, first)?),
            (false, "MatMul", Value::Rows(chain)) => {
                let weights = self.matrix(node, 1)?;
                let bias = vec![0.0; weights.outputs];
                one(rows(own(chain).dense(weights.values, bias).map_err(wrong)?))
            }
            (false, "Gemm", Value::Rows(chain)) => one(rows(self.gemm(node, own(chain))?)),
            (false, "BatchNormalization", Value::Rows(chain)) => {
                one(rows(self.normalised(node, own(chain))?))
            }
            (false, "Relu", Value::Rows(chain)) => one(rows(own(chain).relu())),
            (false, "Gather", Value::Rows(chain)) => {
                if node.integer("axis", 0)? != 1 {
                    return Err(wrong("picks rows, not columns"));
                }
                let columns = columns(&self.integers(node, 1)?, chain.width).map_err(wrong)?;
                one(rows(own(chain).select(columns).map_err(wrong)?))
            }
            (true, "ArrayFeatureExtractor", Value::Rows(chain)) => {
                let columns = columns(&self.integers(node, 1)?, chain.width).map_err(wrong)?;
                one(rows(own(chain).select(columns).map_err(wrong)?))
            }
            (false, "Softmax" | "LogSoftmax", value @ (Value::Rows(_) | Value::Scores(_))) => {
                let scores = self.scores(node, value)?;
                if !matches!(node.integer("axis", -1)?, 1 | -1) {
                    return Err(wrong("goes over rows, not over classes"));
                }
                let log = node.operator == "LogSoftmax";
                let link = if log { Link::LogSoftmax } else { Link::Softmax };
                one(Value::Scores(Rc::new(Scores { link, ..scores })))
            }
            (false, "Sigmoid", value @ (Value::Rows(_) | Value::Scores(_))) => {
                let scores = self.scores(node, value)?;
                one(Value::Scores(Rc::new(Scores { link: Link::Logistic, ..scores })))
            }
            (false, "Concat", Value::Complement(scores)) => {
                let Value::Scores(other) = self.value(node, 1)? else {
                    return Err(self.unknown(node));
                };
                if !Rc::ptr_eq(&scores, &other) {
                    return Err(wrong("puts together what does not belong together"));
                }
                one(Value::Scores(Rc::new(against_zero(&scores).map_err(wrong)?)))
            }
            (false, "ArgMax", value @ (Value::Rows(_) | Value::Scores(_))) => {
                let scores = self.classifier(node, value)?;
                if !matches!(node.integer("axis", 0)?, 1 | -1) {
                    return Err(wrong("goes over rows, not over classes"));
                }
                if node.integer("select_last_index", 0)? != 0 {
                    return Err(wrong("gives the last of equal classes; a member gives the first"));
                }
                one(Value::Position(scores))
            }
            (true, "ArrayFeatureExtractor", Value::Constant(names)) => {
                let Value::Position(scores) = self.value(node, 1)? else {
                    return Err(wrong("picks from constants by something else than a class"));
                };
                let names = names_of(&names).map_err(wrong)?;
                one(Value::Label(Rc::new(Scores { names: Some(names), ..own(scores) })))
            }
            (true, "Imputer", Value::Rows(chain)) => {
                // Samples have no missing value: nothing is replaced, unless it is a number.
                let missing = node.real("replaced_value_float", f32::NAN)?;
                if missing.is_nan() {
                    one(Value::Rows(chain))
                } else {
                    Err(wrong("replaces a number, not what is missing"))
                }
            }
            (true, "Scaler", Value::Rows(chain)) => {
                let chain = own(chain).minus(&node.reals("offset")?).map_err(wrong)?;
                one(rows(chain.times(&node.reals("scale")?).map_err(wrong)?))
            }
            (true, "LinearClassifier", Value::Rows(chain)) => {
                self.classified(node, own(chain), machines::linear)
            }
            (true, "SVMClassifier", Value::Rows(chain)) => {
                self.classified(node, own(chain), machines::support)
            }
            (true, "TreeEnsembleClassifier", Value::Rows(chain)) => {
                self.classified(node, own(chain), trees::lower)
            }
            (true, "Normalizer", Value::Scores(scores)) => {
                if scores.link == Link::Margin {
                    return Err(wrong("divides scores that are no shares"));
                }
                one(Value::Scores(scores))
            }
            (true, "ZipMap", Value::Scores(scores)) => {
                let names = named(node, "classlabels_int64s", "classlabels_strings")?;
                let names = names.or_else(|| scores.names.clone());
                one(Value::Scores(Rc::new(Scores { names, ..own(scores) })))
            }
            _ => self.derived(node),
        }
    }

    /// What an operator that is not understood gives, when all that goes into it comes from one
    /// classifier: scores on another scale, which nobody asks for as long as the class is there too.
    fn derived(&self, node: &Node<'_>) -> Result<Vec<Value>, OnnxError> {
        let mut from: Option<Rc<Scores>> = None;
        for input in 0..node.inputs.len() {
            if node.inputs[input].is_empty() {
                continue;
            }
            let scores = match self.value(node, input)? {
                Value::Constant(_) => continue,
                Value::Scores(it) | Value::Complement(it) | Value::Derived(it) => it,
                Value::Rows(_) | Value::Position(_) | Value::Label(_) => {
                    return Err(self.unknown(node));
                }
            };
            // Scores that nothing but layers made would be the classifier itself.
            let other = from.as_ref().is_some_and(|from| !same(from, &scores));
            if other || scores.head.is_none() {
                return Err(self.unknown(node));
            }
            from = Some(scores);
        }
        let from = from.ok_or_else(|| self.unknown(node))?;
        Ok(vec![Value::Derived(from); node.outputs.len().max(1)])
    }

    fn unknown(&self, node: &Node<'_>) -> OnnxError {
        OnnxError::Operator {
            operator: node.operator.to_owned(),
            node: label(node),
            hint: hint(node),
        }
    }

    /// The value of an input.
    fn value(&self, node: &Node<'_>, input: usize) -> Result<Value, OnnxError> {
        let name = node.inputs.get(input).copied().unwrap_or_default();
        if let Some(value) = self.known.get(name) {
            return Ok(value.clone());
        }
        match self.graph.initialiser(name) {
            Some(tensor) => Ok(Value::Constant(Rc::new(tensor?))),
            None => Err(node_error(node, &format!("asks for {name:?}, which nothing gives"))),
        }
    }

    /// Refuses what makes much out of little.
    fn spend(&self, node: &Node<'_>, values: usize) -> Result<(), OnnxError> {
        self.spent.set(self.spent.get().saturating_add(values));
        if VALUES_MAX < self.spent.get() {
            return Err(node_error(node, "makes more layers than a member may hold"));
        }
        Ok(())
    }

    fn constant(&self, node: &Node<'_>, input: usize) -> Result<Rc<Tensor>, OnnxError> {
        let value = self.value(node, input)?;
        let Value::Constant(tensor) = value else {
            return Err(node_error(
                node,
                "computes with two things that both follow from the sample",
            ));
        };
        self.spend(node, tensor.values.len())?;
        Ok(tensor)
    }

    fn reals(&self, node: &Node<'_>, input: usize) -> Result<Vec<f32>, OnnxError> {
        let tensor = self.constant(node, input)?;
        let Values::Reals(values) = &tensor.values else {
            return Err(node_error(node, "computes with constants that are no numbers"));
        };
        Ok(values.iter().copied().map(narrow).collect())
    }

    fn integers(&self, node: &Node<'_>, input: usize) -> Result<Vec<i64>, OnnxError> {
        let tensor = self.constant(node, input)?;
        let Values::Integers(values) = &tensor.values else {
            return Err(node_error(node, "wants whole numbers where there are others"));
        };
        Ok(values.clone())
    }

    /// A constant of two dimensions, turned so that a row has the weights of one output.
    fn matrix(&self, node: &Node<'_>, input: usize) -> Result<Weights, OnnxError> {
        let tensor = self.constant(node, input)?;
        let [_, outputs] = tensor.dims[..] else {
            return Err(node_error(node, "multiplies with something other than a matrix"));
        };
        let turned = transposed(&tensor).map_err(|why| node_error(node, why))?;
        let Values::Reals(values) = turned.values else {
            return Err(node_error(node, "multiplies with constants that are no numbers"));
        };
        Ok(Weights { values: values.into_iter().map(narrow).collect(), outputs })
    }

    fn arithmetic(&self, node: &Node<'_>, first: Value) -> Result<Value, OnnxError> {
        let wrong = |why: &str| node_error(node, why);
        match (node.operator, first) {
            ("Sub", Value::Rows(chain)) => {
                Ok(rows(own(chain).minus(&self.reals(node, 1)?).map_err(wrong)?))
            }
            ("Add", Value::Rows(chain)) => {
                Ok(rows(own(chain).plus(&self.reals(node, 1)?).map_err(wrong)?))
            }
            ("Mul", Value::Rows(chain)) => {
                Ok(rows(own(chain).times(&self.reals(node, 1)?).map_err(wrong)?))
            }
            ("Div", Value::Rows(chain)) => {
                let factor: Vec<f32> =
                    self.reals(node, 1)?.iter().map(|it| narrow(1.0 / f64::from(*it))).collect();
                Ok(rows(own(chain).times(&factor).map_err(wrong)?))
            }
            ("Add" | "Mul", Value::Constant(tensor)) => {
                match (self.value(node, 1)?, &tensor.values) {
                    (Value::Rows(chain), Values::Reals(values)) => {
                        let values: Vec<f32> = values.iter().copied().map(narrow).collect();
                        self.spend(node, chain.last_values())?;
                        let add = node.operator == "Add";
                        let chain = own(chain);
                        let chain = if add { chain.plus(&values) } else { chain.times(&values) };
                        Ok(rows(chain.map_err(wrong)?))
                    }
                    _ => self.one_derived(node),
                }
            }
            ("Sub", Value::Constant(tensor)) => match (self.value(node, 1)?, &tensor.values) {
                (Value::Scores(scores), Values::Reals(ones)) if ones[..] == [1.0] => {
                    Ok(Value::Complement(scores))
                }
                (Value::Rows(chain), Values::Reals(values)) => {
                    let values: Vec<f32> = values.iter().copied().map(narrow).collect();
                    self.spend(node, chain.last_values())?;
                    let chain = own(chain).times(&[-1.0]).and_then(|it| it.plus(&values));
                    Ok(rows(chain.map_err(wrong)?))
                }
                _ => self.one_derived(node),
            },
            _ => Err(wrong("computes with what is no row of numbers")),
        }
    }

    fn one_derived(&self, node: &Node<'_>) -> Result<Value, OnnxError> {
        Ok(self.derived(node)?.swap_remove(0))
    }

    fn gemm(&self, node: &Node<'_>, chain: Chain) -> Result<Chain, OnnxError> {
        let wrong = |why: &str| node_error(node, why);
        if node.integer("transA", 0)? != 0 {
            return Err(wrong("turns the samples"));
        }
        let mut weights = if node.integer("transB", 0)? == 0 {
            self.matrix(node, 1)?
        } else {
            let outputs = match self.constant(node, 1)?.dims[..] {
                [outputs, _] => outputs,
                _ => return Err(wrong("multiplies with something other than a matrix")),
            };
            Weights { values: self.reals(node, 1)?, outputs }
        };
        let (alpha, beta) = (node.real("alpha", 1.0)?, node.real("beta", 1.0)?);
        weights.values.iter_mut().for_each(|it| *it *= alpha);
        let there = node.inputs.get(2).is_some_and(|name| !name.is_empty());
        let bias = if there { self.reals(node, 2)? } else { vec![0.0] };
        let mut bias = match bias[..] {
            [one] => vec![one; weights.outputs],
            _ => bias,
        };
        bias.iter_mut().for_each(|it| *it *= beta);
        if bias.len() != weights.outputs {
            return Err(wrong("has a bias that does not fit its weights"));
        }
        chain.dense(weights.values, bias).map_err(wrong)
    }

    fn normalised(&self, node: &Node<'_>, chain: Chain) -> Result<Chain, OnnxError> {
        let wrong = |why: &str| node_error(node, why);
        if node.integer("training_mode", 0)? != 0 || 1 < node.outputs.len() {
            return Err(wrong("is in training: export the model in evaluation mode"));
        }
        let (scale, shift) = (self.reals(node, 1)?, self.reals(node, 2)?);
        let (mean, variance) = (self.reals(node, 3)?, self.reals(node, 4)?);
        if scale.len() != variance.len() {
            return Err(wrong("has arrays of different lengths"));
        }
        let epsilon = f64::from(node.real("epsilon", 1e-5)?);
        let factor = scale.iter().zip(&variance);
        let factor =
            factor.map(|(scale, it)| f64::from(*scale) / (f64::from(*it) + epsilon).sqrt());
        let factor: Vec<f32> = factor.map(narrow).collect();
        let chain = chain.minus(&mean).and_then(|it| it.times(&factor));
        chain.and_then(|it| it.plus(&shift)).map_err(wrong)
    }

    /// A classifier's two outputs: the class, and the scores.
    fn classified(
        &self,
        node: &Node<'a>,
        chain: Chain,
        lower: impl Fn(&Node<'_>, usize, usize) -> Result<Lowered, OnnxError>,
    ) -> Result<Vec<Value>, OnnxError> {
        let names = named(node, "classlabels_int64s", "classlabels_strings")?;
        let names = match names {
            Some(names) => Some(names),
            None => named(node, "classlabels_ints", "classlabels_strings")?,
        };
        let names = names.ok_or_else(|| node_error(node, "does not name its classes"))?;
        if names.len() < 2 {
            return Err(node_error(node, "has fewer than two classes"));
        }
        let lowered = lower(node, chain.width, names.len())?;
        self.spend(node, usize::try_from(lowered.model.bytes() / 4).unwrap_or(usize::MAX))?;
        let link = lowered.link;
        let (head, names) = (Some(Rc::new(lowered)), Some(names));
        let scores = Rc::new(Scores { chain, head, link, names });
        Ok(vec![Value::Label(scores.clone()), Value::Scores(scores)])
    }

    /// Outputs of a chain, or scores that nothing was done to yet.
    fn scores(&self, node: &Node<'_>, value: Value) -> Result<Scores, OnnxError> {
        match value {
            Value::Rows(chain) => {
                Ok(Scores { chain: own(chain), head: None, link: Link::Margin, names: None })
            }
            Value::Scores(scores) if scores.link == Link::Margin => Ok(own(scores)),
            Value::Scores(_) => Err(node_error(node, "squeezes scores that were squeezed before")),
            Value::Constant(_)
            | Value::Complement(_)
            | Value::Position(_)
            | Value::Label(_)
            | Value::Derived(_) => Err(self.unknown(node)),
        }
    }

    fn classifier(&self, node: &Node<'_>, value: Value) -> Result<Rc<Scores>, OnnxError> {
        if let Value::Scores(scores) = value {
            return Ok(scores);
        }
        Ok(Rc::new(self.scores(node, value)?))
    }

    /// The classifier that the outputs of the graph are of.
    fn outcome(self) -> Result<Scores, OnnxError> {
        let (mut scores, mut names): (Option<Rc<Scores>>, _) = (None, None);
        let labelled = self.graph.outputs.iter().any(|&output| {
            matches!(self.known.get(output), Some(Value::Label(_) | Value::Position(_)))
        });
        for &output in &self.graph.outputs {
            let found = match self.known.get(output) {
                Some(Value::Derived(found)) if labelled => found.clone(),
                Some(Value::Scores(found) | Value::Position(found) | Value::Label(found)) => {
                    found.clone()
                }
                Some(Value::Rows(chain)) => Rc::new(Scores {
                    chain: Chain::clone(chain),
                    head: None,
                    link: Link::Margin,
                    names: None,
                }),
                Some(Value::Constant(_) | Value::Complement(_) | Value::Derived(_)) | None => {
                    return Err(OnnxError::Output { name: output.to_owned() });
                }
            };
            names = names.or_else(|| found.names.clone());
            let probable = matches!(self.known.get(output), Some(Value::Scores(_)));
            match &scores {
                Some(first) if !same(first, &found) => return Err(OnnxError::Several),
                Some(_) if !probable => {}
                _ => scores = Some(found),
            }
        }
        let scores = scores.ok_or(OnnxError::NoOutput)?;
        let mut scores = Scores { names, ..own(scores) };
        if scores.head.is_none() && scores.chain.width == 1 {
            if scores.link != Link::Logistic {
                return Err(OnnxError::OneOutput);
            }
            scores = against_zero(&scores).map_err(|_| OnnxError::OneOutput)?;
        }
        Ok(scores)
    }
}

/// Whether two outputs are of one classifier: what they are read as may differ.
fn same(one: &Scores, other: &Scores) -> bool {
    let heads = match (&one.head, &other.head) {
        (Some(one), Some(other)) => Rc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    };
    heads && (one.chain == other.chain || one.chain.width.min(other.chain.width) == 1)
}

/// A classifier with one output becomes one with two, of which the first is always zero.
fn against_zero(scores: &Scores) -> Result<Scores, &'static str> {
    if scores.head.is_some() || scores.link != Link::Logistic {
        return Err("says one minus something that is no probability");
    }
    let chain = scores.chain.clone().against_zero()?;
    // σ(z) and 1 - σ(z) are the softmax of z and 0.
    Ok(Scores { chain, link: Link::Softmax, ..scores.clone() })
}

/// A matrix whose rows are outputs.
struct Weights {
    values: Vec<f32>,
    outputs: usize,
}

fn rows(chain: Chain) -> Value {
    Value::Rows(Rc::new(chain))
}

fn own<T: Clone>(shared: Rc<T>) -> T {
    Rc::unwrap_or_clone(shared)
}

fn columns(indices: &[i64], width: usize) -> Result<Vec<u32>, &'static str> {
    let whole = i64::try_from(width).map_err(|_| "picks from too many columns")?;
    let column = |&index: &i64| {
        let index = if index < 0 { index + whole } else { index };
        u32::try_from(index).map_err(|_| "picks columns that are not there")
    };
    indices.iter().map(column).collect()
}

fn transposed(tensor: &Tensor) -> Result<Tensor, &'static str> {
    let ([rows, columns], Values::Reals(values)) = (&tensor.dims[..], &tensor.values) else {
        return Err("turns something other than a matrix of numbers");
    };
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..*columns {
        turned.extend(values.iter().skip(column).step_by((*columns).max(1)).take(*rows));
    }
    Ok(Tensor { dims: vec![*columns, *rows], values: Values::Reals(turned) })
}

/// The names of classes: whole numbers as text, or text.
fn named(node: &Node<'_>, numbers: &str, texts: &str) -> Result<Option<Vec<String>>, OnnxError> {
    let texts = node.texts(texts)?;
    if !texts.is_empty() {
        return Ok(Some(texts.into_iter().map(str::to_owned).collect()));
    }
    let numbers = node.integers(numbers)?;
    if usize::from(u16::MAX) < numbers.len() {
        return Err(node_error(node, "has more classes than a task may have"));
    }
    let names: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    Ok((!names.is_empty()).then_some(names))
}

fn names_of(tensor: &Tensor) -> Result<Vec<String>, &'static str> {
    match &tensor.values {
        Values::Integers(values) => Ok(values.iter().map(ToString::to_string).collect()),
        Values::Texts(texts) => Ok(texts.clone()),
        Values::Reals(_) => Err("names classes by broken numbers"),
    }
}

fn constant(node: &Node<'_>) -> Result<Tensor, OnnxError> {
    if let Some(tensor) = node.tensor("value")? {
        return Ok(tensor);
    }
    let (dims, values) = if node.has("value_float") {
        (Vec::new(), Values::Reals(vec![f64::from(node.real("value_float", 0.0)?)]))
    } else if node.has("value_int") {
        (Vec::new(), Values::Integers(vec![node.integer("value_int", 0)?]))
    } else if node.has("value_floats") {
        let values: Vec<f64> = node.reals("value_floats")?.into_iter().map(f64::from).collect();
        (vec![values.len()], Values::Reals(values))
    } else {
        let values = node.integers("value_ints")?;
        (vec![values.len()], Values::Integers(values))
    };
    Ok(Tensor { dims, values })
}

/// How a node is called in an error.
pub(super) fn label(node: &Node<'_>) -> String {
    if node.name.is_empty() {
        format!("that gives {:?}", node.outputs.first().copied().unwrap_or_default())
    } else {
        format!("{:?}", node.name)
    }
}

/// What may be done about an operator that is not understood.
fn hint(node: &Node<'_>) -> &'static str {
    match node.operator {
        "Tanh" => "; hidden layers of a member have ReLU (MLPClassifier(activation=\"relu\"))",
        "Conv" | "MaxPool" | "LSTM" | "GRU" | "RNN" => "; a member sees features, one row a sample",
        "Scan" | "Loop" | "If" | "TopK" | "CDist" => {
            "; of nearest neighbours and whatever else needs a loop, import none: `train` fits kNN itself"
        }
        _ => "",
    }
}
