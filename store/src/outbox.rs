//! The outbox: what was acknowledged here and has to arrive elsewhere.
//!
//! An append-only log on disk with one owner, a thread. An append returns when its record is durable;
//! appends that wait together share one fsync. Whoever forwards the records reads them from the
//! cursor, sends them, and acknowledges what the other side has taken: a record is therefore sent
//! at least once, also across crashes.

mod log;

use std::{io, path::PathBuf, sync::Arc, thread};

use tokio::sync::{mpsc, oneshot, watch};

pub use log::{Record, Recovered};

/// How many requests may wait for the thread. Callers beyond wait in their own `append`.
const QUEUE: usize = 256;

/// How much an outbox may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On disk, records already acknowledged in a file still in use included.
    pub bytes_max: u64,
    /// A file is closed when it has reached this, and removed when all of it is acknowledged.
    pub segment_bytes: u64,
    /// Longest record.
    pub record_bytes_max: usize,
}

/// Why something was not done with an outbox.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboxError {
    /// The bound is reached; it is free again when the other side has taken some records.
    #[error("the outbox is full: {waiting} records wait, {bytes} of {bytes_max} bytes are used")]
    Full {
        /// Records that wait.
        waiting: u64,
        /// Bytes on disk.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// An empty record or one that is too long.
    #[error("a record has {length} bytes; it may have 1 to {record_bytes_max}")]
    Length {
        /// What was to be appended.
        length: usize,
        /// The bound.
        record_bytes_max: usize,
    },
    /// The disk said no. The record was not accepted.
    #[error("cannot {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The thread that owns the log is gone.
    #[error("the outbox has stopped")]
    Stopped,
}

/// What waits in an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records that the other side has not taken.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// A handle to an outbox; clones mean the same one. The thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Outbox {
    requests: mpsc::Sender<Request>,
    waiting: watch::Receiver<Waiting>,
}

type Answer<T> = oneshot::Sender<Result<T, OutboxError>>;

#[derive(Debug)]
enum Request {
    Append { record: Vec<u8>, answer: Answer<u64> },
    Read { records_max: usize, bytes_max: usize, answer: Answer<Vec<Record>> },
    Acknowledge { next: u64, answer: Answer<()> },
}

impl Outbox {
    /// Opens the log in `dir` (made when missing) and starts its thread. Blocks on the disk.
    ///
    /// One process owns a folder at a time.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Disk`] when the folder or a file in it cannot be read or cut.
    pub fn open(dir: impl Into<PathBuf>, limits: Limits) -> Result<(Self, Recovered), OutboxError> {
        let dir = dir.into();
        let (log, recovered) = log::Log::open(dir.clone(), limits)?;
        let (requests, received) = mpsc::channel(QUEUE);
        let (told, waiting) = watch::channel(log.waiting());
        thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(move || serve(log, received, &told))
            .map_err(log::disk("start the thread of", &dir))?;
        Ok((Self { requests, waiting }, recovered))
    }

    /// Appends a record and returns its sequence number when it is durable.
    ///
    /// # Errors
    ///
    /// Every variant of [`OutboxError`]; after any of them the record is not in the log, or it was
    /// never acknowledged: appending it again is right.
    pub async fn append(&self, record: Vec<u8>) -> Result<u64, OutboxError> {
        self.ask(|answer| Request::Append { record, answer }).await
    }

    /// The oldest records that were not acknowledged, in order: at most `records_max` and about
    /// `bytes_max`, but at least one when there is one.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Disk`] or [`OutboxError::Stopped`].
    pub async fn read(
        &self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, OutboxError> {
        self.ask(|answer| Request::Read { records_max, bytes_max, answer }).await
    }

    /// The other side has taken every record below `next`: they are forgotten, for good.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Disk`] or [`OutboxError::Stopped`]; then they will be read again.
    pub async fn acknowledge(&self, next: u64) -> Result<(), OutboxError> {
        self.ask(|answer| Request::Acknowledge { next, answer }).await
    }

    /// What waits now.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        *self.waiting.borrow()
    }

    /// Tells of every change of what waits.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Waiting> {
        self.waiting.clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, OutboxError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| OutboxError::Stopped)?;
        answered.await.map_err(|_| OutboxError::Stopped)?
    }
}

/// Does what is asked for, one thing at a time, appends that wait together as one.
fn serve(
    mut log: log::Log,
    mut requests: mpsc::Receiver<Request>,
    waiting: &watch::Sender<Waiting>,
) {
    // Whoever asked may have gone away meanwhile; that changes nothing here.
    while let Some(first) = requests.blocking_recv() {
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut other = None;
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Append { record, answer } => {
                    records.push(record);
                    answers.push(answer);
                    if records.len() < QUEUE {
                        next = requests.try_recv().ok();
                    }
                }
                request @ (Request::Read { .. } | Request::Acknowledge { .. }) => {
                    other = Some(request);
                }
            }
        }
        let results = log.append(&records);
        tell(waiting, log.waiting());
        for (answer, result) in answers.into_iter().zip(results) {
            let _gone = answer.send(result);
        }
        match other {
            Some(Request::Read { records_max, bytes_max, answer }) => {
                let _gone = answer.send(log.read(records_max, bytes_max));
            }
            Some(Request::Acknowledge { next, answer }) => {
                let result = log.acknowledge(next);
                tell(waiting, log.waiting());
                let _gone = answer.send(result);
            }
            Some(Request::Append { .. }) | None => {}
        }
    }
}

/// Wakes those who wait for a change, if there is one: a reader that waits for the next record
/// must not be woken by its own read.
fn tell(waiting: &watch::Sender<Waiting>, now: Waiting) {
    waiting.send_if_modified(|before| std::mem::replace(before, now) != now);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { bytes_max: 1 << 20, segment_bytes: 4096, record_bytes_max: 1000 };

    #[tokio::test(flavor = "multi_thread")]
    async fn appends_that_wait_together_are_all_durable_and_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path(), LIMITS).unwrap();
        let appends = (0..300_u32).map(|number| {
            let outbox = outbox.clone();
            runtime::spawn::named("append", async move {
                (outbox.append(number.to_le_bytes().to_vec()).await.unwrap(), number)
            })
        });
        let mut appended = Vec::new();
        for append in appends.collect::<Vec<_>>() {
            appended.push(append.await.unwrap());
        }
        appended.sort_unstable();
        assert_eq!(outbox.waiting().records, 300);
        drop(outbox);

        let (outbox, recovered) = Outbox::open(dir.path(), LIMITS).unwrap();
        assert_eq!(recovered, Recovered { waiting: 300, ..Recovered::default() });
        let mut read = Vec::new();
        while let Some(last) = {
            let batch = outbox.read(7, 1 << 20).await.unwrap();
            let last = batch.last().map(|record| record.sequence);
            read.extend(batch.into_iter().map(|record| {
                let number = u32::from_le_bytes(record.bytes.try_into().unwrap());
                (record.sequence, number)
            }));
            last
        } {
            outbox.acknowledge(last + 1).await.unwrap();
        }
        assert_eq!(read, appended);
        assert_eq!(outbox.waiting().records, 0);
    }

    /// A forwarder that waited for a change after an empty read was woken by that very read, and
    /// an idle worker kept a core busy.
    #[tokio::test]
    async fn reading_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(folder.path(), LIMITS).unwrap();
        let mut changes = outbox.changes();
        changes.mark_unchanged();
        assert_eq!(outbox.read(9, 999).await.unwrap(), []);
        assert!(!changes.has_changed().unwrap());
        outbox.append(b"one".to_vec()).await.unwrap();
        assert!(changes.has_changed().unwrap());
    }
}
