//! The front end against patches that another implementation made, and files that lie.

use std::{fs::File, io::Read as _, path::Path};

use proptest::prelude::*;

use super::{logmel::PATCH_FRAMES, *};
use crate::Slide;

/// A mono FLAC file whose frames hold their samples as they are (verbatim subframes).
fn flac(samples: &[i16], rate_hz: u32) -> Vec<u8> {
    let crc8 = |bytes: &[u8]| {
        bytes.iter().fold(0_u8, |crc, byte| {
            (0..8).fold(crc ^ byte, |crc, _| (crc << 1) ^ if crc & 0x80 != 0 { 0x07 } else { 0 })
        })
    };
    let crc16 = |bytes: &[u8]| {
        bytes.iter().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
                (crc << 1) ^ if crc & 0x8000 != 0 { 0x8005 } else { 0 }
            })
        })
    };
    let mut file = b"fLaC\x80\x00\x00\x22".to_vec();
    file.extend([0x10, 0x00, 0x10, 0x00, 0, 0, 0, 0, 0, 0]);
    // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
    let head = (u64::from(rate_hz) << 44) | (15 << 36) | samples.len() as u64;
    file.extend(head.to_be_bytes());
    file.extend([0; 16]);
    for (number, block) in (0_u8..).zip(samples.chunks(256)) {
        // The rate and the size stand in the file's head and at the end of this one.
        let mut frame = vec![0xff, 0xf8, 0x70, 0x08, number];
        frame.extend(u16::try_from(block.len() - 1).unwrap().to_be_bytes());
        frame.push(crc8(&frame));
        frame.push(0x02);
        frame.extend(block.iter().flat_map(|sample| sample.to_be_bytes()));
        frame.extend(crc16(&frame).to_be_bytes());
        file.extend(frame);
    }
    file
}

fn wav(samples: &[i16], rate_hz: u32, channels: u16) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate_hz,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

fn samples() -> Vec<i16> {
    (0_i16..600).map(|t| (t % 37) * 800 - 14_000).collect()
}

#[test]
fn flac_and_wav_give_the_same_samples() {
    let expected: Vec<f32> = samples().into_iter().map(|it| f32::from(it) / 32_768.0).collect();
    for file in [flac(&samples(), 16_000), wav(&samples(), 16_000, 1)] {
        let clip = Clip::decode(&file).unwrap();
        assert_eq!((clip.rate_hz, &clip.samples), (16_000, &expected));
    }
    let clip = Clip::decode(&wav(&[100, 300, -500, 500], 16_000, 2)).unwrap();
    assert_eq!(clip.samples, [200.0 / 32_768.0, 0.0], "channels are averaged");
}

#[test]
fn each_way_of_being_no_clip_has_its_name() {
    let broken = |file: &[u8]| Clip::decode(file).unwrap_err();
    assert!(matches!(broken(b""), ClipError::Format));
    assert!(matches!(broken(b"ID3 an mp3"), ClipError::Format));
    assert!(matches!(broken(&vec![0; clip::FILE_BYTES_MAX + 1]), ClipError::Large { .. }));
    assert!(matches!(broken(&flac(&[], 16_000)), ClipError::Empty));
    assert!(matches!(broken(&flac(&samples(), 16_000)[..200]), ClipError::Flac(_)));
    assert!(matches!(broken(&wav(&samples(), 500, 1)), ClipError::Rate { rate_hz: 500 }));
    assert!(matches!(broken(&wav(&samples(), 16_000, 12)), ClipError::Channels { channels: 12 }));
    let other = Clip::decode(&wav(&samples(), 44_100, 1)).unwrap().at_16_khz().unwrap_err();
    assert!(matches!(other, ClipError::Resample { rate_hz: 44_100 }));
    assert!(other.to_string().contains("ffmpeg"));
}

