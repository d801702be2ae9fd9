//! `sensemble completion SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{
    arguments::Arguments,
    failure::{Failure, Outcome},
};

/// Which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The shell that will complete.
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(options: &Options) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "sensemble", &mut script);
    crate::output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}
