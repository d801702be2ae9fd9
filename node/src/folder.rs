//! A data folder: owned by one process at a time, written whole or not at all.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// The largest file that is read back: what we write is far smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or opened.
    #[error("cannot use the folder {path}")]
    Open {
        /// The folder or its lock.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process owns it.
    #[error("{path} is in use by a running {owner}: stop that one, or choose another --data-dir")]
    Taken {
        /// The folder.
        path: PathBuf,
        /// What kind of process owns folders of this kind.
        owner: &'static str,
    },
}

/// The right to use a folder, for as long as it lives. The system takes it back when the process
/// ends in any way.
#[derive(Debug)]
pub struct Owned {
    _lock: File,
}

/// Makes `folder` if need be, and owns it; `owner` names the kind of process, and its lock.
///
/// # Errors
///
/// [`FolderError::Taken`] when another process owns it, [`FolderError::Open`] when it cannot be
/// used at all.
pub fn own(folder: &Path, owner: &'static str) -> Result<Owned, FolderError> {
    let open_error = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Open { path, source }
    };
    fs::create_dir_all(folder).map_err(open_error(folder))?;
    let path = folder.join(format!("{owner}.lock"));
    let lock = File::create(&path).map_err(open_error(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Owned { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(FolderError::Taken { path: folder.to_owned(), owner }),
        Err(TryLockError::Error(source)) => Err(open_error(&path)(source)),
    }
}

/// Writes `value` as JSON to `path`: whole and on disk when this returns, or as it was. One writer
/// a file: whoever owns the folder.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    let mut file = File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

/// Reads what [`write_json`] wrote; `None` when there is nothing there.
///
/// # Errors
///
/// When the file cannot be read, is absurdly large, or does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if FILE_BYTES_MAX < length {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large to be ours"));
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("made/on/the/way");
        let first = own(&inner, "node").unwrap();
        let error = own(&inner, "node").unwrap_err();
        assert!(matches!(error, FolderError::Taken { .. }), "{error}");
        drop(first);
        assert!(own(&inner, "node").is_ok());
    }

    #[test]
    fn json_reads_back_what_was_written_and_nothing_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        write_json(&path, &[1_u8, 2]).unwrap();
        write_json(&path, &[3_u8]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no half file is left");
        fs::write(&path, b"[3").unwrap();
        assert!(read_json::<Vec<u8>>(&path).is_err());
    }
}
