//! One trained model of an ensemble, lowered to plain arrays.

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
pub use rbf_svm::RbfSvm;
pub use tree::Trees;

/// The seven families of the paper.
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
}

impl Family {
    /// All families, in their stable order.
    pub const ALL: [Self; 7] = [
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
    /// Ridge and linear SVM.
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
    /// The arrays.
    pub model: Model,
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
    /// A model whose form does not match its family.
    #[error("a member of family {family} cannot hold this form of model")]
    Form {
        /// The family.
        family: &'static str,
    },
}
