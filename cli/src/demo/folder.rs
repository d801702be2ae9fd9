//! Where a demo keeps its state and its logs.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// A folder that is removed in the end, unless it was asked for or something went wrong.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// The folder that was asked for, or a new one beside the system's temporary files. Only its
    /// owner may look inside.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn new(asked: Option<&Path>) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let path = if let Some(path) = asked {
            builder.recursive(true).create(path)?;
            path.to_owned()
        } else {
            let name = runtime::secret::hex(&runtime::secret::random::<6>()?);
            let path = std::env::temp_dir().join(format!("sensemble-demo-{name}"));
            builder.create(&path)?;
            path
        };
        Ok(Self { path: path.canonicalize()?, keep: asked.is_some() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays when the demo has gone well.
    pub(crate) fn stays(&self) -> bool {
        self.keep
    }

    /// Leaves it in place, for a person to look at.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _in_the_way_of_nobody = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_removed() {
        let folder = Folder::new(None).unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("state"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_asked_for_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = Folder::new(Some(&path)).unwrap();
        assert!(folder.stays());
        drop(folder);
        assert!(path.exists());
    }
}
