//! From raw windows to features, the same when training and when serving.
//!
//! A [`Window`] says how long a stretch of samples is looked at and how often; its features are
//! statistics of each channel, with names such as `cpu_user_mean`, and for motion also spectra,
//! jerk and vectors ([`portrait`]). Recorded samples become features with [`Window::batch`], a
//! live stream with [`Slide`]: one function computes both, so that a model never meets other
//! numbers in service than in training. [`audio`] does the same for sound, [`image`] for grey
//! images.
//!
//! No clock and no I/O: whoever samples says when, whoever has a file gives its bytes.

pub mod audio;
pub mod axes;
pub mod course;
pub mod image;
pub mod input;
mod number;
pub mod portrait;
pub mod slide;
pub mod spectrum;
pub mod statistic;
pub mod stretch;
pub mod window;

pub use audio::{Clip, ClipError, Sound, SoundDetail};
pub use image::{Image, ImageDetail};
pub use input::Input;
pub use slide::Slide;
pub use statistic::Statistic;
pub use stretch::Stretch;
pub use window::{Detail, Window, WindowError};
