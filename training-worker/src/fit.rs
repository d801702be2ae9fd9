//! Fitting: from prepared rows to a lowered model. The only room that names a machine-learning
//! library.
//!
//! Each family is a file with its settings, its fit and its lowering to [`models::Model`]. The same
//! rows, settings and seed give the same model on one machine.

mod bins;
mod blocks;
pub mod boosted;
mod components;
mod discriminants;
#[cfg(test)]
mod edges;
pub mod forest;
pub mod knn;
pub mod lda;
mod linear;
pub mod linear_svm;
pub mod logistic;
mod matrix;
mod memory;
pub mod mlp;
mod preparing;
pub mod rbf_svm;
pub mod ridge;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod trees;
mod weights;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use models::{Family, Features, Model};

use self::weights::Counted;

pub use components::{Components, PrepareError, principal_components, standardised_components};
pub use discriminants::standardised_discriminants;
pub use memory::MEMORY_MAX;
pub use preparing::{prepare, standardise};
pub use weights::balanced;

/// "Please stop": asked between the steps of a fit; clones hear the same word.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), FitError> {
        if self.asked() { Err(FitError::Stopped) } else { Ok(()) }
    }
}

/// Rows to learn from, and how.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// `[n, width]`, prepared as the model will see them.
    pub samples: &'a Features,
    /// `[n]` class ids, each below `classes`.
    pub labels: &'a [u16],
    /// Outputs of the model; some may have no row.
    pub classes: usize,
    /// Decides every random choice.
    pub seed: u64,
    /// How many threads may work; the model does not depend on it.
    pub threads: usize,
    /// Ends the fit early, with [`FitError::Stopped`].
    pub stop: &'a Stop,
    /// What each row counts, at least 0; only proportions matter. `None` when all count alike. The
    /// neighbours of kNN count alike always; it leaves out rows that count nothing.
    pub weights: Option<&'a [f32]>,
    /// Most bytes that the fit may take, beside the rows.
    pub memory_max: u64,
}

impl<'a> Lesson<'a> {
    /// A lesson for one thread, with seed 1, in which all rows count alike.
    #[must_use]
    pub fn new(samples: &'a Features, labels: &'a [u16], classes: usize, stop: &'a Stop) -> Self {
        let (seed, threads) = (1, 1);
        let (weights, memory_max) = (None, MEMORY_MAX);
        Self { samples, labels, classes, seed, threads, stop, weights, memory_max }
    }
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// It was told to stop.
    #[error("told to stop")]
    Stopped,
    /// Nothing to learn from.
    #[error("there are no rows to learn from")]
    Empty,
    /// Labels that do not belong to the rows.
    #[error("{labels} labels for {rows} rows")]
    Labels {
        /// How many labels there are.
        labels: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// A label beyond the classes.
    #[error("row {row} has class {class}, but there are only {classes} classes")]
    Class {
        /// The first such row.
        row: usize,
        /// Its class.
        class: u16,
        /// How many classes there are.
        classes: usize,
    },
    /// Weights that say nothing.
    #[error("{weights} weights for {rows} rows, or not all finite and at least 0, or all 0")]
    Weights {
        /// How many weights there are.
        weights: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// Nothing to tell apart.
    #[error("all rows have class {class}; a model needs rows of at least two classes")]
    OneClass {
        /// The class of all rows.
        class: u16,
    },
    /// Equations without a stable solution, however strongly regularised.
    #[error("the equations have no stable solution, even with alpha = {alpha}")]
    Singular {
        /// The strongest regularisation tried.
        alpha: String,
    },
    /// More memory than a fit may take.
    #[error("{what} needs {bytes} bytes, more than the {limit} that a fit may take")]
    TooLarge {
        /// What would be too large.
        what: &'static str,
        /// How large it would be.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The numbers ran away.
    #[error("the fit of {what} diverged: a value is not finite")]
    Diverged {
        /// The family.
        what: &'static str,
    },
}

/// How a member is made: the family and its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// k nearest neighbours.
    Knn(knn::Settings),
    /// Ridge classifier.
    Ridge(ridge::Settings),
    /// Random forest.
    Forest(forest::Settings),
    /// Linear SVM.
    LinearSvm(linear_svm::Settings),
    /// RBF SVM.
    RbfSvm(rbf_svm::Settings),
    /// Multi-layer perceptron.
    Mlp(mlp::Settings),
    /// Gradient-boosted trees.
    Boosted(boosted::Settings),
    /// Multinomial logistic regression.
    Logistic(logistic::Settings),
    /// Linear discriminant analysis.
    Lda(lda::Settings),
}

/// What a model needs done to a sample before it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preparing {
    /// Nothing: trees only compare.
    Nothing,
    /// Every column to mean 0 and deviation 1.
    Standardised,
    /// Standardised, then projected to at most so many principal components.
    Projected(usize),
    /// Standardised, then projected to at most so many discriminants of the classes.
    Discriminated(usize),
}

impl Recipe {
    /// The settings that a family starts with.
    #[must_use]
    pub fn of(family: Family) -> Self {
        match family {
            Family::Knn => Self::Knn(knn::Settings::default()),
            Family::Ridge => Self::Ridge(ridge::Settings::default()),
            Family::Forest => Self::Forest(forest::Settings::default()),
            Family::LinearSvm => Self::LinearSvm(linear_svm::Settings::default()),
            Family::RbfSvm => Self::RbfSvm(rbf_svm::Settings::default()),
            Family::Mlp => Self::Mlp(mlp::Settings::default()),
            Family::Boosted => Self::Boosted(boosted::Settings::default()),
            Family::Logistic => Self::Logistic(logistic::Settings::default()),
            Family::Lda => Self::Lda(lda::Settings::default()),
        }
    }

