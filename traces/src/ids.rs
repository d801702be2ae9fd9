//! The ids of traces and spans: unique for ever, and cheap.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use proto::trace::{SpanId, TraceId};

/// Gives ids: a shuffled counter beside what is random for each process. They are no secrets.
#[derive(Debug)]
pub struct Ids {
    seeds: [u64; 2],
    next: AtomicU64,
}

impl Ids {
    /// Ids of this process.
    ///
    /// # Errors
    ///
    /// When the operating system has no random bytes.
    pub fn new() -> io::Result<Self> {
        let seed = || runtime::secret::random().map(u64::from_le_bytes);
        Ok(Self { seeds: [seed()?, seed()?], next: AtomicU64::new(0) })
    }

    /// For a new trace.
    #[must_use]
    pub fn trace(&self) -> TraceId {
        loop {
            let count = self.next.fetch_add(1, Relaxed);
            let [high, low] = self.seeds.map(|seed| shuffle(seed.wrapping_add(count)));
            let bytes = u128::from(high) << 64 | u128::from(low);
            if let Some(id) = TraceId::new(bytes.to_be_bytes()) {
                return id;
            }
        }
    }

    /// For a new span.
    #[must_use]
    pub fn span(&self) -> SpanId {
        loop {
            let count = self.next.fetch_add(1, Relaxed);
            let bits = shuffle(self.seeds[0].wrapping_add(count));
            if let Some(id) = SpanId::new(bits.to_be_bytes()) {
                return id;
            }
        }
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection on 64 bits.
fn shuffle(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let ids = Ids::new().unwrap();
        let traces: BTreeSet<TraceId> = (0..5_000).map(|_| ids.trace()).collect();
        let spans: BTreeSet<SpanId> = (0..5_000).map(|_| ids.span()).collect();
        assert_eq!((traces.len(), spans.len()), (5_000, 5_000));
        let other = Ids::new().unwrap();
        assert!((0..5_000).all(|_| !traces.contains(&other.trace())), "nor in two processes");
    }
}
