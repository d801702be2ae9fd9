//! How others find this worker, and how two never run on one folder: `serving.json` and `serving.lock`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What stands in `serving.json` while a worker answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presence {
    /// Its process.
    pub pid: u32,
    /// Where it answers gRPC.
    pub grpc: SocketAddr,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it shows its metrics.
    pub metrics: SocketAddr,
    /// Who has this may give it orders.
    pub token: String,
    /// The broker that it answers at, as [`told`](crate::mqtt::Place::told).
    #[serde(default)]
    pub mqtt: Option<String>,
    /// The collector that it tells of traces, as [`told`](traces::Settings::told).
    #[serde(default)]
    pub traces: Option<String>,
}

/// Why a worker may not use a folder.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// Another one does.
    #[error("another serving worker uses {dir}: stop it, or give this one a folder of its own")]
    Taken {
        /// The folder.
        dir: PathBuf,
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

/// The right to a folder, until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Hold {
    _lock: File,
    path: PathBuf,
}

impl Hold {
    /// Takes the folder, which is made when it is missing.
    ///
    /// # Errors
    ///
    /// [`PresenceError::Taken`] while another worker has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, PresenceError> {
        let path = dir.join("serving.lock");
        let disk = |what, source| PresenceError::Disk { what, path: path.clone(), source };
        fs::create_dir_all(dir).map_err(|error| disk("make the folder of", error))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| disk("open", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PresenceError::Taken { dir: dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(disk("lock", error)),
        }
        let hold = Self { _lock: lock, path: dir.join("serving.json") };
        // What a killed worker left here leads nowhere.
        hold.retract();
        Ok(hold)
    }

    /// Tells where this worker answers; only its owner can read the token.
    ///
    /// # Errors
    ///
    /// [`PresenceError::Disk`].
    pub(crate) fn announce(&self, presence: &Presence) -> Result<(), PresenceError> {
        let text = serde_json::to_vec_pretty(presence).expect("addresses and text become JSON");
        store::durable::replace(&self.path, &text, 0o600).map_err(|source| PresenceError::Disk {
            what: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Tells that this worker no longer answers.
    pub(crate) fn retract(&self) {
        // When it cannot be removed, its process id leads nowhere all the same.
        let _missing = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_has_one_worker_at_a_time_and_the_token_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let hold = Hold::take(dir.path()).unwrap();
        assert!(matches!(Hold::take(dir.path()), Err(PresenceError::Taken { .. })));
        let address = SocketAddr::from(([127, 0, 0, 1], 8001));
        let presence = Presence {
            pid: 1,
            grpc: address,
            http: address,
            metrics: address,
            token: "secret".to_owned(),
            mqtt: None,
            traces: None,
        };
        hold.announce(&presence).unwrap();
        let path = dir.path().join("serving.json");
        let text = fs::read(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Presence>(&text).unwrap(), presence);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(hold);
        // As after a kill: the file is there, its writer is not.
        let _hold = Hold::take(dir.path()).unwrap();
        assert!(!path.exists());
    }
}
