//! The files of an outbox: segments of numbered records, and a cursor.
//!
//! ```text
//! 00000000000000000042.v1     records 42, 43, … : frame(sequence: u64, bytes)
//! cursor                      the first sequence that the other side has not taken, in decimal
//! ```
//!
//! A torn tail (a crash in the middle of a write) is cut off at open. A damaged record elsewhere is
//! skipped and counted; those after it are found again by their checksum and number.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Limits, OutboxError, Waiting};
use crate::{durable, frame};

const SEGMENT: &str = "v1";
const SEQUENCE_BYTES: usize = 8;

/// A record and its number. Numbers grow by one and are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub sequence: u64,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records that wait for the other side.
    pub waiting: u64,
    /// Bytes of an unfinished record that were cut off the end.
    pub torn_bytes: u64,
    /// Records that waited and are damaged beyond reading. 0 unless the disk lost what it had
    /// promised to keep.
    pub lost: u64,
}

/// The log. Everything blocks; one thread owns it.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    limits: Limits,
    /// Oldest first; the last one is being written while `active` is there.
    segments: VecDeque<Segment>,
    active: Option<File>,
    /// The number of the next record.
    next: u64,
    /// The first number that was not acknowledged.
    cursor: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Numbers from here …
    first: u64,
    /// … to before here.
    end: u64,
    /// Good bytes; what may follow in the file was never acknowledged.
    bytes: u64,
}

/// A good record in a segment.
struct Found<'a> {
    sequence: u64,
    bytes: &'a [u8],
    /// Where in the file it ends.
    end: usize,
}

impl Log {
    pub(super) fn open(dir: PathBuf, limits: Limits) -> Result<(Self, Recovered), OutboxError> {
        fs::create_dir_all(&dir).map_err(disk("make the folder", &dir))?;
        let mut recovered = Recovered::default();
        let cursor_path = dir.join("cursor");
        let cursor = match fs::read_to_string(&cursor_path) {
            // A cursor that cannot be read means sending all again, which is harmless.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => 0,
            Err(error) => return Err(disk("read", &cursor_path)(error)),
        };
        let mut firsts = segment_firsts(&dir)?;
        firsts.sort_unstable();

        let mut log =
            Self { dir, limits, segments: VecDeque::new(), active: None, next: cursor, cursor };
        for (index, &first) in firsts.iter().enumerate() {
            // A segment that could not be cut after a failed write may hold numbers that were given
            // again in the next one; only those of the next one were acknowledged.
            let until = firsts.get(index + 1).copied();
            let path = log.segment_path(first);
            let bytes = fs::read(&path).map_err(disk("read", &path))?;
            let mut end = first;
            let mut good_bytes = 0;
            for found in scan(&bytes, first, until.unwrap_or(u64::MAX), limits.record_bytes_max) {
                if cursor <= found.sequence {
                    recovered.waiting += 1;
                    recovered.lost += found.sequence - end.max(cursor);
                }
                end = found.sequence + 1;
                good_bytes = found.end;
            }
            if let Some(until) = until {
                recovered.lost += until.saturating_sub(end.max(cursor));
                end = until;
            } else if good_bytes < bytes.len() {
                recovered.torn_bytes = length(bytes.len() - good_bytes);
                cut(&path, length(good_bytes)).map_err(disk("cut the torn end of", &path))?;
            }
            log.next = log.next.max(end);
            log.segments.push_back(Segment { path, first, end, bytes: length(good_bytes) });
        }
        log.forget_acknowledged()?;
        Ok((log, recovered))
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting { records: self.next - self.cursor, bytes: self.bytes() }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends what is acceptable of `records` with one write and one fsync; one result for each.
    pub(super) fn append(&mut self, records: &[Vec<u8>]) -> Vec<Result<u64, OutboxError>> {
        let mut out = Vec::new();
        let mut next = self.next;
        let mut bytes = self.bytes();
        let mut results = Vec::with_capacity(records.len());
        for record in records {
            let result = self.accept(record.len(), bytes);
            results.push(result.map(|()| {
                frame::write(&mut out, &[&next.to_le_bytes(), record]);
                bytes += framed(record.len());
                next += 1;
                next - 1
            }));
        }
        if out.is_empty() {
            return results;
        }
        if let Err(error) = self.write(&out) {
            for result in &mut results {
                if result.is_ok() {
                    *result = Err(error.clone());
                }
            }
            return results;
        }
        self.next = next;
        if let Some(segment) = self.segments.back_mut() {
            segment.end = next;
        }
        results
    }

    fn accept(&self, record: usize, bytes: u64) -> Result<(), OutboxError> {
        let Limits { bytes_max, record_bytes_max, .. } = self.limits;
        if record == 0 || record_bytes_max < record {
            return Err(OutboxError::Length { length: record, record_bytes_max });
        }
        if bytes_max < bytes + framed(record) {
            return Err(OutboxError::Full { waiting: self.next - self.cursor, bytes, bytes_max });
        }
        Ok(())
    }

    fn write(&mut self, out: &[u8]) -> Result<(), OutboxError> {
        let full = self.segments.back().is_none_or(|it| self.limits.segment_bytes <= it.bytes);
        if self.active.is_none() || full {
            self.start_segment()?;
        }
        let segment = self.segments.back_mut().expect("start_segment pushed one");
        let file = self.active.as_mut().expect("start_segment opened one");
        let written = file.write_all(out).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // After a failed write or fsync nobody knows what the file holds. Its good part is kept,
            // the next record goes to a new file, and `open` ignores numbers that were given again.
            let _best_effort = file.set_len(segment.bytes);
            self.active = None;
            return Err(disk("write to", &segment.path)(error));
        }
        segment.bytes += length(out.len());
        Ok(())
    }

