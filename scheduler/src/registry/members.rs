//! Members that were fitted elsewhere: taken, and given up.

use kameo::message::{Context, Message};
use serde_json::json;

use super::{Registry, RegistryError, signed};
use crate::{books::ImportedMember, journal::Entry};

/// Members of one task that were fitted elsewhere: an ensemble has room for 64 of all kinds.
const MEMBERS_MAX: usize = 16;

/// Take this member; its bundle is there and was checked.
pub struct AddMember {
    /// The task.
    pub task: String,
    /// Its id: a task that was removed and applied again since is another one.
    pub task_id: i64,
    /// What it is called.
    pub name: String,
    /// SHA-256 of its bundle.
    pub digest: [u8; 32],
    /// Size of its bundle.
    pub bundle_bytes: u64,
    /// Its family.
    pub family: &'static str,
    /// What it was made of, in words.
    pub source: String,
    /// Whether the rows that the task has now may have taught it.
    pub taught_by_these: bool,
}

/// Give this member up.
pub struct RemoveMember {
    /// The task.
    pub task: String,
    /// What it is called.
    pub name: String,
}

impl Message<AddMember> for Registry {
    type Reply = Result<ImportedMember, RegistryError>;

    async fn handle(&mut self, add: AddMember, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let (task, digest) = (add.task.clone(), add.digest);
        let added = self.add_member(add).await;
        if added.is_err() && self.books.tasks.contains_key(&task) {
            // Nobody refers to the bundle, unless another member or revision does.
            self.forget_bundle(digest).await?;
        }
        added
    }
}

impl Message<RemoveMember> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        RemoveMember { task, name }: RemoveMember,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let book = self.task(&task)?;
        let Some(member) = book.members.iter().find(|it| it.name == name) else {
            return Err(RegistryError::NotFound {
                what: "imported member",
                name,
                advice: "; `sensemble member list` shows all",
            });
        };
        let mut change = self.change().await?;
        sqlx::query("DELETE FROM members WHERE task_id = ? AND name = ?")
            .bind(book.id)
            .bind(&name)
            .execute(&mut *change.transaction)
            .await?;
        change
            .record(&[Entry {
                kind: "member.removed",
                task: task.clone(),
                text: format!(
                    "the imported member {name:?} is given up; the next training goes without"
                ),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&task]).await?;
        self.forget_bundle(member.digest).await
    }
}

impl Registry {
    async fn add_member(&mut self, add: AddMember) -> Result<ImportedMember, RegistryError> {
        let AddMember { task, task_id, name, digest, bundle_bytes, family, source, .. } = add;
        let book = self.task(&task)?;
        if book.id != task_id {
            return Err(RegistryError::NotNow(format!(
                "task {task:?} was removed and applied again meanwhile; import once more"
            )));
        }
        if let Some(known) = book.members.iter().find(|it| it.name == name || it.digest == digest) {
            // The reply to the first one was lost.
            if known.name == name && known.digest == digest {
                return Ok(known.clone());
            }
            let what =
                if known.name == name { "another member of that name" } else { "the same member" };
            return Err(RegistryError::NotNow(format!(
                "{task:?} has {what} already: {:?}; `sensemble member remove {task} {}` first",
                known.name, known.name
            )));
        }
        if MEMBERS_MAX <= book.members.len() {
            return Err(RegistryError::NotNow(format!(
                "{task:?} has {MEMBERS_MAX} imported members, as many as a task may have"
            )));
        }
        let seen = |rows: u64| if add.taught_by_these { rows } else { 0 };
        let mut change = self.change().await?;
        let member = ImportedMember {
            name,
            digest,
            bundle_bytes,
            family: family.to_owned(),
            source,
            samples_seen: seen(book.samples),
            corrections_seen: seen(book.corrections),
            at_ms: change.now_ms,
        };
        sqlx::query(
            "INSERT INTO members (task_id, name, digest, bundle_bytes, family, source, \
             samples_seen, corrections_seen, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(book.id)
        .bind(&member.name)
        .bind(digest.as_slice())
        .bind(signed(bundle_bytes))
        .bind(&member.family)
        .bind(&member.source)
        .bind(signed(member.samples_seen))
        .bind(signed(member.corrections_seen))
        .bind(signed(member.at_ms))
        .execute(&mut *change.transaction)
        .await?;
        let taught = if add.taught_by_these {
            format!("it is weighed by rows that come after the {} of now", book.samples)
        } else {
            "no row of the task has taught it".to_owned()
        };
        change
            .record(&[Entry {
                kind: "member.imported",
                task: task.clone(),
                text: format!(
                    "{:?} ({family}) from {}: {taught}; the next training weighs it",
                    member.name, member.source
                ),
                detail: json!({
                    "name": member.name, "family": family, "bytes": bundle_bytes,
                    "samples_seen": member.samples_seen,
                    "corrections_seen": member.corrections_seen,
                }),
                ..Entry::default()
            }])
            .await?;
        self.commit(change, &[&task]).await?;
        Ok(member)
    }
}
