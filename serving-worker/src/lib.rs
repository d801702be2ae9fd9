//! From requests to answers.
//!
//! A serving worker answers predictions for all tasks that are placed on its device, takes
//! corrections, and keeps both promises without anyone's help: it serves its last good revisions
//! after a restart without a network, and what it acknowledged it delivers.
//!
//! ```text
//! orders (control) ─▶ engine ─▶ snapshot ─▶ answers (grpc, open_inference) ─▶ receipts
//!                       │ loads                                 │ looked up
//!                       ▼                                       ▼
//!                    bundles            corrections (grpc) ─▶ outbox ─▶ forwarder ─▶ scheduler
//! ```
//!
//! Where a broker is named, [`mqtt`] takes samples and corrections there, too.
//!
//! [`run`] is the process; the rest is for its own use.

mod service;

mod calls;
mod control;
mod doorway;
mod grpc;
mod http;
mod metrics;
pub mod mqtt;
mod streamed;
mod streams;
mod switchboard;

#[doc(hidden)]
pub mod fuzzing;
mod open_inference;

mod engine;
mod forwarder;

mod admission;
mod answer;
mod connections;
mod correction;
mod deadline;
mod drag;
mod error;
mod explanation;
mod floor;
mod identity;
mod intake;
mod load;
mod meter;
mod orders;
mod pace;
mod presence;
mod receipt;
mod refused;
mod relay;
mod remembered;
mod reply;
mod routes;
mod said;
mod served;
mod traced;
mod turns;
mod urgency;

pub use presence::Presence;
pub use service::{Config, RunError, run};
