//! The books: a snapshot of everything that is written down and often asked for.
//!
//! Read from the state when the registry starts and again after each change, by the same code, so
//! that starting and recovering are one path.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use proto::v1::{PairedComparison, RevisionReport};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{
    fleet::Facts,
    jobs::Job,
    placement::{Offer, Placed},
    task_file::Task,
};

/// All that is written down.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By name.
    pub tasks: BTreeMap<String, Arc<TaskBook>>,
    /// The jobs that are queued or running, by id.
    pub jobs: BTreeMap<String, Job>,
    /// Where tasks are, by name.
    pub placements: BTreeMap<String, Vec<Placed>>,
    /// Devices that were ever heard of.
    pub devices: BTreeMap<String, Facts>,
}

/// What is written down of one task.
#[derive(Clone, Debug)]
pub struct TaskBook {
    /// Never used again.
    pub id: i64,
    /// As it was parsed.
    pub task: Task,
    /// As it was written.
    pub toml: String,
    /// Grows with every change of the file.
    pub version: u64,
    /// Rows of samples.
    pub samples: u64,
    /// Corrections.
    pub corrections: u64,
    /// Corrections since the last training was begun.
    pub corrections_since: u64,
    /// What is served: the newest revision.
    pub current: Option<Arc<Revision>>,
    /// Members that were fitted elsewhere, by name.
    pub members: Vec<ImportedMember>,
}

/// A member that was fitted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedMember {
    /// What it is called within its task.
    pub name: String,
    /// SHA-256 of its bundle, which holds this one member.
    pub digest: [u8; 32],
    /// Size of its bundle.
    pub bundle_bytes: u64,
    /// Its family, by its form.
    pub family: String,
    /// What it was made of, in words.
    pub source: String,
    /// So many of the first samples it may have been taught.
    pub samples_seen: u64,
    /// So many of the first corrections it may have been taught.
    pub corrections_seen: u64,
    /// When it was imported.
    pub at_ms: u64,
}

/// A released bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// SHA-256 of its bundle.
    pub digest: [u8; 32],
    /// Size of its bundle.
    pub bundle_bytes: u64,
    /// The job that made it.
    pub job: String,
    /// When it was released.
    pub at_ms: u64,
    /// What was measured of it.
    pub report: RevisionReport,
    /// Against what it replaced.
    pub comparison: Option<PairedComparison>,
    /// The older revision whose bundle it brings back.
    pub rollback_of: Option<u64>,
}

impl Revision {
    /// What of it may be served.
    #[must_use]
    pub fn offer(&self) -> Offer {
        offer(self.revision, self.digest, self.bundle_bytes, &self.report)
    }
}

/// What of a bundle may be served, from what was measured of it.
#[must_use]
pub fn offer(revision: u64, digest: [u8; 32], bundle_bytes: u64, report: &RevisionReport) -> Offer {
    Offer {
        revision,
        digest,
        bundle_bytes,
        families: report.members.iter().map(|member| member.family.clone()).collect(),
        // Checked when it was published.
        frontier: report.frontier.iter().filter_map(|subset| subset.try_into().ok()).collect(),
    }
}

/// Why the books could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The state cannot be read.
    #[error("cannot read the state")]
    State(#[from] sqlx::Error),
    /// What was written down is not understood.
    #[error("the state holds {what} of {name:?} that this version does not understand: {why}")]
    Foreign {
        /// What.
        what: &'static str,
        /// Of which task, job or device.
        name: String,
        /// Why not.
        why: String,
    },
}

fn foreign(what: &'static str, name: &str, why: impl ToString) -> BooksError {
    BooksError::Foreign { what, name: name.to_owned(), why: why.to_string() }
}

impl Books {
    /// Reads everything.
    ///
    /// # Errors
    ///
    /// [`BooksError`] when the state cannot be read or understood.
    pub async fn read(state: &mut SqliteConnection) -> Result<Self, BooksError> {
        let mut books = Self::default();
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM tasks ORDER BY name")
            .fetch_all(&mut *state)
            .await?;
        for name in names {
            books.read_task(state, &name).await?;
        }
        let devices =
            sqlx::query("SELECT device, facts FROM devices").fetch_all(&mut *state).await?;
        for row in devices {
            let device: String = row.try_get(0)?;
            let facts = serde_json::from_str(row.try_get(1)?)
                .map_err(|error| foreign("facts", &device, error))?;
            books.devices.insert(device, facts);
        }
        Ok(books)
    }

