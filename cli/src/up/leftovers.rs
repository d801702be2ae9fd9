//! What an `up` that was killed left behind: its children drain, since their pipe ended, and the
//! next one waits for that.

use std::{path::Path, time::Duration};

use futures_util::future;
use node::process::{Process, words};

/// Waits until every process that an earlier `up` started on `data_dir` has ended, and ends those
/// that have not within `patience`.
///
/// Whoever calls this owns the folder, so none of them can be another's.
pub(super) async fn end(data_dir: &Path, patience: Duration) {
    let left = find(data_dir);
    if left.is_empty() {
        return;
    }
    tracing::info!(processes = left.len(), "waiting for what an earlier run left behind");
    future::join_all(left.iter().map(|process| process.stop(patience))).await;
}

fn find(data_dir: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| is_left(&words(pid), data_dir))
        .filter_map(|pid| Process::hold(pid).ok())
        .collect()
}

/// Whether a process with these words was started by an `up` on `data_dir`.
fn is_left(words: &[std::path::PathBuf], data_dir: &Path) -> bool {
    words.iter().any(|word| word == Path::new("--parent-pipe"))
        && words.windows(2).any(|pair| {
            pair[0] == Path::new("--data-dir")
                && pair[1].starts_with(data_dir)
                && pair[1] != data_dir
        })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn only_the_children_of_an_up_on_this_folder_are_left_behind() {
        let is_left = |line: &str| {
            let words: Vec<PathBuf> = line.split(' ').map(PathBuf::from).collect();
            is_left(&words, Path::new("/data/a"))
        };
        assert!(is_left("sensemble scheduler --data-dir /data/a/scheduler --parent-pipe"));
        assert!(is_left("sensemble node --data-dir /data/a/devices/pi --x y --parent-pipe"));
        // Another folder, a process that outlives its parent by design, the `up` itself.
        assert!(!is_left("sensemble scheduler --data-dir /data/ab/scheduler --parent-pipe"));
        assert!(!is_left("sensemble serving-worker --data-dir /data/a/node/serving"));
        assert!(!is_left("sensemble up --data-dir /data/a --parent-pipe"));
    }
}
