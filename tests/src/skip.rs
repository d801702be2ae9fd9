//! A story that cannot begin says so: `cargo xtask test` counts it as skipped, with its reason.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Names the file that skipped stories are written to, one `name<tab>reason` a line.
pub const FILE: &str = "SENSEMBLE_SKIPPED";
/// Names the folder with the data sets.
pub const DATA: &str = "SENSEMBLE_DATA";

/// Writes down that the story `name` did not begin.
pub fn skip(name: &str, reason: &str) {
    eprintln!("skipped: {name}: {reason}");
    if let Some(path) = std::env::var_os(FILE) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .expect("the chore that gave the name can be told");
        writeln!(file, "{name}\t{reason}").expect("a line can be written");
    }
}

/// The path of a file of the data sets; the story is skipped when it is not here.
#[must_use]
pub fn data(name: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(DATA).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    skip(name, &format!("the data set {file} is not here; {DATA} names the folder that holds it"));
    None
}
