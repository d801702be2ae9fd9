//! Where CPU time is rationed on this machine: the mounted hierarchy, and where in it we stand.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::group::PREFIX;

/// Why there is no hierarchy to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum HierarchyError {
    /// This is no Linux, or `/proc` is hidden.
    #[error("cannot read {path}")]
    Unreadable {
        /// What was read.
        path: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing is mounted that rations CPU time.
    #[error("no cgroup hierarchy that rations CPU time is mounted")]
    Absent,
}

/// Which of the two kernel interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

impl Version {
    /// As reported to the scheduler.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V1 => "cgroup-v1",
            Self::V2 => "cgroup-v2",
        }
    }
}

/// A mounted hierarchy that rations CPU time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    version: Version,
    /// Where a group of ours may be made, best place first.
    places: Vec<PathBuf>,
}

impl Hierarchy {
    /// The hierarchy of this machine.
    ///
    /// # Errors
    ///
    /// [`HierarchyError`]: there is none, or it cannot be seen.
    pub(super) fn find() -> Result<Self, HierarchyError> {
        let read = |path: &'static str| {
            fs::read_to_string(path).map_err(|source| HierarchyError::Unreadable { path, source })
        };
        let mounts = read("/proc/self/mounts")?;
        let groups = read("/proc/self/cgroup")?;
        let controls =
            |root: &Path| fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        Self::parse(&mounts, &groups, controls).ok_or(HierarchyError::Absent)
    }

    /// Reads the tables of the kernel. `controllers` gives the controllers of a version 2 mount,
    /// which may have been given to version 1 instead.
    fn parse(mounts: &str, groups: &str, controllers: impl Fn(&Path) -> String) -> Option<Self> {
        let mut second = None;
        for line in mounts.lines() {
            let mut words = line.split(' ');
            let (_, root, kind, options) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            let root = PathBuf::from(root);
            if kind == "cgroup" && options.split(',').any(|option| option == "cpu") {
                let own = groups.lines().find_map(|line| {
                    let (_, rest) = line.split_once(':')?;
                    let (names, own) = rest.split_once(':')?;
                    names.split(',').any(|name| name == "cpu").then_some(own)
                });
                return Some(Self { version: Version::V1, places: places(&root, own?, 1) });
            }
            if kind == "cgroup2" && controllers(&root).split_whitespace().any(|it| it == "cpu") {
                let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
                let places = places(&root, own?, usize::MAX);
                second = second.or(Some(Self { version: Version::V2, places }));
            }
        }
        second
    }

    /// Which kernel interface.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Where this process stands.
    pub(super) fn home(&self) -> &Path {
        self.places.first().expect("the mount itself is always a place")
    }

    /// Where a group of ours may be made, best place first.
    pub(super) fn places(&self) -> &[PathBuf] {
        &self.places
    }
}

/// The group that we stand in, and the groups around it: in version 2 a group with processes
/// cannot have groups with quotas, but the one around it often can.
///
/// In a container the path may be one that only the host can see: then the mount itself is ours.
/// A group of ours that we stand in already is left out, so that groups never nest.
fn places(root: &Path, own: &str, most: usize) -> Vec<PathBuf> {
    let own = Path::new(own.trim()).strip_prefix("/").unwrap_or(Path::new(""));
    let mut places: Vec<PathBuf> = own
        .ancestors()
        .filter(|part| !part.iter().any(|it| it.to_string_lossy().starts_with(PREFIX)))
        .map(|part| root.join(part))
        .take(most)
        .collect();
    if !places.iter().any(|place| place == root) {
        places.push(root.to_owned());
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
        cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
        cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";

    #[test]
    fn version_1_is_used_where_it_rations_cpu_time() {
        let found = Hierarchy::parse(V1, "2:cpu,cpuacct:/docker/a\n0::/x\n", |_| String::new());
        let places = ["/sys/fs/cgroup/cpu/docker/a", "/sys/fs/cgroup/cpu/"].map(PathBuf::from);
        assert_eq!(found, Some(Hierarchy { version: Version::V1, places: places.to_vec() }));
    }

    #[test]
    fn version_2_is_used_with_its_cpu_controller_only() {
        let groups = "0::/user.slice/run.scope\n";
        let found = Hierarchy::parse(V2, groups, |_| "cpuset cpu io".to_owned()).unwrap();
        assert_eq!(found.version(), Version::V2);
        assert_eq!(found.places()[0], Path::new("/sys/fs/cgroup/user.slice/run.scope"));
        assert_eq!(found.places()[1], Path::new("/sys/fs/cgroup/user.slice"));
        assert_eq!(found.places().len(), 3);
        assert_eq!(Hierarchy::parse(V2, groups, |_| "cpuset io".to_owned()), None);
    }

    #[test]
    fn a_group_of_ours_is_never_made_inside_another() {
        let groups = "0::/a/sensemble-pi-4-00/b\n";
        let found = Hierarchy::parse(V2, groups, |_| "cpu".to_owned()).unwrap();
        assert_eq!(found.places()[0], Path::new("/sys/fs/cgroup/a"));
    }

    #[test]
    fn tables_that_make_no_sense_are_no_hierarchy() {
        for mounts in ["", "x", "cgroup2 /sys", "cgroup /a cgroup cpu 0 0"] {
            assert_eq!(Hierarchy::parse(mounts, "nonsense", |_| "cpu".to_owned()), None);
        }
    }
}
