//! `sensemble training-worker`, which a node starts.

use std::path::PathBuf;

use runtime::Exit;

use crate::failure::{Doing as _, Failure};

/// What a training worker may be told. Where the scheduler is, `--scheduler` says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The job to do.
    #[arg(long)]
    job: String,
    /// Which attempt at the job this is; an older one is refused.
    #[arg(long)]
    attempt: u64,
    /// The device that it runs on.
    #[arg(long, env = "SENSEMBLE_DEVICE", value_name = "NAME")]
    device: String,
    /// Threads to compute with.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Folder with results of steps that earlier trainings have computed; may be shared and removed.
    #[arg(long, env = "SENSEMBLE_STEPS", value_name = "DIR")]
    steps: Option<PathBuf>,
    /// End when standard input ends.
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

/// Does the job, or as much of it as there is time for.
pub(crate) async fn run(options: Options, scheduler: String) -> Result<Exit, Failure> {
    let Options { job, attempt, device, threads, steps, parent_pipe } = options;
    let config = training_worker::Config { scheduler, job, attempt, device, threads, steps };
    let drain = super::drain(parent_pipe)?;
    training_worker::run(config, drain).await.doing(|| "the training stopped".to_owned())
}
