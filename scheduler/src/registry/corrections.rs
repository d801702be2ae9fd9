//! Corrections: applied once for each prediction, durable before they are acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use kameo::message::{Context, Message};
use proto::v1;

use super::{Registry, RegistryError, signed};
use crate::{books::TaskBook, journal::Entry};

/// Longest name of an answer that was given, in bytes.
const GIVEN_BYTES_MAX: usize = models::schema::NAME_BYTES_MAX;

/// Apply these corrections.
pub struct Submit {
    /// From which device.
    pub device: String,
    /// As they came.
    pub corrections: Vec<v1::Correction>,
}

impl Message<Submit> for Registry {
    type Reply = Result<v1::SubmitCorrectionsReply, RegistryError>;

    async fn handle(
        &mut self,
        Submit { device, corrections }: Submit,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let mut reply = v1::SubmitCorrectionsReply::default();
        let mut applied: BTreeMap<String, u64> = BTreeMap::new();
        let mut change = self.change().await?;
        for correction in &corrections {
            let checked = self.check(correction);
            let (book, label) = match checked {
                Ok(checked) => checked,
                Err(reason) => {
                    reply.refused.push(v1::RefusedCorrection {
                        prediction_id: correction.prediction_id.clone(),
                        reason,
                    });
                    continue;
                }
            };
            let known: Option<i64> =
                sqlx::query_scalar("SELECT at_ms FROM corrections WHERE prediction_id = ?")
                    .bind(correction.prediction_id.as_ref())
                    .fetch_optional(&mut *change.transaction)
                    .await?;
            let at_ms = signed(correction.at_ms);
            if known.is_some_and(|known| at_ms <= known) {
                reply.repeated += 1;
                continue;
            }
            let sequence = change.next("correction").await?;
            sqlx::query(
                "INSERT INTO corrections (prediction_id, sequence, task_id, label, given, \
                 revision, at_ms, received_ms, device, features) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (prediction_id) DO UPDATE SET sequence = excluded.sequence, \
                 task_id = excluded.task_id, label = excluded.label, at_ms = excluded.at_ms, \
                 received_ms = excluded.received_ms",
            )
            .bind(correction.prediction_id.as_ref())
            .bind(sequence)
            .bind(book.id)
            .bind(i64::from(label))
            .bind(&correction.given)
            .bind(signed(correction.revision))
            .bind(at_ms)
            .bind(signed(change.now_ms))
            .bind(&device)
            .bind(correction.features.as_ref())
            .execute(&mut *change.transaction)
            .await?;
            reply.applied += 1;
            *applied.entry(correction.task.clone()).or_default() += 1;
        }
        if applied.is_empty() {
            self.vault.meter.corrected(&reply);
            return Ok(reply);
        }
        let entries: Vec<Entry> = applied
            .iter()
            .map(|(task, count)| Entry {
                kind: "correction.applied",
                task: task.clone(),
                device: device.clone(),
                text: if *count == 1 {
                    "one correction applied".to_owned()
                } else {
                    format!("{count} corrections applied")
                },
                ..Entry::default()
            })
            .collect();
        change.record(&entries).await?;
        let tasks: BTreeSet<&str> = applied.keys().map(String::as_str).collect();
        self.commit(change, &tasks.into_iter().collect::<Vec<_>>()).await?;
        self.vault.meter.corrected(&reply);
        Ok(reply)
    }
}

impl Registry {
    /// The task and the class id of a correction, or why it is refused for good.
    fn check(&self, correction: &v1::Correction) -> Result<(&TaskBook, u16), String> {
        proto::parse::prediction_id(&correction.prediction_id)
            .map_err(|error| error.to_string())?;
        let book = self
            .books
            .tasks
            .get(&correction.task)
            .ok_or_else(|| format!("there is no task {:?}", cut(&correction.task)))?;
        let schema = &book.task.schema;
        let label = schema.class(&correction.label).ok_or_else(|| {
            format!("{:?} is no class of {:?}", cut(&correction.label), correction.task)
        })?;
        if GIVEN_BYTES_MAX < correction.given.len() {
            return Err("the answer that was given is longer than any class name".to_owned());
        }
        let width = u32::try_from(schema.width()).map_err(|error| error.to_string())?;
        let sample = proto::parse::samples(width, &correction.features)
            .map_err(|error| runtime::Report(&error).to_string())?;
        if sample.len() != 1 {
            return Err(format!(
                "a correction has the {width} values of one sample, not of {}",
                sample.len()
            ));
        }
        Ok((book, label.0))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
