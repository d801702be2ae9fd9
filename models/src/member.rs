//! One trained model of an ensemble, lowered to plain arrays.

use std::sync::Arc;

use crate::{
    features::Features, near::Spare, precision::Precision, preparation::Preparation, rows::Rows,
    schema::ClassId, softness::Scale, vote::first_largest, work::Work,
};

pub mod boosted;
pub mod forest;
pub mod knn;
pub mod linear;
pub mod mlp;
pub mod rbf_svm;
pub mod tree;

pub use boosted::Boosted;
pub use forest::Forest;
pub use knn::Knn;
pub use linear::Linear;
pub use mlp::{Dense, Mlp};
pub use rbf_svm::{RbfSvm, Verdict};
pub use tree::Trees;

/// How a member is trained: the seven families of the paper, and further ones for diversity.
///
/// Bundles name a family by its place in this list: a new one comes last.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// k nearest neighbours.
    Knn,
    /// Ridge classifier: least squares on ±1 targets, one against the rest.
    Ridge,
    /// Random forest.
    Forest,
    /// Linear support vector machine, one against the rest.
    LinearSvm,
    /// Support vector machine with a radial basis function kernel, one against one.
    RbfSvm,
    /// Multi-layer perceptron.
    Mlp,
    /// Gradient-boosted trees.
    Boosted,
    /// Multinomial logistic regression.
    Logistic,
    /// Linear discriminant analysis.
    Lda,
}

impl Family {
    /// All families, in their stable order.
    pub const ALL: [Self; 9] = [
        Self::Knn,
        Self::Ridge,
        Self::Forest,
        Self::LinearSvm,
        Self::RbfSvm,
        Self::Mlp,
        Self::Boosted,
        Self::Logistic,
        Self::Lda,
    ];

    /// The seven of the paper, in the same order: what is compared with others' libraries.
    pub const PAPER: [Self; 7] = [
        Self::Knn,
        Self::Ridge,
        Self::Forest,
        Self::LinearSvm,
        Self::RbfSvm,
        Self::Mlp,
        Self::Boosted,
    ];

    /// The name in task files, on the wire and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Ridge => "ridge",
            Self::Forest => "forest",
            Self::LinearSvm => "linear-svm",
            Self::RbfSvm => "rbf-svm",
            Self::Mlp => "mlp",
            Self::Boosted => "boosted",
            Self::Logistic => "logistic",
            Self::Lda => "lda",
        }
    }

    /// The family of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A family's lowered arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// k nearest neighbours.
    Knn(Knn),
    /// Ridge, linear SVM, logistic regression and LDA.
    Linear(Linear),
    /// Random forest.
    Forest(Forest),
    /// RBF SVM.
    RbfSvm(RbfSvm),
    /// Multi-layer perceptron.
    Mlp(Mlp),
    /// Gradient-boosted trees.
    Boosted(Boosted),
}

/// A model with what has to be done to a sample before the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// How it was trained.
    pub family: Family,
    /// Index into the ensemble's preparations.
    pub preparation: usize,
    /// The arrays, which the next revision may have, too ([`Ensemble::sharing`](crate::Ensemble::sharing)).
    pub model: Arc<Model>,
}

/// Buffers that one answer of one model needs, kept so that the next one allocates nothing.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Inputs of a layer, kernels.
    a: Vec<f32>,
    /// Outputs of a layer, sums.
    b: Vec<f32>,
    /// Distance and number of the nearest rows, sorted.
    nearest: Vec<(f32, usize)>,
    /// What finding them needs.
    near: Spare,
    /// The sample as compact rows see it.
    bytes: Vec<u8>,
}

/// Samples compared with a row while it lies in the cache.
const ABREAST: usize = 16;

impl Model {
    /// Scores of the classes for one prepared sample; the larger the likelier, within this model.
    ///
    /// The only kernels there are: training, batches and single answers all come here, so the same
    /// sample gets the same scores everywhere.
    ///
    /// # Shapes
    ///
    /// `x` is as wide as the model's input and `out` has one value per class.
    ///
    /// # Panics
    ///
    /// May panic, or leave `out` half-filled, when [`Model::check`] would have refused the arrays
    /// or the shapes differ. Inside an [`crate::Ensemble`] neither can happen.
    pub fn scores(&self, x: &[f32], out: &mut [f32], buffers: &mut Buffers) {
        match self {
            Self::Knn(model) => model.scores(x, out, buffers),
            Self::Linear(model) => model.scores(x, out),
            Self::Forest(model) => model.scores(x, out),
            Self::RbfSvm(model) => model.scores(x, out, buffers),
            Self::Mlp(model) => model.scores(x, out, buffers),
            Self::Boosted(model) => model.scores(x, out),
        }
    }

