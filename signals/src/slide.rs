//! A window that slides over a live stream.

use models::ShapeError;

use crate::{Stretch, Window};

/// Takes samples one by one and gives the features of each stretch as soon as it is whole.
///
/// Holds two stretches of samples, never more. What it gives is what [`Stretch::batch`] gives for
/// the same samples: both call [`Stretch::features`].
#[derive(Clone, Debug)]
pub struct Slide<S = Window> {
    stretch: S,
    /// The last samples, oldest first: those of one stretch, and older ones that are dropped all
    /// at once, because to drop each by itself would move the whole stretch for every sample.
    samples: Vec<f32>,
    /// Samples to take until the next stretch is whole.
    missing: usize,
}

impl<S: Stretch> Slide<S> {
    /// A slide that has seen nothing.
    #[must_use]
    pub fn new(stretch: S) -> Self {
        let missing = stretch.length();
        Self { stretch, samples: Vec::new(), missing }
    }

    /// What it slides.
    #[must_use]
    pub fn window(&self) -> &S {
        &self.stretch
    }

    /// Takes the next sample; gives the features of the stretch that it completes, if it does.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] unless there is one value per channel, [`ShapeError::NotFinite`] for
    /// NaN or an infinity. A sample that is refused changes nothing.
    pub fn push(&mut self, sample: &[f32]) -> Result<Option<Vec<f32>>, ShapeError> {
        let width = self.stretch.channels();
        if sample.len() != width {
            return Err(ShapeError::Width { expected: width, actual: sample.len() });
        }
        if let Some(column) = sample.iter().position(|value| !value.is_finite()) {
            return Err(ShapeError::NotFinite { row: 0, column });
        }
        let whole = self.stretch.length() * width;
        if self.samples.len() == 2 * whole {
            self.samples.drain(..whole + width);
        }
        self.samples.extend_from_slice(sample);
        self.missing -= 1;
        if self.missing > 0 {
            return Ok(None);
        }
        self.missing = self.stretch.step();
        self.stretch.features(&self.samples[self.samples.len() - whole..]).map(Some)
    }

    /// Forgets what it has seen: after a gap in the stream no window may reach across it.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.missing = self.stretch.length();
    }
}

#[cfg(test)]
mod tests {
    use models::Features;
    use proptest::prelude::*;

    use super::*;
    use crate::Detail;

    fn window(channels: usize, length: u32, step: u32) -> Window {
        let names = (0..channels).map(|channel| format!("c{channel}")).collect();
        window_of(names, length, step, Detail::Brief)
    }

    fn window_of(names: Vec<String>, length: u32, step: u32, detail: Detail) -> Window {
        Window::new(names, 1.0, f64::from(length), f64::from(step), detail).unwrap()
    }

    fn streamed_equals_recorded(window: Window, values: &[f32]) -> Result<(), TestCaseError> {
        let channels = Stretch::channels(&window);
        let rows = values.len() / channels;
        let samples = Features::new(channels, values[..rows * channels].to_vec()).unwrap();
        let recorded = window.batch(&samples).unwrap();

        let mut slide = Slide::new(window);
        let mut streamed = Vec::new();
        for row in samples.rows() {
            if let Some(features) = slide.push(row).unwrap() {
                streamed.extend(features);
            }
            prop_assert!(slide.samples.len() <= 2 * slide.window().length() * channels);
        }
        let bits = |values: &[f32]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(recorded.values()), bits(&streamed));
        prop_assert!(recorded.values().iter().all(|value| value.is_finite()));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_stream_gives_what_the_recording_gives(
            channels in 1_usize..4,
            length in 2_u32..9,
            step in 1_u32..12,
            values in proptest::collection::vec(-1e9_f32..1e9, 0..200),
        ) {
            streamed_equals_recorded(window(channels, length, step), &values)?;
        }

        #[test]
        fn a_stream_of_motion_gives_what_the_recording_gives(
            length in 2_u32..40,
            step in 1_u32..12,
            values in proptest::collection::vec(proptest::num::f32::NORMAL
                | proptest::num::f32::ZERO | proptest::num::f32::SUBNORMAL, 0..400),
        ) {
            let names = ["acc_x", "acc_y", "acc_z", "other"].map(str::to_owned).to_vec();
            streamed_equals_recorded(window_of(names, length, step, Detail::Full), &values)?;
        }
    }

    #[test]
    fn a_refused_sample_changes_nothing() {
        let mut slide = Slide::new(window(1, 2, 1));
        assert_eq!(slide.push(&[1.0]), Ok(None));
        assert!(matches!(slide.push(&[1.0, 2.0]), Err(ShapeError::Width { .. })));
        assert!(matches!(slide.push(&[f32::NAN]), Err(ShapeError::NotFinite { column: 0, .. })));
        let features = slide.push(&[3.0]).unwrap().expect("the second sample completes a window");
        assert_eq!(features[0], 2.0);
    }

    #[test]
    fn no_window_reaches_across_a_gap() {
        let mut slide = Slide::new(window(1, 2, 1));
        slide.push(&[1.0]).unwrap();
        slide.reset();
        assert_eq!(slide.push(&[5.0]), Ok(None));
        let features = slide.push(&[7.0]).unwrap().expect("two samples after the gap");
        assert_eq!(features[0], 6.0);
    }
}
