//! One record in an append-only file: its length, its checksum, its bytes.
//!
//! ```text
//! length: u32 | crc32(length, bytes): u32 | bytes          (little-endian)
//! ```
//!
//! A record that was cut off or has one flipped bit is not read: the checksum covers the length too,
//! and a record is never empty, so that a tail of zeros (as some file systems leave after a power
//! cut) is no record either.

/// Bytes in front of a record.
pub(crate) const HEAD_BYTES: usize = 8;

/// Why the bytes at a place are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The file ends before the record does.
    Torn,
    /// The checksum or the length is wrong.
    Damaged,
}

fn checksum(length: u32, record: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    for part in record {
        crc.update(part);
    }
    crc.finalize()
}

/// Appends a record, given in parts, to `out`.
///
/// The caller has checked that the parts together are shorter than 4 GiB and not empty.
pub(crate) fn write(out: &mut Vec<u8>, record: &[&[u8]]) {
    let length = record.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).expect("records are bounded far below 4 GiB");
    debug_assert_ne!(length, 0, "an empty record cannot be told from zeros");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(length, record).to_le_bytes());
    for part in record {
        out.extend_from_slice(part);
    }
}

/// How long the record behind this head says it is.
pub(crate) fn length(head: &[u8; HEAD_BYTES]) -> Option<usize> {
    let [a, b, c, d, ..] = *head;
    usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()
}

/// The record at the start of `bytes`, at most `max` bytes long.
pub(crate) fn read(bytes: &[u8], max: usize) -> Result<&[u8], Unreadable> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Unreadable::Torn)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(Unreadable::Torn)?;
    let length = u32::from_le_bytes(*length);
    let size = usize::try_from(length).map_err(|_| Unreadable::Damaged)?;
    if size == 0 || max < size {
        return Err(Unreadable::Damaged);
    }
    let record = rest.get(..size).ok_or(Unreadable::Torn)?;
    if checksum(length, &[record]) != u32::from_le_bytes(*crc) {
        return Err(Unreadable::Damaged);
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_prefix_of_it_does(
            record in proptest::collection::vec(any::<u8>(), 1..200),
            at in 0_usize..200,
        ) {
            let mut bytes = Vec::new();
            write(&mut bytes, &[&record[..record.len() / 2], &record[record.len() / 2..]]);
            prop_assert_eq!(read(&bytes, 200), Ok(&record[..]));
            let cut = at % bytes.len();
            prop_assert_eq!(read(&bytes[..cut], 200), Err(Unreadable::Torn));
        }

        #[test]
        fn a_flipped_bit_is_never_read(
            record in proptest::collection::vec(any::<u8>(), 1..200),
            bit in 0_usize..1600,
        ) {
            let mut bytes = Vec::new();
            write(&mut bytes, &[&record]);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&bytes, 200).is_err());
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(read(&[0; 64], 200), Err(Unreadable::Damaged));
    }
}
