//! What it costs: kernels, learning, serving, placement. The benches are under `benches/` and
//! `src/bin/`, what was measured stands in `README.md`; here is what they share.

pub mod fitted;
pub mod folder;
pub mod sets;

use std::fs;

/// The machine in a few words, beside every figure.
#[must_use]
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unnamed processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {model}")
}