    fn start_segment(&mut self) -> Result<(), OutboxError> {
        self.active = None;
        if self.segments.back().is_some_and(|last| last.first == self.next) {
            self.segments.pop_back();
        }
        let path = self.segment_path(self.next);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(disk("make", &path))?;
        durable::sync_folder_of(&path).map_err(disk("sync the folder of", &path))?;
        self.segments.push_back(Segment { path, first: self.next, end: self.next, bytes: 0 });
        self.active = Some(file);
        Ok(())
    }

    pub(super) fn read(
        &self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, OutboxError> {
        let mut records = Vec::new();
        let mut taken = 0;
        for segment in self.segments.iter().filter(|segment| self.cursor < segment.end) {
            let mut bytes = fs::read(&segment.path).map_err(disk("read", &segment.path))?;
            bytes.truncate(usize::try_from(segment.bytes).unwrap_or(usize::MAX));
            let found = scan(&bytes, segment.first, segment.end, self.limits.record_bytes_max);
            for Found { sequence, bytes, .. } in found.filter(|it| self.cursor <= it.sequence) {
                taken += bytes.len();
                if records_max <= records.len() || (bytes_max < taken && !records.is_empty()) {
                    return Ok(records);
                }
                records.push(Record { sequence, bytes: bytes.to_vec() });
            }
        }
        Ok(records)
    }

    pub(super) fn acknowledge(&mut self, next: u64) -> Result<(), OutboxError> {
        let cursor = next.min(self.next);
        if cursor <= self.cursor {
            return Ok(());
        }
        let path = self.dir.join("cursor");
        durable::replace(&path, format!("{cursor}\n").as_bytes(), 0o600)
            .map_err(disk("write", &path))?;
        self.cursor = cursor;
        self.forget_acknowledged()
    }

    /// Removes the files of which everything was acknowledged, the newest only when it is worth it.
    fn forget_acknowledged(&mut self) -> Result<(), OutboxError> {
        while let Some(oldest) = self.segments.front() {
            let newest = self.segments.len() == 1;
            let small = oldest.bytes < self.limits.segment_bytes / 4;
            if self.cursor < oldest.end || (newest && small && self.active.is_some()) {
                break;
            }
            fs::remove_file(&oldest.path).map_err(disk("remove", &oldest.path))?;
            if newest {
                self.active = None;
            }
            self.segments.pop_front();
        }
        Ok(())
    }

    fn segment_path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}.{SEGMENT}"))
    }
}

