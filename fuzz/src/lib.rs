//! Bytes from outside, by the million: nothing that reads them may panic, take long or keep memory.
//!
//! A [`Target`] is a reader and what it is shown first. The driver (`main`) changes inputs at random;
//! one that is answered in a way not seen before joins those that are changed further, so that it
//! gets deeper into a format without an instrumented compiler. docs/decisions/0022.

pub mod mutation;
pub mod targets;

pub use targets::{TARGETS, Target};
