//! Tasks: applied, removed, and brought back to an older revision.

use kameo::message::{Context, Message};
use serde_json::json;

use super::{Registry, RegistryError, signed};
use crate::{journal::Entry, task_file::Task};

/// Tasks that a scheduler may have.
const TASKS_MAX: usize = 1_000;

/// Admit this task, or replace its policy.
pub struct ApplyTask {
    /// As it was parsed.
    pub task: Task,
    /// As it was written.
    pub toml: String,
}

/// What became of an [`ApplyTask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether the task is new.
    pub created: bool,
}

/// Forget this task with its samples, corrections and revisions.
pub struct RemoveTask {
    /// The task.
    pub task: String,
}

/// Serve the bundle of an older revision again, as a new revision.
pub struct Rollback {
    /// The task.
    pub task: String,
    /// The older revision.
    pub revision: u64,
}

impl Message<ApplyTask> for Registry {
    type Reply = Result<Applied, RegistryError>;

    async fn handle(
        &mut self,
        ApplyTask { task, toml }: ApplyTask,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let before = self.books.tasks.get(&task.name).cloned();
        if before.as_ref().is_some_and(|before| before.toml == toml) {
            return Ok(Applied { created: false });
        }
        if before.is_none() && TASKS_MAX <= self.books.tasks.len() {
            return Err(RegistryError::NotNow(format!(
                "there are {TASKS_MAX} tasks already; remove one first"
            )));
        }
        if let Some(before) = &before
            && before.task.schema != task.schema
            && (0 < before.samples
                || 0 < before.corrections
                || before.current.is_some()
                || !before.members.is_empty())
        {
            return Err(RegistryError::NotNow(format!(
                "the features, classes or background of {:?} differ from those of its samples, \
                 revisions and imported members; give the new task another name, or `sensemble task rm {}` first",
                task.name, task.name
            )));
        }
        let mut change = self.change().await?;
        sqlx::query(
            "INSERT INTO tasks (name, toml, version, applied_ms) VALUES (?, ?, 1, ?) \
             ON CONFLICT (name) DO UPDATE SET \
             toml = excluded.toml, version = version + 1, applied_ms = excluded.applied_ms",
        )
        .bind(&task.name)
        .bind(&toml)
        .bind(signed(change.now_ms))
        .execute(&mut *change.transaction)
        .await?;
        let created = before.is_none();
        let policy = &task.policy;
        let mut text = format!(
            "{} with {} features and {} classes, {}",
            if created { "new task" } else { "policy replaced" },
            task.schema.width(),
            task.schema.classes().len(),
            policy.objective.name()
        );
        if !policy.recorded_only.is_empty() {
            text.push_str(&format!(
                "; recorded only, not acted on yet: {}",
                policy.recorded_only.join(", ")
            ));
        }
        change
            .record(&[Entry {
                kind: "task.applied",
                task: task.name.clone(),
                text,
                detail: json!({
                    "objective": policy.objective,
                    "latency_us_max": policy.latency_us_max,
                    "site": policy.site,
                    "accuracy_min": policy.accuracy_min,
                    "missed_events_max": policy.missed_events_max,
                    "replicas": policy.place.replicas,
                    "recorded_only": policy.recorded_only,
                }),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&task.name]).await?;
        Ok(Applied { created })
    }
}

impl Message<RemoveTask> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        RemoveTask { task: name }: RemoveTask,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let book = self.task(&name)?;
        let mut change = self.change().await?;
        let digests: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT digest FROM revisions WHERE task_id = ?1 \
             UNION SELECT digest FROM members WHERE task_id = ?1",
        )
        .bind(book.id)
        .fetch_all(&mut *change.transaction)
        .await?;
        sqlx::query("DELETE FROM tasks WHERE id = ?")
            .bind(book.id)
            .execute(&mut *change.transaction)
            .await?;
        change
            .record(&[Entry {
                kind: "task.removed",
                task: name.clone(),
                text: format!(
                    "removed with {} samples and {} corrections",
                    book.samples, book.corrections
                ),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&name]).await?;
        for digest in digests {
            if let Ok(digest) = digest.try_into() {
                self.forget_bundle(digest).await?;
            }
        }
        let folder = self.vault.samples.join(book.id.to_string());
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, task.id = name, "samples of a removed task were left behind");
        }
        Ok(())
    }
}

impl Message<Rollback> for Registry {
    type Reply = Result<u64, RegistryError>;

    async fn handle(
        &mut self,
        Rollback { task: name, revision }: Rollback,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let book = self.task(&name)?;
        let current = book.current.as_ref().map_or(0, |current| current.revision);
        if revision == current && current != 0 {
            return Err(RegistryError::NotNow(format!(
                "revision {revision} is what is served; name an older one \
                 (`sensemble model list {name}`)"
            )));
        }
        let mut change = self.change().await?;
        let next = signed(current + 1);
        let copied = sqlx::query(
            "INSERT INTO revisions (task_id, revision, digest, bundle_bytes, job, at_ms, report, \
             comparison, rollback_of) \
             SELECT task_id, ?1, digest, bundle_bytes, job, ?2, report, comparison, revision \
             FROM revisions WHERE task_id = ?3 AND revision = ?4",
        )
        .bind(next)
        .bind(signed(change.now_ms))
        .bind(book.id)
        .bind(signed(revision))
        .execute(&mut *change.transaction)
        .await?
        .rows_affected();
        if copied == 0 {
            return Err(RegistryError::NotFound {
                what: "revision",
                name: format!("{revision} of {name}"),
                advice: "; `sensemble model list` shows all",
            });
        }
        change
            .record(&[Entry {
                kind: "revision.rolled-back",
                task: name.clone(),
                text: format!(
                    "revision {next} brings back the bundle of revision {revision}, \
                     instead of revision {current}"
                ),
                detail: json!({ "revision": next, "rollback_of": revision }),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&name]).await?;
        Ok(next.unsigned_abs())
    }
}

impl Registry {
    /// Removes a bundle that nothing refers to any more.
    pub(super) async fn forget_bundle(&self, digest: [u8; 32]) -> Result<(), RegistryError> {
        let used: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM revisions WHERE digest = ?1) \
             + (SELECT count(*) FROM members WHERE digest = ?1)",
        )
        .bind(digest.as_slice())
        .fetch_one(self.vault.state.writer())
        .await?;
        let placed =
            self.books.placements.values().flatten().any(|placed| placed.choice.digest == digest);
        let published = self.books.jobs.values().any(|job| job.published == Some(digest));
        if used == 0 && !placed && !published {
            let bundles = std::sync::Arc::clone(&self.vault.bundles);
            let removed = tokio::task::spawn_blocking(move || bundles.remove(&digest)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(
                    error = %runtime::Report(&error), "a bundle that nobody uses was left behind"
                );
            }
        }
        Ok(())
    }
}
