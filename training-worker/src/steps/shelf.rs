//! The shelf: results that can be made again, found by what they were made from. A bounded folder from
//! which the least lately used goes first.
//!
//! Nothing that lies here is the only one of its kind. So a file that is not as it was put down is removed
//! and is as if it had never been there, whoever cannot put something down goes on without, and nobody
//! waits until it would survive a power cut. That is why this is no part of `store`.
//!
//! ```text
//! offset size  field
//!      0    4  magic   "SHF1"
//!      4   32  key     what the result was made from; the file is named by it, in hexadecimal
//!     36   32  digest  SHA-256 of all that follows
//!     68       result
//! ```
//!
//! Processes may share a folder: a file is there whole or is found not to be.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 4] = *b"SHF1";
/// Bytes before the result.
const HEAD_BYTES: usize = 68;
/// Most files: each time something is put down all of them are looked at, which takes milliseconds.
const FILES_MAX: usize = 4_096;

/// A folder of results with an upper bound on its bytes.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    bytes_max: u64,
}

/// Why a result was not put down or taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    /// The file is not as it was put down. It was removed.
    #[error("the kept result {key} was damaged and has been removed")]
    Damaged {
        /// In hexadecimal.
        key: String,
    },
    /// More than the whole shelf holds.
    #[error("a result of {length} bytes is more than the {bytes_max} that are kept")]
    TooLarge {
        /// How large it is.
        length: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The disk said no.
    #[error("cannot {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Shelf {
    /// The results in `dir`, which is made when it is missing; never more than `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// [`ShelfError::Disk`] when the folder cannot be made.
    pub(super) fn open(dir: impl Into<PathBuf>, bytes_max: u64) -> Result<Self, ShelfError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(disk("make the folder", &dir))?;
        Ok(Self { dir, bytes_max })
    }

    /// What was put down under `key`, checked; `None` when nothing is there. It is then the latest used.
    ///
    /// # Errors
    ///
    /// [`ShelfError::Damaged`] for other bytes than were put down; [`ShelfError::Disk`].
    pub(super) fn take_up(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, ShelfError> {
        let path = self.path(key);
        // What is larger than the shelf was not put down here, and is not read into memory.
        let fits = fs::metadata(&path).map_or(true, |metadata| metadata.len() <= self.bytes_max);
        let mut bytes = match if fits { fs::read(&path) } else { Ok(Vec::new()) } {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk("read", &path)(error)),
        };
        if !is_whole(&bytes, key) {
            remove(&path)?;
            return Err(ShelfError::Damaged { key: runtime::secret::hex(key) });
        }
        // On a disk that takes nothing, it stays as old as it is.
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(runtime::clock::unix_ms());
        let _its_age_changes_no_result = File::open(&path).and_then(|it| it.set_modified(now));
        Ok(Some(bytes.split_off(HEAD_BYTES)))
    }

    /// Puts `result` down under `key`, in place of what was there; the least lately used makes room.
    ///
    /// # Errors
    ///
    /// [`ShelfError::TooLarge`] for more than the shelf holds; [`ShelfError::Disk`]. Neither leaves
    /// anything behind.
    pub(super) fn put_down(&self, key: &[u8; 32], result: &[u8]) -> Result<(), ShelfError> {
        let length = u64::try_from(HEAD_BYTES + result.len()).unwrap_or(u64::MAX);
        if self.bytes_max < length {
            return Err(ShelfError::TooLarge { length, bytes_max: self.bytes_max });
        }
        self.make_room(self.bytes_max - length, FILES_MAX - 1)?;
        let path = self.path(key);
        // Whoever else writes the same has a name of its own. One that a crash left is not used any more,
        // and makes room when its time comes.
        let partial = path.with_extension(std::process::id().to_string());
        let bytes = [&MAGIC[..], key, &digest(result), result].concat();
        let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &path));
        written.map_err(|source| {
            // The first error is the one to tell.
            let _left_over = fs::remove_file(&partial);
            disk("write", &path)(source)
        })
    }

    /// Removes the least lately used until no more than so many bytes and files are left.
    fn make_room(&self, bytes_max: u64, files_max: usize) -> Result<(), ShelfError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(disk("read the folder", &self.dir))? {
            let entry = entry.map_err(disk("read the folder", &self.dir))?;
            // What another process has just removed takes no room.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if metadata.is_file() {
                files.push((used, entry.path(), metadata.len()));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, _, length)| length).sum();
        let mut left = files.len();
        for (_, path, length) in files {
            if bytes <= bytes_max && left <= files_max {
                break;
            }
            remove(&path)?;
            bytes -= length;
            left -= 1;
        }
        Ok(())
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.dir.join(runtime::secret::hex(key))
    }
}

