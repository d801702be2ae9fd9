//! The scheduler over the wire: real gRPC on loopback, with nodes and trainers that are played.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod stage;

mod knowledge;
mod losses;
mod members;
mod metrics;
mod path;
mod refusals;
