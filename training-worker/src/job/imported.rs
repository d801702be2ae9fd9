//! The part of a job that takes in members which were fitted elsewhere.

use models::{Ensemble, Member, Schema};
use proto::v1::{ImportedMember, ProgressRequest, TrainingJob};
use runtime::Report;

use super::{Job, JobError, compute};
use crate::{material::Seen, progress::Reporter, workbench::Workbench};

/// A member that was fitted elsewhere.
pub(super) struct Imported {
    name: String,
    ensemble: Ensemble,
    /// What may have taught it.
    pub(super) seen: Seen,
}

impl Imported {
    /// Whether `member` of an earlier bundle is this one.
    pub(super) fn is(&self, member: &Member) -> bool {
        self.ensemble.members().iter().any(|own| own.member.model == member.model)
    }
}

impl Job {
    /// The members that were fitted elsewhere and can be used.
    pub(super) async fn imported(
        &self,
        job: &TrainingJob,
        schema: &Schema,
    ) -> Result<Vec<Imported>, JobError> {
        let mut imported = Vec::new();
        for ImportedMember { name, digest, samples_seen, corrections_seen } in &job.imported {
            let ensemble = match self.bundle(digest).await {
                Ok(ensemble) => ensemble,
                Err(JobError::Stopped) => return Err(JobError::Stopped),
                Err(error) => {
                    tracing::warn!(name, error = %Report(&error), "an imported member is left out");
                    continue;
                }
            };
            if ensemble.schema() != schema || ensemble.members().len() != 1 {
                tracing::warn!(name, "an imported member of another task is left out");
                continue;
            }
            let rows = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            let seen = Seen { samples: rows(*samples_seen), corrections: rows(*corrections_seen) };
            imported.push(Imported { name: name.clone(), ensemble, seen });
        }
        Ok(imported)
    }

    /// Leaves out those that too many rows may have taught, and tells the scheduler so: what is left to
    /// choose by tells too little of them.
    pub(super) async fn leave_out_the_taught(
        &self,
        imported: Vec<Imported>,
        set_aside: Seen,
        reporter: &Reporter,
    ) -> Vec<Imported> {
        let (judged, taught): (Vec<_>, Vec<_>) =
            imported.into_iter().partition(|it| set_aside.covers(it.seen));
        for Imported { name, seen: Seen { samples, corrections }, .. } in taught {
            tracing::info!(name, samples, corrections, "an imported member cannot be judged yet");
            let step = format!(
                "left out {name:?}: it may have been taught by the first {samples} samples and \
                 {corrections} corrections, and too few came after them to judge it by"
            );
            let seconds = reporter.seconds();
            self.link.progress(ProgressRequest { step, seconds, ..Default::default() }).await;
        }
        judged
    }

    /// Takes them in, each beside those that stand.
    pub(super) async fn adopt(
        &self,
        mut bench: Workbench,
        imported: Vec<Imported>,
        reporter: &Reporter,
    ) -> Result<Workbench, JobError> {
        for Imported { name, ensemble, .. } in imported {
            let done = bench.families().len();
            reporter.say(format!("asking the imported {name:?}"), done, done + 1);
            let (stop, word) = (self.stop.clone(), name.clone());
            let outcome;
            (bench, outcome) = compute(move || {
                let outcome = bench.adopt(&word, ensemble, &stop, &|| 0.0);
                (bench, outcome)
            })
            .await?;
            match outcome {
                Ok(()) => tracing::info!(name, "an imported member stands"),
                Err(_) if self.told_to_stop(reporter) => return Err(JobError::Stopped),
                Err(error) => {
                    tracing::warn!(name, error = %Report(&error), "an imported member is left out");
                }
            }
        }
        Ok(bench)
    }
}
