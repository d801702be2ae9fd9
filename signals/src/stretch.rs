//! A stretch of samples that is looked at at once: how long, how often, and what is said of it.

use models::{Features, ShapeError};

/// What cuts recordings and streams of samples into rows of features.
///
/// [`Stretch::features`] is the one place where samples become features: [`Stretch::batch`] calls
/// it for a recording and [`crate::Slide`] for a stream, so that both give the same bits.
pub trait Stretch {
    /// Values of a sample.
    fn channels(&self) -> usize;

    /// Samples in a stretch.
    fn length(&self) -> usize;

    /// Samples from the beginning of a stretch to the beginning of the next.
    fn step(&self) -> usize;

    /// The names of the features, in their order, each once.
    fn feature_names(&self) -> Vec<String>;

    /// How many features a stretch has.
    fn width(&self) -> usize {
        self.feature_names().len()
    }

    /// The features of one stretch.
    ///
    /// # Shapes
    ///
    /// `samples` is `[length, channels]`, row-major and finite; the answer has [`Stretch::width`]
    /// finite values, in the order of [`Stretch::feature_names`].
    ///
    /// # Errors
    ///
    /// [`ShapeError::Ragged`] when `samples` is not exactly one stretch.
    fn features(&self, samples: &[f32]) -> Result<Vec<f32>, ShapeError>;

    /// The features of every whole stretch of `samples`, which lie [`Stretch::step`] apart from the
    /// first sample on; the same that a [`crate::Slide`] gives for the same samples.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] when a sample has not one value per channel.
    fn batch(&self, samples: &Features) -> Result<Features, ShapeError> {
        let (width, length) = (samples.width(), self.length());
        if width != self.channels() {
            return Err(ShapeError::Width { expected: self.channels(), actual: width });
        }
        let mut features = Vec::new();
        let mut begin = 0;
        while begin + length <= samples.len() {
            let rows = begin * width..(begin + length) * width;
            features.extend(self.features(&samples.values()[rows])?);
            begin += self.step();
        }
        Features::new(self.width(), features)
    }
}
