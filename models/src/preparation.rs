//! What is done to a sample before a member sees it: columns selected, standardised, projected.

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
