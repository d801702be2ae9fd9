//! What our children say: into bounded files of their own, so that a child never depends on whoever
//! started it for a place to write.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// A log grows to this size, then becomes the old one.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// Of a log's end, what is looked at for its last words.
const TAIL_BYTES: u64 = 4 << 10;

/// Of a child's last words, what is passed on.
const WORDS_CHARS_MAX: usize = 300;

/// The log of one child.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log called `name` in `folder`.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(format!("{name}.log")) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for a child to append to.
    ///
    /// # Errors
    ///
    /// When the file or its folder cannot be made.
    pub fn open(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        self.bound()?;
        File::options().create(true).append(true).open(&self.path)
    }

    /// Keeps it within its size: what is in it becomes the old log, and it starts anew.
    ///
    /// A child appends, so it goes on at the new end; the few lines that it writes between the copy
    /// and the cut are lost.
    ///
    /// # Errors
    ///
    /// When the file cannot be copied or cut.
    pub fn bound(&self) -> io::Result<()> {
        let length = fs::metadata(&self.path).map_or(0, |found| found.len());
        if LOG_BYTES_MAX < length {
            fs::copy(&self.path, self.path.with_extension("log.old"))?;
            File::options().write(true).open(&self.path)?.set_len(0)?;
        }
        Ok(())
    }

    /// The last line that is not blank; empty when there is none.
    #[must_use]
    pub fn last_words(&self) -> String {
        let tail = || {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let tail = tail().unwrap_or_default();
        let last = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        last.trim().chars().filter(|it| !it.is_control()).take(WORDS_CHARS_MAX).collect()
    }
}

/// Keeps the `newest` files in `folder` whose name begins with `prefix`, and removes the rest.
pub(crate) fn keep_newest(folder: &Path, prefix: &str, newest: usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut logs: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    logs.sort();
    let old = logs.len().saturating_sub(newest);
    for (_, path) in logs.drain(..old) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, path = %path.display(), "old log not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_stays_bounded_while_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(&folder.path().join("logs"), "a");
        assert_eq!(log.last_words(), "");
        let mut writer = log.open().unwrap();
        writer.write_all(&vec![b'x'; usize::try_from(LOG_BYTES_MAX).unwrap() + 1]).unwrap();
        log.bound().unwrap();
        writer.write_all(b"first\nlast words\n\n").unwrap();
        assert_eq!(fs::metadata(log.path()).unwrap().len(), 18);
        assert_eq!(log.last_words(), "last words");
        assert!(log.path().with_extension("log.old").exists());
    }

    #[test]
    fn only_the_newest_logs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["training-a.log", "training-b.log", "training-c.log", "other.log"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        keep_newest(folder.path(), "training-", 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert!(folder.path().join("other.log").exists());
    }
}
