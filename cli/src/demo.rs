//! `sensemble demo`: the whole path on this machine, told step by step.

use std::{path::PathBuf, process::ExitCode};

use runtime::Drain;

mod telemetry;
mod workload;

/// See the whole path: train, place, serve, correct, improve.
///
/// Without options this machine is the sensor, and the task is to say what it is doing. With
/// `--data` a data set takes its place.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Keep everything (state, bundles, logs) here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the report is written.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub(crate) report: PathBuf,
    /// A table of samples (.csv or .csv.gz) to use instead of this machine.
    #[arg(long, value_name = "FILE", requires = "label")]
    pub(crate) data: Option<PathBuf>,
    /// The column that holds the class.
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub(crate) label: Option<String>,
    /// The column that says which rows belong together (subject, day, device).
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub(crate) group: Option<String>,
    /// The class that stands for "nothing of interest".
    #[arg(long, value_name = "CLASS", requires = "data")]
    pub(crate) background: Option<String>,
    /// A table `id,name,background` that names the cells of the label column; `classes.csv` beside
    /// the data is found by itself.
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) classes: Option<PathBuf>,
    /// The rows to hold out, as COLUMN=VALUE,VALUE; without it the last groups, or the last 30 %.
    #[arg(long, value_name = "COLUMN=V1,V2", requires = "data")]
    pub(crate) test_where: Option<String>,
}

/// Tells the story until it ends or `drain` is asked for.
///
/// Exit code 0 when every step went well, 1 when one did not (said on standard error).
pub(crate) async fn run(options: Options, drain: Drain) -> ExitCode {
    let _ = (options, drain);
    ExitCode::FAILURE
}
