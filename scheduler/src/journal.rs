//! The journal: what happened and what was decided, with the numbers, in the order it did.

use sqlx::{Row as _, SqliteConnection, SqlitePool};

/// Events that are kept; older ones are forgotten.
pub const EVENTS_MAX: i64 = 100_000;
/// Events that one read gives.
pub const PAGE: u32 = 500;
/// Longest text and detail of an event, in bytes: what others say is cut.
const TEXT_BYTES_MAX: usize = 4 << 10;
const DETAIL_BYTES_MAX: usize = 64 << 10;

/// The short list: all kinds of events.
pub const KINDS: [&str; 22] = [
    "correction.applied",
    "device.joined",
    "device.lost",
    "device.restarted",
    "device.returned",
    "member.imported",
    "member.removed",
    "placement.decided",
    "placement.met",
    "placement.unmet",
    "revision.rolled-back",
    "samples.imported",
    "task.applied",
    "task.removed",
    "training.done",
    "training.failed",
    "training.queued",
    "training.refused",
    "training.released",
    "training.started",
    "training.step",
    crate::trials::KIND,
];

/// Something to be written down.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// `what.happened`, one of [`KINDS`].
    pub kind: &'static str,
    /// The task, or nothing.
    pub task: String,
    /// The device, or nothing.
    pub device: String,
    /// The job, or nothing.
    pub job: String,
    /// In words.
    pub text: String,
    /// The numbers.
    pub detail: serde_json::Value,
}

/// Something that was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Grows with every event.
    pub sequence: u64,
    /// When.
    pub at_ms: u64,
    /// `what.happened`.
    pub kind: String,
    /// The task, or nothing.
    pub task: String,
    /// The device, or nothing.
    pub device: String,
    /// The job, or nothing.
    pub job: String,
    /// In words.
    pub text: String,
    /// The numbers, as JSON.
    pub detail: String,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this task, unless empty.
    pub task: String,
    /// Only of this job, unless empty.
    pub job: String,
}

/// Writes `entries` down within a change; returns the sequence of the last one.
///
/// # Errors
///
/// When the state cannot be written.
pub async fn record(
    change: &mut SqliteConnection,
    at_ms: i64,
    entries: &[Entry],
) -> Result<i64, sqlx::Error> {
    let mut last = 0;
    for entry in entries {
        debug_assert!(KINDS.contains(&entry.kind), "{} is no kind of event", entry.kind);
        let detail = if entry.detail.is_null() { String::new() } else { entry.detail.to_string() };
        let detail = if detail.len() <= DETAIL_BYTES_MAX { detail } else { String::new() };
        last = sqlx::query(
            "INSERT INTO events (at_ms, kind, task, device, job, text, detail) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(at_ms)
        .bind(entry.kind)
        .bind(&entry.task)
        .bind(&entry.device)
        .bind(&entry.job)
        .bind(cut(&entry.text))
        .bind(detail)
        .execute(&mut *change)
        .await?
        .last_insert_rowid();
        tracing::info!(
            kind = entry.kind,
            task.id = entry.task,
            device.id = entry.device,
            job = entry.job,
            "{}",
            entry.text
        );
    }
    if 0 < last {
        sqlx::query("DELETE FROM events WHERE sequence <= ?")
            .bind(last - EVENTS_MAX)
            .execute(&mut *change)
            .await?;
    }
    Ok(last)
}

/// The first events after `after`, at most `limit` and [`PAGE`].
///
/// # Errors
///
/// When the state cannot be read.
pub async fn read(
    state: &SqlitePool,
    after: u64,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT sequence, at_ms, kind, task, device, job, text, detail FROM events \
         WHERE sequence > ?1 AND (?2 = '' OR task = ?2) AND (?3 = '' OR job = ?3) \
         ORDER BY sequence LIMIT ?4",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(&filter.task)
    .bind(&filter.job)
    .bind(limit.min(PAGE))
    .fetch_all(state)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                sequence: row.try_get::<i64, _>(0)?.unsigned_abs(),
                at_ms: row.try_get::<i64, _>(1)?.unsigned_abs(),
                kind: row.try_get(2)?,
                task: row.try_get(3)?,
                device: row.try_get(4)?,
                job: row.try_get(5)?,
                text: row.try_get(6)?,
                detail: row.try_get(7)?,
            })
        })
        .collect()
}

/// The first bytes of what may have come from outside.
#[must_use]
pub fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