    /// [`Model::scores`] of many prepared samples, bit for bit: models that are long rows of numbers
    /// read each row once for several samples.
    ///
    /// # Shapes
    ///
    /// `out` is `[samples, classes]`, row-major.
    ///
    /// # Panics
    ///
    /// As [`Model::scores`].
    pub fn scores_of_many(
        &self,
        samples: &Features,
        classes: usize,
        out: &mut [f32],
        buffers: &mut Buffers,
    ) {
        let width = samples.width();
        let blocks = samples.values().chunks(ABREAST * width);
        for (xs, out) in blocks.zip(out.chunks_mut(ABREAST * classes)) {
            match self {
                Self::Knn(model) => model.scores_of_many(xs, out, buffers),
                Self::RbfSvm(model) => model.scores_of_many(xs, out, buffers),
                Self::Linear(_) | Self::Forest(_) | Self::Mlp(_) | Self::Boosted(_) => {
                    for (x, out) in xs.chunks_exact(width).zip(out.chunks_exact_mut(classes)) {
                        self.scores(x, out, buffers);
                    }
                }
            }
        }
    }

    /// The class with the largest score; of equal ones the smallest. `scores` is a buffer.
    pub fn vote(&self, x: &[f32], scores: &mut [f32], buffers: &mut Buffers) -> ClassId {
        self.scores(x, scores, buffers);
        first_largest(scores)
    }

    /// Every array has the length its shapes say for inputs of `width` values and `classes`
    /// classes, every index points inside, every value is finite.
    ///
    /// # Errors
    ///
    /// One variant of [`ModelError`] for each way of being wrong.
    pub fn check(&self, width: usize, classes: usize) -> Result<(), ModelError> {
        crate::check::some("width", width)?;
        crate::check::some("classes", classes)?;
        match self {
            Self::Knn(model) => model.check(width, classes),
            Self::Linear(model) => model.check(width, classes),
            Self::Forest(model) => model.check(width, classes),
            Self::RbfSvm(model) => model.check(width, classes),
            Self::Mlp(model) => model.check(width, classes),
            Self::Boosted(model) => model.check(width, classes),
        }
    }

    /// What one answer costs, preparation not included.
    #[must_use]
    pub fn work(&self) -> Work {
        let work = match self {
            Self::Knn(model) => model.work(),
            Self::Linear(model) => model.work(),
            Self::Forest(model) => model.work(),
            Self::RbfSvm(model) => model.work(),
            Self::Mlp(model) => model.work(),
            Self::Boosted(model) => model.work(),
        };
        work + Work { calls: 1, ..Work::default() }
    }

    /// Bytes of all arrays as they lie in memory; boxes around rows are drawn from them and not counted, so that what
    /// once was small enough stays so.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let trees = |trees: &Trees| {
            bytes_of(&trees.roots)
                + bytes_of(&trees.feature)
                + bytes_of(&trees.threshold)
                + bytes_of(&trees.child)
        };
        match self {
            Self::Knn(Knn { rows, labels, .. }) => rows.rows().bytes() + bytes_of(labels),
            Self::Linear(Linear { weights, bias, .. }) => bytes_of(weights) + bytes_of(bias),
            Self::Forest(forest) => trees(&forest.trees) + bytes_of(&forest.leaves),
            Self::RbfSvm(RbfSvm { counts, vectors, coefficients, bias, .. }) => {
                bytes_of(counts) + vectors.bytes() + bytes_of(coefficients) + bytes_of(bias)
            }
            Self::Mlp(mlp) => mlp
                .layers
                .iter()
                .map(|layer| bytes_of(&layer.weights) + bytes_of(&layer.bias))
                .sum(),
            Self::Boosted(Boosted { trees: all, base, leaves }) => {
                trees(all) + bytes_of(base) + bytes_of(leaves)
            }
        }
    }

    /// Bytes of all arrays as a bundle has them.
    #[must_use]
    pub fn shipped_bytes(&self) -> u64 {
        let not_shipped = match self {
            Self::Mlp(mlp) if mlp.precision == Precision::Half => {
                mlp.layers.iter().map(|layer| bytes_of(&layer.weights)).sum::<u64>() / 2
            }
            Self::Knn(_)
            | Self::Linear(_)
            | Self::Forest(_)
            | Self::RbfSvm(_)
            | Self::Mlp(_)
            | Self::Boosted(_) => 0,
        };
        self.bytes() - not_shipped
    }

    /// The model in its smaller form, if it has one that it does not have yet: a byte for each value of the
    /// rows that it is made of, half precision for what a network's layers weigh.
    #[must_use]
    pub fn compacted(&self) -> Option<Self> {
        match self {
            Self::Knn(model) => {
                let rows = model.rows.compacted()?;
                Some(Self::Knn(Knn { rows, labels: model.labels.clone(), k: model.k }))
            }
            Self::RbfSvm(model) => {
                let vectors = model.vectors.compacted(model.width)?;
                Some(Self::RbfSvm(RbfSvm {
                    vectors,
                    counts: model.counts.clone(),
                    coefficients: model.coefficients.clone(),
                    bias: model.bias.clone(),
                    ..*model
                }))
            }
            Self::Mlp(model) => Some(Self::Mlp(model.halved()?)),
            Self::Linear(_) | Self::Forest(_) | Self::Boosted(_) => None,
        }
    }

    /// Whether it has its smaller form.
    #[must_use]
    pub fn is_compact(&self) -> bool {
        match self {
            Self::Knn(model) => matches!(model.rows.rows(), Rows::Compact(_)),
            Self::RbfSvm(model) => matches!(model.vectors, Rows::Compact(_)),
            Self::Mlp(model) => model.precision == Precision::Half,
            Self::Linear(_) | Self::Forest(_) | Self::Boosted(_) => false,
        }
    }

    /// What its scores are to a soft vote.
    #[must_use]
    pub fn scale(&self) -> Scale {
        match self {
            Self::RbfSvm(RbfSvm { verdict: Verdict::Votes, .. }) => Scale::VotesOfPairs,
            Self::RbfSvm(_)
            | Self::Knn(_)
            | Self::Linear(_)
            | Self::Forest(_)
            | Self::Mlp(_)
            | Self::Boosted(_) => Scale::Even,
        }
    }

    /// Whether a member of `family` has this form.
    #[must_use]
    pub fn fits(&self, family: Family) -> bool {
        match self {
            Self::Knn(_) => family == Family::Knn,
            Self::Linear(_) => {
                matches!(family, Family::Ridge | Family::LinearSvm | Family::Logistic | Family::Lda)
            }
            Self::Forest(_) => family == Family::Forest,
            Self::RbfSvm(_) => family == Family::RbfSvm,
            Self::Mlp(_) => family == Family::Mlp,
            Self::Boosted(_) => family == Family::Boosted,
        }
    }
}

