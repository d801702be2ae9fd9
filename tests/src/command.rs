//! The binary, as a person uses it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// The binary under test: `SENSEMBLE_BIN`, else the one that was built beside this test, else it is
/// built now.
///
/// # Panics
///
/// When there is none and it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(named) = env::var_os("SENSEMBLE_BIN") {
            return fs::canonicalize(&named).expect("SENSEMBLE_BIN names a file");
        }
        // target/debug/deps/story-1234 → target/debug/sensemble
        let test = env::current_exe().expect("a test has a path");
        let folder = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
        let release = folder.ends_with("release");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "sensemble"]);
        build.args(release.then_some("--release")).arg("--target-dir");
        build.arg(folder.parent().expect("a profile lies in target"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().expect("cargo runs").success(), "the binary does not build");
        folder.join("sensemble")
    })
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The words after `sensemble`.
    pub words: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Outcome {
    /// Of a finished process.
    #[must_use]
    pub fn of(words: &[&str], output: &Output) -> Self {
        Self {
            words: words.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, when it succeeded.
    ///
    /// # Panics
    ///
    /// When it did not, with everything it said.
    #[track_caller]
    #[must_use]
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The same, when it was refused with exit code `code`, without a panic, saying each of `words`.
    ///
    /// # Panics
    ///
    /// When it was not.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self}");
        let said = self.err.to_lowercase();
        assert!(!said.contains("panicked"), "{self}");
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "does not say {word:?}: {self}");
        }
        self
    }

    /// What it wrote, one JSON value a line (or one value in all).
    ///
    /// # Panics
    ///
    /// When that is not JSON.
    #[track_caller]
    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        if let Ok(value) = serde_json::from_str::<Value>(&self.out) {
            return value.as_array().cloned().unwrap_or_else(|| vec![value]);
        }
        self.out
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"))
            })
            .collect()
    }

    /// The one JSON value that it wrote.
    ///
    /// # Panics
    ///
    /// When it wrote none.
    #[track_caller]
    #[must_use]
    pub fn value(&self) -> Value {
        let values = self.values();
        values.last().unwrap_or_else(|| panic!("wrote nothing: {self}")).clone()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { words, code, out, err } = self;
        write!(f, "`sensemble {words}` ended with {code}\n--- stdout\n{out}\n--- stderr\n{err}")
    }
}