fn is_whole(bytes: &[u8], key: &[u8; 32]) -> bool {
    let Some((head, result)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return false };
    head[..4] == MAGIC && head[4..36] == *key && head[36..] == digest(result)
}

fn digest(result: &[u8]) -> [u8; 32] {
    Sha256::digest(result).into()
}

fn remove(path: &Path) -> Result<(), ShelfError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn disk<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ShelfError + 'a {
    move |source| ShelfError::Disk { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const TWO: [u8; 32] = [2; 32];
    const THREE: [u8; 32] = [3; 32];

    /// As if the result under `key` had been used so many seconds after the beginning of time.
    fn used(shelf: &Shelf, key: &[u8; 32], seconds: u64) {
        let file = File::options().write(true).open(shelf.path(key)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn holds(shelf: &Shelf) -> Vec<u8> {
        let there = |key: &&[u8; 32]| shelf.path(key).exists();
        [ONE, TWO, THREE].iter().filter(there).map(|key| key[0]).collect()
    }

    #[test]
    fn what_was_put_down_is_taken_up_also_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().join("steps"), 1_000).unwrap();
        assert_eq!(shelf.take_up(&ONE).unwrap(), None);
        shelf.put_down(&ONE, b"first").unwrap();
        shelf.put_down(&ONE, b"second").unwrap();
        let other = Shelf::open(dir.path().join("steps"), 1_000).unwrap();
        assert_eq!(other.take_up(&ONE).unwrap().unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path().join("steps")).unwrap().count(), 1);
    }

    #[test]
    fn a_full_shelf_gives_up_what_was_not_used_for_longest() {
        let dir = tempfile::tempdir().unwrap();
        let room_for_two = u64::try_from(2 * (HEAD_BYTES + 10)).unwrap();
        let shelf = Shelf::open(dir.path(), room_for_two).unwrap();
        shelf.put_down(&ONE, &[1; 10]).unwrap();
        shelf.put_down(&TWO, &[2; 10]).unwrap();
        used(&shelf, &ONE, 1);
        used(&shelf, &TWO, 2);
        // Who is asked for is not the oldest any more.
        assert!(shelf.take_up(&ONE).unwrap().is_some());
        shelf.put_down(&THREE, &[3; 10]).unwrap();
        assert_eq!(holds(&shelf), [1, 3]);
        let all = vec![0; 2 * (HEAD_BYTES + 10)];
        assert!(matches!(shelf.put_down(&TWO, &all), Err(ShelfError::TooLarge { .. })));
        assert_eq!(holds(&shelf), [1, 3], "what has no room makes none");
    }

    #[test]
    fn a_file_under_another_name_is_no_result() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path(), 1_000).unwrap();
        shelf.put_down(&ONE, b"of one").unwrap();
        fs::rename(shelf.path(&ONE), shelf.path(&TWO)).unwrap();
        assert!(matches!(shelf.take_up(&TWO), Err(ShelfError::Damaged { .. })));
        assert_eq!(shelf.take_up(&TWO).unwrap(), None, "it is as if it had never been there");
    }

    #[test]
    fn a_file_that_is_larger_than_the_shelf_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let large = Shelf::open(dir.path(), 1_000).unwrap();
        large.put_down(&ONE, &[1; 500]).unwrap();
        let small = Shelf::open(dir.path(), 500).unwrap();
        assert!(matches!(small.take_up(&ONE), Err(ShelfError::Damaged { .. })));
        assert!(holds(&small).is_empty());
    }

    #[test]
    fn a_folder_that_takes_nothing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().join("steps"), 1_000).unwrap();
        fs::remove_dir(dir.path().join("steps")).unwrap();
        assert!(matches!(shelf.put_down(&ONE, b"one"), Err(ShelfError::Disk { .. })));
        // Nor one that is a file.
        fs::write(dir.path().join("steps"), "a file").unwrap();
        assert!(Shelf::open(dir.path().join("steps"), 1_000).is_err());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_or_a_cut_is_never_taken_up(
            result in prop::collection::vec(any::<u8>(), 0..40), at: prop::sample::Index, cut: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let shelf = Shelf::open(dir.path(), 1_000).unwrap();
            shelf.put_down(&ONE, &result).unwrap();
            let mut bytes = fs::read(shelf.path(&ONE)).unwrap();
            if cut {
                bytes.truncate(at.index(bytes.len()));
            } else {
                let bit = at.index(8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            fs::write(shelf.path(&ONE), bytes).unwrap();
            prop_assert!(shelf.take_up(&ONE).is_err());
            prop_assert_eq!(shelf.take_up(&ONE).unwrap(), None);
            shelf.put_down(&ONE, &result).unwrap();
            prop_assert_eq!(shelf.take_up(&ONE).unwrap().unwrap(), result);
        }
    }
}
