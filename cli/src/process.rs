//! The processes of Sensemble, each a command of the one binary.

pub(crate) mod broker;
pub(crate) mod collector;
pub(crate) mod node;
pub(crate) mod scheduler;
pub(crate) mod serving_worker;
pub(crate) mod training_worker;

use std::io;

use runtime::Drain;

/// What asks a process to stop: a signal, and the end of its parent where that holds the other end
/// of standard input.
fn drain(parent_pipe: bool) -> io::Result<Drain> {
    let drain = Drain::on_signals()?;
    Ok(if parent_pipe { drain.with_parent() } else { drain })
}
