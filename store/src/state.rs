//! State in SQLite: one file, one writer, durable before it is acknowledged.
//!
//! The write-ahead log lets readers go on while a change is written; `synchronous = FULL` means a
//! committed change survives a power cut. The file is checked when it is opened, so that damage is
//! named at the start of a process and not in the middle of a request.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    migrate::{MigrateError, Migrator},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};

/// Connections that only read. More would not help: a read takes microseconds.
const READERS: u32 = 4;
/// How long a reader waits for a checkpoint to end before it says "busy".
const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);

/// An open state file: a connection that writes and a few that read.
#[derive(Debug)]
pub struct State {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held for as long as the file is open, so that two processes never write one state.
    lock: File,
}

/// Why a state file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be made or written.
    #[error("cannot use the folder of {path}; check that it exists and may be written")]
    Folder {
        /// The state file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the file.
    #[error("another process uses {path}; stop it first, or give this one another --data-dir")]
    Taken {
        /// The state file.
        path: PathBuf,
    },
    /// Not a state file, or one that cannot be read.
    #[error(
        "cannot open {path} as state; if it is damaged, move it away and put a copy in its place"
    )]
    Open {
        /// The state file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// SQLite finds pages that contradict each other.
    #[error(
        "{path} is damaged ({says}); move it and its -wal file away and put a copy in their place"
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// The first thing that the check found.
        says: String,
    },
    /// Written by a newer version, or changed by hand.
    #[error("{path} was written by another version of sensemble; run that version, or a newer one")]
    Version {
        /// The state file.
        path: PathBuf,
        /// Which migration does not fit.
        #[source]
        source: MigrateError,
    },
}

impl State {
    /// Opens the state at `path`, creates it when there is none, and brings it up to date.
    ///
    /// # Errors
    ///
    /// One variant of [`StateError`] for each way of being wrong; nothing was changed then, save
    /// for migrations that had been completed.
    pub async fn open(path: &Path, migrations: &Migrator) -> Result<Self, StateError> {
        let lock = lock(path)?;
        let open_error = |source| StateError::Open { path: path.to_owned(), source };

        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_WAIT_MAX);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(open_error)?;
        let says: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&writer)
            .await
            .map_err(open_error)?;
        if says != "ok" {
            return Err(StateError::Damaged { path: path.to_owned(), says });
        }
        migrations
            .run(&writer)
            .await
            .map_err(|source| StateError::Version { path: path.to_owned(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(open_error)?;
        Ok(Self { writer, readers, lock })
    }

    /// The one connection that may write.
    #[must_use]
    pub fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Connections that see everything committed and can change nothing.
    #[must_use]
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Writes the log back into the file, closes it and lets others open it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the state stays locked until this process ends");
        }
    }
}

fn lock(path: &Path) -> Result<File, StateError> {
    let folder_error = |source| StateError::Folder { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(folder_error)?;
    }
    let file = File::create(path.with_extension("lock")).map_err(folder_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Taken { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(folder_error(source)),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    fn migrations(texts: &[&'static str]) -> Migrator {
        let list = texts
            .iter()
            .zip(1..)
            .map(|(&text, version)| {
                Migration::new(
                    version,
                    "test".into(),
                    MigrationType::Simple,
                    sqlx::SqlStr::from_static(text),
                    false,
                )
            })
            .collect::<Vec<_>>();
        Migrator::with_migrations(list)
    }

    const NUMBERS: &str = "CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT";

    #[tokio::test]
    async fn what_was_committed_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state.db");
        let migrations = migrations(&[NUMBERS]);
        let state = State::open(&path, &migrations).await.unwrap();
        sqlx::query("INSERT INTO numbers VALUES (7)").execute(state.writer()).await.unwrap();
        let refused = sqlx::query("INSERT INTO numbers VALUES (8)").execute(state.readers()).await;
        assert!(refused.is_err(), "readers cannot write");
        drop(state);
        let state = State::open(&path, &migrations).await.unwrap();
        let found: Vec<i64> = sqlx::query_scalar("SELECT number FROM numbers")
            .fetch_all(state.readers())
            .await
            .unwrap();
        assert_eq!(found, [7]);
    }

    #[tokio::test]
    async fn commits_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let state =
            State::open(&folder.path().join("state.db"), &migrations(&[NUMBERS])).await.unwrap();
        let synchronous: i64 =
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(state.writer()).await.unwrap();
        let journal: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(state.writer()).await.unwrap();
        assert_eq!((synchronous, journal.as_str()), (2, "wal"));
    }

    #[tokio::test]
    async fn two_never_open_one_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let _first = State::open(&path, &migrations(&[])).await.unwrap();
        let second = State::open(&path, &migrations(&[])).await;
        assert!(matches!(second, Err(StateError::Taken { .. })));
    }

    #[tokio::test]
    async fn a_file_of_something_else_or_of_tomorrow_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let junk = folder.path().join("junk.db");
        std::fs::write(&junk, vec![b'x'; 8192]).unwrap();
        assert!(matches!(
            State::open(&junk, &migrations(&[])).await,
            Err(StateError::Open { .. } | StateError::Damaged { .. })
        ));
        let newer = folder.path().join("newer.db");
        drop(State::open(&newer, &migrations(&[NUMBERS])).await.unwrap());
        assert!(matches!(
            State::open(&newer, &migrations(&[])).await,
            Err(StateError::Version { .. })
        ));
    }
}
