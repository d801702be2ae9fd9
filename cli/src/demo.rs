//! `sensemble demo`: the whole path on this machine, told step by step.

mod closing;
mod correcting;
mod dataset;
mod fleet;
mod folder;
mod machine;
mod policies;
mod recording;
mod rows;
mod splitting;
mod stage;
mod story;
mod tally;
mod task_text;
mod training;

mod app;
mod telemetry;
mod workload;

use std::path::{Path, PathBuf};

use client::Admin;
use runtime::{Drain, Exit};

use self::{dataset::Source, fleet::Fleet, folder::Folder, stage::Stage, story::Story};
use crate::{
    failure::{Doing as _, Failure},
    output,
    report::{self, Report},
    table_file::Picked,
};

/// See the whole path: train, place, serve, correct, improve.
///
/// Without options this machine is the sensor, and the task is to say what it is doing. With
/// `--data` a data set takes its place.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Keep everything (state, bundles, logs) here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the report is written.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    report: PathBuf,
    /// A table of samples (.csv or .csv.gz) to use instead of this machine.
    #[arg(long, value_name = "FILE", requires = "label")]
    data: Option<PathBuf>,
    /// The column that holds the class.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    label: Option<String>,
    /// The column that says which rows belong together (subject, day, device).
    #[arg(long, value_name = "COLUMN", requires = "data")]
    group: Option<String>,
    /// The class that stands for "nothing of interest".
    #[arg(long, value_name = "CLASS", requires = "data")]
    background: Option<String>,
    /// A table `id,name,background` that names the cells of the label column; a fitting
    /// `classes.csv` beside the data is found by itself.
    #[arg(long, value_name = "FILE", requires = "data")]
    classes: Option<PathBuf>,
    /// The rows to hold out; without it the last groups, or the last 30 % of each class.
    #[arg(long, value_name = "COLUMN=V1,V2", requires = "data")]
    test_where: Option<Picked>,
}

impl Options {
    fn source(&self) -> Option<Source> {
        Some(Source {
            file: self.data.clone()?,
            label: self.label.clone()?,
            group: self.group.clone(),
            background: self.background.clone(),
            classes: self.classes.clone(),
            test_where: self.test_where.clone(),
        })
    }
}

/// Tells the story until it ends or `drain` is asked for; stops the fleet either way.
pub(crate) async fn run(options: Options, drain: Drain) -> Result<Exit, Failure> {
    let source = options.source();
    // What is wrong with the data is said before anything is started.
    let read = source.as_ref().map(dataset::read).transpose()?;
    let mut folder = Folder::new(options.data_dir.as_deref())
        .doing(|| "no folder for the demo's state".to_owned())?;
    let path = folder.path().to_owned();

    let mut story = Story::begin();
    output::line("Sensemble demo: train, place, serve, correct, improve, on this machine alone.")?;
    story.detail(&format!("state and logs: {}", path.display()))?;
    story.chapter("Start the lab: five declared devices, real processes")?;
    let fleet = tokio::select! {
        fleet = Fleet::start(&path) => fleet,
        () = drain.wait() => return Ok(Exit::Drained),
    };
    let outcome = match fleet {
        Err(failure) => Err(failure),
        Ok(mut fleet) => {
            let outcome = tokio::select! {
                told = tell(&fleet, story, &path, read) => told.map(Some),
                () = drain.wait() => Ok(None),
            };
            // A fleet that ended by itself is why a step went wrong.
            let ended = fleet.alive();
            let stopped = if ended.is_ok() { fleet.stop().await } else { ended };
            match (outcome, stopped) {
                (Ok(told), stopped) => stopped.map(|()| told),
                (Err(failure), Ok(())) => Err(failure),
                (Err(failure), Err(fleet)) => {
                    Err(Failure::new(format!("{}; {}", failure.text(), fleet.text())))
                }
            }
        }
    };
    match outcome {
        Ok(Some(stage)) => {
            finish(stage, &options, &folder)?;
            Ok(Exit::Drained)
        }
        Ok(None) => {
            output::line("\nstopped; nothing runs any more")?;
            Ok(Exit::Drained)
        }
        Err(failure) => {
            folder.keep();
            Err(failure.hint(format!("the logs are in {}", path.display())))
        }
    }
}

async fn tell(
    fleet: &Fleet,
    mut story: Story,
    dir: &Path,
    read: Option<dataset::Read>,
) -> Result<Stage, Failure> {
    let admin = Admin::connect(fleet.scheduler()).await?;
    let step = fleet::devices(&admin, &mut story).await;
    step.doing(|| "the fleet is not whole".to_owned())?;
    // Boxed: a story is long.
    match read {
        Some(read) => Box::pin(dataset::tell(admin, story, read)).await,
        None => Box::pin(machine::tell(admin, story, dir)).await,
    }
}

/// Writes the report once the fleet has stopped, and says where everything is.
fn finish(stage: Stage, options: &Options, folder: &Folder) -> Result<(), Failure> {
    let Stage { mut story, report, .. } = stage;
    story.chapter("The fleet has stopped; the report is written")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let seconds = story.seconds();
    let facts = vec![
        ("made".to_owned(), story::date(runtime::clock::unix_ms())),
        ("took".to_owned(), format!("{seconds:.0} s")),
        ("machine".to_owned(), format!("{cores} cores, {}", std::env::consts::ARCH)),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let report = Report { facts, story: story.told().to_vec(), ..report };
    std::fs::write(&options.report, report::render(&report))
        .doing(|| format!("{} was not written", options.report.display()))?;
    let shown = options.report.canonicalize().unwrap_or_else(|_| options.report.clone());
    story.detail(&format!("report: {}", shown.display()))?;
    if folder.stays() {
        story.detail(&format!("state and logs: {}", folder.path().display()))?;
    }
    story.detail(&format!("done in {seconds:.0} s"))?;
    Ok(())
}
