//! The files of a ring and where the records in them are.
//!
//! ```text
//! 0000000000.ring     frame(key: 16 bytes, record), one after the other; a higher number is newer
//! ```

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Key, Limits, RingError, index::Index};
use crate::frame;

const SEGMENT: &str = "ring";
const KEY_BYTES: usize = 16;

/// All files of a ring, oldest first.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    limits: Limits,
    files: VecDeque<Segment>,
    /// The number of the next file.
    next: u32,
}

#[derive(Debug)]
struct Segment {
    number: u32,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    index: Index,
    /// Whether more may be written.
    open: bool,
}

/// Where a record may be; can be read without holding on to the index.
#[derive(Debug)]
pub(super) struct Place {
    file: Arc<File>,
    path: PathBuf,
    offset: u32,
    record_bytes_max: usize,
}

/// The end of the newest file, to be written without holding on to the index.
#[derive(Debug)]
pub(super) struct Target {
    segment: u32,
    path: PathBuf,
    file: Arc<File>,
    offset: u64,
    /// Files that are no longer in the index, to be removed first.
    stale: Vec<PathBuf>,
}

/// What was written where.
#[derive(Debug)]
pub(super) struct Written {
    segment: u32,
    bytes: u64,
    /// Each key with where its record begins.
    records: Vec<(Key, u32)>,
}

/// A file of an earlier run that is not in the index yet.
#[derive(Debug)]
pub(super) struct Unread {
    number: u32,
    path: PathBuf,
    record_bytes_max: usize,
}

/// What is in a file of an earlier run.
#[derive(Debug)]
pub(super) struct ReadBack {
    segment: Segment,
    written: Written,
}

impl Segments {
    /// Looks which files are there; none of them is in the index before it is read and
    /// [taken back](Self::take_back), the oldest first.
    pub(super) fn open(dir: PathBuf, limits: Limits) -> Result<(Self, Vec<Unread>), RingError> {
        fs::create_dir_all(&dir).map_err(disk("make the folder", &dir))?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&dir).map_err(disk("read the folder", &dir))? {
            let path = entry.map_err(disk("read the folder", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == SEGMENT) {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
                numbers.extend(number);
            }
        }
        numbers.sort_unstable();
        let next = numbers.last().map_or(0, |last| last.saturating_add(1));
        let segments = Self { dir, limits, files: VecDeque::new(), next };
        let unread = numbers.into_iter().map(|number| Unread {
            number,
            path: segments.path(number),
            record_bytes_max: limits.record_bytes_max + KEY_BYTES,
        });
        let unread = unread.collect();
        Ok((segments, unread))
    }

    /// Takes a file of an earlier run into the index. Says which files are to be removed for it.
    pub(super) fn take_back(&mut self, read: ReadBack) -> Vec<PathBuf> {
        let ReadBack { segment, written } = read;
        self.files.push_back(segment);
        self.add(written);
        self.seal();
        self.make_room()
    }

    pub(super) fn len(&self) -> usize {
        self.files.iter().map(|file| file.index.len()).sum()
    }

    /// Where a record of `key` may be, the newest first; seldom more than one place.
    pub(super) fn find(&self, key: &Key) -> Vec<Place> {
        let record_bytes_max = self.limits.record_bytes_max + KEY_BYTES;
        let mut places = Vec::new();
        for segment in self.files.iter().rev() {
            places.extend(segment.index.find(key).into_iter().map(|offset| Place {
                file: Arc::clone(&segment.file),
                path: segment.path.clone(),
                offset,
                record_bytes_max,
            }));
        }
        places
    }

    fn seal(&mut self) {
        if let Some(newest) = self.files.back_mut() {
            newest.index.seal();
        }
    }

    /// Where the next records go; a new file when the newest is full.
    pub(super) fn target(&mut self) -> Result<Target, RingError> {
        let stale = self.make_room();
        let full = |newest: &Segment| !newest.open || self.limits.segment_bytes <= newest.bytes;
        if self.files.back().is_none_or(full) {
            let number = self.next;
            let path = self.path(number);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .map_err(disk("make", &path))?;
            // 4 billion files of a megabyte are never reached; starting again would mix old and new.
            self.next = number.saturating_add(1);
            self.seal();
            self.files.push_back(Segment {
                number,
                path,
                file: Arc::new(file),
                bytes: 0,
                index: Index::default(),
                open: true,
            });
        }
        let newest = self.files.back().expect("one was pushed when there was none");
        Ok(Target {
            segment: newest.number,
            path: newest.path.clone(),
            file: Arc::clone(&newest.file),
            offset: newest.bytes,
            stale,
        })
    }