proptest! {
    #[test]
    fn a_file_that_lies_never_panics(
        wave: bool,
        cut in 0_usize..1600,
        at in proptest::collection::vec((0_usize..1600, any::<u8>()), 0..6),
    ) {
        let mut file = if wave { wav(&samples(), 16_000, 1) } else { flac(&samples(), 16_000) };
        for (at, byte) in at {
            let length = file.len();
            file[at % length] = byte;
        }
        file.truncate(file.len() - cut % file.len());
        if let Ok(clip) = Clip::decode(&file) {
            prop_assert!(clip.samples.len() <= clip::SAMPLES_MAX);
        }
    }

    #[test]
    fn a_microphone_gives_what_the_clip_gives(
        detail in prop_oneof![Just(SoundDetail::Compact), Just(SoundDetail::LogMel)],
        samples in proptest::collection::vec(-1.0_f32..1.0, 1_600..6_000),
    ) {
        let sound = Sound::new(16_000.0, 0.1, 0.05, detail).unwrap();
        let rows = sound.rows(&samples).unwrap();
        let mut slide = Slide::new(sound);
        let streamed: Vec<Vec<f32>> =
            samples.iter().filter_map(|sample| slide.push(&[*sample]).unwrap()).collect();
        prop_assert_eq!(rows, streamed);
    }

    #[test]
    fn finite_sound_has_finite_features(
        samples in proptest::collection::vec(proptest::num::f32::NORMAL
            | proptest::num::f32::ZERO | proptest::num::f32::SUBNORMAL, 0..2_000),
    ) {
        for detail in [SoundDetail::Compact, SoundDetail::LogMel] {
            let sound = Sound::new(16_000.0, 0.06, 0.06, detail).unwrap();
            for row in sound.rows(&samples).unwrap() {
                prop_assert_eq!(row.len(), sound.width());
                prop_assert!(row.iter().all(|value| value.is_finite()));
            }
        }
    }
}

#[test]
fn a_short_clip_is_filled_up_with_silence() {
    let sound = Sound::new(16_000.0, 1.0, 0.5, SoundDetail::Compact).unwrap();
    let rows = sound.rows(&[0.5; 4_000]).unwrap();
    assert_eq!(rows.len(), 1);
    let names = sound.feature_names();
    let heard = rows[0][names.iter().position(|name| name == "heard").unwrap()];
    assert!(0.2 < heard && heard < 0.3, "{heard}");
    assert_eq!(sound.rows(&[0.5; 40_000]).unwrap().len(), 4);
    assert!(matches!(sound.rows(&[f32::NAN]), Err(ShapeError::NotFinite { row: 0, .. })));
}

#[test]
fn each_way_of_being_no_stretch_has_its_name() {
    let new = |rate_hz, length_s| Sound::new(rate_hz, length_s, 1.0, SoundDetail::Compact);
    assert!(matches!(new(44_100.0, 1.0), Err(SoundError::Rate { .. })));
    assert!(matches!(new(f64::NAN, 1.0), Err(SoundError::Rate { .. })));
    assert!(matches!(new(16_000.0, 0.0), Err(SoundError::Stretch(_))));
    assert!(matches!(new(16_000.0, 0.02), Err(SoundError::Short { .. })));
}

/// The check patches of the shared ESC-10 clips: another implementation, five decimals.
#[test]
fn patches_are_those_of_another_implementation() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/esc10"));
    let Ok(file) = File::open(folder.join("logmel_check.csv.gz")) else {
        println!("esc10/logmel_check.csv.gz is absent: the bands were checked on tones alone");
        return;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let log_mel = LogMel::new();
    let (mut patches, mut worst) = (0, 0.0_f64);
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [values @ .., _label, name, patch] = cells.as_slice() else { panic!("{line}") };
        let name = Path::new(name).file_name().unwrap();
        let bytes = std::fs::read(folder.join("clips").join(name)).unwrap();
        let frames = log_mel.of(&Clip::decode(&bytes).unwrap().at_16_khz().unwrap());
        let first = patch.parse::<usize>().unwrap() * PATCH_FRAMES;
        let ours = frames[first..first + PATCH_FRAMES].iter().flatten();
        assert_eq!(values.len(), PATCH_FRAMES * BANDS);
        for (ours, theirs) in ours.zip(values) {
            worst = worst.max((ours - theirs.parse::<f64>().unwrap()).abs());
        }
        patches += 1;
    }
    println!("{patches} patches, largest difference {worst:.1e}");
    assert_eq!(patches, 55);
    // Five decimals, and the rounding of another transform.
    assert!(worst < 2e-5, "{worst}");
}
