//! How long a stretch of samples is looked at, how often, and what is said of it.

use models::{Features, ShapeError};

use crate::{
    Statistic,
    portrait::{Portrait, repeated},
    stretch::Stretch,
};

/// Most channels of a window.
pub const CHANNELS_MAX: usize = 4096;
/// Most samples of a window, and most samples from one window to the next.
pub const SAMPLES_MAX: usize = 1 << 20;

/// Most samples a second: a rate above it is a typing error.
pub const RATE_HZ_MAX: f64 = 1e9;

/// A window over channels that are sampled together: what a sensor's stream is cut into.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    channels: Vec<String>,
    rate_hz: f64,
    length: usize,
    step: usize,
    /// `None` when only [`Statistic`]s are wanted.
    portrait: Option<Portrait>,
}

/// How much is said of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// The seven [`Statistic`]s of each channel: for slow or short windows, such as telemetry.
    Brief,
    /// Course, spectrum, jerk, vectors and correlations ([`crate::portrait`]): for motion.
    #[default]
    Full,
}

impl Detail {
    /// Its name in a task file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Brief => "brief",
            Self::Full => "full",
        }
    }

    /// The detail with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Brief, Self::Full].into_iter().find(|it| it.name() == name)
    }
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
    #[error("two features would be called {name:?}: name the channels differently")]
    Repeated {
        /// The name.
        name: String,
    },
    /// A rate that is no rate.
    #[error("rate_hz = {rate_hz} must be a number above 0 and at most {RATE_HZ_MAX}")]
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
        detail: Detail,
    ) -> Result<Self, WindowError> {
        if channels.is_empty() || CHANNELS_MAX < channels.len() {
            return Err(WindowError::Channels { found: channels.len() });
        }
        if !(0.0 < rate_hz && rate_hz <= RATE_HZ_MAX) {
            return Err(WindowError::Rate { rate_hz });
        }
        let length = samples("length_s", length_s, rate_hz, 2)?;
        let step = samples("step_s", step_s, rate_hz, 1)?;
        let portrait = match detail {
            Detail::Brief => None,
            Detail::Full => Some(Portrait::new(&channels, length, rate_hz)),
        };
        let window = Self { channels, rate_hz, length, step, portrait };
        match repeated(&window.feature_names()) {
            Some(name) => Err(WindowError::Repeated { name: name.clone() }),
            None => Ok(window),
        }
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

    /// How much is said of a window.
    #[must_use]
    pub fn detail(&self) -> Detail {
        if self.portrait.is_some() { Detail::Full } else { Detail::Brief }
    }

    /// Features of every whole window of `samples`; see [`Stretch::batch`].
    ///
    /// # Errors
    ///
    /// As [`Stretch::batch`].
    pub fn batch(&self, samples: &Features) -> Result<Features, ShapeError> {
        Stretch::batch(self, samples)
    }
}

impl Stretch for Window {
    fn channels(&self) -> usize {
        self.channels.len()
    }

    fn length(&self) -> usize {
        self.length
    }

    fn step(&self) -> usize {
        self.step
    }

    /// Channel by channel: `cpu_user_mean`, `cpu_user_deviation`, …
    fn feature_names(&self) -> Vec<String> {
        match &self.portrait {
            Some(portrait) => portrait.names().to_vec(),
            None => self
                .channels
                .iter()
                .flat_map(|channel| Statistic::ALL.map(|it| format!("{channel}_{}", it.name())))
                .collect(),
        }
    }

    fn width(&self) -> usize {
        match &self.portrait {
            Some(portrait) => portrait.names().len(),
            None => self.channels.len() * Statistic::ALL.len(),
        }
    }

