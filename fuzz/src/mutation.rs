//! Changes to an input: the ones that break formats. For tests; libFuzzer has its own.

use rand::{Rng, rngs::StdRng};

use crate::INPUT_BYTES_MAX;

/// Changes to one input.
const CHANGES_MAX: u32 = 6;
/// Numbers at which lengths and counts break.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// `input` with a few changes; `other` is another input to take pieces from, `words` what stands in
/// the format.
pub(crate) fn changed(random: &mut StdRng, input: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=CHANGES_MAX) {
        change(random, &mut bytes, other, words);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.random();
            }
        }
        2 => bytes.insert(at, random.random()),
        3 => {
            let end = at + random.random_range(0..=32).min(bytes.len() - at);
            bytes.drain(at..end);
        }
        4 => {
            // A number that breaks lengths, in 1, 2, 4 or 8 bytes.
            let number = NUMBERS[random.random_range(0..NUMBERS.len())].to_le_bytes();
            let width = 1 << random.random_range(0..4);
            for (byte, new) in bytes[at..].iter_mut().zip(&number[..width]) {
                *byte = *new;
            }
        }
        5 => {
            // A piece twice.
            let end = at + random.random_range(0..=64).min(bytes.len() - at);
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        6 if !other.is_empty() => {
            let from = random.random_range(0..other.len());
            let length = random.random_range(1..=(other.len() - from).min(256));
            bytes.splice(at..at, other[from..from + length].iter().copied());
        }
        7 => bytes.truncate(at),
        8 if !words.is_empty() => {
            let word = words[random.random_range(0..words.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        _ => {
            // A digit of a number that stands there as text.
            let digit = bytes[at..].iter().position(u8::is_ascii_digit);
            if let Some(digit) = digit {
                bytes[at + digit] = random.random_range(b'0'..=b'9');
            }
        }
    }
}
