//! A window that slides over a live stream.

use models::ShapeError;

use crate::Window;

/// Takes samples one by one and gives the features of each window as soon as it is whole.
///
/// Holds one window of samples, never more. What it gives is what [`Window::batch`] gives for the
/// same samples: both call [`Window::features`].
#[derive(Clone, Debug)]
pub struct Slide {
    window: Window,
    /// The last samples, oldest first, at most one window of them.
    samples: Vec<f32>,
    /// Samples to take until the next window is whole.
    missing: usize,
}

impl Slide {
    /// A slide that has seen nothing.
    #[must_use]
    pub fn new(window: Window) -> Self {
        let missing = window.length();
        Self { window, samples: Vec::new(), missing }
    }

    /// What it slides.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Takes the next sample; gives the features of the window that it completes, if it does.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] unless there is one value per channel, [`ShapeError::NotFinite`] for
    /// NaN or an infinity. A sample that is refused changes nothing.
    pub fn push(&mut self, sample: &[f32]) -> Result<Option<Vec<f32>>, ShapeError> {
        let width = self.window.channels().len();
        if sample.len() != width {
            return Err(ShapeError::Width { expected: width, actual: sample.len() });
        }
        if let Some(column) = sample.iter().position(|value| !value.is_finite()) {
            return Err(ShapeError::NotFinite { row: 0, column });
        }
        if self.samples.len() == self.window.length() * width {
            self.samples.drain(..width);
        }
        self.samples.extend_from_slice(sample);
        self.missing -= 1;
        if self.missing > 0 {
            return Ok(None);
        }
        self.missing = self.window.step();
        self.window.features(&self.samples).map(Some)
    }

    /// Forgets what it has seen: after a gap in the stream no window may reach across it.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.missing = self.window.length();
    }
}

#[cfg(test)]
mod tests {
    use models::Features;
    use proptest::prelude::*;

    use super::*;

    fn window(channels: usize, length: u32, step: u32) -> Window {
        let names = (0..channels).map(|channel| format!("c{channel}")).collect();
        Window::new(names, 1.0, f64::from(length), f64::from(step)).unwrap()
    }

    proptest! {
        #[test]
        fn a_stream_gives_what_the_recording_gives(
            channels in 1_usize..4,
            length in 2_u32..9,
            step in 1_u32..12,
            values in proptest::collection::vec(-1e9_f32..1e9, 0..200),
        ) {
            let rows = values.len() / channels;
            let samples = Features::new(channels, values[..rows * channels].to_vec()).unwrap();
            let window = window(channels, length, step);
            let recorded = window.batch(&samples).unwrap();

            let mut slide = Slide::new(window);
            let mut streamed = Vec::new();
            for row in samples.rows() {
                if let Some(features) = slide.push(row).unwrap() {
                    streamed.extend(features);
                }
                prop_assert!(slide.samples.len() <= slide.window.length() * channels);
            }
            prop_assert_eq!(recorded.values(), streamed.as_slice());
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
