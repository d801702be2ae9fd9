//! Placement: which device serves which task, with which members.
//!
//! [`solve()`] is a function of what is known ([`Problem`]) and of what was decided before
//! ([`Previous`]); it reads no clock and asks nobody. A placement is kept while it holds its
//! promise; only what is not kept is placed anew, device and subset at once.
//!
//! Limits, so that nobody looks for more: tasks are placed one after the other (largest first), so
//! a plan may miss a better joint choice; load is predicted for one queue per device.

pub mod cause;
pub mod choice;
pub mod explain;
pub mod problem;
pub mod score;
pub mod solve;

pub use cause::Cause;
pub use choice::{Candidate, Choice, Promise, promise};
pub use explain::explain;
pub use problem::{Device, Measured, Offer, Problem, Reach, TaskFacts};
pub use solve::{Placed, Plan, Previous, Verdict, solve};

#[cfg(test)]
pub(crate) mod cases;
#[cfg(test)]
mod properties;
