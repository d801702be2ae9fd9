//! The ring: the newest records under their keys, on disk, in a bounded number of bytes.
//!
//! For what is worth keeping but not worth waiting for: the receipts of answers. A record goes to a
//! bounded queue and from there, by a thread, to the newest of a few files; when they hold too much,
//! the oldest file goes, with all its records.
//!
//! **Durability.** Nothing is fsynced. What was written survives the end of the process, `kill -9`
//! included, because the operating system holds it; it may not survive a power cut. What was still in
//! the queue (a few milliseconds of records) survives neither.
//!
//! **Start.** What an earlier run left is read by the thread, while new records already queue: a ring of
//! hundreds of megabytes on a slow card keeps nobody from answering.
//!
//! **Memory.** Where they are takes 8 bytes for each of at most `records_max` records.

mod index;
mod segments;

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use segments::{Segments, Unread};

/// The key of a record.
pub type Key = [u8; 16];

/// How long records may wait for others, to be written together.
const GATHER: Duration = Duration::from_millis(2);
/// So many bytes that wait are written at once, and no more: a tenth of a millisecond of work, for which
/// whoever has something to put, or needs the core, may have to wait.
const GATHER_BYTES: usize = 64 << 10;
/// Records that are written at once.
const GATHER_RECORDS: usize = 128;

/// How much a ring may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk; the oldest file goes when there are more.
    pub bytes_max: u64,
    /// Records in the index; the oldest file goes when there are more.
    pub records_max: usize,
    /// A file is closed when it has reached this.
    pub segment_bytes: u64,
    /// Longest record.
    pub record_bytes_max: usize,
    /// Bytes of records that may wait to be written.
    pub queue_bytes_max: usize,
}

/// Why a record was not put or got.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The disk does not keep up.
    #[error("{queued} bytes wait to be written, which is as much as may wait")]
    Full {
        /// Bytes that wait.
        queued: usize,
    },
    /// Too long to be kept.
    #[error("a record has {length} bytes; it may have {record_bytes_max}")]
    Length {
        /// What was to be put.
        length: usize,
        /// The bound.
        record_bytes_max: usize,
    },
    /// The disk said no.
    #[error("cannot {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A handle to a ring. Dropping it writes what waits and ends its thread.
#[derive(Debug)]
pub struct Ring {
    shared: Arc<Shared>,
    limits: Limits,
    writer: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung when something was queued, when it was written, and when the ring closes.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Queued or being written: found here until the index has them.
    pending: HashMap<Key, Arc<Vec<u8>>>,
    queue: VecDeque<(Key, Arc<Vec<u8>>)>,
    /// Bytes queued or being written.
    pending_bytes: usize,
    segments: Segments,
    /// Records that could not be written.
    lost: u64,
    writing: bool,
    /// What an earlier run left is not all in the index yet.
    reading: bool,
    /// Somebody waits until all is written.
    hurry: bool,
    closed: bool,
}

impl State {
    /// What is written next: at least one record, and as many as may be written at once.
    fn batch(&mut self) -> Vec<(Key, Arc<Vec<u8>>)> {
        let mut bytes = 0;
        let records = self.queue.iter().take(GATHER_RECORDS).take_while(|(_, record)| {
            let before = bytes;
            bytes += record.len();
            before < GATHER_BYTES
        });
        let records = records.count();
        self.queue.drain(..records).collect()
    }

    /// Whether what is queued is written without waiting for more.
    fn due(&self) -> bool {
        self.closed || self.hurry || GATHER_BYTES <= self.pending_bytes
    }
}

impl Ring {
    /// Opens the ring in `dir` (made when missing) and starts its thread, which first reads what is
    /// there. Blocks on the disk, briefly.
    ///
    /// One process owns a folder at a time. A record that a crash cut off is dropped.
    ///
    /// # Errors
    ///
    /// [`RingError::Disk`] when the folder cannot be read.
    pub fn open(dir: impl Into<PathBuf>, limits: Limits) -> Result<Self, RingError> {
        let dir = dir.into();
        let (segments, unread) = Segments::open(dir.clone(), limits)?;
        let state = State {
            pending: HashMap::new(),
            queue: VecDeque::new(),
            pending_bytes: 0,
            segments,
            lost: 0,
            writing: false,
            reading: true,
            hurry: false,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || {
                of_thread.read(unread);
                of_thread.write();
            })
            .map_err(|source| RingError::Disk { what: "start the thread of", path: dir, source })?;
        Ok(Self { shared, limits, writer: Some(writer) })
    }

