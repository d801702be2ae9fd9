//! One job from begin to end: the shell around the workbench.
//!
//! Computing happens on a blocking thread, one step at a time, and can be stopped between the steps
//! of a fit. Whatever happened before, an attempt starts the same way: ask what is to be trained,
//! fetch the rows, take over what an earlier attempt published, fit what is missing.

mod imported;
mod search;

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use models::{ClassId, Coverage, Ensemble, Family, Schema, SchemaError, Subset, bundle};
use prost::bytes::Bytes;
use proto::{
    parse,
    v1::{
        PairedComparison, ProgressRequest, PublishReply, PublishRequest, RevisionReport,
        TrainingJob, publish_reply::Outcome,
    },
};
use runtime::{Drain, Exit, Report};
use tokio::time::Instant;

use self::{
    imported::Imported,
    search::{Found, as_served},
};
use crate::{
    Config, RunError,
    comparison::{Served, compare},
    fit::{Recipe, Stop},
    knowledge::Knowledge,
    link::{Link, LinkError, Speaker},
    material::{Material, Seen},
    plan::{self, Size},
    progress::Reporter,
    report::report,
    search::Search,
    split::SplitError,
    steps::{Steps, Tally},
    workbench::{BenchError, Terms, Workbench},
};

/// Why a job ended without what it was for.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("the scheduler and this job did not come together")]
    Link(#[source] LinkError),
    #[error("the job describes no task")]
    Schema(#[source] SchemaError),
    #[error("the job asks for the family {name:?}, which does not exist")]
    Family { name: String },
    #[error("{thousandths} thousandths are no coverage that a set can have")]
    Coverage { thousandths: u32 },
    #[error("there is too little to train on")]
    Rows(#[source] SplitError),
    #[error("what the policy asks for cannot be trained")]
    Promise(#[source] BenchError),
    #[error("no member could be trained")]
    Bench(#[source] BenchError),
    #[error("training broke down: {reason}")]
    Broken { reason: String },
    #[error("the candidate cannot be compared with the revision that is served")]
    Compare(#[source] models::ShapeError),
    #[error("told to stop")]
    Stopped,
}

impl From<LinkError> for JobError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Drained | LinkError::Replaced => Self::Stopped,
            LinkError::Address(_)
            | LinkError::Refused(_)
            | LinkError::Away(_)
            | LinkError::Samples(_)
            | LinkError::Bundle { .. } => Self::Link(error),
        }
    }
}

/// Runs one attempt at one job.
///
/// # Errors
///
/// [`RunError`] for a configuration that cannot be used. What goes wrong later is reported to the
/// scheduler and logged, and ends in [`Exit::GaveUp`].
pub async fn run(config: Config, drain: Drain) -> Result<Exit, RunError> {
    let Config { scheduler, job, attempt, device, threads, steps } = config;
    let speaker = Speaker { job: job.clone(), attempt, device };
    let link = Link::new(&scheduler, speaker, drain.clone()).map_err(RunError::Link)?;
    let stop = Stop::default();
    let watch = runtime::spawn::named("drain", {
        let (drain, stop) = (drain.clone(), stop.clone());
        async move {
            drain.wait().await;
            stop.ask();
        }
    });
    let began = Instant::now();
    let ended = Box::pin(Job { link: link.clone(), drain, stop, threads, steps }.attempt()).await;
    watch.abort();
    match ended {
        Ok(()) => {
            tracing::info!(job, attempt, "training is done");
            Ok(Exit::Drained)
        }
        Err(JobError::Stopped) => {
            tracing::info!(job, attempt, "training was stopped");
            Ok(Exit::Drained)
        }
        Err(error) => {
            let fault = Report(&error).to_string();
            tracing::error!(job, attempt, error = fault, "training failed");
            link.fault(fault, began.elapsed().as_secs_f64()).await;
            Ok(Exit::GaveUp)
        }
    }
}

/// What a job needs of the world.
struct Job {
    link: Link,
    drain: Drain,
    stop: Stop,
    threads: usize,
    steps: Option<PathBuf>,
}

/// What is being trained, after it was checked.
struct Brief {
    schema: Schema,
    families: Vec<Family>,
    terms: Terms,
    lazy: bool,
    /// Seconds after which no further member is begun; infinite when there is no budget.
    budget: f64,
}

/// What is to be fitted, and how better settings are found.
struct Plan {
    recipes: Vec<Recipe>,
    /// Members that were fitted elsewhere; in the order of their names.
    imported: Vec<Imported>,
    search: Search,
    size: Size,
}

/// The revision that is served now.
struct Baseline {
    ensemble: Ensemble,
    members: Subset,
    gated: bool,
}

impl Brief {
    fn of(job: &TrainingJob, threads: usize) -> Result<Self, JobError> {
        let background = job.background.map(|id| ClassId(u16::try_from(id).unwrap_or(u16::MAX)));
        let schema = Schema::new(job.features.clone(), job.classes.clone(), background)
            .map_err(JobError::Schema)?;
        let family = |name: &String| {
            Family::parse(name).ok_or_else(|| JobError::Family { name: name.clone() })
        };
        let families = job.families.iter().map(family).collect::<Result<_, _>>()?;
        let asked = usize::try_from(job.threads).unwrap_or(usize::MAX);
        let threads = if asked == 0 { threads } else { threads.min(asked) };
        let budget = if job.budget_s == 0 { f64::INFINITY } else { f64::from(job.budget_s) };
        let missed = job.missed_events_max;
        let missed_events_max = if missed.is_finite() { missed.clamp(0.0, 1.0) } else { 0.0 };
        let coverage = match job.coverage_thousandths {
            0 => None,
            thousandths => {
                let coverage = Coverage::of_thousandths(thousandths);
                Some(coverage.ok_or(JobError::Coverage { thousandths })?)
            }
        };
        let terms = Terms { seed: job.seed, threads: threads.max(1), missed_events_max, coverage };
        Ok(Self { schema, families, terms, lazy: job.lazy, budget })
    }
}

impl Job {
    async fn attempt(self) -> Result<(), JobError> {
        let job = self.link.begin().await?;
        let brief = Brief::of(&job, self.threads)?;
        let reporter = Reporter::start(self.link.clone(), self.stop.clone());
        reporter.say("fetching samples", 0, 0);
        let table = self.link.samples(brief.schema.width(), brief.schema.classes().len()).await?;
        let rows = table.labels().len();
        let corrections = table.corrections().labels.len();
        tracing::info!(task.id = job.task, rows, corrections, "training begins");
        let imported = self.imported(&job, &brief.schema).await?;
        let (schema, seed) = (brief.schema.clone(), brief.terms.seed);
        let seen: Vec<Seen> = imported.iter().map(|it| it.seen).collect();
        let material = compute(move || Material::beside(&seen, schema, table, seed)).await?;
        let material = Arc::new(material.map_err(JobError::Rows)?);
        let imported = self.leave_out_the_taught(imported, material.set_aside, &reporter).await;
        let steps = self.steps.clone();
        let steps = compute(move || Steps::within(steps.as_deref())).await?;
        let mut bench = Workbench::new(material.clone(), brief.terms).with_steps(steps);
        // Before anything is fitted: what cannot be promised will not be able to be promised later.
        bench.can_promise().map_err(JobError::Promise)?;
        let size = Size {
            rows: material.settled_rows,
            width: material.lessons.samples.width(),
            classes: material.schema.classes().len(),
        };
        let Found { search, adopted } = search::replay(&job, &brief.families, size);
        if !job.resume_digest.is_empty() {
            bench = self.resume(bench, &job.resume_digest, &adopted, &imported).await?;
        }
        let better = |recipe: Recipe| {
            let found = adopted.iter().find(|it| it.family() == recipe.family());
            found.cloned().unwrap_or_else(|| as_served(recipe, &job.baseline_settings, size))
        };
        let knowledge = Knowledge::of(&job.earlier);
        let order = plan::order_by(&knowledge, &brief.families, size);
        let step = knowledge.explain(&order);
        tracing::info!(step, "families are in order");
        let seconds = reporter.seconds();
        self.link.progress(ProgressRequest { step, seconds, ..Default::default() }).await;
        let recipes = order.into_iter().map(better).collect();
        let plan = Plan { recipes, imported, search, size };
        let baseline = if job.baseline_digest.is_empty() {
            None
        } else {
            self.baseline(&job, &brief.schema).await?
        };
        Box::pin(self.train(bench, &brief, plan, baseline, &reporter)).await
    }

    /// Fits what is missing, and publishes each time the ensemble became better; with a baseline,
    /// once, at the end.
    async fn train(
        &self,
        mut bench: Workbench,
        brief: &Brief,
        plan: Plan,
        baseline: Option<Baseline>,
        reporter: &Reporter,
    ) -> Result<(), JobError> {
        let Plan { recipes: mut waiting, mut imported, search, size } = plan;
        // What an earlier attempt has fitted comes first: it was published, and costs less.
        let there = bench.taken_over();
        let total = waiting.len() + imported.len();
        waiting.sort_by_key(|recipe| !there.contains(&recipe.family()));
        let mut waiting = VecDeque::from(waiting);
        let lazily = brief.lazy && baseline.is_none();
        let searches = 0 < search.most();
        let mut fault = None;
        let mut published_last = false;
        while let Some(recipe) = waiting.pop_front() {
            if !bench.families().is_empty() {
                // The first of ours is served at once; then those that need no fit.
                bench = self.adopt(bench, std::mem::take(&mut imported), reporter).await?;
            }
            let done = bench.families().len();
            if 0 < done && !fits(&recipe, size, brief.budget - reporter.seconds()) {
                let family = recipe.family().name();
                tracing::info!(family, "left out: it would not fit into the budget");
                continue;
            }
            let family = recipe.family();
            reporter.say(format!("fitting {}", family.name()), done, total);
            let seconds_left =
                if done == 0 { f64::INFINITY } else { brief.budget - reporter.seconds() };
            let (next, outcome) = self.fit(bench, recipe, seconds_left, reporter).await?;
            bench = next;
            match outcome {
                Ok(()) => {}
                Err(error) if error.stopped() => {
                    if self.told_to_stop(reporter) {
                        return Err(JobError::Stopped);
                    }
                    tracing::info!("the budget is spent");
                    waiting.clear();
                }
                Err(error) => {
                    tracing::warn!(error = %Report(&error), "a family was left out");
                    fault = Some(error);
                }
            }
            if self.told_to_stop(reporter) {
                return Err(JobError::Stopped);
            }
            let stands = bench.families().len();
            if lazily && done < stands && !there.contains(&family) {
                // The first bundle is not kept waiting for a gate, unless it must promise something
                // that takes all folds; the others have one if it pays.
                if 0 < done || waiting.is_empty() || brief.terms.coverage.is_some() {
                    bench = self.gates(bench, reporter).await?;
                }
                published_last = waiting.is_empty() && !searches && imported.is_empty();
                bench = self.publish(bench, None, published_last, reporter, total).await?;
            }
        }
        bench = self.adopt(bench, imported, reporter).await?;
        if bench.families().is_empty() {
            return Err(JobError::Bench(fault.unwrap_or(BenchError::Nobody)));
        }
        if searches {
            bench = self.search(bench, search, brief, lazily, reporter).await?;
        }
        if !published_last {
            bench = self.gates(bench, reporter).await?;
            self.publish(bench, baseline, true, reporter, total).await?;
        }
        Ok(())
    }

    fn told_to_stop(&self, reporter: &Reporter) -> bool {
        self.drain.asked() || reporter.stopped()
    }

    /// Fits one member on a thread of its own; the budget may end it.
    async fn fit(
        &self,
        bench: Workbench,
        recipe: Recipe,
        seconds_left: f64,
        reporter: &Reporter,
    ) -> Result<(Workbench, Result<(), BenchError>), JobError> {
        let family = recipe.family().name();
        let fit = move |bench: &mut Workbench, stop: &Stop, clock: &dyn Fn() -> f64| {
            bench.add(&recipe, stop, clock)
        };
        self.timed(bench, family, seconds_left, reporter, fit).await
    }

    /// Runs a piece of work at the bench on a thread of its own; the budget may end it.
    async fn timed<T: Send + 'static>(
        &self,
        mut bench: Workbench,
        family: &'static str,
        seconds_left: f64,
        reporter: &Reporter,
        work: impl FnOnce(&mut Workbench, &Stop, &dyn Fn() -> f64) -> T + Send + 'static,
    ) -> Result<(Workbench, T), JobError> {
        let before = bench.tally();
        // The budget stops this fit only; what stops the job stops it as well.
        let alarm = Stop::default();
        let stop = alarm.clone();
        let began = Instant::now();
        let clock = move || began.elapsed().as_secs_f64();
        let mut work = std::pin::pin!(compute(move || {
            let outcome = work(&mut bench, &stop, &clock);
            (bench, outcome)
        }));
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended?,
                () = tokio::time::sleep(ALARM_EVERY) => {
                    let spent = seconds_left < began.elapsed().as_secs_f64();
                    if spent || self.stop.asked() || self.told_to_stop(reporter) {
                        alarm.ask();
                    }
                }
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        let Tally { computed, kept } = ended.0.tally();
        tracing::info!(
            family,
            seconds,
            steps_computed = computed - before.computed,
            steps_kept = kept - before.kept,
            "a fit has ended"
        );
        Ok(ended)
    }

    /// Fits the candidates for the gate, unless that was done before.
    async fn gates(
        &self,
        mut bench: Workbench,
        reporter: &Reporter,
    ) -> Result<Workbench, JobError> {
        let stop = self.stop.clone();
        let (bench, outcome) = compute(move || {
            let outcome = bench.add_gates(&stop);
            (bench, outcome)
        })
        .await?;
        match outcome {
            Ok(()) => Ok(bench),
            Err(_) if self.told_to_stop(reporter) => Err(JobError::Stopped),
            Err(error) => Err(JobError::Bench(error)),
        }
    }

    /// Publishes what stands. A refusal is the scheduler's decision and no fault of the job.
    async fn publish(
        &self,
        bench: Workbench,
        baseline: Option<Baseline>,
        last: bool,
        reporter: &Reporter,
        total: usize,
    ) -> Result<Workbench, JobError> {
        let done = bench.families().len();
        reporter.say(format!("measuring {done} members"), done, total);
        let (bench, offer) = compute(move || {
            let offer = offer(&bench, baseline.as_ref());
            (bench, offer)
        })
        .await?;
        let Offer { bytes, report, comparison } = offer?;
        let accuracy = report.held_out.as_ref().map_or(0.0, |it| it.accuracy);
        let tally = bench.tally();
        let told = if tally.kept == 0 { String::new() } else { format!("; {}", tally.told()) };
        reporter.say(format!("publishing {done} members{told}"), done, total);
        let digest = self.link.put_bundle(bytes).await?;
        let seconds = reporter.seconds();
        let request = PublishRequest {
            digest: Bytes::copy_from_slice(&digest),
            report: Some(report),
            comparison,
            last,
            seconds,
            ..PublishRequest::default()
        };
        let PublishReply { outcome } = self.link.publish(request).await?;
        match outcome {
            Some(Outcome::Released(released)) => tracing::info!(
                revision = released.revision,
                members = done,
                accuracy,
                seconds,
                last,
                steps_computed = tally.computed,
                steps_kept = tally.kept,
                "a revision was released"
            ),
            Some(Outcome::Refused(refused)) => tracing::warn!(
                reason = refused.reason,
                members = done,
                accuracy,
                seconds,
                last,
                "the scheduler refused a revision"
            ),
            None => tracing::warn!(last, "the scheduler did not say what became of a revision"),
        }
        Ok(bench)
    }

    /// Takes over what an earlier attempt published. What cannot be used is fitted again.
    async fn resume(
        &self,
        mut bench: Workbench,
        digest: &[u8],
        adopted: &[Recipe],
        imported: &[Imported],
    ) -> Result<Workbench, JobError> {
        let ensemble = match self.bundle(digest).await {
            Ok(ensemble) => ensemble,
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                tracing::warn!(error = %Report(&error), "training begins anew");
                return Ok(bench);
            }
        };
        if ensemble.schema() != &bench.material().schema {
            tracing::warn!("the earlier bundle is of another task; training begins anew");
            return Ok(bench);
        }
        let members = ensemble.members().len();
        bench.resume(ensemble, |member| {
            !adopted.iter().any(|it| it.family() == member.family)
                && !imported.iter().any(|it| it.is(member))
        });
        tracing::info!(members, "went on from an earlier attempt");
        Ok(bench)
    }

    /// The revision that is served, if it can still be compared with.
    async fn baseline(
        &self,
        job: &TrainingJob,
        schema: &Schema,
    ) -> Result<Option<Baseline>, JobError> {
        let ensemble = match self.bundle(&job.baseline_digest).await {
            Ok(ensemble) => ensemble,
            Err(JobError::Stopped) => return Err(JobError::Stopped),
            Err(error) => {
                tracing::warn!(error = %Report(&error), "there is nothing to compare with");
                return Ok(None);
            }
        };
        if ensemble.schema() != schema {
            tracing::warn!("the revision that is served is of another schema: not compared");
            return Ok(None);
        }
        let all = Subset::all(ensemble.members().len());
        let asked = parse::subset(&job.baseline_members).unwrap_or(all);
        let members = Subset(asked.0 & all.0);
        let members = if members.is_empty() { all } else { members };
        Ok(Some(Baseline { ensemble, members, gated: job.baseline_gated }))
    }

    async fn bundle(&self, digest: &[u8]) -> Result<Ensemble, JobError> {
        let unusable = |reason: String| JobError::Link(LinkError::Bundle { reason });
        let digest = parse::digest(digest).map_err(|error| unusable(error.to_string()))?;
        let bytes = self.link.get_bundle(digest).await?;
        let decoded = compute(move || bundle::decode(&bytes)).await?;
        decoded.map_err(|error| unusable(Report(&error).to_string()))
    }
}