    fn features(&self, samples: &[f32]) -> Result<Vec<f32>, ShapeError> {
        let width = self.channels.len();
        if samples.len() != self.length * width {
            return Err(ShapeError::Ragged { values: samples.len(), width: self.length * width });
        }
        let channel = |at: usize| samples.iter().skip(at).step_by(width);
        if let Some(portrait) = &self.portrait {
            let series = |at| channel(at).copied().map(f64::from).collect();
            return Ok(portrait.features(&(0..width).map(series).collect::<Vec<_>>()));
        }
        let mut features = Vec::with_capacity(self.width());
        let mut values = Vec::with_capacity(self.length);
        for at in 0..width {
            values.clear();
            values.extend(channel(at));
            features.extend(Statistic::ALL.iter().map(|it| it.of(&values, self.rate_hz)));
        }
        Ok(features)
    }
}

/// `seconds` in whole samples.
pub(crate) fn samples(
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
        let window = Window::new(names(&["a", "b"]), 10.0, 0.4, 0.2, Detail::Brief).unwrap();
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
        let window = Window::new(names(&["a"]), 10.0, 0.4, 0.3, Detail::Brief).unwrap();
        let samples = Features::new(1, (0_u8..12).map(f32::from).collect()).unwrap();
        let features = window.batch(&samples).unwrap();
        let means: Vec<f32> = features.rows().map(|row| row[0]).collect();
        assert_eq!(means, [1.5, 4.5, 7.5]);
    }

    #[test]
    fn motion_has_a_name_for_every_number() {
        let six = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"];
        let window = Window::new(names(&six), 50.0, 2.56, 1.28, Detail::Full).unwrap();
        let feature_names = window.feature_names();
        assert_eq!((window.length(), window.step()), (128, 64));
        assert_eq!(feature_names.len(), window.width());
        // Along z at rest, with a little sway in x.
        let samples: Vec<f32> =
            (0_u8..128).flat_map(|t| [f32::from(t % 2) - 0.5, 0.0, 9.81, 0.0, 0.0, 0.0]).collect();
        let features = window.features(&samples).unwrap();
        assert_eq!(features.len(), window.width());
        let named = |name: &str| features[feature_names.iter().position(|it| it == name).unwrap()];
        assert_eq!(named("acc_z_mean"), 9.81);
        assert!((named("acc_z_cosine") - 1.0).abs() < 1e-6);
        assert_eq!(named("acc_x_peak_hz"), 25.0);
        assert_eq!(named("acc_x_jerk_max"), 50.0);
        assert!((named("acc_across_mean") - 0.5).abs() < 1e-6);
        assert_eq!(named("gyro_magnitude_max"), 0.0);
        assert_eq!(named("acc_x_gyro_z_correlation"), 0.0);
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let new = |channels, rate_hz, length_s, step_s| {
            Window::new(channels, rate_hz, length_s, step_s, Detail::Full)
        };
        let one = || names(&["a"]);
        assert_eq!(new(vec![], 1.0, 2.0, 1.0), Err(WindowError::Channels { found: 0 }));
        assert!(matches!(
            new(names(&["a", "a"]), 1.0, 2.0, 1.0),
            Err(WindowError::Repeated { .. })
        ));
        for rate_hz in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(new(one(), rate_hz, 2.0, 1.0), Err(WindowError::Rate { .. })));
        }
        for length_s in [0.0, -1.0, 0.1, f64::NAN, 1e12] {
            assert!(matches!(
                new(one(), 10.0, length_s, 1.0),
                Err(WindowError::Stretch { what: "length_s", .. })
            ));
        }
        assert!(matches!(
            new(one(), 10.0, 1.0, 0.01),
            Err(WindowError::Stretch { what: "step_s", .. })
        ));
        let window = new(one(), 10.0, 0.4, 0.2).unwrap();
        // The jerk of `a` and the channel `a_jerk` would share their names.
        assert!(matches!(
            new(names(&["a", "a_jerk"]), 1.0, 2.0, 1.0),
            Err(WindowError::Repeated { .. })
        ));
        assert!(matches!(window.features(&[0.0; 3]), Err(ShapeError::Ragged { .. })));
        let wide = Features::new(2, vec![0.0; 8]).unwrap();
        assert!(matches!(window.batch(&wide), Err(ShapeError::Width { .. })));
    }
}
