//! How long a stretch of samples is looked at, how often, and what is said of it.

use models::{Features, ShapeError};

use crate::Statistic;

/// Most channels of a window.
pub const CHANNELS_MAX: usize = 4096;
/// Most samples of a window, and most samples from one window to the next.
pub const SAMPLES_MAX: usize = 1 << 20;

/// A window over channels that are sampled together: what a sensor's stream is cut into.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    channels: Vec<String>,
    rate_hz: f64,
    length: usize,
    step: usize,
}

/// Why there is no such window.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WindowError {
    /// Nothing to look at, or too much.
    #[error("{found} channels; a window has 1 to {CHANNELS_MAX}")]
    Channels {
        /// How many there are.
        found: usize,
    },
    /// The same name twice: its features could not be told apart.
    #[error("the channel {name:?} stands twice")]
    Repeated {
        /// The name.
        name: String,
    },
    /// A rate that is no rate.
    #[error("rate_hz = {rate_hz} must be a finite number above 0")]
    Rate {
        /// What was asked for.
        rate_hz: f64,
    },
    /// Too short to say something, or too long to keep.
    #[error("{what} = {seconds} at {rate_hz} Hz is no stretch of {least} to {SAMPLES_MAX} samples")]
    Stretch {
        /// `length_s` or `step_s`.
        what: &'static str,
        /// What was asked for.
        seconds: f64,
        /// Samples a second.
        rate_hz: f64,
        /// The fewest samples that make sense.
        least: usize,
    },
}

impl Window {
    /// A window of `length_s` seconds, a new one every `step_s` seconds, over `channels` that are
    /// sampled `rate_hz` times a second. Lengths are rounded to whole samples.
    ///
    /// # Errors
    ///
    /// One variant of [`WindowError`] for each way of being wrong.
    pub fn new(
        channels: Vec<String>,
        rate_hz: f64,
        length_s: f64,
        step_s: f64,
    ) -> Result<Self, WindowError> {
        if channels.is_empty() || CHANNELS_MAX < channels.len() {
            return Err(WindowError::Channels { found: channels.len() });
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(name) = channels.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(WindowError::Repeated { name: name.clone() });
        }
        if !(rate_hz.is_finite() && 0.0 < rate_hz) {
            return Err(WindowError::Rate { rate_hz });
        }
        let length = samples("length_s", length_s, rate_hz, 2)?;
        let step = samples("step_s", step_s, rate_hz, 1)?;
        Ok(Self { channels, rate_hz, length, step })
    }

    /// The channels, in the order of a sample's values.
    #[must_use]
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Samples a second.
    #[must_use]
    pub fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// Samples in a window.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Samples from the beginning of a window to the beginning of the next.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    /// How many features a window has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.channels.len() * Statistic::ALL.len()
    }

    /// The names of the features, channel by channel: `cpu_user_mean`, `cpu_user_deviation`, …
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        self.channels
            .iter()
            .flat_map(|channel| {
                Statistic::ALL
                    .iter()
                    .map(move |statistic| format!("{channel}_{}", statistic.name()))
            })
            .collect()
    }

    /// The features of one window.
    ///
    /// # Shapes
    ///
    /// `samples` is `[length, channels]`, row-major and finite; the answer has [`Window::width`]
    /// finite values, in the order of [`Window::feature_names`].
    ///
    /// # Errors
    ///
    /// [`ShapeError::Ragged`] when `samples` is not exactly one window.
    pub fn features(&self, samples: &[f32]) -> Result<Vec<f32>, ShapeError> {
        let width = self.channels.len();
        if samples.len() != self.length * width {
            return Err(ShapeError::Ragged { values: samples.len(), width: self.length * width });
        }
        let mut features = Vec::with_capacity(self.width());
        let mut values = Vec::with_capacity(self.length);
        for channel in 0..width {
            values.clear();
            values.extend(samples.iter().skip(channel).step_by(width));
            features.extend(Statistic::ALL.iter().map(|it| it.of(&values, self.rate_hz)));
        }
        Ok(features)
    }

    /// The features of every whole window of `samples`, which lie [`Window::step`] apart from the
    /// first sample on; the same that a [`crate::Slide`] gives for the same samples.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Width`] when a sample has not one value per channel.
    pub fn batch(&self, samples: &Features) -> Result<Features, ShapeError> {
        if samples.width() != self.channels.len() {
            return Err(ShapeError::Width {
                expected: self.channels.len(),
                actual: samples.width(),
            });
        }
        let mut features = Vec::new();
        let mut begin = 0;
        while begin + self.length <= samples.len() {
            let rows = begin * samples.width()..(begin + self.length) * samples.width();
            features.extend(self.features(&samples.values()[rows])?);
            begin += self.step;
        }
        Features::new(self.width(), features)
    }
}

