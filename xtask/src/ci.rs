//! `cargo xtask ci`: what a change must pass, in the order in which it fails fastest.

use crate::{step, tally::Tally, test};

/// Format, clippy, documentation, licences and bans; then every test.
pub(crate) fn run() -> Result<bool, String> {
    let mut tally = Tally::default();
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut documentation = step::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let steps = [
        ("cargo fmt --all --check", step::cargo(&["fmt", "--all", "--check"])),
        ("cargo clippy -D warnings", step::cargo(&clippy)),
        ("cargo doc -D warnings", documentation),
    ];
    for (name, mut command) in steps {
        let success = step::shown(&mut command).map_err(|error| error.to_string())?;
        tally.step(name, success);
    }

    let deny = "cargo deny check bans licenses sources";
    if step::is_there("cargo", &["deny", "--version"]) {
        let mut check = step::cargo(&["deny", "check", "bans", "licenses", "sources"]);
        tally.step(deny, step::shown(&mut check).map_err(|error| error.to_string())?);
    } else {
        tally.skip(deny, "cargo-deny is not installed; tests/architecture.rs holds A-1 meanwhile");
    }
    test::run(tally)
}
