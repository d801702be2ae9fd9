//! The ids of answers: unique for ever, and not to be guessed.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

/// Gives 16 bytes each time: 8 that are random for each process, and 8 of a shuffled counter.
///
/// Unique within a process because the shuffle is a bijection, between processes because of the
/// random half. Shuffled so that who knows one id does not know the next: whoever knows an id may
/// correct its answer.
#[derive(Debug)]
pub(crate) struct Ids {
    process: [u8; 8],
    secret: u64,
    next: AtomicU64,
}

impl Ids {
    /// # Errors
    ///
    /// When the operating system has no random bytes.
    pub(crate) fn new() -> io::Result<Self> {
        let process = runtime::secret::random()?;
        let secret = u64::from_le_bytes(runtime::secret::random()?);
        Ok(Self { process, secret, next: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> [u8; 16] {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.process);
        id[8..].copy_from_slice(&shuffle(count.wrapping_add(self.secret)).to_le_bytes());
        id
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection on 64 bits.
fn shuffle(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A digest in a JSON file, as text.
pub(crate) mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(
        digest: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&runtime::secret::hex(digest))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        runtime::secret::unhex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("a digest has 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice_and_neighbours_look_unlike() {
        let ids = Ids::new().unwrap();
        let mut given: Vec<[u8; 16]> = (0..10_000).map(|_| ids.next()).collect();
        let bits = |id: [u8; 16]| u64::from_le_bytes(id[8..].try_into().unwrap());
        let unlike = given.windows(2).filter(|two| 4 < (bits(two[0]) ^ bits(two[1])).count_ones());
        assert_eq!(unlike.count(), 9_999);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 10_000);
    }
}
