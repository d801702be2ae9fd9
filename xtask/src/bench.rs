//! `cargo xtask bench`: what it costs. Numbers go to benches/README.md, never into a test.

use crate::step;

/// The kernels, by criterion.
pub(crate) fn kernels() -> Result<bool, String> {
    step::shown(&mut step::cargo(&["bench", "--package", "benches"]))
        .map_err(|error| error.to_string())
}

/// The whole path on real data: how soon the first revision serves, how good each one is.
pub(crate) fn path() -> Result<bool, String> {
    let mut build = step::cargo(&["build", "--release", "--package", "sensemble"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let (built, messages) = step::output(&mut build).map_err(|error| error.to_string())?;
    let program = crate::golden::executable(&messages, "sensemble");
    let (true, Some(program)) = (built, program) else { return Ok(false) };
    let mut path = step::cargo(&["run", "--quiet", "--package", "stories", "--example", "path"]);
    step::shown(path.env("SENSEMBLE_BIN", program)).map_err(|error| error.to_string())
}
