//! ONNX: a classifier that was fitted elsewhere becomes a member like ours.
//!
//! Bytes → [`file`] (what the file says) → `graph` (what each value is of the sample) → a
//! preparation and a [`models::Model`]: plain arrays. Nothing of ONNX is left when a sample is
//! answered, so kernels, early end and costs are those of every member. What cannot be
//! held exactly is refused, with the operator and the node (docs/decisions/0029).

mod classes;
mod file;
mod graph;
mod layers;
mod machines;
mod protobuf;
mod trees;

use models::{Family, Model, ModelError, Preparation};

pub use self::file::{FILE_BYTES_MAX, FileError};
use self::file::{Graph, Node};

/// How the scores of a member become the probabilities that its file says. For reports only: in a vote
/// the scores count as those of every member do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The file gives the scores as they are.
    Margin,
    /// `e^s / Σ e^s`.
    Softmax,
    /// The logarithm of that.
    LogSoftmax,
    /// `1 / (1 + e^-s)` of each, then shares of their sum.
    Logistic,
    /// The scores are shares already.
    Shares,
    /// The score of the second of two classes is its share, and the first has the rest.
    Complement,
    /// Votes of pairs: the file's probabilities, if it has any, are of another kind.
    Votes,
}

/// A classifier, lowered.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// Its family, by its form.
    pub family: Family,
    /// What is done to a sample first.
    pub preparation: Preparation,
    /// The arrays; class `i` is the `i`-th of the file.
    pub model: Model,
    /// How many classes it has.
    pub classes: usize,
    /// Their names, where the file says them.
    pub names: Option<Vec<String>>,
    /// How its scores become probabilities.
    pub link: Link,
    /// Who wrote the file, in its own words.
    pub producer: String,
    /// The operators of the file, in order.
    pub operators: Vec<String>,
}

/// Why a file is no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes.
    #[error("the file cannot be read")]
    File(#[from] FileError),
    /// More than one table goes in, or none.
    #[error("it has {found} inputs; a member sees one table of all features")]
    Inputs {
        /// How many.
        found: usize,
    },
    /// What goes in are no numbers.
    #[error("its input {name:?} is no table of float or double")]
    InputKind {
        /// The input.
        name: String,
    },
    /// What goes in is no table.
    #[error("its input has {dims} dimensions; samples are rows of a table, which has two")]
    InputShape {
        /// How many.
        dims: usize,
    },
    /// Samples of another width.
    #[error("it takes samples of {actual} values; the task has {expected} features")]
    Width {
        /// What the task has.
        expected: usize,
        /// What the file takes.
        actual: usize,
    },
    /// An operator that no member can do.
    #[error(
        "the operator {operator} of the node {node} is not understood here{hint} (understood are: {})",
        graph::UNDERSTOOD
    )]
    Operator {
        /// The operator.
        operator: String,
        /// The node.
        node: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// An operator in a form that no member can hold.
    #[error("the node {node} ({operator}) {why}")]
    Form {
        /// The operator.
        operator: String,
        /// The node.
        node: String,
        /// What is wrong.
        why: String,
    },
    /// Layers that are no member.
    #[error("what it does to a sample {why}")]
    Layers {
        /// What is wrong.
        why: &'static str,
    },
    /// An output that says nothing of classes.
    #[error("its output {name:?} is neither a class nor a score of each class")]
    Output {
        /// The output.
        name: String,
    },
    /// Outputs of several classifiers.
    #[error("its outputs are of several classifiers")]
    Several,
    /// A single number.
    #[error(
        "its one output is no probability: end the network in a sigmoid, or in one output a class"
    )]
    OneOutput,
    /// No output at all.
    #[error("it has no output")]
    NoOutput,
    /// The arrays do not hold together.
    #[error("its arrays are no member")]
    Model(#[source] ModelError),
}

fn node_error(node: &Node<'_>, why: &str) -> OnnxError {
    OnnxError::Form {
        operator: node.operator.to_owned(),
        node: graph::label(node),
        why: why.to_owned(),
    }
}

impl Lowered {
    /// Lowers the classifier in the bytes of an ONNX file, for samples of `width` values.
    ///
    /// # Errors
    ///
    /// One variant of [`OnnxError`] for each way of being none. Never panics, and allocates no more
    /// than a small multiple of what is there.
    pub fn read(bytes: &[u8], width: usize) -> Result<Self, OnnxError> {
        let graph = Graph::read(bytes)?;
        let graph::Scores { chain, head, link, names } = graph::walk(&graph, width)?;
        let outputs = chain.width;
        let layers = |why| OnnxError::Layers { why };
        let (family, preparation, model, classes) = match head {
            None => {
                let (family, preparation, model) = chain.model().map_err(layers)?;
                (family, preparation, model, outputs)
            }
            Some(head) => {
                let preparation = chain.preparation().map_err(layers)?;
                let classes = names.as_ref().map_or(0, Vec::len);
                (head.family, preparation, head.model.clone(), classes)
            }
        };
        let prepared = preparation.width(width).map_err(OnnxError::Model)?;
        model.check(prepared, classes).map_err(OnnxError::Model)?;
        if let Some(names) = &names
            && names.len() != classes
        {
            return Err(OnnxError::Layers { why: "names more or fewer classes than it scores" });
        }
        let operators = graph.nodes.iter().map(|node| node.operator.to_owned()).collect();
        let producer = graph.producer.to_owned();
        Ok(Self { family, preparation, model, classes, names, link, producer, operators })
    }

    /// The same with its classes in another order: class `i` becomes what was `order[i]`.
    ///
    /// # Panics
    ///
    /// When `order` does not name every class once.
    #[must_use]
    pub fn in_order(mut self, order: &[usize]) -> Self {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..self.classes), "every class stands in the order once");
        self.model = classes::in_order(self.model, order);
        self.names = self.names.map(|names| order.iter().map(|&it| names[it].clone()).collect());
        self
    }
}

impl Link {
    /// The probabilities (or their logarithms) that the file says, from the scores of one sample.
    ///
    /// `None` when it says none that follow from the scores.
    #[must_use]
    pub fn probabilities(self, scores: &[f32]) -> Option<Vec<f32>> {
        let shares = |parts: Vec<f64>| {
            let whole: f64 = parts.iter().sum();
            parts.into_iter().map(|part| layers::narrow(part / whole)).collect()
        };
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        match self {
            Self::Margin | Self::Votes => None,
            Self::Softmax | Self::LogSoftmax => {
                let parts = scores.iter().map(|&it| (f64::from(it) - f64::from(largest)).exp());
                let mut likely: Vec<f32> = shares(parts.collect());
                if self == Self::LogSoftmax {
                    likely.iter_mut().for_each(|it| *it = it.ln());
                }
                Some(likely)
            }
            Self::Logistic => Some(shares(
                scores.iter().map(|&it| 1.0 / (1.0 + (-f64::from(it)).exp())).collect(),
            )),
            Self::Shares => Some(shares(scores.iter().copied().map(f64::from).collect())),
            Self::Complement => match scores {
                [_, second] => Some(vec![1.0 - second, *second]),
                _ => None,
            },
        }
    }
}
