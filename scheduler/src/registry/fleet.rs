//! Devices and placements, as they are decided.

use kameo::message::{Context, Message};

use super::{Registry, RegistryError, signed};
use crate::{
    fleet::Facts,
    journal::Entry,
    placement::{Choice, Placed},
};

/// Remember what a device is, and journal why.
pub struct KnowDevice {
    /// The device.
    pub device: String,
    /// What it is; `None` when that has not changed.
    pub facts: Option<Facts>,
    /// What happened; `None` when nothing is worth a line.
    pub entry: Option<Entry>,
}

/// Take the next generation, which is above `least`.
pub struct NextGeneration {
    /// What a node obeys already.
    pub least: u64,
}

/// Write down where tasks are to be from now on.
pub struct Decide {
    /// What was decided, by task.
    pub decided: Vec<Decided>,
    /// What goes into the journal besides.
    pub entries: Vec<Entry>,
}

/// Where one task is to be.
pub struct Decided {
    /// The task.
    pub task: String,
    /// The choices.
    pub chosen: Vec<Choice>,
    /// The version of the policy that was decided under.
    pub version: u64,
    /// The devices that were compared.
    pub considered: std::collections::BTreeSet<String>,
}

impl Message<KnowDevice> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        KnowDevice { device, facts, entry }: KnowDevice,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let mut change = self.change().await?;
        if let Some(facts) = facts {
            let body = serde_json::to_string(&facts)
                .map_err(|error| RegistryError::State(sqlx::Error::Encode(error.into())))?;
            sqlx::query(
                "INSERT INTO devices (device, facts) VALUES (?, ?) \
                 ON CONFLICT (device) DO UPDATE SET facts = excluded.facts",
            )
            .bind(&device)
            .bind(body)
            .execute(&mut *change.transaction)
            .await?;
            self.books.devices.insert(device, facts);
        }
        if let Some(entry) = entry {
            change.record(&[entry]).await?;
        }
        self.commit(change, &[]).await
    }
}

impl Message<NextGeneration> for Registry {
    type Reply = Result<u64, RegistryError>;

    async fn handle(
        &mut self,
        NextGeneration { least }: NextGeneration,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let next: i64 = sqlx::query_scalar(
            "UPDATE counters SET value = max(value, ?) + 1 WHERE name = 'generation' \
             RETURNING value",
        )
        // Never so high that there is no next one.
        .bind(signed(least).min(i64::MAX / 2))
        .fetch_one(self.vault.state.writer())
        .await?;
        Ok(next.unsigned_abs())
    }
}

impl Message<Decide> for Registry {
    type Reply = Result<(), RegistryError>;

    async fn handle(
        &mut self,
        Decide { decided, entries }: Decide,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let mut change = self.change().await?;
        let mut names = Vec::new();
        for Decided { task, chosen, version, considered } in &decided {
            // A task that was removed meanwhile has no place.
            let Some(book) = self.books.tasks.get(task) else { continue };
            sqlx::query("DELETE FROM placements WHERE task_id = ?")
                .bind(book.id)
                .execute(&mut *change.transaction)
                .await?;
            let before = self.books.placements.get(task).cloned().unwrap_or_default();
            for choice in chosen {
                // What goes on as it was is no new order.
                let same = before.iter().find(|placed| placed.choice.orders_as(choice));
                let generation = match same {
                    Some(placed) => signed(placed.generation),
                    None => change.next("generation").await?,
                };
                let placed = Placed {
                    choice: choice.clone(),
                    version: *version,
                    considered: considered.clone(),
                    generation: generation.unsigned_abs(),
                    broken_periods: 0,
                };
                let body = serde_json::to_string(&placed)
                    .map_err(|error| RegistryError::State(sqlx::Error::Encode(error.into())))?;
                sqlx::query(
                    "INSERT INTO placements (task_id, device, generation, body) VALUES (?, ?, ?, ?)",
                )
                .bind(book.id)
                .bind(&choice.device)
                .bind(generation)
                .bind(body)
                .execute(&mut *change.transaction)
                .await?;
            }
            names.push(task.as_str());
        }
        change.record(&entries).await?;
        self.commit(change, &names).await
    }
}
