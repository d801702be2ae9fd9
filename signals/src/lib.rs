//! From raw windows to features, the same when training and when serving.
//!
//! A [`Window`] says how long a stretch of samples is looked at and how often; its features are
//! statistics of each channel, with names such as `cpu_user_mean`. Recorded samples become
//! features with [`Window::batch`], a live stream with [`Slide`]: one function computes both, so
//! that a model never meets other numbers in service than in training.
//!
//! No clock and no I/O: whoever samples says when.

pub mod slide;
pub mod statistic;
pub mod window;

pub use slide::Slide;
pub use statistic::Statistic;
pub use window::{Window, WindowError};
