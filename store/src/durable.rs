//! Files that are there whole or not at all, also after a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// How the name of a file ends that is being written. One that is found at start is a leftover.
pub const PARTIAL: &str = "partial";

/// Replaces `path` by `bytes`: readers see the old file or the new one, and when this returns the
/// new one survives a power cut.
///
/// `mode` is the permission of the new file (`0o600` for what only its owner may read). Two writers
/// of one path must take turns.
///
/// # Errors
///
/// When the folder cannot be written; then the old file is untouched.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let partial = partial(path);
    let written = write(&partial, bytes, mode).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one to tell; what is left is removed at the next start.
        let _left_over = fs::remove_file(&partial);
    }
    written?;
    sync_folder_of(path)
}

/// Makes the names in the folder of `path` durable.
///
/// # Errors
///
/// When the folder cannot be opened or synced.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(PARTIAL);
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover may have another mode, and a mode is only given to a new file.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_mode_and_nothing_is_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        fs::write(&path, "old").unwrap();
        fs::write(partial(&path), "left over by a crash").unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("not empty")).unwrap();
        assert!(replace(&path, b"new", 0o644).is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
