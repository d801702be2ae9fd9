//! What a series is made of: its spectrum in a window.
//!
//! | name | what it is | unit |
//! | --- | --- | --- |
//! | `centroid`, `bandwidth` | mean frequency by power, and the deviation around it | Hz |
//! | `peak_hz` | the strongest frequency; the lowest of equals | Hz |
//! | `peak_share` | its share of the power | none |
//! | `entropy` | of the power over the frequencies: 0 for one tone, 1 for white noise | none |
//! | `band_01` … `band_12` | root of the power in half octaves up to half the rate | of the series |
//!
//! The series loses its mean and is faded in and out by a Hann window first. Bands are cut where
//! they are cut, through a bin of the transform if need be, so that none is empty by accident.
//! A series without power has 0 everywhere.

use std::{f64::consts::TAU, fmt, sync::Arc};

use rustfft::{Fft, FftPlanner, num_complex::Complex};

use crate::number::{count, mean, share};

/// Half octaves below half the sampling rate; the lowest takes in all that is lower still.
const BANDS: usize = 12;

/// What stands after the name of a series, in the order of [`Spectrum::features`].
pub(crate) const NAMES: [&str; 5 + BANDS] = [
    "centroid",
    "bandwidth",
    "peak_hz",
    "peak_share",
    "entropy",
    "band_01",
    "band_02",
    "band_03",
    "band_04",
    "band_05",
    "band_06",
    "band_07",
    "band_08",
    "band_09",
    "band_10",
    "band_11",
    "band_12",
];

/// A transform of a given length, planned once.
///
/// The plan is the portable one: the same bits on every processor.
#[derive(Clone)]
pub(crate) struct Spectrum {
    fft: Arc<dyn Fft<f64>>,
    fade: Vec<f64>,
}

impl Spectrum {
    /// A transform of `length` values, faded by a periodic Hann window over `faded` of them.
    pub(crate) fn new(length: usize, faded: usize) -> Self {
        let fft = FftPlanner::new().plan_fft_forward(length.max(1));
        let period = count(faded).max(1.0);
        let fade = (0..faded).map(|at| 0.5 - 0.5 * (TAU * count(at) / period).cos()).collect();
        Self { fft, fade }
    }

    /// The power of each frequency from 0 to half the rate: `length / 2 + 1` values.
    pub(crate) fn power(&self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut buffer = vec![Complex::new(0.0, 0.0); self.fft.len()];
        for (to, (value, fade)) in buffer.iter_mut().zip(values.zip(&self.fade)) {
            to.re = value * fade;
        }
        self.fft.process(&mut buffer);
        buffer[..=self.fft.len() / 2].iter().map(|bin| bin.re * bin.re + bin.im * bin.im).collect()
    }

    /// The numbers of [`NAMES`] for `values`, which were sampled `rate_hz` times a second.
    pub(crate) fn features(&self, values: &[f64], rate_hz: f64) -> [f64; NAMES.len()] {
        let mut features = [0.0; NAMES.len()];
        let still = values.windows(2).all(|pair| pair[0] == pair[1]);
        let mean = mean(values);
        let power = self.power(values.iter().map(|value| value - mean));
        // Bin 0 is the mean, which is gone, and what the fading put in its place.
        let power = power.get(1..).unwrap_or_default();
        let total: f64 = power.iter().sum();
        if still || total <= 0.0 {
            return features;
        }
        let bin_hz = rate_hz / count(self.fft.len());
        let mut frequency = 0.0;
        let (mut centroid, mut square, mut entropy) = (0.0, 0.0, 0.0);
        let (mut peak_hz, mut peak) = (0.0, 0.0);
        for part in power {
            frequency += bin_hz;
            let part = part / total;
            centroid += part * frequency;
            square += part * (frequency / rate_hz).powi(2);
            if part > 0.0 {
                entropy -= part * part.ln();
            }
            if peak < part {
                (peak_hz, peak) = (frequency, part);
            }
        }
        let spread = (square - (centroid / rate_hz).powi(2)).max(0.0).sqrt() * rate_hz;
        entropy = share(entropy, count(power.len()).ln());
        features[..5].copy_from_slice(&[centroid, spread, peak_hz, peak, entropy]);

        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
            / count(values.len()))
        .sqrt();
        for (to, part) in features[5..].iter_mut().zip(bands(power)) {
            *to = (part / total).sqrt() * deviation;
        }
        features
    }
}

