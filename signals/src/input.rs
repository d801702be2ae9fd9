//! What goes into a task: features as they are, or raw windows, sounds or images.

use crate::{Image, Sound, Stretch as _, Window};

/// The input of a task, and how it becomes features.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Features as they are, by their names.
    Features(Vec<String>),
    /// Windows of sensor channels.
    Window(Window),
    /// Stretches of sound.
    Audio(Sound),
    /// Grey images.
    Image(Image),
}

impl Input {
    /// The kinds, as task files name them.
    pub const KINDS: [&str; 4] = ["features", "window", "audio", "image"];

    /// Its kind, as task files name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Features(_) => "features",
            Self::Window(_) => "window",
            Self::Audio(_) => "audio",
            Self::Image(_) => "image",
        }
    }

    /// The names of the features that a model sees, in their order.
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        match self {
            Self::Features(names) => names.clone(),
            Self::Window(window) => window.feature_names(),
            Self::Audio(sound) => sound.feature_names(),
            Self::Image(image) => image.feature_names(),
        }
    }
}
