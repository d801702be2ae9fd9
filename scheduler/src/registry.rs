//! The registry: the one actor that writes things down.
//!
//! Tasks, samples, corrections, revisions, jobs, placements and the journal are in one SQLite file;
//! this actor alone changes it, one transaction a message, and after each commit publishes the
//! [`Books`] that everybody else reads. It asks no other actor anything, so nobody waits in a circle.

mod corrections;
mod fleet;
mod members;
mod samples;
mod tasks;
mod training;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use kameo::actor::{Actor, ActorRef};
use sqlx::{Sqlite, Transaction};
use store::{blobs::Blobs, state::State};
use tokio::{sync::watch, time::Instant};
use tonic::{Code, Status};

pub use corrections::Submit;
pub use fleet::{Decide, Decided, KnowDevice, NextGeneration};
pub use members::{AddMember, RemoveMember};
pub use samples::{AddSamples, Summary};
pub use tasks::{Applied, ApplyTask, RemoveTask, Rollback};
pub use training::{
    Begin, FailAttempt, Publish, Published, QueueJob, RecordStep, RecordTrial, StartAttempt, Work,
};

use crate::{
    books::{Books, BooksError},
    journal::{self, Entry},
    meter::Meter,
};

/// Where things are written down. Clones name the same places.
#[derive(Clone)]
pub struct Vault {
    /// Everything but bytes in bulk.
    pub state: Arc<State>,
    /// Bundles.
    pub bundles: Arc<Blobs>,
    /// Samples, as Parquet files in one folder per task.
    pub samples: PathBuf,
    /// The newest books.
    pub books: watch::Sender<Arc<Books>>,
    /// The sequence of the newest event.
    pub newest: watch::Sender<u64>,
    /// What was done.
    pub meter: Arc<Meter>,
}

impl Vault {
    /// The samples file of a name that was written down.
    #[must_use]
    pub fn samples_file(&self, task_id: i64, file: &str) -> PathBuf {
        self.samples.join(task_id.to_string()).join(file)
    }

    /// The books as they are now.
    #[must_use]
    pub fn books(&self) -> Arc<Books> {
        Arc::clone(&self.books.borrow())
    }
}

/// The actor. Its state is in the [`Vault`]; the books here are the ones it published last.
pub struct Registry {
    vault: Vault,
    books: Books,
}

/// Why something was not written down.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk is full, or worse.
    #[error("the state could not be written")]
    State(#[source] sqlx::Error),
    /// What was written cannot be read back.
    #[error("the state could not be read")]
    Books(#[source] BooksError),
    /// There is no such thing.
    #[error("there is no {what} {name:?}{advice}")]
    NotFound {
        /// What.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do, after a semicolon; may be empty.
        advice: &'static str,
    },
    /// Not now.
    #[error("{0}")]
    NotNow(String),
    /// An attempt that was replaced, or has ended.
    #[error("attempt {attempt} of job {job:?} was replaced or has ended; stop")]
    Fenced {
        /// The job.
        job: String,
        /// The attempt.
        attempt: u64,
    },
}

impl From<sqlx::Error> for RegistryError {
    fn from(error: sqlx::Error) -> Self {
        Self::State(error)
    }
}

impl From<BooksError> for RegistryError {
    fn from(error: BooksError) -> Self {
        Self::Books(error)
    }
}

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::State(_) | RegistryError::Books(_) => Code::Internal,
            RegistryError::NotFound { .. } => Code::NotFound,
            RegistryError::NotNow(_) => Code::FailedPrecondition,
            RegistryError::Fenced { .. } => Code::Aborted,
        };
        Self::new(code, runtime::Report(&error).to_string())
    }
}

impl Actor for Registry {
    type Args = Vault;
    type Error = BooksError;

    async fn on_start(vault: Vault, _: ActorRef<Self>) -> Result<Self, BooksError> {
        let mut state = vault.state.writer().acquire().await?;
        let books = Books::read(&mut state).await?;
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM events")
            .fetch_one(&mut *state)
            .await?;
        drop(state);
        vault.newest.send_replace(newest.unsigned_abs());
        vault.books.send_replace(Arc::new(books.clone()));
        tracing::info!(
            tasks = books.tasks.len(),
            devices = books.devices.len(),
            jobs = books.jobs.len(),
            "books opened"
        );
        Ok(Self { vault, books })
    }
}

/// A change that is under way.
struct Change<'a> {
    transaction: Transaction<'a, Sqlite>,
    /// When it was begun.
    now_ms: u64,
    /// … on the clock that never goes back.
    begun: Instant,
    /// Sequence of the last event that it records.
    newest: i64,
    /// The kinds of the events that it records.
    kinds: Vec<&'static str>,
}

impl Change<'_> {
    async fn record(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        let last = journal::record(&mut self.transaction, signed(self.now_ms), entries).await?;
        self.newest = self.newest.max(last);
        self.kinds.extend(entries.iter().map(|entry| entry.kind));
        Ok(())
    }

    /// The next number of a counter.
    async fn next(&mut self, counter: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value")
            .bind(counter)
            .fetch_one(&mut *self.transaction)
            .await
    }
}

impl Registry {
    async fn change(&self) -> Result<Change<'static>, sqlx::Error> {
        let begun = Instant::now();
        let transaction = self.vault.state.writer().begin().await?;
        let now_ms = runtime::clock::unix_ms();
        Ok(Change { transaction, now_ms, begun, newest: 0, kinds: Vec::new() })
    }

    /// Makes a change durable, reads the tasks it touched again, and tells everybody.
    async fn commit(&mut self, change: Change<'_>, tasks: &[&str]) -> Result<(), RegistryError> {
        let Change { transaction, begun, newest, kinds, .. } = change;
        let meter = &self.vault.meter;
        transaction.commit().await.inspect_err(|_| {
            meter.write_failures.fetch_add(1, Relaxed);
        })?;
        meter.writes.add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        kinds.into_iter().for_each(|kind| meter.event(kind));
        let mut state = self.vault.state.writer().acquire().await?;
        for task in tasks {
            self.books.read_task(&mut state, task).await?;
        }
        drop(state);
        self.vault.books.send_replace(Arc::new(self.books.clone()));
        if 0 < newest {
            self.vault.newest.send_replace(newest.unsigned_abs());
        }
        Ok(())
    }

    fn task(&self, name: &str) -> Result<Arc<crate::books::TaskBook>, RegistryError> {
        self.books.tasks.get(name).cloned().ok_or_else(|| no_task(name))
    }
}

/// There is no such task.
#[must_use]
pub fn no_task(name: &str) -> RegistryError {
    RegistryError::NotFound {
        what: "task",
        name: name.to_owned(),
        advice: "; `sensemble task list` shows all",
    }
}

/// A count or a time for SQLite, whose integers have a sign.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
