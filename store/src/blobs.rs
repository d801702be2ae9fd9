//! Blobs: bytes found by what they are. A folder of files, each named by the SHA-256 of its content.
//!
//! Calls block on the disk: async callers use a blocking thread.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::durable;

/// How the name of a blob ends that was found damaged and set aside.
const DAMAGED: &str = "damaged";
/// What one call reads, within a tenth of a millisecond or two.
const PART_BYTES: u64 = 64 << 10;
/// How much is digested at a time: thirty microseconds' worth.
const PIECE_BYTES: usize = 64 << 10;

/// A content-addressed folder with an upper bound on its bytes.
///
/// One process owns a folder at a time. What [`put`](Self::put) acknowledged survives a power cut
/// and what [`get`](Self::get) gives is what was put: it checks the digest each time.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
    bytes_max: u64,
    /// Bytes of all blobs. Held while the folder changes, so that two puts cannot both take the
    /// last free bytes.
    bytes: Mutex<u64>,
}

/// Why a blob was not put or got.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder has reached its bound.
    #[error(
        "the blob folder is full: {bytes} of {bytes_max} bytes are used and {length} more are needed"
    )]
    Full {
        /// Used.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
        /// What was to be put.
        length: u64,
    },
    /// Never put, or removed.
    #[error("there is no blob {digest}")]
    NotFound {
        /// In hexadecimal.
        digest: String,
    },
    /// The file does not have the content that its name says. It was set aside: putting the blob
    /// again repairs it.
    #[error("blob {digest} was damaged on disk and has been set aside; put it again")]
    Damaged {
        /// In hexadecimal.
        digest: String,
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

impl Blobs {
    /// The blobs in `dir`, which is made when it is missing; never more than `bytes_max` bytes.
    ///
    /// Removes what a crash left half-written.
    ///
    /// # Errors
    ///
    /// [`BlobError::Disk`] when the folder cannot be made, read or cleaned.
    pub fn open(dir: impl Into<PathBuf>, bytes_max: u64) -> Result<Self, BlobError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(disk("make the folder", &dir))?;
        let mut bytes = 0;
        for entry in fs::read_dir(&dir).map_err(disk("read the folder", &dir))? {
            let entry = entry.map_err(disk("read the folder", &dir))?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == durable::PARTIAL) {
                fs::remove_file(&path).map_err(disk("remove the leftover", &path))?;
                continue;
            }
            let metadata = entry.metadata().map_err(disk("look at", &path))?;
            bytes += metadata.len();
        }
        Ok(Self { dir, bytes_max, bytes: Mutex::new(bytes) })
    }

    /// Keeps `bytes` and returns their digest. Putting the same bytes twice is harmless.
    ///
    /// # Errors
    ///
    /// [`BlobError::Full`] beyond the bound, [`BlobError::Disk`] when the disk says no; neither
    /// leaves anything behind.
    pub fn put(&self, bytes: &[u8]) -> Result<[u8; 32], BlobError> {
        let digest = digest(bytes);
        let path = self.path(&digest);
        let length = u64::try_from(bytes.len()).expect("a length fits in 64 bits");
        let mut used = self.lock();
        let old = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if old == length && fs::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(digest);
        }
        let others = used.saturating_sub(old);
        if self.bytes_max < others.saturating_add(length) {
            return Err(BlobError::Full { bytes: *used, bytes_max: self.bytes_max, length });
        }
        durable::replace(&path, bytes, 0o644).map_err(disk("write", &path))?;
        *used = others + length;
        Ok(digest)
    }

    /// The bytes of `digest`, checked. Read in parts: a thread in one long call to the operating system
    /// keeps its core, however urgent the threads are that wait for it.
    ///
    /// # Errors
    ///
    /// [`BlobError::NotFound`]; [`BlobError::Damaged`] when the file no longer has the content that
    /// its name says (it is set aside, the newest one is kept for whoever wants to look);
    /// [`BlobError::Disk`].
    pub fn get(&self, digest: &[u8; 32]) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let bytes = match read_in_parts(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::NotFound { digest: runtime::secret::hex(digest) });
            }
            Err(error) => return Err(disk("read", &path)(error)),
        };
        if self::digest(&bytes) != *digest {
            self.set_aside(&path)?;
            return Err(BlobError::Damaged { digest: runtime::secret::hex(digest) });
        }
        Ok(bytes)
    }

    /// Whether there is a blob of this digest; its content is only checked by [`get`](Self::get).
    #[must_use]
    pub fn contains(&self, digest: &[u8; 32]) -> bool {
        self.path(digest).is_file()
    }

    /// How many bytes a blob has; `None` when there is none.
    #[must_use]
    pub fn length(&self, digest: &[u8; 32]) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Removes a blob; `false` when there was none.
    ///
    /// # Errors
    ///
    /// [`BlobError::Disk`] when it is there and cannot be removed.
    pub fn remove(&self, digest: &[u8; 32]) -> Result<bool, BlobError> {
        let path = self.path(digest);
        let mut used = self.lock();
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(&path) {
            Ok(()) => {
                *used = used.saturating_sub(length);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(disk("remove", &path)(error)),
        }
    }

    /// The digests of all blobs, in order.
    ///
    /// # Errors
    ///
    /// [`BlobError::Disk`] when the folder cannot be read.
    pub fn digests(&self) -> Result<Vec<[u8; 32]>, BlobError> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(disk("read the folder", &self.dir))? {
            let entry = entry.map_err(disk("read the folder", &self.dir))?;
            let digest = entry
                .file_name()
                .to_str()
                .and_then(runtime::secret::unhex)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            digests.extend(digest);
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// Bytes used, blobs that were set aside included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        *self.lock()
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.dir.join(runtime::secret::hex(digest))
    }

    /// Keeps the damaged file out of the way, and no more than one such file.
    fn set_aside(&self, path: &Path) -> Result<(), BlobError> {
        let mut used = self.lock();
        for entry in fs::read_dir(&self.dir).map_err(disk("read the folder", &self.dir))? {
            let other = entry.map_err(disk("read the folder", &self.dir))?.path();
            if other.extension().is_some_and(|extension| extension == DAMAGED) {
                let length = fs::metadata(&other).map_or(0, |metadata| metadata.len());
                fs::remove_file(&other).map_err(disk("remove", &other))?;
                *used = used.saturating_sub(length);
            }
        }
        fs::rename(path, path.with_extension(DAMAGED)).map_err(disk("set aside", path))
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A count of bytes holds nothing that a panic elsewhere could have left half-done.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 of `bytes`, in pieces between which others may have the core.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for piece in bytes.chunks(PIECE_BYTES) {
        digest.update(piece);
        runtime::spawn::give_way();
    }
    digest.finalize().into()
}

fn read_in_parts(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    while file.by_ref().take(PART_BYTES).read_to_end(&mut bytes)? != 0 {}
    Ok(bytes)
}

fn disk<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BlobError + 'a {
    move |source| BlobError::Disk { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_in_pieces_is_that_of_the_whole() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE_BYTES + 1).collect();
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
            let whole: [u8; 32] = Sha256::digest(&bytes[..length]).into();
            assert_eq!(digest(&bytes[..length]), whole, "{length}");
        }
    }

    #[test]
    fn what_was_put_is_got_also_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 100).unwrap();
        let digest = blobs.put(b"bundle").unwrap();
        assert_eq!(blobs.put(b"bundle").unwrap(), digest);
        assert_eq!(blobs.bytes(), 6);
        fs::write(dir.path().join("ab.partial"), "half").unwrap();

        let blobs = Blobs::open(dir.path(), 100).unwrap();
        assert_eq!(blobs.get(&digest).unwrap(), b"bundle");
        assert_eq!(blobs.digests().unwrap(), [digest]);
        assert_eq!(blobs.bytes(), 6, "the leftover is gone");
        assert!(blobs.remove(&digest).unwrap());
        assert!(!blobs.remove(&digest).unwrap());
        assert!(matches!(blobs.get(&digest), Err(BlobError::NotFound { .. })));
        assert_eq!(blobs.bytes(), 0);
    }

    #[test]
    fn full_is_said_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 10).unwrap();
        let kept = blobs.put(b"12345678").unwrap();
        assert!(matches!(
            blobs.put(b"abc"),
            Err(BlobError::Full { bytes: 8, bytes_max: 10, length: 3 })
        ));
        assert_eq!(blobs.digests().unwrap(), [kept]);
        blobs.put(b"ab").unwrap();
    }

    #[test]
    fn a_flipped_bit_is_found_and_putting_again_repairs_it() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 100).unwrap();
        for bytes in [&b"one"[..], b"two"] {
            let digest = blobs.put(bytes).unwrap();
            let path = blobs.path(&digest);
            let mut damaged = bytes.to_vec();
            damaged[1] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(matches!(blobs.get(&digest), Err(BlobError::Damaged { .. })));
            assert!(matches!(blobs.get(&digest), Err(BlobError::NotFound { .. })));
            assert_eq!(blobs.put(bytes).unwrap(), digest);
            assert_eq!(blobs.get(&digest).unwrap(), bytes);
        }
        assert_eq!(blobs.bytes(), 9, "two blobs, and one of the two that were set aside");
        assert_eq!(Blobs::open(dir.path(), 100).unwrap().bytes(), 9);
    }
}
