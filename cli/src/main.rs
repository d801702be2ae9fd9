//! The one binary: every process and every command of Sensemble.

mod arguments;
mod classes_file;
mod command;
mod demo;
mod draft;
mod failure;
mod inspection;
mod lab;
mod output;
mod process;
mod report;
mod samples;
mod table_file;
mod up;

use std::process::ExitCode;

use clap::{Parser as _, error::ErrorKind};
use runtime::{Drain, Exit, telemetry};

use crate::{
    arguments::{Arguments, Command},
    command::Call,
    failure::{Failure, Outcome},
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    // A command says what it has to say on its own; a process is followed by its events.
    if arguments.command.is_process() || std::env::var_os("SENSEMBLE_LOG").is_some() {
        telemetry::init(arguments.log_format.into());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.command.threads())
        .thread_name("sensemble")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).tell(),
    };
    let outcome = runtime.block_on(run(arguments));
    // What still reads a file or standard input must not keep the process from ending.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| failure.tell())
}

/// Help and version are answers; everything else is a wrong call.
fn usage(error: &clap::Error) -> ExitCode {
    let answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // Nobody is left to tell when the terminal is gone.
    let _told = error.print();
    if answer { ExitCode::SUCCESS } else { Outcome::Usage.into() }
}

/// Runs what was asked for; the exit status.
async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { scheduler, format, log_format: _, command } = arguments;
    let call = Call { scheduler, format };
    // Boxed, because each of them is large and only one of them is ever there.
    let exit = match command {
        Command::Up(options) => Box::pin(up::command::run(options, Drain::on_signals()?)).await?,
        Command::Scheduler(options) => Box::pin(process::scheduler::run(options)).await?,
        Command::Node(options) => Box::pin(process::node::run(options, call.scheduler)).await?,
        Command::ServingWorker(options) => Box::pin(process::serving_worker::run(options)).await?,
        Command::TrainingWorker(options) => {
            Box::pin(process::training_worker::run(options, call.scheduler)).await?
        }
        Command::Demo(options) => Box::pin(demo::run(options, Drain::on_signals()?)).await?,
        Command::Task(command) => return asked(command::task::run(command, &call)).await,
        Command::Data(command) => return asked(command::data::run(command, &call)).await,
        Command::Train(command) => return asked(command::train::run(command, &call)).await,
        Command::Predict(options) => return asked(command::predict::run(options, &call)).await,
        Command::Evaluate(options) => return asked(command::evaluate::run(options, &call)).await,
        Command::Explain(options) => return asked(command::explain::run(options, &call)).await,
        Command::Feedback(command) => return asked(command::feedback::run(command, &call)).await,
        Command::Device(command) => return asked(command::device::run(command, &call)).await,
        Command::Placement(command) => return asked(command::placement::run(command, &call)).await,
        Command::Model(command) => return asked(command::model::run(command, &call)).await,
        Command::Member(command) => return asked(command::member::run(command, &call)).await,
        Command::Events(options) => return asked(command::events::run(options, &call)).await,
        Command::Completion(options) => return Ok(command::completion::run(&options)?.into()),
    };
    Ok(match exit {
        Exit::Drained => Outcome::Done.into(),
        Exit::GaveUp => Outcome::Error.into(),
    })
}

async fn asked(
    command: impl Future<Output = Result<Outcome, Failure>>,
) -> Result<ExitCode, Failure> {
    Box::pin(command).await.map(ExitCode::from)
}