impl Member {
    /// Scores of `classes` classes for one raw sample: prepared, then scored. For parity tests and
    /// tables; it allocates, [`crate::Ensemble::answer`] does not.
    ///
    /// # Panics
    ///
    /// As [`Model::scores`], and when `preparations` has no [`Member::preparation`].
    #[must_use]
    pub fn scores(&self, preparations: &[Preparation], row: &[f32], classes: usize) -> Vec<f32> {
        let x = preparations[self.preparation].apply(row);
        let mut out = vec![0.0; classes];
        self.model.scores(&x, &mut out, &mut Buffers::default());
        out
    }

    /// Form, arrays and the preparation they rely on hold for samples of `width` values.
    pub(crate) fn check(
        &self,
        preparations: &[Preparation],
        width: usize,
        classes: usize,
    ) -> Result<(), ModelError> {
        if !self.model.fits(self.family) {
            return Err(ModelError::Form { family: self.family.name() });
        }
        let Some(preparation) = preparations.get(self.preparation) else {
            return Err(ModelError::Index {
                what: "preparation",
                value: u64::try_from(self.preparation).unwrap_or(u64::MAX),
                limit: u64::try_from(preparations.len()).unwrap_or(u64::MAX),
            });
        };
        self.model.check(preparation.width(width)?, classes)
    }
}

fn same_width(what: &'static str, actual: usize, expected: usize) -> Result<(), ModelError> {
    if actual == expected { Ok(()) } else { Err(ModelError::Length { what, expected, actual }) }
}

fn count_of<T>(values: &[T]) -> u64 {
    u64::try_from(values.len()).expect("a length fits in 64 bits")
}

fn bytes_of<T>(values: &[T]) -> u64 {
    u64::try_from(size_of_val(values)).expect("a size fits in 64 bits")
}

/// Why arrays are not a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// An array of another length than the shapes say.
    #[error("{what} has {actual} values where {expected} are needed")]
    Length {
        /// The array.
        what: &'static str,
        /// What the shapes say.
        expected: usize,
        /// What it has.
        actual: usize,
    },
    /// An index beyond what it points into.
    #[error("{what} holds {value}, which must be below {limit}")]
    Index {
        /// The array.
        what: &'static str,
        /// The value found.
        value: u64,
        /// What it must be below.
        limit: u64,
    },
    /// NaN or an infinity.
    #[error("{what} holds a value that is not finite")]
    NotFinite {
        /// The array.
        what: &'static str,
    },
    /// More than half precision where half is said.
    #[error("{what} holds a value that half precision does not have")]
    NotHalf {
        /// The array.
        what: &'static str,
    },
    /// A tree whose path does not lead downwards, so that walking it might never end.
    #[error("node {node} of a tree points back to node {child}")]
    Cycle {
        /// The parent.
        node: usize,
        /// The child that does not come after it.
        child: u32,
    },
    /// Something that must be there at least once is not there.
    #[error("{what} must not be empty")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// More of something than is allowed.
    #[error("{what}: {actual} is more than {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        actual: usize,
        /// How much may be.
        limit: usize,
    },
    /// Zero or less where only more makes sense.
    #[error("{what} must be above zero")]
    NotPositive {
        /// What it is.
        what: &'static str,
    },
    /// Numbers that must grow and do not.
    #[error("the numbers of {what} are not in order")]
    Order {
        /// What it is.
        what: &'static str,
    },
    /// A gate in front of a task without a background class.
    #[error("a gate needs a background class to answer with")]
    Background,
    /// Something is wrong with one part of an ensemble.
    #[error("{part}")]
    Part {
        /// Which one: `member 3 (forest)`, `gate`, `preparation 0`.
        part: String,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// A model whose form does not match its family.
    #[error("a member of family {family} cannot hold this form of model")]
    Form {
        /// The family.
        family: &'static str,
    },
}
