//! What a chore needs beyond Rust, from Debian: installed when missing, and only when it may be.

use std::{fs, process::Command};

use crate::step;

/// Makes sure that `program` can be started, from Debian's `packages` if need be.
///
/// # Errors
///
/// The reason, in words, when it is not there and cannot be had.
pub(crate) fn program(program: &str, packages: &[&str]) -> Result<(), String> {
    answers(program, &["--version"], packages)
}

/// Makes sure that `program` can be started with `words` and is content.
///
/// # Errors
///
/// As [`program`].
pub(crate) fn answers(program: &str, words: &[&str], packages: &[&str]) -> Result<(), String> {
    if step::is_there(program, words) {
        return Ok(());
    }
    let wanted = packages.join(" ");
    if !may_install() {
        return Err(format!("{program} is not here; `apt-get install {wanted}` brings it"));
    }
    let install = |step: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(step).args(["-q", "-y"]);
        command
    };
    // The list of packages may be old or absent; when it is good, fetching it again is waste.
    let mut first = install(&["install", "--no-install-recommends"]);
    let done = step::output(first.args(packages)).is_ok_and(|(success, _)| success) || {
        let mut second = install(&["install", "--no-install-recommends"]);
        step::output(&mut install(&["update"])).is_ok_and(|(success, _)| success)
            && step::output(second.args(packages)).is_ok_and(|(success, _)| success)
    };
    if done && step::is_there(program, words) {
        Ok(())
    } else {
        Err(format!("{program} is not here, and `apt-get install {wanted}` did not bring it"))
    }
}

/// Makes sure that `program` lies where programs of the system lie.
///
/// # Errors
///
/// As [`program`].
pub(crate) fn lies_there(program: &str, packages: &[&str]) -> Result<(), String> {
    let place = format!("/usr/sbin/{program}");
    answers("test", &["-x", &place], packages).map_err(|reason| reason.replacen("test", program, 1))
}

/// Makes sure that Rust can build for `target`.
///
/// # Errors
///
/// The reason, in words, when its standard library is not there and cannot be had.
pub(crate) fn rust_target(target: &str) -> Result<(), String> {
    let mut list = Command::new("rustc");
    let sysroot = list
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(step::root())
        .output()
        .map_err(|error| format!("rustc cannot be asked for its targets: {error}"))?;
    let folder = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", target]).current_dir(step::root());
    match step::shown(&mut add) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => {
            Err(format!("`rustup target add {target}` did not bring its library"))
        }
    }
}

/// Root on a machine with apt-get: elsewhere a chore does not install anything.
fn may_install() -> bool {
    let root = fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .filter_map(|line| line.strip_prefix("Uid:"))
            .any(|ids| ids.split_whitespace().nth(1) == Some("0"))
    });
    root && step::is_there("apt-get", &["--version"])
}
