//! One group of processes with a quota of CPU time.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{
    hierarchy::{Hierarchy, Version},
    quota::Quota,
};

/// Every group of ours begins with this.
pub(super) const PREFIX: &str = "sensemble-";

/// Another node may sweep a group away between its making and its first process.
const TRIES: usize = 3;

/// Why a group does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroupError {
    /// The group cannot be made.
    #[error("may not make a cgroup in {place}")]
    Make {
        /// Where.
        place: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the group does not take what is written.
    #[error("may not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A group of ours.
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    path: PathBuf,
    home: PathBuf,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// The name of the group of `device` with its folder: the same for every start of this node,
/// another for another folder.
pub(super) fn name(device: &str, data_dir: &Path) -> String {
    let folder = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    // FNV-1a: short, and the same in every build.
    let hash = folder
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{PREFIX}{device}-{hash:016x}")
}

/// Removes the groups of ours in `place` that no process is in, but for `keep`.
///
/// The kernel refuses to remove a group with processes: a running node never loses its group.
pub(super) fn remove_empty(place: &Path, keep: Option<&str>) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && keep != Some(&*name) && fs::remove_dir(entry.path()).is_ok()
        {
            tracing::debug!(group = %entry.path().display(), "stale group removed");
        }
    }
}

/// Removes every group of ours that no process is in any more.
///
/// For whoever started nodes that could not remove their own: in version 2 a process cannot leave
/// the group that it is to remove.
pub fn sweep() {
    if let Ok(found) = Hierarchy::find() {
        for place in found.places() {
            remove_empty(place, None);
        }
    }
}

impl Group {
    /// Makes the group in `place`, gives it `quota`, and puts this process into it. `home` is the
    /// group that this process goes back to.
    pub(super) fn enter(
        place: &Path,
        home: &Path,
        name: &str,
        version: Version,
        quota: Quota,
    ) -> Result<Self, GroupError> {
        let mut tries = 1;
        loop {
            let group = Self::make(place, home, name, version)?;
            // In version 2 a group that has processes cannot give quotas to the groups in it:
            // when we were alone there, it can once we have left it for the group in it.
            let entered = group.admit(std::process::id()).and_then(|()| group.ration(quota));
            match entered {
                Ok(()) => return Ok(group),
                Err(GroupError::Write { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < TRIES =>
                {
                    tries += 1;
                }
                Err(error) => {
                    group.leave();
                    return Err(error);
                }
            }
        }
    }

    /// Makes the group; nobody is in it yet.
    fn make(place: &Path, home: &Path, name: &str, version: Version) -> Result<Self, GroupError> {
        let path = place.join(name);
        match fs::create_dir(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(GroupError::Make { place: place.to_owned(), source })
            }
            Ok(()) | Err(_) => Ok(Self { version, path, home: home.to_owned() }),
        }
    }

    /// Gives it `quota`.
    fn ration(&self, Quota { quota_us, period_us }: Quota) -> Result<(), GroupError> {
        match self.version {
            Version::V1 => {
                // The old quota must fit the new period at every step: lift it first.
                write(&self.path.join("cpu.cfs_quota_us"), "-1")?;
                write(&self.path.join("cpu.cfs_period_us"), &period_us.to_string())?;
                write(&self.path.join("cpu.cfs_quota_us"), &quota_us.to_string())
            }
            Version::V2 => {
                let max = self.path.join("cpu.max");
                // Others may own the groups around ours: only in our own is anything switched on.
                if !max.exists() && self.path.parent() == Some(&self.home) {
                    write(&self.home.join("cgroup.subtree_control"), "+cpu")?;
                }
                write(&max, &format!("{quota_us} {period_us}"))
            }
        }
    }

    /// Puts the process `pid`, and every child that it starts from now on, into the group.
    fn admit(&self, pid: u32) -> Result<(), GroupError> {
        write(&self.path.join("cgroup.procs"), &pid.to_string())
    }

    /// Which kernel interface holds it.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Puts this process back to where it came from, and removes the group. What cannot be removed
    /// now is empty when this process has ended, and is swept at the next start.
    pub(super) fn leave(self) {
        let procs = self.home.join("cgroup.procs");
        if let Err(error) = write(&procs, &std::process::id().to_string()) {
            tracing::debug!(error = %runtime::Report(&error), "still in the group");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::debug!(%error, group = %self, "the group is left for the next start");
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), GroupError> {
    // Never create: a file that is not there is a controller that is not there.
    let written = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|source| GroupError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_meets_its_own_group_again_and_no_other() {
        let here = Path::new("/var/lib/a");
        assert_eq!(name("pi-4", here), name("pi-4", here));
        assert_ne!(name("pi-4", here), name("pi-4", Path::new("/var/lib/b")));
        assert!(name("pi-4", here).starts_with("sensemble-pi-4-"));
    }

    /// Where this machine allows it, the kernel says the quota back; where not, the error says why.
    #[test]
    fn the_kernel_holds_the_quota_or_the_error_says_why() {
        let Ok(found) = Hierarchy::find() else { return };
        let name = format!("{PREFIX}test-{}", std::process::id());
        let place = &found.places()[0];
        let quota = Quota { quota_us: 2_000, period_us: 10_000 };
        let made = Group::make(place, place, &name, found.version()).and_then(|group| {
            let rationed = group.ration(quota);
            if rationed.is_err() {
                remove_empty(place, None);
            }
            rationed.map(|()| group)
        });
        match made {
            Ok(group) => {
                let mut child =
                    std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
                group.admit(child.id()).unwrap();
                let read = |file| fs::read_to_string(group.path.join(file)).unwrap();
                let says = match group.version {
                    Version::V1 => format!(
                        "{} {}",
                        read("cpu.cfs_quota_us").trim(),
                        read("cpu.cfs_period_us").trim()
                    ),
                    Version::V2 => read("cpu.max").trim().to_owned(),
                };
                assert_eq!(says, "2000 10000");
                assert!(read("cgroup.procs").lines().any(|it| it == child.id().to_string()));
                remove_empty(place, None);
                assert!(group.path.exists(), "a group with a process is never removed");
                child.kill().unwrap();
                child.wait().unwrap();
                remove_empty(place, Some(&name));
                assert!(group.path.exists(), "the group that is kept stays");
                // Another test process may sweep it first; gone is what matters.
                remove_empty(place, None);
                assert!(!group.path.exists());
            }
            Err(error) => {
                assert!(runtime::Report(&error).to_string().starts_with("may not "), "{error}");
                assert!(!place.join(&name).exists());
            }
        }
    }
}
