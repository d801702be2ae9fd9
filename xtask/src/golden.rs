//! The golden bundles on the Pi's processor: the same classes there as here.

use crate::{debian, step, tally::Tally};

/// The processor of a Raspberry Pi.
pub(crate) const PI: &str = "aarch64-unknown-linux-gnu";
const QEMU: &str = "qemu-aarch64-static";
const NAME: &str = "the golden bundles on aarch64";

/// What it takes to build for the Pi: a linker and C library, and Rust's own library.
pub(crate) fn cross() -> Result<(), String> {
    debian::program("aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
    debian::rust_target(PI)
}

/// What it takes to run the Pi's programs here.
pub(crate) fn emulator() -> Result<&'static str, String> {
    debian::program(QEMU, &["qemu-user-static"])?;
    Ok(QEMU)
}

/// Decodes every golden bundle with a program built for aarch64, and compares its answers with
/// those that were written down on x86-64.
pub(crate) fn on_the_pi(profile: &str, tally: &mut Tally) -> Result<(), String> {
    let emulator = match cross().and_then(|()| emulator()) {
        Ok(emulator) => emulator,
        Err(reason) => {
            tally.skip(NAME, reason);
            return Ok(());
        }
    };
    let build = ["build", "--package", "models", "--example", "golden", "--profile", profile];
    let mut build = step::cargo(&build);
    build.args(["--target", PI, "--message-format", "json-render-diagnostics"]);
    let (built, messages) = step::output(&mut build).map_err(|error| error.to_string())?;
    let program = executable(&messages, "golden");
    let (true, Some(program)) = (built, program) else {
        tally.step(NAME, false);
        return Ok(());
    };
    let mut run = std::process::Command::new(emulator);
    // Where Debian's cross C library stands.
    run.args(["-L", "/usr/aarch64-linux-gnu", &program]).arg(step::root().join("models/golden"));
    let (same, _) = step::captured(&mut run).map_err(|error| error.to_string())?;
    if same {
        tally.passed += 1;
    } else {
        tally.step(NAME, false);
    }
    Ok(())
}

/// The path of the program `name` among the messages of a build.
pub(crate) fn executable(messages: &str, name: &str) -> Option<String> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == name)
        // A program's own unit tests are an executable of the same name.
        .filter(|message| message["profile"]["test"] == false)
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_its_unit_tests() {
        let line = |test, path: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"sensemble"}},"profile":{{"test":{test}}},"executable":{path}}}"#
            )
        };
        let messages = [line(true, "\"/t/deps/sensemble-1\""), line(false, "\"/t/sensemble\"")];
        assert_eq!(executable(&messages.join("\n"), "sensemble").unwrap(), "/t/sensemble");
        assert_eq!(executable(&messages[0], "sensemble"), None);
    }
}
