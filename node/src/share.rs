//! The declared share of the machine, held by a cgroup where that is allowed and said plainly where
//! it is not.

mod group;
mod hierarchy;
mod quota;

use std::path::Path;

use group::Group;
pub use group::sweep;
use hierarchy::Hierarchy;
use quota::Quota;

/// How this node is held to its share.
#[derive(Debug)]
pub(crate) struct Share {
    group: Option<Group>,
    note: Option<String>,
}

impl Share {
    /// No share was declared: the whole machine may be used.
    pub(crate) fn whole() -> Self {
        Self { group: None, note: None }
    }

    /// Puts this process, and so every child it starts from now on, into a group that may use
    /// `cores` cores. Never fails: where it may not, the node goes on without and says so.
    ///
    /// The group is named for the device and its folder, so that a node which comes back after
    /// `kill -9` meets the serving worker that it left behind in the same group.
    pub(crate) fn enter(device: &str, data_dir: &Path, cores: f64) -> Self {
        let name = group::name(device, data_dir);
        let found = match Hierarchy::find() {
            Ok(found) => found,
            Err(error) => return Self::refused(cores, &runtime::Report(&error).to_string()),
        };
        for stale in found.places() {
            group::remove_empty(stale, Some(&name));
        }
        let quota = Quota::of(cores);
        let mut reasons: Vec<String> = Vec::new();
        for place in found.places() {
            match Group::enter(place, found.home(), &name, found.version(), quota) {
                Ok(group) => {
                    tracing::info!(device.id = device, cores, group = %group, "share held");
                    return Self { group: Some(group), note: None };
                }
                Err(error) => reasons.push(runtime::Report(&error).to_string()),
            }
        }
        Self::refused(cores, &reasons.join("; "))
    }

    fn refused(cores: f64, why: &str) -> Self {
        let note = format!("the share of {cores} cores is declared but not held: {why}");
        tracing::warn!(cores, why, "share not held");
        Self { group: None, note: Some(note) }
    }

    /// `cgroup-v1`, `cgroup-v2`, or `none`.
    pub(crate) fn by(&self) -> &'static str {
        self.group.as_ref().map_or("none", |group| group.version().name())
    }

    /// Whether the kernel holds this process to its share.
    pub(crate) fn held(&self) -> bool {
        self.group.is_some()
    }

    /// Why a share that was declared is not held.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Goes back to where this process came from and removes the group.
    pub(crate) fn leave(self) {
        if let Some(group) = self.group {
            group.leave();
        }
    }
}
