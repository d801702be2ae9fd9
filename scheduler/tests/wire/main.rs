//! The scheduler over the wire: real gRPC on loopback, with nodes and trainers that are played.

mod stage;

mod losses;
mod path;
mod refusals;
