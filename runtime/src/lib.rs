//! How a process of ours lives: it starts, is told to stop, drains, and ends drained or aloud.

pub mod backoff;
pub mod clock;
pub mod drain;
pub mod exposition;
pub mod listen;
pub mod place;
pub mod report;
pub mod secret;
pub mod spawn;
pub mod telemetry;

pub use drain::{Drain, Exit};
pub use report::Report;