    /// The family that is fitted.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Knn(_) => Family::Knn,
            Self::Ridge(_) => Family::Ridge,
            Self::Forest(_) => Family::Forest,
            Self::LinearSvm(_) => Family::LinearSvm,
            Self::RbfSvm(_) => Family::RbfSvm,
            Self::Mlp(_) => Family::Mlp,
            Self::Boosted(_) => Family::Boosted,
            Self::Logistic(_) => Family::Logistic,
            Self::Lda(_) => Family::Lda,
        }
    }

    /// What the family needs done to a sample.
    #[must_use]
    pub fn preparing(&self) -> Preparing {
        match self {
            Self::Forest(_) | Self::Boosted(_) => Preparing::Nothing,
            Self::Ridge(_)
            | Self::LinearSvm(_)
            | Self::Mlp(_)
            | Self::Logistic(_)
            | Self::Lda(_) => Preparing::Standardised,
            Self::RbfSvm(settings) if settings.discriminants => {
                let most = settings.components.unwrap_or(knn::Settings::default().components);
                Preparing::Discriminated(most)
            }
            Self::RbfSvm(settings) => {
                settings.components.map_or(Preparing::Standardised, Preparing::Projected)
            }
            Self::Knn(settings) if settings.discriminants => {
                Preparing::Discriminated(settings.components)
            }
            Self::Knn(settings) => Preparing::Projected(settings.components),
        }
    }
}

impl Recipe {
    /// The same recipe on other columns, for families that compare distances: rows that are near in all
    /// that varies, or near in what tells the classes apart. Which is better depends on the samples.
    #[must_use]
    pub fn on_other_columns(&self, width: usize, classes: usize) -> Option<Self> {
        let mut other = self.clone();
        let discriminants = match &mut other {
            Self::Knn(knn::Settings { discriminants, .. })
            | Self::RbfSvm(rbf_svm::Settings { discriminants, .. }) => discriminants,
            Self::Ridge(_)
            | Self::Forest(_)
            | Self::LinearSvm(_)
            | Self::Mlp(_)
            | Self::Boosted(_)
            | Self::Logistic(_)
            | Self::Lda(_) => return None,
        };
        *discriminants = !*discriminants;
        (!*discriminants || discriminants::are_found(width, classes)).then_some(other)
    }
}

/// What `work` gives for each of `count` pieces, in order, on so many threads: which of them does
/// a piece changes nothing. The first error in order is the answer.
fn abreast<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, FitError> + Sync,
) -> Result<Vec<T>, FitError> {
    let threads = threads.clamp(1, count.max(1));
    let (next, work) = (AtomicUsize::new(0), &work);
    let take = || {
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if count <= piece {
                return done;
            }
            done.push((piece, work(piece)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().expect("a fit does not panic"));
        }
        done
    });
    done.sort_by_key(|(piece, _)| *piece);
    done.into_iter().map(|(_, piece)| piece).collect()
}

/// Fits a model.
///
/// # Errors
///
/// [`FitError::Stopped`] soon after [`Stop::ask`]; [`FitError::Empty`], [`FitError::Labels`],
/// [`FitError::Class`], [`FitError::Weights`] and [`FitError::OneClass`] for rows that teach nothing;
/// [`FitError::TooLarge`] before much memory is taken; the others where a family says so.
pub fn fit(recipe: &Recipe, lesson: &Lesson<'_>) -> Result<Model, FitError> {
    lesson.check()?;
    let Some(counted) = Counted::of(lesson)? else {
        return fit_counted(recipe, &Lesson { weights: None, ..*lesson });
    };
    let lesson = &counted.lesson(lesson);
    lesson.check()?;
    fit_counted(recipe, lesson)
}

/// Fits a model to rows all of which count something.
fn fit_counted(recipe: &Recipe, lesson: &Lesson<'_>) -> Result<Model, FitError> {
    memory::check(recipe, lesson)?;
    match recipe {
        Recipe::Knn(settings) => Ok(Model::Knn(knn::fit(settings, lesson)?)),
        Recipe::Ridge(settings) => Ok(Model::Linear(ridge::fit(settings, lesson)?.lower())),
        Recipe::Forest(settings) => Ok(Model::Forest(forest::fit(settings, lesson)?.lower())),
        Recipe::LinearSvm(settings) => {
            Ok(Model::Linear(linear_svm::fit(settings, lesson)?.lower()))
        }
        Recipe::RbfSvm(settings) => Ok(Model::RbfSvm(rbf_svm::fit(settings, lesson)?.lower())),
        Recipe::Mlp(settings) => Ok(Model::Mlp(mlp::fit(settings, lesson)?.lower())),
        Recipe::Boosted(settings) => Ok(Model::Boosted(boosted::fit(settings, lesson)?.lower())),
        Recipe::Logistic(settings) => Ok(Model::Linear(logistic::fit(settings, lesson)?.lower())),
        Recipe::Lda(settings) => Ok(Model::Linear(lda::fit(settings, lesson)?.lower())),
    }
}

impl Lesson<'_> {
    fn check(&self) -> Result<(), FitError> {
        self.stop.check()?;
        let rows = self.samples.len();
        if self.labels.len() != rows {
            return Err(FitError::Labels { labels: self.labels.len(), rows });
        }
        let Some(&first) = self.labels.first() else { return Err(FitError::Empty) };
        if let Some(row) = self.labels.iter().position(|&it| self.classes <= usize::from(it)) {
            let class = self.labels[row];
            return Err(FitError::Class { row, class, classes: self.classes });
        }
        if self.labels.iter().all(|&class| class == first) {
            return Err(FitError::OneClass { class: first });
        }
        Ok(())
    }

    /// How many rows each class has.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }
}
