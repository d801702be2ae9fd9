//! The part of a job that searches for better settings, once every family stands.

use models::{Family, metrics::Share};
use proto::v1::{ProgressRequest, Settings, TrainingJob, Trial as Told};
use runtime::Report;
use tokio::time::Instant;

use super::{Brief, Job, JobError, fits};
use crate::{
    fit::Recipe,
    plan::Size,
    progress::Reporter,
    report::settings,
    search::{Next, Rung, Search, THIN, Trial, space},
    workbench::Workbench,
};

/// A search, and what earlier attempts at the job have found with it.
pub(super) struct Found {
    pub(super) search: Search,
    /// The best settings known of families for which better ones were found.
    pub(super) adopted: Vec<Recipe>,
}

/// What the trials of earlier attempts have found. A trial that is not the one the search would make
/// ends the replay: from there on it is made anew.
pub(super) fn replay(job: &TrainingJob, families: &[Family], size: Size) -> Found {
    let most = usize::try_from(job.trials_max).unwrap_or(usize::MAX);
    let mut search = Search::new(families, size, most, job.seed);
    let mut known = job.trials.iter();
    let mut adopted: Vec<Recipe> = Vec::new();
    loop {
        match search.step() {
            Next::Adopt(recipe) => {
                adopted.retain(|it| it.family() != recipe.family());
                adopted.push(recipe);
            }
            Next::Try(trial) => {
                let Some(told) = known.next().filter(|told| is(told, &trial)) else { break };
                let score = Share { hits: told.right, of: told.asked };
                search.tell(trial.number, (0 < told.asked).then_some(score));
            }
            Next::Done => break,
        }
    }
    Found { search, adopted }
}

/// Whether `told` is about `trial`.
fn is(told: &Told, trial: &Trial) -> bool {
    usize::try_from(told.number) == Ok(trial.number)
        && told.part == (trial.rung == Rung::Part)
        && told.settings.as_ref() == Some(&said(&trial.recipe))
}

fn said(recipe: &Recipe) -> Settings {
    Settings { family: recipe.family().name().to_owned(), settings: settings(recipe) }
}

/// The recipe of a family as the members that are served were made, where the scheduler says so.
pub(super) fn as_served(recipe: Recipe, served: &[Settings], size: Size) -> Recipe {
    let family = recipe.family();
    match served.iter().find(|it| it.family == family.name() && !it.settings.is_empty()) {
        Some(it) => {
            let named = it.settings.iter().map(|it| (it.name.as_str(), it.value));
            space::with(family, named, size)
        }
        None => recipe,
    }
}

impl Job {
    /// Tries settings until trials or budget are spent; better ones replace a member, and with
    /// `lazily` each better ensemble is published.
    pub(super) async fn search(
        &self,
        mut bench: Workbench,
        mut search: Search,
        brief: &Brief,
        lazily: bool,
        reporter: &Reporter,
    ) -> Result<Workbench, JobError> {
        let families = bench.families().len();
        let mut skipped = 0;
        loop {
            if self.told_to_stop(reporter) {
                return Err(JobError::Stopped);
            }
            let left = brief.budget - reporter.seconds();
            let next = search.step();
            if left <= 0.0 && next != Next::Done {
                tracing::info!(trials = search.made(), "the budget is spent");
                return Ok(bench);
            }
            match next {
                Next::Done => return Ok(bench),
                Next::Try(trial) if !fits(&trial.recipe, self.size_of(&trial, &bench), left) => {
                    search.skip();
                    skipped += 1;
                    if families < skipped {
                        return Ok(bench);
                    }
                }
                Next::Try(trial) => {
                    skipped = 0;
                    let (number, most) = (trial.number + 1, search.most());
                    let family = trial.recipe.family().name();
                    reporter.say(format!("trial {number} of {most}: {family}"), families, families);
                    let (next, score) = self.try_out(bench, &trial, left, reporter).await?;
                    bench = next;
                    search.tell(trial.number, score);
                }
                Next::Adopt(recipe) => {
                    let family = recipe.family();
                    reporter.say(
                        format!("fitting {} with better settings", family.name()),
                        families,
                        families,
                    );
                    let (next, ended) = self
                        .timed(bench, family.name(), left, reporter, move |bench, stop, clock| {
                            bench.improve(&recipe, stop, clock)
                        })
                        .await?;
                    bench = next;
                    match ended {
                        Ok(true) if lazily => {
                            bench = self.publish(bench, None, false, reporter, families).await?;
                        }
                        Ok(_) => {}
                        Err(error) if error.stopped() => {}
                        Err(error) => {
                            let family = family.name();
                            tracing::warn!(family, error = %Report(&error), "better settings were not fitted");
                        }
                    }
                }
            }
        }
    }

    /// Makes one trial and tells the scheduler how it went.
    async fn try_out(
        &self,
        bench: Workbench,
        trial: &Trial,
        seconds_left: f64,
        reporter: &Reporter,
    ) -> Result<(Workbench, Option<Share>), JobError> {
        let began = Instant::now();
        let (recipe, rung) = (trial.recipe.clone(), trial.rung);
        let family = recipe.family().name();
        let (bench, ended) = self
            .timed(bench, family, seconds_left, reporter, move |bench, stop, _| {
                bench.trial(&recipe, rung, stop)
            })
            .await?;
        let score = match ended {
            Ok(score) => Some(score),
            // Cut by the budget or by a word to stop: that says nothing about the settings.
            Err(error) if error.stopped() => return Ok((bench, None)),
            Err(error) => {
                tracing::info!(family, error = %Report(&error), "settings that cannot be fitted");
                None
            }
        };
        let Share { hits, of } = score.unwrap_or_default();
        let told = Told {
            number: u32::try_from(trial.number).unwrap_or(u32::MAX),
            settings: Some(said(&trial.recipe)),
            part: trial.rung == Rung::Part,
            right: hits,
            asked: of,
            seconds: began.elapsed().as_secs_f64(),
        };
        let word = ProgressRequest {
            seconds: reporter.seconds(),
            trials: vec![told],
            ..ProgressRequest::default()
        };
        // A trial that the scheduler does not hear of is made again by the next attempt.
        self.link.progress(word).await;
        Ok((bench, score))
    }

    /// How much a trial has to learn from.
    fn size_of(&self, trial: &Trial, bench: &Workbench) -> Size {
        let material = bench.material();
        let rows = material.folds[0].lessons.labels.len();
        Size {
            rows: if trial.rung == Rung::Part { rows / THIN } else { rows },
            width: material.schema.width(),
            classes: material.schema.classes().len(),
        }
    }
}