    /// Queues records; [`get`](Self::get) finds them from now on. Never waits for the disk.
    ///
    /// The same key again replaces the older record.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`] when the disk does not keep up, [`RingError::Length`] for a record that is
    /// too long; then none of them is kept.
    pub fn put(&self, records: Vec<(Key, Vec<u8>)>) -> Result<(), RingError> {
        let record_bytes_max = self.limits.record_bytes_max;
        if let Some((_, record)) = records.iter().find(|(_, it)| record_bytes_max < it.len()) {
            return Err(RingError::Length { length: record.len(), record_bytes_max });
        }
        let bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
        let mut state = self.shared.lock();
        // A single put that is larger than the queue passes when nothing else waits.
        if self.limits.queue_bytes_max < state.pending_bytes + bytes && state.pending_bytes != 0 {
            return Err(RingError::Full { queued: state.pending_bytes });
        }
        let (idle, was_due) = (state.queue.is_empty(), state.due());
        state.pending_bytes += bytes;
        for (key, record) in records {
            let record = Arc::new(record);
            state.pending.insert(key, Arc::clone(&record));
            state.queue.push_back((key, record));
        }
        // The thread is woken when there is something after nothing, and when there is enough; it
        // sleeps through the rest.
        let wake = idle || (state.due() && !was_due);
        drop(state);
        if wake {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// The record of `key`, or `None` when it was never put or has made room for newer ones. Reads
    /// the disk, briefly; right after the start it waits until what an earlier run left is read.
    ///
    /// # Errors
    ///
    /// [`RingError::Disk`] when its file cannot be read. A record that was damaged on disk is not found.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, RingError> {
        let mut state = self.shared.lock();
        if let Some(record) = state.pending.get(key) {
            return Ok(Some(record.to_vec()));
        }
        // All of it: a newer file may have a newer record.
        while state.reading {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let places = state.segments.find(key);
        drop(state);
        for place in places {
            if let Some(record) = place.read(key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// How many records are there by now; those of a key that was put again count too.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        state.segments.len() + state.pending.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that could not be written since the ring was opened: the disk said no.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Returns when what an earlier run left is read, and all that was put before is written. Blocks.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        while state.reading || !state.queue.is_empty() || state.writing {
            if !state.hurry {
                state.hurry = true;
                self.shared.changed.notify_all();
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            // Its panic, if any, was printed when it happened.
            let _ended = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before the guard can be dropped by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what an earlier run left, the oldest first, unless the ring is closed meanwhile. The lock
    /// is not held while the disk works. A file that cannot be read is left where it is.
    fn read(&self, unread: Vec<Unread>) {
        for file in unread {
            let read = file.read().and_then(|read| {
                let mut state = self.lock();
                if state.closed {
                    return Ok(false);
                }
                let stale = state.segments.take_back(read);
                drop(state);
                self.changed.notify_all();
                segments::remove(&stale).map(|()| true)
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(error = %runtime::Report(&error), "older receipts are not read");
                }
            }
        }
        self.lock().reading = false;
        self.changed.notify_all();
    }

    /// Writes what is queued until the ring closes. The lock is not held while the disk works.
    fn write(&self) {
        let mut failing = false;
        let mut state = self.lock();
        loop {
            while state.queue.is_empty() && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.queue.is_empty() {
                return;
            }
            state = self
                .changed
                .wait_timeout_while(state, GATHER, |state| !state.due())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.hurry = false;
            let batch = state.batch();
            let target = state.segments.target();
            state.writing = true;
            drop(state);

            let written = target.and_then(|target| target.append(&batch));

            state = self.lock();
            state.writing = false;
            match written {
                Ok(written) => {
                    state.segments.add(written);
                    failing = false;
                }
                Err(error) => {
                    state.segments.give_up_newest();
                    state.lost += u64::try_from(batch.len()).unwrap_or(u64::MAX);
                    if !failing {
                        tracing::warn!(error = %runtime::Report(&error), "receipts are not kept");
                    }
                    failing = true;
                }
            }
            for (key, record) in &batch {
                state.pending_bytes -= record.len();
                // A newer record of the same key may be in the queue by now.
                if state.pending.get(key).is_some_and(|pending| Arc::ptr_eq(pending, record)) {
                    state.pending.remove(key);
                }
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        bytes_max: 4000,
        records_max: 1000,
        segment_bytes: 1000,
        record_bytes_max: 500,
        queue_bytes_max: 1 << 20,
    };

    fn key(number: u32) -> Key {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.to_le_bytes());
        key
    }

    fn bytes_of(dir: &Path) -> u64 {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn a_record_is_found_at_once_and_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        for number in 0..20 {
            ring.put(vec![(key(number), vec![1; 10]), (key(number), vec![2; 20])]).unwrap();
            assert_eq!(ring.get(&key(number)).unwrap().unwrap(), [2; 20]);
        }
        assert_eq!(ring.get(&key(20)).unwrap(), None);
        ring.flush();
        assert_eq!(ring.get(&key(0)).unwrap().unwrap(), [2; 20]);
        drop(ring);
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        ring.flush();
        assert_eq!(ring.len(), 40);
        for number in 0..20 {
            assert_eq!(ring.get(&key(number)).unwrap().unwrap(), [2; 20]);
        }
        assert_eq!(ring.lost(), 0);
    }

    #[test]
    fn what_was_written_is_there_although_nobody_closed_the_ring() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        ring.put(vec![(key(1), vec![1; 10])]).unwrap();
        ring.flush();
        std::mem::forget(ring);
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        assert_eq!(ring.get(&key(1)).unwrap().unwrap(), [1; 10]);
    }

    #[test]
    fn what_an_earlier_run_left_is_waited_for_and_never_replaces_what_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        for run in 0..20_u8 {
            let ring = Ring::open(dir.path(), LIMITS).unwrap();
            let put = |of: u32, value: u8| ring.put(vec![(key(of), vec![value; 40])]).unwrap();
            if 0 < run {
                // The thread may still be reading.
                assert_eq!(ring.get(&key(1)).unwrap().unwrap(), [run - 1; 40]);
            }
            put(1, run);
            assert_eq!(ring.get(&key(1)).unwrap().unwrap(), [run; 40]);
            assert_eq!(ring.get(&key(2)).unwrap(), None);
        }
    }

    #[test]
    fn the_oldest_records_make_room_and_the_bounds_hold() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        for number in 0..1000 {
            ring.put(vec![(key(number), vec![7; 100])]).unwrap();
            ring.flush();
            assert!(bytes_of(dir.path()) <= LIMITS.bytes_max + 124);
        }
        assert_eq!(ring.get(&key(0)).unwrap(), None);
        let kept = (0..1000).rev().take_while(|&it| ring.get(&key(it)).unwrap().is_some()).count();
        assert!((20..=33).contains(&kept), "{kept} of 124 bytes each are in 3000 to 4000 bytes");
        assert_eq!(ring.len(), kept);
        drop(ring);

        let few = Limits { records_max: 10, ..LIMITS };
        let ring = Ring::open(dir.path(), few).unwrap();
        ring.flush();
        assert!((1..=10).contains(&ring.len()), "{}", ring.len());
        assert!(ring.get(&key(999)).unwrap().is_some());
    }

    #[test]
    fn what_is_written_at_once_is_little_and_all_of_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let wide = Limits {
            bytes_max: 1 << 30,
            segment_bytes: 1 << 24,
            record_bytes_max: 1 << 20,
            queue_bytes_max: 1 << 28,
            ..LIMITS
        };
        let ring = Ring::open(dir.path(), wide).unwrap();
        // The thread sees none of this before all of it is there.
        let mut state = ring.shared.lock();
        for number in 0..400_u32 {
            let record = Arc::new(vec![7; if number < 200 { 10 } else { 10_000 }]);
            state.pending_bytes += record.len();
            state.pending.insert(key(number), Arc::clone(&record));
            state.queue.push_back((key(number), record));
        }
        let few = state.batch();
        assert_eq!(few.len(), GATHER_RECORDS);
        state.queue.drain(..200 - GATHER_RECORDS);
        let large = state.batch();
        assert_eq!(large.len(), GATHER_BYTES.div_ceil(10_000));
        drop(state);
        ring.flush();
        let first = u32::try_from(200 + large.len()).unwrap();
        for number in first..400 {
            assert_eq!(ring.get(&key(number)).unwrap().unwrap(), vec![7; 10_000]);
        }
    }

    #[test]
    fn full_and_too_long_are_said_and_nothing_is_kept_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(dir.path(), LIMITS).unwrap();
        let records = vec![(key(1), vec![0; 10]), (key(2), vec![0; 501])];
        assert!(matches!(ring.put(records), Err(RingError::Length { length: 501, .. })));
        assert_eq!(ring.get(&key(1)).unwrap(), None);

        // The thread is held up, as by a slow disk.
        let narrow = Limits { queue_bytes_max: 100, ..LIMITS };
        let stuck = Ring { writer: None, limits: narrow, shared: Arc::clone(&ring.shared) };
        stuck.shared.lock().pending_bytes = 60;
        let full = stuck.put(vec![(key(3), vec![0; 41])]);
        assert!(matches!(full, Err(RingError::Full { queued: 60 })));
        stuck.put(vec![(key(3), vec![0; 40])]).unwrap();
    }

    #[test]
    fn a_disk_that_refuses_costs_receipts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(dir.path().join("ring"), LIMITS).unwrap();
        fs::remove_dir(dir.path().join("ring")).unwrap();
        ring.put(vec![(key(1), vec![1])]).unwrap();
        ring.flush();
        assert_eq!(ring.lost(), 1);
        fs::create_dir(dir.path().join("ring")).unwrap();
        ring.put(vec![(key(2), vec![2])]).unwrap();
        ring.flush();
        assert_eq!(ring.get(&key(2)).unwrap().unwrap(), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_damage_gives_a_record_that_was_not_put(
            cut: prop::sample::Index, bit: prop::sample::Index
        ) {
            let dir = tempfile::tempdir().unwrap();
            let ring = Ring::open(dir.path(), LIMITS).unwrap();
            for number in 0..8 {
                ring.put(vec![(key(number), number.to_le_bytes().repeat(5))]).unwrap();
            }
            drop(ring);
            let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(1 + cut.index(bytes.len()));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let ring = Ring::open(dir.path(), LIMITS).unwrap();
            for number in 0..8 {
                if let Some(record) = ring.get(&key(number)).unwrap() {
                    prop_assert_eq!(record, number.to_le_bytes().repeat(5));
                }
            }
            ring.put(vec![(key(9), vec![9])]).unwrap();
            prop_assert_eq!(ring.get(&key(9)).unwrap(), Some(vec![9]));
        }
    }
}
