//! Sound: clips become log-mel frames, and frames become features.
//!
//! [`Clip::decode`] reads FLAC and WAV, [`LogMel`] turns samples into frames of 64 bands a hundred
//! times a second, and [`Sound`] says which stretch of them is a row of features: the frames
//! themselves, or [`compact`] statistics that a small classifier learns from a few clips.

pub mod clip;
pub mod compact;
pub mod logmel;

use models::ShapeError;

pub use clip::{Clip, ClipError};
pub use logmel::LogMel;

use self::{
    compact::Compact,
    logmel::{BANDS, RATE_HZ},
};
use crate::{Stretch, WindowError, window::samples};

/// What is said of a stretch of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoundDetail {
    /// Statistics of each band, of the cepstrum and of the loudness: see [`compact`].
    #[default]
    Compact,
    /// Every band of every frame, `[frames, 64]` row by row: a patch of 96 frames is 0.975 s.
    LogMel,
}

impl SoundDetail {
    /// Its name in a task file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::LogMel => "log-mel",
        }
    }

    /// The detail with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Compact, Self::LogMel].into_iter().find(|it| it.name() == name)
    }
}

/// A stretch of sound at 16 kHz: how long, how often, and what is said of it.
///
/// Sound of another rate is refused rather than resampled: what a filter leaves out depends on the
/// filter, and a model must not meet another one in service than in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    length: usize,
    step: usize,
    log_mel: LogMel,
    /// `None` when the frames themselves are wanted.
    compact: Option<Compact>,
}

/// Why there is no such stretch of sound.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SoundError {
    /// Another rate than that of the log-mel front end.
    #[error("rate_hz = {rate_hz} is not {RATE_HZ}, the only rate that log-mel bands are made for")]
    Rate {
        /// What was asked for.
        rate_hz: f64,
    },
    /// A length or a step that is none.
    #[error(transparent)]
    Stretch(#[from] WindowError),
    /// Too short for a single frame.
    #[error("length_s = {length_s} is shorter than one frame of {} ms", 1000 * logmel::FRAME / 16_000)]
    Short {
        /// What was asked for.
        length_s: f64,
    },
}

impl Sound {
    /// Stretches of `length_s` seconds, a new one every `step_s` seconds. Lengths are rounded to
    /// whole samples.
    ///
    /// # Errors
    ///
    /// One variant of [`SoundError`] for each way of being wrong.
    pub fn new(
        rate_hz: f64,
        length_s: f64,
        step_s: f64,
        detail: SoundDetail,
    ) -> Result<Self, SoundError> {
        if rate_hz != f64::from(RATE_HZ) {
            return Err(SoundError::Rate { rate_hz });
        }
        let length = samples("length_s", length_s, rate_hz, 2)?;
        let step = samples("step_s", step_s, rate_hz, 1)?;
        let frames = LogMel::frames(length);
        if frames == 0 {
            return Err(SoundError::Short { length_s });
        }
        let compact = match detail {
            SoundDetail::Compact => Some(Compact::new(frames)),
            SoundDetail::LogMel => None,
        };
        Ok(Self { length, step, log_mel: LogMel::new(), compact })
    }

    /// The features of every stretch of a clip.
    ///
    /// A clip that ends before its first stretch does is filled up with silence, so that every
    /// clip has a row; what is left over after the last whole stretch is left out.
    ///
    /// # Shapes
    ///
    /// `samples` are mono, 16 kHz, between -1 and 1; each row has [`Stretch::width`] values.
    ///
    /// # Errors
    ///
    /// [`ShapeError::NotFinite`] for a sample that is NaN or infinite.
    pub fn rows(&self, samples: &[f32]) -> Result<Vec<Vec<f32>>, ShapeError> {
        if let Some(row) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(ShapeError::NotFinite { row, column: 0 });
        }
        if samples.len() < self.length {
            let mut filled = samples.to_vec();
            filled.resize(self.length, 0.0);
            return Ok(vec![self.features(&filled)?]);
        }
        let last = samples.len() - self.length;
        (0..=last)
            .step_by(self.step)
            .map(|at| self.features(&samples[at..at + self.length]))
            .collect()
    }
}

impl Stretch for Sound {
    fn channels(&self) -> usize {
        1
    }

    fn length(&self) -> usize {
        self.length
    }

    fn step(&self) -> usize {
        self.step
    }

    fn feature_names(&self) -> Vec<String> {
        match &self.compact {
            Some(compact) => compact.names(),
            None => (0..LogMel::frames(self.length))
                .flat_map(|frame| (0..BANDS).map(move |band| format!("t{frame:02}f{band:02}")))
                .collect(),
        }
    }

    fn features(&self, samples: &[f32]) -> Result<Vec<f32>, ShapeError> {
        if samples.len() != self.length {
            return Err(ShapeError::Ragged { values: samples.len(), width: self.length });
        }
        let frames = self.log_mel.of(samples);
        Ok(match &self.compact {
            Some(compact) => compact.features(&frames),
            None => frames.into_iter().flatten().map(crate::number::narrow).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
