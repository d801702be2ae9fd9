//! Log-mel frames: what an ear hears, a hundred times a second.
//!
//! Frames of 400 samples every 160, no padding; periodic Hann window; 512-point transform,
//! magnitude; 64 triangular bands from 125 to 7500 Hz, evenly spaced in mel = 1127·ln(1 + f / 700)
//! and linear in mel, without bin 0; ln(band + 0.01).
//!
//! # Source
//!
//! The front end of VGGish (Hershey and others, ICASSP 2017). Checked against patches that another
//! implementation made, to 1e-4.

use crate::{number::count, spectrum::Spectrum};

/// Samples a second.
pub const RATE_HZ: u32 = 16_000;
/// Samples of a frame: 25 ms.
pub const FRAME: usize = 400;
/// Samples from one frame to the next: 10 ms.
pub const HOP: usize = 160;
/// Bands of a frame.
pub const BANDS: usize = 64;
/// Frames of a patch.
pub const PATCH_FRAMES: usize = 96;
/// What is added to a band before the logarithm: silence is ln(0.01).
pub const FLOOR: f64 = 0.01;
/// Points of the transform.
const POINTS: usize = 512;
/// Where the lowest band begins and the highest ends.
const EDGES_HZ: [f64; 2] = [125.0, 7500.0];

/// The front end: a window, a transform and the bands.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    spectrum: Spectrum,
    bands: Vec<Band>,
}

/// The weights of neighbouring bins.
#[derive(Clone, Debug, PartialEq)]
struct Band {
    first: usize,
    weights: Vec<f64>,
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    /// Plans the transform and the bands.
    #[must_use]
    pub fn new() -> Self {
        Self { spectrum: Spectrum::new(POINTS, FRAME), bands: bands() }
    }

    /// How many frames `samples` samples have.
    #[must_use]
    pub fn frames(samples: usize) -> usize {
        samples.checked_sub(FRAME).map_or(0, |rest| rest / HOP + 1)
    }

    /// The frames of `samples`, mono at 16 kHz and between -1 and 1.
    #[must_use]
    pub fn of(&self, samples: &[f32]) -> Vec<[f64; BANDS]> {
        let frame = |at: usize| {
            let samples = samples[at * HOP..][..FRAME].iter().copied().map(f64::from);
            let magnitude: Vec<f64> =
                self.spectrum.power(samples).iter().map(|it| it.sqrt()).collect();
            let mut frame = [0.0; BANDS];
            for (to, band) in frame.iter_mut().zip(&self.bands) {
                let bins = &magnitude[band.first..];
                let sum: f64 =
                    band.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum();
                *to = (sum + FLOOR).ln();
            }
            frame
        };
        (0..Self::frames(samples.len())).map(frame).collect()
    }
}

fn mel(hz: f64) -> f64 {
    1127.0 * (1.0 + hz / 700.0).ln()
}

fn bands() -> Vec<Band> {
    let [low, high] = EDGES_HZ.map(mel);
    let width = (high - low) / count(BANDS + 1);
    let bin_mel: Vec<f64> =
        (0..=POINTS / 2).map(|bin| mel(count(bin) * f64::from(RATE_HZ) / count(POINTS))).collect();
    (0..BANDS)
        .map(|band| {
            let begin = low + width * count(band);
            let (centre, end) = (begin + width, begin + 2.0 * width);
            let weight = |mel: f64| ((mel - begin) / width).min((end - mel) / width).max(0.0);
            debug_assert!(begin < centre && centre < end, "bands rise");
            let inside = |bin: &usize| 0.0 < weight(bin_mel[*bin]);
            let first = (1..bin_mel.len()).find(inside).unwrap_or(1);
            let weights =
                (first..bin_mel.len()).take_while(inside).map(|bin| weight(bin_mel[bin])).collect();
            Band { first, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole() {
        for (samples, frames) in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (80_000, 498)] {
            assert_eq!(LogMel::frames(samples), frames, "{samples}");
            assert_eq!(LogMel::new().of(&vec![0.0; samples]).len(), frames);
        }
        assert_eq!(LogMel::frames(15_600), PATCH_FRAMES);
    }

    #[test]
    fn silence_is_the_floor() {
        let frames = LogMel::new().of(&[0.0; FRAME]);
        assert!(frames[0].iter().all(|band| *band == FLOOR.ln()));
    }

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let samples: Vec<f32> = (0_u16..400)
            .map(|t| (std::f32::consts::TAU * 1000.0 * f32::from(t) / 16_000.0).sin())
            .collect();
        let frame = LogMel::new().of(&samples)[0];
        let loudest = (0..BANDS).max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap();
        // The centre of band b lies at (b + 1) / 65 of the way from 125 to 7500 Hz in mel.
        let [low, high] = EDGES_HZ.map(mel);
        let place = (mel(1000.0) - low) / (high - low) * 65.0 - 1.0;
        assert!((count(loudest) - place).abs() <= 1.0, "{loudest} instead of {place}");
    }

    #[test]
    fn every_band_hears_something() {
        for (at, band) in bands().iter().enumerate() {
            assert!(!band.weights.is_empty(), "band {at}");
            assert!(0 < band.first, "bin 0 is left out");
        }
    }
}