/// `seconds` in whole samples.
fn samples(
    what: &'static str,
    seconds: f64,
    rate_hz: f64,
    least: usize,
) -> Result<usize, WindowError> {
    let wrong = || WindowError::Stretch { what, seconds, rate_hz, least };
    let exact = (seconds * rate_hz).round();
    if !(0.0..=1e9).contains(&exact) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 0 and 1e9"
    )]
    let whole = exact as usize;
    if (least..=SAMPLES_MAX).contains(&whole) { Ok(whole) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn features_are_named_channel_by_channel() {
        let window = Window::new(names(&["a", "b"]), 10.0, 0.4, 0.2).unwrap();
        let feature_names = window.feature_names();
        assert_eq!(feature_names.len(), window.width());
        assert_eq!(feature_names[0], "a_mean");
        assert_eq!(feature_names[7], "b_mean");
        // Channel a rises, channel b stands still.
        let features = window.features(&[0.0, 5.0, 1.0, 5.0, 2.0, 5.0, 3.0, 5.0]).unwrap();
        let named = |name: &str| features[feature_names.iter().position(|it| it == name).unwrap()];
        assert_eq!(named("a_mean"), 1.5);
        assert_eq!(named("a_slope"), 10.0);
        assert_eq!(named("b_mean"), 5.0);
        assert_eq!(named("b_change"), 0.0);
    }

    #[test]
    fn windows_lie_a_step_apart_and_the_broken_last_one_is_left_out() {
        let window = Window::new(names(&["a"]), 10.0, 0.4, 0.3).unwrap();
        let samples = Features::new(1, (0_u8..12).map(f32::from).collect()).unwrap();
        let features = window.batch(&samples).unwrap();
        let means: Vec<f32> = features.rows().map(|row| row[0]).collect();
        assert_eq!(means, [1.5, 4.5, 7.5]);
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let one = || names(&["a"]);
        assert_eq!(Window::new(vec![], 1.0, 2.0, 1.0), Err(WindowError::Channels { found: 0 }));
        assert!(matches!(
            Window::new(names(&["a", "a"]), 1.0, 2.0, 1.0),
            Err(WindowError::Repeated { .. })
        ));
        for rate_hz in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Window::new(one(), rate_hz, 2.0, 1.0), Err(WindowError::Rate { .. })));
        }
        for length_s in [0.0, -1.0, 0.1, f64::NAN, 1e12] {
            assert!(matches!(
                Window::new(one(), 10.0, length_s, 1.0),
                Err(WindowError::Stretch { what: "length_s", .. })
            ));
        }
        assert!(matches!(
            Window::new(one(), 10.0, 1.0, 0.01),
            Err(WindowError::Stretch { what: "step_s", .. })
        ));
        let window = Window::new(one(), 10.0, 0.4, 0.2).unwrap();
        assert!(matches!(window.features(&[0.0; 3]), Err(ShapeError::Ragged { .. })));
        let wide = Features::new(2, vec![0.0; 8]).unwrap();
        assert!(matches!(window.batch(&wide), Err(ShapeError::Width { .. })));
    }
}
