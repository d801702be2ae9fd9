//! The process on a device: measures it, keeps a lease, supervises its workers.
//!
//! ```text
//! lease ⇄ foreman → serving (adopt, start, watch) ⇄ attach ⇄ serving worker
//!            │    → training (one child for each run)
//!            └────→ peers (round trips)
//! ```
//!
//! What should be (orders) and what is seen (reports) are different values; [`run`] wires the parts
//! that make the second follow the first. A node that is killed leaves its serving worker answering,
//! and the next node adopts it; a training ends with its node.

mod attach;
pub mod config;
pub mod folder;
mod foreman;
pub mod health;
mod jobs;
mod lease;
pub mod logs;
mod measure;
mod orders;
mod peers;
pub mod process;
mod rtt;
mod service;
pub mod serving;
pub mod share;
mod speed;
mod training;

pub use config::{Config, ConfigError};
pub use service::{RunError, run};
