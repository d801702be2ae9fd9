//! Random numbers and hashes that are the same on every machine and for ever.
//!
//! What is drawn decides which rows are held out and how a model looks. A library may change its
//! generators between versions; a retrained model would then differ for no reason anyone can see.
//!
//! Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); FNV-1a for bytes.

/// Scrambles `x` so that neighbouring values have nothing in common.
#[must_use]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of several numbers, in order.
#[must_use]
pub fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x5e75_e3b1_e000_0001, |sum, &part| mix(sum ^ mix(part)))
}

/// A hash of bytes, for keys and names.
#[must_use]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash(&[seed, sum])
}

/// A stream of random numbers that follows from its seed.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let wide = u128::from(self.bits()) * (limit as u128);
        usize::try_from(wide >> 64).expect("the product of a fraction and a usize is a usize")
    }

    /// A number from 0 up to, not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, which a double holds")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Moves `count` randomly chosen items to the front of `items`.
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut draw = Draw::new(7);
        assert_eq!(
            [draw.bits(), draw.bits()],
            [11_984_929_618_412_882_174, 10_134_167_572_453_724_827]
        );
        assert_eq!(hash_bytes(1, b"subject 4"), hash_bytes(1, b"subject 4"));
        assert_ne!(hash_bytes(1, b"subject 4"), hash_bytes(2, b"subject 4"));
    }

    #[test]
    fn numbers_below_a_limit_reach_all_of_it() {
        let mut draw = Draw::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[draw.below(5)] += 1;
        }
        assert!(seen.iter().all(|&count| 140 < count && count < 260), "{seen:?}");
        assert_eq!(draw.below(0), 0);
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut draw = Draw::new(3);
        let numbers: Vec<f64> = (0..10_000).map(|_| draw.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 1e4;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.04 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
