//! A clip: a FLAC or WAV file, decoded with bounds on everything that it says of itself.

use std::io::Cursor;

use super::logmel::RATE_HZ;

/// Largest file that is decoded, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Most samples of a channel: 17 minutes at 16 kHz.
pub const SAMPLES_MAX: usize = 1 << 24;
/// Most channels; they are averaged.
pub const CHANNELS_MAX: u32 = 8;
/// Rates that a recording may have, in Hz.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Samples a second.
    pub rate_hz: u32,
    /// Between -1 and 1.
    pub samples: Vec<f32>,
}

/// Why a file is no clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Larger than any clip.
    #[error("it has {bytes} bytes; at most {FILE_BYTES_MAX} are decoded: cut it into clips")]
    Large {
        /// How many it has.
        bytes: usize,
    },
    /// Neither of the two formats.
    #[error("it is neither FLAC nor WAV")]
    Format,
    /// Broken FLAC.
    #[error("its FLAC is broken")]
    Flac(#[source] claxon::Error),
    /// Broken WAV, or WAV that is packed in a way of its own.
    #[error("its WAV is broken or of a rare kind")]
    Wav(#[source] hound::Error),
    /// No channel, or more than anyone listens to.
    #[error("it has {channels} channels; 1 to {CHANNELS_MAX} are decoded")]
    Channels {
        /// How many it has.
        channels: u32,
    },
    /// A rate that no microphone has.
    #[error("it says that it has {rate_hz} samples a second; {} to {} are decoded", RATES_HZ.start(), RATES_HZ.end())]
    Rate {
        /// What it says.
        rate_hz: u32,
    },
    /// Longer than any clip.
    #[error("it has more than {SAMPLES_MAX} samples: cut it into clips")]
    Long,
    /// No sample at all.
    #[error("it has no samples")]
    Empty,
    /// NaN or an infinity, which WAV can hold.
    #[error("sample {sample} is not a finite number")]
    NotFinite {
        /// Counted from 0.
        sample: usize,
    },
    /// A rate that a task does not take.
    #[error(
        "it has {rate_hz} samples a second and the task takes {RATE_HZ}: resample it first, for \
         example with `ffmpeg -i IN -ar {RATE_HZ} OUT.wav`"
    )]
    Resample {
        /// What it has.
        rate_hz: u32,
    },
}

impl Clip {
    /// Decodes a file; what it begins with says what it is. Channels are averaged.
    ///
    /// # Errors
    ///
    /// One variant of [`ClipError`] for each way of being wrong; memory stays within
    /// [`SAMPLES_MAX`] samples whatever the file says of itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClipError> {
        if FILE_BYTES_MAX < bytes.len() {
            return Err(ClipError::Large { bytes: bytes.len() });
        }
        let clip = if bytes.starts_with(b"fLaC") {
            flac(bytes)?
        } else if bytes.starts_with(b"RIFF") {
            wav(bytes)?
        } else {
            return Err(ClipError::Format);
        };
        if clip.samples.is_empty() {
            return Err(ClipError::Empty);
        }
        match clip.samples.iter().position(|sample| !sample.is_finite()) {
            Some(sample) => Err(ClipError::NotFinite { sample }),
            None => Ok(clip),
        }
    }

    /// The samples, when they have the rate that log-mel frames are made for.
    ///
    /// # Errors
    ///
    /// [`ClipError::Resample`], which says how.
    pub fn at_16_khz(self) -> Result<Vec<f32>, ClipError> {
        if self.rate_hz == RATE_HZ {
            Ok(self.samples)
        } else {
            Err(ClipError::Resample { rate_hz: self.rate_hz })
        }
    }
}

fn flac(bytes: &[u8]) -> Result<Clip, ClipError> {
    // Comments and pictures are passed over: their lengths are the file's word.
    let options = claxon::FlacReaderOptions { metadata_only: false, read_vorbis_comment: false };
    let mut reader =
        claxon::FlacReader::new_ext(Cursor::new(bytes), options).map_err(ClipError::Flac)?;
    let info = reader.streaminfo();
    let mut mix = Mix::new(info.channels, info.sample_rate, info.bits_per_sample)?;
    let mut blocks = reader.blocks();
    let mut buffer = Vec::new();
    while let Some(block) = blocks.read_next_or_eof(buffer).map_err(ClipError::Flac)? {
        // A frame has its own header, which may contradict the file's.
        if block.channels() != info.channels {
            return Err(ClipError::Channels { channels: block.channels() });
        }
        for at in 0..block.duration() {
            for channel in 0..info.channels {
                mix.push(f64::from(block.sample(channel, at)))?;
            }
        }
        buffer = block.into_buffer();
    }
    Ok(mix.clip())
}

fn wav(bytes: &[u8]) -> Result<Clip, ClipError> {
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).map_err(ClipError::Wav)?;
    let spec = reader.spec();
    let channels = u32::from(spec.channels);
    match spec.sample_format {
        hound::SampleFormat::Int => {
            let bits = u32::from(spec.bits_per_sample);
            let mut mix = Mix::new(channels, spec.sample_rate, bits)?;
            for sample in reader.samples::<i32>() {
                mix.push(f64::from(sample.map_err(ClipError::Wav)?))?;
            }
            Ok(mix.clip())
        }
        hound::SampleFormat::Float => {
            let mut mix = Mix::new(channels, spec.sample_rate, 1)?;
            for sample in reader.samples::<f32>() {
                mix.push(f64::from(sample.map_err(ClipError::Wav)?))?;
            }
            Ok(mix.clip())
        }
    }
}

/// Channels on their way to one.
struct Mix {
    rate_hz: u32,
    channels: u32,
    /// What a sample is divided by: the largest one, times the channels.
    whole: f64,
    sum: f64,
    taken: u32,
    samples: Vec<f32>,
}

impl Mix {
    fn new(channels: u32, rate_hz: u32, bits: u32) -> Result<Self, ClipError> {
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return Err(ClipError::Channels { channels });
        }
        if !RATES_HZ.contains(&rate_hz) {
            return Err(ClipError::Rate { rate_hz });
        }
        let largest = f64::from(bits.saturating_sub(1)).exp2();
        let whole = largest * f64::from(channels);
        Ok(Self { rate_hz, channels, whole, sum: 0.0, taken: 0, samples: Vec::new() })
    }

    fn push(&mut self, sample: f64) -> Result<(), ClipError> {
        self.sum += sample;
        self.taken += 1;
        if self.taken == self.channels {
            if self.samples.len() == SAMPLES_MAX {
                return Err(ClipError::Long);
            }
            #[expect(clippy::cast_possible_truncation, reason = "checked to be finite at the end")]
            self.samples.push((self.sum / self.whole) as f32);
            (self.sum, self.taken) = (0.0, 0);
        }
        Ok(())
    }

    fn clip(self) -> Clip {
        Clip { rate_hz: self.rate_hz, samples: self.samples }
    }
}