/// A bundle and what is said of it.
struct Offer {
    bytes: Vec<u8>,
    report: RevisionReport,
    comparison: Option<PairedComparison>,
}

fn offer(bench: &Workbench, baseline: Option<&Baseline>) -> Result<Offer, JobError> {
    let assembled = bench.assemble().map_err(JobError::Bench)?;
    let comparison = baseline
        .map(|Baseline { ensemble, members, gated }| {
            let baseline = Served { ensemble, members: *members, gated: *gated };
            let candidate = Served::like(&assembled.ensemble, &baseline);
            compare(bench.material(), &candidate, &baseline).map_err(JobError::Compare)
        })
        .transpose()?;
    let bytes = bundle::encode(&assembled.ensemble);
    let Tally { computed, kept } = bench.tally();
    let report = RevisionReport {
        steps_computed: computed,
        steps_kept: kept,
        ..report(bench.material(), &assembled, bytes.len())
    };
    Ok(Offer { bytes, report, comparison })
}

/// How often a fit is looked at.
const ALARM_EVERY: Duration = Duration::from_millis(50);

/// Estimates are rough: a family is left out only when it is far beyond what is left.
const ESTIMATE_SLACK: f64 = 2.0;

/// Whether a fit promises to end within `seconds_left`.
fn fits(recipe: &Recipe, size: Size, seconds_left: f64) -> bool {
    0.0 < seconds_left && plan::seconds(recipe, size) < seconds_left * ESTIMATE_SLACK
}

/// Runs `work` on a thread that may be busy.
async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| JobError::Broken { reason: error.to_string() })
}