/// The power in each half octave; bin k of the transform reaches from k - ½ to k + ½.
fn bands(power: &[f64]) -> [f64; BANDS] {
    let mut bands = [0.0; BANDS];
    let top = count(power.len()) + 0.5;
    for (at, band) in bands.iter_mut().enumerate() {
        let edge = |at: usize| top * (-0.5 * count(BANDS - at)).exp2();
        let low = if at == 0 { 0.0 } else { edge(at) };
        let high = edge(at + 1);
        let mut bin = 0.5;
        for part in power {
            let overlap = high.min(bin + 1.0) - low.max(bin);
            *band += part * overlap.max(0.0);
            bin += 1.0;
        }
    }
    bands
}

impl fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectrum").field("length", &self.fft.len()).finish_non_exhaustive()
    }
}

impl PartialEq for Spectrum {
    /// Two plans of the same length give the same bits.
    fn eq(&self, other: &Self) -> bool {
        self.fft.len() == other.fft.len() && self.fade == other.fade
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(length: u32, swings: f64) -> Vec<f64> {
        (0..length)
            .map(|t| 3.0 + 2.0 * (f64::from(t) * TAU * swings / f64::from(length)).sin())
            .collect()
    }

    fn features(values: &[f64], rate_hz: f64) -> [f64; NAMES.len()] {
        Spectrum::new(values.len(), values.len()).features(values, rate_hz)
    }

    #[test]
    fn a_tone_stands_at_its_frequency() {
        // 16 swings in 128 samples at 64 Hz: 8 Hz.
        let features = features(&tone(128, 16.0), 64.0);
        assert!((features[0] - 8.0).abs() < 1e-6, "centroid {}", features[0]);
        assert!(features[1] < 0.5, "bandwidth {}", features[1]);
        assert!((features[2] - 8.0).abs() < 1e-9, "peak {}", features[2]);
        assert!(features[4] < 0.3, "entropy {}", features[4]);
        // The bands share the power of the deviation, which is 2 / √2.
        let power: f64 = features[5..].iter().map(|band| band * band).sum();
        assert!((power - 2.0).abs() < 1e-6, "{power}");
        // 16 of 64 bins is two octaves below the top: the fourth half octave from there.
        let strongest =
            (5..NAMES.len()).max_by(|a, b| features[*a].total_cmp(&features[*b])).unwrap();
        assert!(["band_08", "band_09"].contains(&NAMES[strongest]), "{}", NAMES[strongest]);
    }

    #[test]
    fn every_bit_of_power_is_in_one_band() {
        let power: Vec<f64> = (1_u32..65).map(f64::from).collect();
        let total: f64 = power.iter().sum();
        assert!((bands(&power).iter().sum::<f64>() - total).abs() < 1e-9);
    }

    #[test]
    fn without_power_there_is_nothing() {
        assert_eq!(features(&[0.1; 100], 50.0), [0.0; NAMES.len()]);
        assert_eq!(features(&[], 50.0), [0.0; NAMES.len()]);
    }

    #[test]
    fn noise_has_more_entropy_than_a_tone() {
        let mut state = 1_u32;
        let noise: Vec<f64> = (0..256)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(state >> 8)
            })
            .collect();
        let (noise, tone) = (features(&noise, 1.0), features(&tone(256, 20.0), 1.0));
        assert!(tone[4] + 0.4 < noise[4], "{} and {}", tone[4], noise[4]);
    }
}