    /// Takes into the index what was written.
    pub(super) fn add(&mut self, written: Written) {
        let Written { segment: number, bytes, records } = written;
        let Some(segment) = self.files.iter_mut().rev().find(|it| it.number == number) else {
            return;
        };
        segment.bytes = bytes;
        for (key, offset) in &records {
            segment.index.push(key, *offset);
        }
    }

    /// Nobody knows what a failed write left in the newest file: no more goes there.
    pub(super) fn give_up_newest(&mut self) {
        if let Some(newest) = self.files.back_mut() {
            newest.open = false;
        }
    }

    /// Forgets the oldest files until the bounds hold, and says which are to be removed.
    fn make_room(&mut self) -> Vec<PathBuf> {
        let mut stale = Vec::new();
        while self.limits.bytes_max < self.files.iter().map(|file| file.bytes).sum()
            || self.limits.records_max < self.len()
        {
            let Some(oldest) = self.files.pop_front() else { break };
            stale.push(oldest.path);
        }
        stale
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.{SEGMENT}"))
    }
}

impl Unread {
    /// Reads it. What follows a torn or damaged record in it is not trusted.
    pub(super) fn read(self) -> Result<ReadBack, RingError> {
        let Self { number, path, record_bytes_max } = self;
        let bytes = fs::read(&path).map_err(disk("read", &path))?;
        let file = File::open(&path).map_err(disk("read", &path))?;
        let mut records = Vec::new();
        let mut at = 0;
        while let Ok(record) = frame::read(&bytes[at..], record_bytes_max)
            && let Some(key) = record.first_chunk::<KEY_BYTES>()
        {
            records.push((*key, offset(at)));
            at += frame::HEAD_BYTES + record.len();
        }
        // The bytes beyond the last good record count too: they are on the disk.
        let bytes = length(bytes.len());
        let index = Index::default();
        let segment = Segment { number, path, file: Arc::new(file), bytes, index, open: false };
        Ok(ReadBack { segment, written: Written { segment: number, bytes, records } })
    }
}

impl Target {
    /// Writes `records` with one call to the operating system.
    pub(super) fn append(self, records: &[(Key, Arc<Vec<u8>>)]) -> Result<Written, RingError> {
        let Self { segment, path, file, offset: end, stale } = self;
        remove(&stale)?;
        let bytes = |record: &Vec<u8>| frame::HEAD_BYTES + KEY_BYTES + record.len();
        let mut out = Vec::with_capacity(records.iter().map(|(_, record)| bytes(record)).sum());
        let mut written = Vec::with_capacity(records.len());
        let start = usize::try_from(end).unwrap_or(usize::MAX);
        for (key, record) in records {
            written.push((*key, offset(start.saturating_add(out.len()))));
            frame::write(&mut out, &[key, record]);
        }
        file.write_all_at(&out, end).map_err(disk("write to", &path))?;
        Ok(Written { segment, bytes: end + length(out.len()), records: written })
    }
}

impl Place {
    /// Reads and checks the record; `None` when it is damaged, or of another key.
    pub(super) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, RingError> {
        let mut head = [0; frame::HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let length = frame::length(&head).filter(|&length| length <= self.record_bytes_max);
        let Some(length) = length else { return Ok(None) };
        let mut bytes = vec![0; frame::HEAD_BYTES + length];
        if !self.fill(&mut bytes)? {
            return Ok(None);
        }
        let record = frame::read(&bytes, self.record_bytes_max).ok();
        let found = record.and_then(|record| record.split_first_chunk::<KEY_BYTES>());
        Ok(found.filter(|(found, _)| *found == key).map(|(_, record)| record.to_vec()))
    }

    /// Whether the file goes on for so many bytes.
    fn fill(&self, bytes: &mut [u8]) -> Result<bool, RingError> {
        match self.file.read_exact_at(bytes, u64::from(self.offset)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(disk("read", &self.path)(error)),
        }
    }
}

pub(super) fn remove(stale: &[PathBuf]) -> Result<(), RingError> {
    for path in stale {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(disk("remove", path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Where a record begins; one beyond 4 GiB cannot be found again, and no file grows that long.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length fits in 64 bits")
}

fn disk<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RingError + 'a {
    move |source| RingError::Disk { what, path: path.to_owned(), source }
}
