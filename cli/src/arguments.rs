//! What may be said on the command line.

use clap::{Parser, Subcommand, ValueEnum};

use crate::{command, demo, output::Format, process, up};

/// Trains, places, serves and keeps improving small classifiers for sensors, on the machines that
/// a site already has.
///
/// Start with `sensemble demo`, which shows everything on this machine, or with
/// `sensemble up --data-dir DIR`, which starts a scheduler and a node and keeps what it learns.
///
/// Exit status: 0 done, 1 error, 2 accepted but not satisfied, 3 not found, 4 denied, 64 wrong call.
#[derive(Debug, Parser)]
#[command(name = "sensemble", version)]
pub(crate) struct Arguments {
    /// Where the scheduler is, as host:port.
    #[arg(
        long,
        global = true,
        env = "SENSEMBLE_SCHEDULER",
        default_value = "127.0.0.1:7400",
        value_name = "ADDRESS"
    )]
    pub(crate) scheduler: String,
    /// How answers are printed: tables for people, JSON for scripts.
    #[arg(
        short = 'o',
        long = "format",
        global = true,
        env = "SENSEMBLE_FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) format: Format,
    /// How events of a process are written to standard error; SENSEMBLE_LOG says which (`info`).
    #[arg(long, global = true, env = "SENSEMBLE_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

impl From<LogFormat> for runtime::telemetry::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a scheduler and a node on this machine.
    Up(up::Options),
    /// See everything once: a fleet on this machine, real input, training, serving, correcting.
    Demo(demo::Options),
    /// Run the service that decides which device does what.
    Scheduler(process::scheduler::Options),
    /// Run this device's part: measure it, keep its lease, start and supervise its workers.
    Node(process::node::Options),
    /// Answer predictions; started by a node.
    #[command(hide = true)]
    ServingWorker(process::serving_worker::Options),
    /// Train once; started by a node.
    #[command(hide = true)]
    TrainingWorker(process::training_worker::Options),
    /// Write, apply, list, show and remove tasks.
    #[command(subcommand)]
    Task(command::task::Command),
    /// Import samples of a task, and see what there is.
    #[command(subcommand)]
    Data(command::data::Command),
    /// Train a task, and see what is being trained.
    #[command(subcommand)]
    Train(command::train::Command),
    /// Answer the samples of a file.
    Predict(command::predict::Options),
    /// Measure how well a task is answered, on a file with labels.
    Evaluate(command::evaluate::Options),
    /// Say what an answer should have been.
    #[command(subcommand)]
    Feedback(command::feedback::Command),
    /// See how an answer came about: what each member said, and where the time went.
    Explain(command::explain::Options),
    /// See the devices of the fleet.
    #[command(subcommand)]
    Device(command::device::Command),
    /// See which device serves which task, and why.
    #[command(subcommand)]
    Placement(command::placement::Command),
    /// See the revisions of a task, and bring an older one back.
    #[command(subcommand)]
    Model(command::model::Command),
    /// Import classifiers that were fitted elsewhere, and see what became of them.
    #[command(subcommand)]
    Member(command::member::Command),
    /// Read the journal of what happened and what was decided.
    Events(command::events::Options),
    /// Print a completion script for a shell.
    Completion(command::completion::Options),
}

impl Command {
    /// Whether it runs until it is told to stop.
    pub(crate) fn is_process(&self) -> bool {
        matches!(
            self,
            Self::Up(_)
                | Self::Scheduler(_)
                | Self::Node(_)
                | Self::ServingWorker(_)
                | Self::TrainingWorker(_)
        )
    }

    /// Threads that wait for the network and for timers. Answering uses the caller's thread, so the
    /// serving worker wants one per core; the others mostly wait.
    pub(crate) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self {
            // On one core a second one could only take turns with the first.
            Self::ServingWorker(_) => cores.min(64),
            Self::Up(_) | Self::Scheduler(_) => cores.clamp(2, 8),
            Self::Demo(_)
            | Self::Node(_)
            | Self::TrainingWorker(_)
            | Self::Task(_)
            | Self::Data(_)
            | Self::Train(_)
            | Self::Predict(_)
            | Self::Evaluate(_)
            | Self::Feedback(_)
            | Self::Explain(_)
            | Self::Device(_)
            | Self::Placement(_)
            | Self::Model(_)
            | Self::Member(_)
            | Self::Events(_)
            | Self::Completion(_) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_scripts_say_is_understood() {
        for line in [
            "up --data-dir d --listen 127.0.0.1:0",
            "task init kitchen --from a.csv.gz --label label --group day --background 0 --output k.toml",
            "task apply k.toml -o json",
            "data import kitchen a.csv --label label --where day=1,2 --where split=train",
            "data import digits images.idx --labels labels.idx",
            "data check kitchen a.parquet --label label --skip-incomplete",
            "task init walk --from raw.csv --kind window --label label --rate-hz 50 --length-s 2.56 \
             --recording experiment",
            "task init sounds --from clips --kind audio --length-s 5",
            "evaluate digits images.idx --labels labels.idx",
            "train run kitchen --wait",
            "predict kitchen --input a.csv -o json",
            "-o json evaluate kitchen a.csv --label label",
            "feedback send 00112233445566778899aabbccddeeff blender",
            "explain 00112233445566778899aabbccddeeff --replay",
            "placement explain kitchen --scheduler http://pi:7400",
            "model rollback kitchen 3",
            "member import kitchen mine.onnx --trained-on none",
            "member import kitchen mine.onnx --name mine --trained-on these --data new.csv --label label \
             --expect labels.npy --expect probabilities.npy",
            "member import kitchen mine.onnx --trained-on none --outputs idle,tap,blender",
            "member list kitchen",
            "member remove kitchen mine",
            "events --follow --task kitchen",
            "completion bash",
        ] {
            let words = std::iter::once("sensemble").chain(line.split(' '));
            if let Err(error) = Arguments::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }
}