fn segment_firsts(dir: &Path) -> Result<Vec<u64>, OutboxError> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(disk("read the folder", dir))? {
        let path = entry.map_err(disk("read the folder", dir))?.path();
        if path.extension().is_some_and(|extension| extension == SEGMENT) {
            let first = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            firsts.extend(first);
        }
    }
    Ok(firsts)
}

/// The good records of a segment: numbers grow and lie in `first..until`.
///
/// Where no record can be read, the next one is looked for byte by byte, so that damage costs the
/// records that it touches and no other.
fn scan(
    bytes: &[u8],
    first: u64,
    until: u64,
    record_bytes_max: usize,
) -> impl Iterator<Item = Found<'_>> {
    let mut at = 0;
    let mut good_bytes = 0;
    let mut expected = first;
    std::iter::from_fn(move || {
        // No more records than this have room after the last good one, so no higher numbers.
        let room = (bytes.len() - good_bytes) / (frame::HEAD_BYTES + SEQUENCE_BYTES);
        let until = until.min(expected.saturating_add(length(room)));
        while at < bytes.len() {
            let rest = &bytes[at..];
            // The number is looked at first: it is cheap, and wrong nearly everywhere but where a
            // record begins.
            let plausible = rest
                .get(frame::HEAD_BYTES..)
                .and_then(|record| record.first_chunk::<SEQUENCE_BYTES>())
                .map(|sequence| u64::from_le_bytes(*sequence))
                .filter(|sequence| (expected..until).contains(sequence));
            if let Some(sequence) = plausible
                && let Ok(record) = frame::read(rest, record_bytes_max + SEQUENCE_BYTES)
            {
                at += frame::HEAD_BYTES + record.len();
                good_bytes = at;
                expected = sequence + 1;
                return Some(Found { sequence, bytes: &record[SEQUENCE_BYTES..], end: at });
            }
            at += 1;
        }
        None
    })
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

fn framed(record: usize) -> u64 {
    length(frame::HEAD_BYTES + SEQUENCE_BYTES + record)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length fits in 64 bits")
}

