//! The dependency diagram of ARCHITECTURE.md and the rules that a compiler does not hold, as tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who may depend on whom. What is not here is not allowed.
const EDGES: &[(&str, &[&str])] = &[
    ("models", &[]),
    ("runtime", &[]),
    ("signals", &["models"]),
    ("proto", &["models"]),
    ("store", &["runtime"]),
    ("traces", &["proto", "runtime"]),
    ("client", &["proto"]),
    ("scheduler", &["models", "proto", "runtime", "signals", "store", "traces"]),
    ("training-worker", &["models", "proto", "runtime"]),
    ("serving-worker", &["models", "proto", "runtime", "signals", "store", "traces"]),
    ("node", &["models", "proto", "runtime"]),
    (
        "sensemble",
        &[
            "client",
            "models",
            "node",
            "proto",
            "runtime",
            "scheduler",
            "serving-worker",
            "signals",
            "traces",
            "training-worker",
        ],
    ),
    // Nobody ships these: they may look everywhere.
    (
        "benches",
        &[
            "client",
            "models",
            "node",
            "proto",
            "runtime",
            "scheduler",
            "serving-worker",
            "signals",
            "store",
            "training-worker",
        ],
    ),
    ("fuzz", &["models", "proto", "scheduler", "serving-worker", "training-worker"]),
    ("stories", &["client", "models", "proto"]),
    ("xtask", &[]),
];

/// Families of libraries that a single crate of ours may name.
const RESERVED: &[(&str, &str)] =
    &[("linfa", "training-worker"), ("smartcore", "training-worker"), ("faer", "training-worker")];

/// Where those libraries may stand in the source; parity tests are the second place.
const FIT: &[&str] =
    &["training-worker/src/fit", "training-worker/src/fit.rs", "training-worker/tests"];

/// Names that say nothing: a module is named by a noun that an operator would use.
const EMPTY_NAMES: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "manager", "types", "core", "misc"];

#[test]
fn crates_depend_only_downwards() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let drawn: BTreeSet<&str> = EDGES.iter().map(|&(name, _)| name).collect();
    assert_eq!(ours, drawn, "every crate of the workspace stands in the diagram, and no other");
    for &(name, allowed) in EDGES {
        let package = packages.iter().find(|it| it["name"] == name).expect(name);
        let edges = package["dependencies"].as_array().expect("a list").iter();
        for dependency in edges {
            let test_only = dependency["kind"] == "dev";
            let dependency = dependency["name"].as_str().expect("a name");
            // A test may look at a leaf that its crate does not use, never at another service.
            let leaf = ["models", "proto", "runtime", "signals", "store"].contains(&dependency);
            let downwards =
                !ours.contains(dependency) || allowed.contains(&dependency) || (test_only && leaf);
            assert!(
                downwards,
                "{name} must not depend on {dependency}; see ARCHITECTURE.md, Dependencies"
            );
            let reserved = RESERVED
                .iter()
                .any(|&(family, owner)| dependency.starts_with(family) && name != owner);
            assert!(!reserved, "only training-worker names {dependency} (A-1), not {name}");
        }
    }
}

#[test]
fn only_the_fitting_room_mentions_a_learning_library() {
    for file in sources() {
        if FIT.iter().any(|place| file.starts_with(root().join(place))) || is_this(&file) {
            continue;
        }
        for (number, line) in code(&file) {
            for &(family, _) in RESERVED {
                let named = [format!("{family}::"), format!("{family}_"), format!("use {family}")];
                assert!(
                    !named.iter().any(|name| line.contains(name.as_str())),
                    "{}:{number} names {family} outside training-worker/src/fit (A-1)",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn modules_are_named_by_nouns_that_say_something() {
    for file in sources() {
        for part in file.strip_prefix(root()).expect("it stands in the workspace") {
            let part = Path::new(part).file_stem().expect("a name").to_string_lossy();
            assert!(!EMPTY_NAMES.contains(&&*part), "{} says nothing", file.display());
        }
        for (number, line) in code(&file) {
            let named = EMPTY_NAMES.iter().any(|name| {
                let (open, closed) = (format!("mod {name} {{"), format!("mod {name};"));
                line.contains(&open) || line.contains(&closed)
            });
            let quoted = is_this(&file);
            assert!(!named || quoted, "{}:{number}: {line} says nothing", file.display());
        }
    }
}

#[test]
fn every_file_begins_with_its_idea() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source is text");
        assert!(text.starts_with("//! "), "{} has no first line `//! …`", file.display());
    }
}

#[test]
fn an_actor_never_imports_its_service() {
    for file in sources() {
        let lines = code(&file);
        if lines.iter().any(|(_, line)| line.starts_with("impl Actor for")) {
            let upwards = lines.iter().find(|(_, line)| line.contains("use crate::service"));
            assert!(upwards.is_none(), "{} imports its service: {upwards:?}", file.display());
        }
    }
}

#[test]
fn the_rooms_are_described() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(page)).expect(page);
        for package in packages() {
            let manifest = package["manifest_path"].as_str().expect("a path");
            let folder = Path::new(manifest).parent().and_then(Path::file_name).expect("a folder");
            let name = format!("`{}/`", folder.to_string_lossy());
            assert!(text.contains(&name), "{page} does not say what {name} is for");
        }
    }
}

#[test]
fn the_invariants_are_written_down() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for number in 1..=12 {
        assert!(
            text.contains(&format!("A-{number} ")),
            "ARCHITECTURE.md does not state A-{number}"
        );
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests stands in the workspace").to_owned()
}

fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it built this test");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("a workspace has packages").clone()
}

/// Every Rust file of our crates.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = packages()
        .iter()
        .map(|it| Path::new(it["manifest_path"].as_str().expect("a path")).with_file_name(""))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > EDGES.len(), "the sources were found");
    files
}

/// The lines of a file that are not comments, numbered from 1.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("a source is text");
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim().to_owned()))
        .filter(|(_, line)| !line.starts_with("//"))
        .collect()
}

/// This file quotes the names that it forbids.
fn is_this(file: &Path) -> bool {
    file.ends_with(Path::new("tests/tests/architecture.rs"))
}
