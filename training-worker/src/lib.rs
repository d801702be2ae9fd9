//! From samples and corrections to bundles: one job, one process.
//!
//! [`run`] asks the scheduler what is to be trained, fits one member after another, and publishes
//! each ensemble as soon as it is better than the one before. Everything that decides is a function
//! of values ([`split`], [`plan`], [`workbench`]); [`run`] is the shell around it.

pub mod comparison;
pub mod draw;
pub mod fit;
mod job;
pub mod knowledge;
pub mod landmark;
mod link;
pub mod material;
pub mod onnx;
pub mod panel;
pub mod plan;
mod progress;
pub mod report;
pub mod search;
pub mod split;
pub mod steps;
pub mod table;
pub mod workbench;

use std::path::PathBuf;

pub use job::run;
pub use link::LinkError;

/// Which job this process is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the scheduler listens: `host:port` or `http://host:port`.
    pub scheduler: String,
    /// The job.
    pub job: String,
    /// Fences an earlier run of the same job.
    pub attempt: u64,
    /// The device that this process runs on.
    pub device: String,
    /// How many threads may compute; at least one does.
    pub threads: usize,
    /// Where results of steps are kept, to be found by the next training on this device; nowhere when
    /// there is none.
    pub steps: Option<PathBuf>,
}

/// Why a job was not begun.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scheduler cannot be reached by this configuration.
    #[error("the scheduler cannot be asked")]
    Link(#[source] LinkError),
}