pub(super) fn disk<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> OutboxError + 'a {
    move |source| OutboxError::Disk { what, path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { bytes_max: 1 << 20, segment_bytes: 300, record_bytes_max: 200 };

    fn open(dir: &Path) -> (Log, Recovered) {
        Log::open(dir.to_owned(), LIMITS).unwrap()
    }

    fn all(log: &Log) -> Vec<Record> {
        log.read(usize::MAX, usize::MAX).unwrap()
    }

    fn numbered(records: &[Vec<u8>]) -> Vec<Record> {
        (0..)
            .zip(records)
            .map(|(sequence, bytes)| Record { sequence, bytes: bytes.clone() })
            .collect()
    }

    fn files(dir: &Path) -> usize {
        segment_firsts(dir).unwrap().len()
    }

    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_cut_off_the_complete_records_are_there(records in records(), cut_at: u16) {
            let dir = tempfile::tempdir().unwrap();
            let limits = Limits { segment_bytes: u64::MAX, ..LIMITS };
            let (mut log, _) = Log::open(dir.path().to_owned(), limits).unwrap();
            log.append(&records);
            let path = log.segment_path(0);
            let whole = fs::metadata(&path).unwrap().len();
            let cut_at = u64::from(cut_at) % whole;
            drop(log);
            cut(&path, cut_at).unwrap();

            let (mut log, recovered) = Log::open(dir.path().to_owned(), limits).unwrap();
            let mut end = 0;
            let complete = records.iter().take_while(|record| {
                end += framed(record.len());
                end <= cut_at
            }).count();
            prop_assert_eq!(all(&log), numbered(&records[..complete]));
            prop_assert_eq!(recovered.waiting, length(complete));
            prop_assert_eq!(recovered.lost, 0);
            let kept: u64 = records[..complete].iter().map(|record| framed(record.len())).sum();
            prop_assert_eq!(recovered.torn_bytes, cut_at - kept);

            // And it goes on with the next number.
            let appended = log.append(&[vec![7]]);
            prop_assert_eq!(appended[0].as_ref().unwrap(), &length(complete));
            drop(log);
            let (log, recovered) = Log::open(dir.path().to_owned(), limits).unwrap();
            prop_assert_eq!(recovered.torn_bytes, 0);
            prop_assert_eq!(all(&log).len(), complete + 1);
        }

        #[test]
        fn a_flipped_bit_costs_the_record_that_it_is_in_and_no_other(
            records in records(),
            segment: prop::sample::Index,
            bit: prop::sample::Index,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut log, _) = open(dir.path());
            for record in &records {
                log.append(std::slice::from_ref(record));
            }
            let segment = &log.segments[segment.index(log.segments.len())];
            let (path, first) = (segment.path.clone(), segment.first);
            let mut bytes = fs::read(&path).unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut end = 0;
            let lost = (first..).zip(&records[usize::try_from(first).unwrap()..])
                .find(|(_, record)| { end += framed(record.len()); length(bit / 8) < end })
                .unwrap().0;
            fs::write(&path, bytes).unwrap();
            drop(log);

            let (log, recovered) = open(dir.path());
            let mut left = numbered(&records);
            left.retain(|record| record.sequence != lost);
            prop_assert_eq!(all(&log), left);
            let last = lost + 1 == length(records.len());
            prop_assert_eq!(recovered.lost, u64::from(!last));
            prop_assert_eq!(recovered.torn_bytes != 0, last);
        }
    }

    #[test]
    fn the_cursor_survives_and_acknowledged_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        let records: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 50]).collect();
        for record in &records {
            log.append(std::slice::from_ref(record));
        }
        assert_eq!(files(dir.path()), 4);
        log.acknowledge(13).unwrap();
        assert_eq!(files(dir.path()), 2);
        drop(log);

        let (mut log, recovered) = open(dir.path());
        assert_eq!(recovered.waiting, 7);
        assert_eq!(all(&log), numbered(&records)[13..]);
        log.acknowledge(1).unwrap();
        assert_eq!(all(&log).len(), 7, "a cursor never goes back");
        log.acknowledge(99).unwrap();
        assert_eq!(log.waiting(), Waiting { records: 0, bytes: 0 });
        assert_eq!(files(dir.path()), 0);
        drop(log);

        let (mut log, _) = open(dir.path());
        assert_eq!(log.append(&[vec![1]])[0].as_ref().unwrap(), &20, "numbers are never reused");
    }

    #[test]
    fn full_is_said_and_what_is_acknowledged_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { bytes_max: 500, ..LIMITS };
        let (mut log, _) = Log::open(dir.path().to_owned(), limits).unwrap();
        let results = log.append(&vec![vec![1; 84]; 6]);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
        assert!(matches!(results[5], Err(OutboxError::Full { bytes: 500, bytes_max: 500, .. })));
        assert_eq!(all(&log).len(), 5);
        assert!(matches!(log.append(&[vec![]])[0], Err(OutboxError::Length { length: 0, .. })));
        log.acknowledge(5).unwrap();
        assert!(log.append(&[vec![1; 84]])[0].is_ok());
    }

    #[test]
    fn a_write_that_fails_accepts_nothing_and_the_next_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(dir.path());
        log.append(&[vec![1; 10], vec![2; 10]]);
        // A file that may only be read refuses the write, as a full disk would.
        log.active = Some(File::open(log.segment_path(0)).unwrap());
        assert!(matches!(log.append(&[vec![3; 10]])[0], Err(OutboxError::Disk { .. })));
        assert_eq!(log.waiting().records, 2);
        assert_eq!(log.append(&[vec![4; 10]])[0].as_ref().unwrap(), &2);
        assert_eq!(all(&log), numbered(&[vec![1; 10], vec![2; 10], vec![4; 10]]));
        drop(log);

        // Even when the failed record reached the old file after all, with the same number.
        let mut old = fs::read(dir.path().join("00000000000000000000.v1")).unwrap();
        frame::write(&mut old, &[&2_u64.to_le_bytes(), &[3; 10]]);
        fs::write(dir.path().join("00000000000000000000.v1"), old).unwrap();
        let (log, _) = open(dir.path());
        assert_eq!(all(&log), numbered(&[vec![1; 10], vec![2; 10], vec![4; 10]]));
    }
}