    /// Reads one task again, with its jobs and placements; forgets it when it is gone.
    ///
    /// # Errors
    ///
    /// [`BooksError`] when the state cannot be read or understood.
    pub async fn read_task(
        &mut self,
        state: &mut SqliteConnection,
        name: &str,
    ) -> Result<(), BooksError> {
        self.tasks.remove(name);
        self.placements.remove(name);
        self.jobs.retain(|_, job| job.task != name);
        let Some(row) = sqlx::query(
            "SELECT id, toml, version, \
             (SELECT coalesce(sum(rows), 0) FROM sample_files WHERE task_id = tasks.id), \
             (SELECT count(*) FROM corrections WHERE task_id = tasks.id), \
             (SELECT count(*) FROM corrections \
              WHERE task_id = tasks.id AND sequence > tasks.trained_upto) \
             FROM tasks WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&mut *state)
        .await?
        else {
            return Ok(());
        };
        let id: i64 = row.try_get(0)?;
        let toml: String = row.try_get(1)?;
        let task = Task::parse(&toml).map_err(|error| foreign("a task file", name, error))?;
        let current = sqlx::query(
            "SELECT revision, digest, bundle_bytes, job, at_ms, report, comparison, rollback_of \
             FROM revisions WHERE task_id = ? ORDER BY revision DESC LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&mut *state)
        .await?
        .map(|row| revision(name, &row))
        .transpose()?;
        let members = sqlx::query(
            "SELECT name, digest, bundle_bytes, family, source, samples_seen, corrections_seen, \
             at_ms FROM members WHERE task_id = ? ORDER BY name",
        )
        .bind(id)
        .fetch_all(&mut *state)
        .await?;
        let members = members.iter().map(imported).collect::<Result<_, _>>()?;
        let book = TaskBook {
            id,
            task,
            toml,
            version: count(&row, 2)?,
            samples: count(&row, 3)?,
            corrections: count(&row, 4)?,
            corrections_since: count(&row, 5)?,
            current: current.map(Arc::new),
            members,
        };
        self.tasks.insert(name.to_owned(), Arc::new(book));

        let jobs: Vec<String> =
            sqlx::query_scalar("SELECT body FROM jobs WHERE task_id = ? AND active = 1")
                .bind(id)
                .fetch_all(&mut *state)
                .await?;
        for body in jobs {
            let job: Job =
                serde_json::from_str(&body).map_err(|error| foreign("a job", name, error))?;
            self.jobs.insert(job.id.clone(), job);
        }
        let placements: Vec<String> =
            sqlx::query_scalar("SELECT body FROM placements WHERE task_id = ? ORDER BY device")
                .bind(id)
                .fetch_all(&mut *state)
                .await?;
        let placed: Vec<Placed> = placements
            .iter()
            .map(|body| serde_json::from_str(body))
            .collect::<Result<_, _>>()
            .map_err(|error| foreign("a placement", name, error))?;
        if !placed.is_empty() {
            self.placements.insert(name.to_owned(), placed);
        }
        Ok(())
    }

    /// The job of a task that is queued or running.
    #[must_use]
    pub fn active_job(&self, task: &str) -> Option<&Job> {
        self.jobs.values().find(|job| job.task == task)
    }
}

/// A row of `revisions`, in the order of columns of [`Books::read_task`].
///
/// # Errors
///
/// [`BooksError`] when it is not understood.
pub fn revision(task: &str, row: &SqliteRow) -> Result<Revision, BooksError> {
    let digest: Vec<u8> = row.try_get(1)?;
    let report: Vec<u8> = row.try_get(5)?;
    let comparison: Option<Vec<u8>> = row.try_get(6)?;
    let wrong = |error: prost::DecodeError| foreign("a report", task, error);
    Ok(Revision {
        revision: count(row, 0)?,
        digest: digest.try_into().map_err(|_| foreign("a digest", task, "not 32 bytes"))?,
        bundle_bytes: count(row, 2)?,
        job: row.try_get(3)?,
        at_ms: count(row, 4)?,
        report: RevisionReport::decode(report.as_slice()).map_err(wrong)?,
        comparison: comparison
            .map(|bytes| PairedComparison::decode(bytes.as_slice()))
            .transpose()
            .map_err(wrong)?,
        rollback_of: row.try_get::<Option<i64>, _>(7)?.map(i64::unsigned_abs),
    })
}

/// A row of `members`, in the order of columns of [`Books::read_task`].
fn imported(row: &SqliteRow) -> Result<ImportedMember, BooksError> {
    let name: String = row.try_get(0)?;
    let digest: Vec<u8> = row.try_get(1)?;
    Ok(ImportedMember {
        digest: digest.try_into().map_err(|_| foreign("a digest", &name, "not 32 bytes"))?,
        bundle_bytes: count(row, 2)?,
        family: row.try_get(3)?,
        source: row.try_get(4)?,
        samples_seen: count(row, 5)?,
        corrections_seen: count(row, 6)?,
        at_ms: count(row, 7)?,
        name,
    })
}

/// A column that counts something.
fn count(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
