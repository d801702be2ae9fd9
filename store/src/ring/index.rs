//! Where in a file of the ring the records of a key may be: eight bytes for each record, so that half
//! a million of them take four megabytes. A mark of 32 bits stands for a key; who reads the record sees
//! whether it is the right one.

use super::Key;

/// Records that are sorted together: a few microseconds of work, for which others wait.
const RUN: usize = 1024;

/// The records of one file: sorted runs, and behind them what came since, as it came.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
}

/// Sorted by mark; of one mark the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    mark: u32,
    offset: u32,
}

impl Index {
    /// Records, each of them counted, also those of a key that was written before.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A record that was written behind all others.
    pub(super) fn push(&mut self, key: &Key, offset: u32) {
        self.entries.push(Entry { mark: mark(key), offset });
        if self.entries.len().is_multiple_of(RUN) {
            let first = self.entries.len() - RUN;
            self.entries[first..].sort_unstable();
        }
    }

    /// Gives back the memory for more of them: no more is written to their file.
    pub(super) fn seal(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Where records of `key` may be, the newest first.
    pub(super) fn find(&self, key: &Key) -> Vec<u32> {
        let mark = mark(key);
        let (runs, rest) = self.entries.as_chunks::<RUN>();
        let newest = rest.iter().rev().filter(|it| it.mark == mark);
        let older = runs.iter().rev().flat_map(|run| {
            let end = run.partition_point(|it| it.mark <= mark);
            let start = run[..end].partition_point(|it| it.mark < mark);
            run[start..end].iter().rev()
        });
        newest.chain(older).map(|it| it.offset).collect()
    }
}

/// 32 of the bits that tell keys apart, wherever in a key they are.
fn mark(key: &Key) -> u32 {
    crc32fast::hash(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [0; 16];
        key[3..7].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn the_newest_record_of_a_key_comes_first() {
        let mut index = Index::default();
        for offset in 0..3_000 {
            index.push(&key(offset % 900), offset);
        }
        for _ in 0..2 {
            assert_eq!(index.find(&key(7)), [2_707, 1_807, 907, 7]);
            assert_eq!(index.find(&key(899)), [2_699, 1_799, 899]);
            assert_eq!(index.find(&key(900)), [0_u32; 0]);
            assert_eq!(index.len(), 3_000);
            index.seal();
        }
    }

    #[test]
    fn a_record_takes_eight_bytes() {
        let mut index = Index::default();
        (0..1000).for_each(|number| index.push(&key(number), number));
        index.seal();
        assert_eq!(size_of::<Entry>() * index.entries.capacity(), 8_000);
    }
}
