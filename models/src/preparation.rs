//! What is done to a sample before a member sees it: columns selected, standardised, projected.

use crate::{
    check,
    features::Features,
    kernel::{finite, products},
    member::ModelError,
    schema::FEATURES_MAX,
    work::Work,
};

/// One step of a [`Preparation`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Keep these columns, in this order.
    Select {
        /// Column indices into the step's input.
        columns: Vec<u32>,
    },
    /// `(x - mean) * factor`, column by column. A constant column has factor 0.
    Standardise {
        /// Mean of each column.
        mean: Vec<f32>,
        /// One over the deviation of each column.
        factor: Vec<f32>,
    },
    /// `components · (x - mean)`: principal components.
    Project {
        /// Mean of each input column.
        mean: Vec<f32>,
        /// `[output width, input width]`, row-major.
        components: Vec<f32>,
    },
}

/// Steps from the task's features to a member's input, fitted on training rows only.
///
/// Members that share a preparation name the same index, so that it is done once per sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preparation {
    /// In the order they are done.
    pub steps: Vec<Step>,
}

/// Most steps of one preparation.
pub const STEPS_MAX: usize = 16;

impl Step {
    /// The step's output for `x`, which is as wide as the step's input; `out` is replaced.
    fn apply(&self, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        match self {
            Self::Select { columns } => {
                out.extend(columns.iter().map(|&column| x[column as usize]));
            }
            Self::Standardise { mean, factor } => {
                let scaled = x.iter().zip(mean).zip(factor);
                out.extend(scaled.map(|((x, mean), factor)| finite(finite(x - mean) * factor)));
            }
            Self::Project { mean, components } => {
                // components · (x - mean) without a buffer for the difference would sum in another
                // order than the trainer; the difference goes to the front of `out` and is dropped.
                let width = mean.len();
                out.extend(x.iter().zip(mean).map(|(x, mean)| finite(x - mean)));
                out.resize(width + components.len() / width, 0.0);
                let (centred, projected) = out.split_at_mut(width);
                let mut projected = projected.iter_mut();
                products(components, centred, |product| {
                    if let Some(y) = projected.next() {
                        *y = finite(product);
                    }
                });
                out.drain(..width);
            }
        }
    }

    /// The width that comes out when `width` goes in.
    fn width(&self, width: usize) -> Result<usize, ModelError> {
        match self {
            Self::Select { columns } => {
                check::some("selected columns", columns.len())?;
                check::at_most("selected columns", columns.len(), FEATURES_MAX)?;
                for &column in columns {
                    check::below("selected columns", column, width)?;
                }
                Ok(columns.len())
            }
            Self::Standardise { mean, factor } => {
                check::length("means", mean, width)?;
                check::length("factors", factor, width)?;
                check::finite("means", mean)?;
                check::finite("factors", factor)?;
                Ok(width)
            }
            Self::Project { mean, components } => {
                check::length("means", mean, width)?;
                check::some("components", components.len())?;
                let outputs = components.len() / width;
                check::length("components", components, outputs * width)?;
                check::at_most("components", outputs, FEATURES_MAX)?;
                check::finite("means", mean)?;
                check::finite("components", components)?;
                Ok(outputs)
            }
        }
    }

    fn work(&self) -> Work {
        let madds = match self {
            Self::Select { columns } => columns.len(),
            Self::Standardise { mean, .. } => mean.len(),
            Self::Project { mean, components } => mean.len() + components.len(),
        };
        Work { madds: u64::try_from(madds).unwrap_or(u64::MAX), ..Work::default() }
    }
}

impl Preparation {
    /// Nothing is done.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// Prepares one sample into `out`; `spare` is a buffer.
    ///
    /// What overflows becomes the largest finite value, so that finite samples stay finite.
    ///
    /// # Panics
    ///
    /// When `row` is narrower than what [`Preparation::width`] was asked for.
    pub fn apply_into(&self, row: &[f32], out: &mut Vec<f32>, spare: &mut Vec<f32>) {
        let Some((first, rest)) = self.steps.split_first() else {
            out.clear();
            out.extend_from_slice(row);
            return;
        };
        first.apply(row, out);
        for step in rest {
            step.apply(out, spare);
            std::mem::swap(out, spare);
        }
    }

    /// One prepared sample.
    ///
    /// # Panics
    ///
    /// As [`Preparation::apply_into`].
    #[must_use]
    pub fn apply(&self, row: &[f32]) -> Vec<f32> {
        let (mut out, mut spare) = (Vec::new(), Vec::new());
        self.apply_into(row, &mut out, &mut spare);
        out
    }

    /// Prepares every sample, one at a time with the arithmetic that serves.
    ///
    /// # Errors
    ///
    /// A [`ModelError`] when the steps do not fit samples of that width.
    pub fn features(&self, samples: &Features) -> Result<Features, ModelError> {
        let width = self.width(samples.width())?;
        let mut values = Vec::with_capacity(samples.len() * width);
        let (mut out, mut spare) = (Vec::new(), Vec::new());
        for row in samples.rows() {
            self.apply_into(row, &mut out, &mut spare);
            values.extend_from_slice(&out);
        }
        Ok(Features::new(width, values).expect("a prepared finite sample is finite"))
    }

    /// The width that comes out when `width` goes in.
    ///
    /// # Errors
    ///
    /// A [`ModelError`] when a step does not fit what the one before it gives.
    pub fn width(&self, width: usize) -> Result<usize, ModelError> {
        check::at_most("preparation steps", self.steps.len(), STEPS_MAX)?;
        self.steps.iter().try_fold(width, |width, step| step.width(width))
    }

    /// What preparing one sample costs.
    #[must_use]
    pub fn work(&self) -> Work {
        self.steps.iter().map(Step::work).sum()
    }

    /// Bytes of all arrays.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let values: usize = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Select { columns } => columns.len(),
                Step::Standardise { mean, factor } => mean.len() + factor.len(),
                Step::Project { mean, components } => mean.len() + components.len(),
            })
            .sum();
        u64::try_from(values).unwrap_or(u64::MAX).saturating_mul(4)
    }
}
