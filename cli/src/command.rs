//! What people and scripts ask of a running Sensemble, one command a file.

pub(crate) mod completion;
pub(crate) mod data;
pub(crate) mod device;
pub(crate) mod evaluate;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod feedback;
pub(crate) mod member;
pub(crate) mod model;
pub(crate) mod placement;
pub(crate) mod predict;
pub(crate) mod task;
pub(crate) mod train;

mod found;
mod progress;
mod trace;
mod view;

use client::Admin;

use crate::{failure::Failure, output::Format};

/// What every command is told.
#[derive(Debug)]
pub(crate) struct Call {
    /// Where the scheduler is.
    pub(crate) scheduler: String,
    /// How answers are printed.
    pub(crate) format: Format,
}

impl Call {
    /// Connects to the scheduler.
    pub(crate) async fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::connect(&self.scheduler).await?)
    }

    /// Whether the answer is for a script.
    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }
}
