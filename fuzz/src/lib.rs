//! Bytes from outside, by the million: nothing that reads them may panic, take long or keep memory.
//!
//! A [`Target`] is a reader and what it is shown first. `cargo xtask fuzz` shows it what libFuzzer makes of that, guided by
//! coverage; the tests of this crate show it some thousand changed inputs on any machine. docs/decisions/0038.

pub mod guided;
#[cfg(test)]
mod mutation;
pub mod seal;
pub mod targets;

pub use targets::{TARGETS, Target};

/// Longest input: enough for every format's head, small enough for thousands a second.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
