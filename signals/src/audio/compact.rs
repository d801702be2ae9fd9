//! What a small classifier is told of a stretch of sound.
//!
//! | name | what it is |
//! | --- | --- |
//! | `f00_mean` … `f63_mean`, `_deviation`, `_low`, `_high` | of each band over the heard frames: mean, deviation, first and last decile |
//! | `f00_delta` … | mean distance of neighbouring frames in each band |
//! | `c01_mean` … `c19_mean`, `_deviation`, `_delta` | the same of the cepstrum, which says the shape of the spectrum without its loudness |
//! | `loudness_…` | course and spectrum of the loudness over all frames: attacks, pauses, rhythm |
//! | `heard` | share of the frames that are not silence |
//!
//! A frame is *heard* when it is louder than digital silence. Clips are often filled up with it,
//! and what they sound like must not depend on how much; when all is silence, all frames count.
//! The list is ours; bands and cepstrum follow what is usual for sound events (Piczak 2015).

use std::f64::consts::PI;

use super::logmel::{BANDS, FLOOR, HOP, RATE_HZ};
use crate::{
    course::{self, course},
    number::{count, mean, narrow, quantile, share},
    spectrum::{self, Spectrum},
};

/// Coefficients of the cepstrum, without the first, which is loudness.
const CEPSTRUM: usize = 19;
/// How far above silence the loudness of a frame must be, in nats.
const HEARD_NATS: f64 = 0.05;
/// What is said of each band.
const OF_BAND: [&str; 5] = ["mean", "deviation", "low", "high", "delta"];
/// What is said of each coefficient of the cepstrum.
const OF_COEFFICIENT: [&str; 3] = ["mean", "deviation", "delta"];

/// The plan for stretches of a given number of frames.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compact {
    spectrum: Spectrum,
    cosines: Vec<[f64; BANDS]>,
}

impl Compact {
    /// For stretches of `frames` frames.
    pub(crate) fn new(frames: usize) -> Self {
        let cosine = |order: usize, band: usize| {
            (PI * count(order) * (count(band) + 0.5) / count(BANDS)).cos() / count(BANDS).sqrt()
        };
        let cosines =
            (1..=CEPSTRUM).map(|order| std::array::from_fn(|band| cosine(order, band))).collect();
        Self { spectrum: Spectrum::new(frames, frames), cosines }
    }

    /// The names of the features, in their order.
    #[expect(clippy::unused_self, reason = "what it says belongs to its features")]
    pub(crate) fn names(&self) -> Vec<String> {
        let bands = (0..BANDS).flat_map(|band| OF_BAND.map(|name| format!("f{band:02}_{name}")));
        let cepstrum = (1..=CEPSTRUM)
            .flat_map(|order| OF_COEFFICIENT.map(|name| format!("c{order:02}_{name}")));
        let loudness = course::NAMES.iter().chain(&spectrum::NAMES);
        let loudness = loudness.map(|name| format!("loudness_{name}"));
        bands.chain(cepstrum).chain(loudness).chain(["heard".to_owned()]).collect()
    }

    /// The features of one stretch, which has the planned number of frames.
    pub(crate) fn features(&self, frames: &[[f64; BANDS]]) -> Vec<f32> {
        let loudness: Vec<f64> = frames.iter().map(loudness).collect();
        let heard = |it: &f64| FLOOR.ln() + HEARD_NATS < *it;
        let loud: Vec<[f64; BANDS]> =
            frames.iter().zip(&loudness).filter(|(_, it)| heard(it)).map(|it| *it.0).collect();
        let part = share(count(loud.len()), count(frames.len()));
        let loud = if loud.is_empty() { frames.to_vec() } else { loud };

        let mut features = Vec::with_capacity(512);
        for band in 0..BANDS {
            let mut series: Vec<f64> = loud.iter().map(|frame| frame[band]).collect();
            let (level, spread, change) = summary(&series);
            series.sort_by(f64::total_cmp);
            features.extend([
                level,
                spread,
                quantile(&series, 0.1),
                quantile(&series, 0.9),
                change,
            ]);
        }
        for cosines in &self.cosines {
            let coefficient = |frame: &[f64; BANDS]| -> f64 {
                frame.iter().zip(cosines).map(|(band, cosine)| band * cosine).sum()
            };
            let (level, spread, change) =
                summary(&loud.iter().map(coefficient).collect::<Vec<_>>());
            features.extend([level, spread, change]);
        }
        let rate_hz = f64::from(RATE_HZ) / count(HOP);
        features.extend(course(&loudness, rate_hz));
        features.extend(self.spectrum.features(&loudness, rate_hz));
        features.push(part);
        features.into_iter().map(narrow).collect()
    }
}

/// The logarithm of the mean band.
fn loudness(frame: &[f64; BANDS]) -> f64 {
    // Taken relative to the loudest band, so that no sound is too loud for the exponential.
    let loudest = frame.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = frame.iter().map(|band| (band - loudest).exp()).sum();
    loudest + (sum / count(BANDS)).ln()
}

/// Mean, deviation and mean distance of neighbours.
fn summary(series: &[f64]) -> (f64, f64, f64) {
    let level = mean(series);
    let spread = series.iter().map(|it| (it - level).powi(2)).sum::<f64>();
    let change: f64 = series.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let n = count(series.len());
    (level, share(spread, n).sqrt(), share(change, n - 1.0))
}
