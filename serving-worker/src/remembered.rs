//! What a worker knows after a restart without a network: `assignments.json`.

use std::{fs, io, path::PathBuf};

use crate::{orders::Orders, routes::Routes};

/// Where bundles come from and corrections go.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Upstream {
    /// `host:port` of the scheduler; empty while nobody has said.
    pub(crate) scheduler: String,
    /// The name of this device.
    pub(crate) device: String,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Remembered {
    pub(crate) upstream: Upstream,
    pub(crate) orders: Orders,
    #[serde(default)]
    pub(crate) routes: Routes,
}

/// Why something was not kept or not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RememberError {
    /// The disk said no.
    #[error("cannot {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged; it was renamed, and new orders are waited for")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    pub(crate) fn in_folder(dir: &std::path::Path) -> Self {
        Self { path: dir.join("assignments.json") }
    }

    /// What was kept; `None` at the very first start.
    ///
    /// # Errors
    ///
    /// [`RememberError`]; a damaged file is set aside, so that the next start is a first start.
    pub(crate) fn read(&self) -> Result<Option<Remembered>, RememberError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.disk("read")(error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| {
            // If it cannot be renamed it will be written over, which is as good.
            let _best_effort = fs::rename(&self.path, self.path.with_extension("damaged"));
            RememberError::Damaged { path: self.path.clone(), source }
        })
    }

    /// Keeps it; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`RememberError::Disk`]; what was kept before is still there.
    pub(crate) fn write(&self, remembered: &Remembered) -> Result<(), RememberError> {
        let text = serde_json::to_vec_pretty(remembered).expect("names and numbers become JSON");
        store::durable::replace(&self.path, &text, 0o600).map_err(self.disk("write"))
    }

    fn disk(&self, what: &'static str) -> impl FnOnce(io::Error) -> RememberError {
        let path = self.path.clone();
        move |source| RememberError::Disk { what, path, source }
    }
}

#[cfg(test)]
mod tests {
    use models::Subset;

    use super::*;
    use crate::orders::Wanted;

    #[test]
    fn what_was_kept_is_read_back_and_a_damaged_file_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::in_folder(dir.path());
        assert_eq!(memory.read().unwrap(), None);
        let wanted = Wanted {
            task: "kitchen".to_owned(),
            generation: u64::MAX,
            revision: 3,
            digest: [0xab; 32],
            subset: Subset(u64::MAX),
            gated: true,
            fallback: "idle".to_owned(),
            coverage_thousandths: 900,
            abstain_below_thousandths: 600,
            input: "{}".to_owned(),
        };
        let mut remembered = Remembered::default();
        remembered.orders.obey(vec![wanted.clone()]);
        remembered.orders.loaded(&wanted);
        memory.write(&remembered).unwrap();
        assert_eq!(memory.read().unwrap(), Some(remembered));

        fs::write(dir.path().join("assignments.json"), "{").unwrap();
        assert!(matches!(memory.read(), Err(RememberError::Damaged { .. })));
        assert_eq!(memory.read().unwrap(), None);
    }
}
