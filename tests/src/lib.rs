//! Stories over real processes: what they start, ask, kill and wait for.
//!
//! A story starts the real binary ([`Sensemble`]) in a folder of its own, speaks to it through the
//! command line or the client, and proves one sentence. Whatever happens, nothing that it started
//! outlives it.

pub mod app;
pub mod collector;
pub mod command;
pub mod data;
pub mod mosquitto;
pub mod process;
pub mod real;
pub mod sensemble;
pub mod sensor;
pub mod skip;
pub mod task;
pub mod wait;

pub use app::{App, StopOnDrop, admin};
pub use collector::Collector;
pub use command::{Outcome, program};
pub use data::{Blobs, Row, Table};
pub use mosquitto::Mosquitto;
pub use sensemble::{START_MAX, Sensemble};
pub use sensor::Sensor;
pub use task::Task;

pub use wait::{TRAIN_MAX, until};
