//! A task of a story: its file, and the way from nothing to answers.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::Value;

use crate::{data::Blobs, sensemble::Sensemble};

/// What a story wants to be told apart.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its samples; the first class is the background.
    pub blobs: Blobs<'a>,
    /// Lines of the policy table.
    pub policy: &'a str,
}

impl Task<'_> {
    /// Its file, in the folder of the story.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    #[must_use]
    pub fn file(&self, sensemble: &Sensemble) -> PathBuf {
        let features: Vec<String> = (0..self.blobs.width).map(|it| format!("f{it}")).collect();
        let mut text = String::new();
        let Self { name, blobs, policy } = self;
        writeln!(text, "[task]\nname = {name:?}\nclasses = {:?}", blobs.classes)
            .and_then(|()| writeln!(text, "background = {:?}", blobs.classes[0]))
            .and_then(|()| writeln!(text, "[input]\nkind = \"features\"\ngroup = \"group\""))
            .and_then(|()| writeln!(text, "features = {features:?}\n[policy]\n{policy}"))
            .expect("writing to a string does not fail");
        let path = sensemble.path(&format!("{name}.toml"));
        fs::write(&path, text).expect("a story may write to its folder");
        path
    }

    /// Applies it and imports its samples.
    ///
    /// # Panics
    ///
    /// When a command fails.
    pub fn prepare(&self, sensemble: &Sensemble) {
        let file = self.file(sensemble).display().to_string();
        let _applied = sensemble.json(&["task", "apply", &file]);
        let table = self.blobs.table().write(sensemble.folder(), &format!("{}.csv", self.name));
        let table = table.display().to_string();
        let _imported = sensemble.json(&["data", "import", self.name, &table, "--label", "label"]);
    }

    /// Prepares and trains it, and waits until it is served; what the training said.
    ///
    /// # Panics
    ///
    /// When a command fails.
    pub fn train(&self, sensemble: &Sensemble) -> Vec<Value> {
        self.prepare(sensemble);
        let said = sensemble.json(&["train", "run", self.name, "--wait"]);
        sensemble.wait_until_served(self.name);
        said
    }
}
