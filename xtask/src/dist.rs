//! `cargo xtask dist`: stripped binaries for x86-64 and for the Pi, into dist/.

use std::{fs, path::Path, process::Command};

use crate::{golden, step, tally::Tally};

const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", golden::PI];

/// Builds, strips, runs what can be run here and prints the sizes. Whether all is well.
pub(crate) fn run() -> Result<bool, String> {
    let folder = step::root().join("dist");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make dist/: {error}"))?;
    let mut tally = Tally::default();
    let mut sizes = Vec::new();
    for target in TARGETS {
        let name = format!("sensemble for {target}");
        if let Err(reason) = needs(target) {
            tally.skip(name, reason);
            continue;
        }
        let mut build = step::cargo(&["build", "--package", "sensemble", "--profile", "dist"]);
        build.args(["--target", target, "--message-format", "json-render-diagnostics"]);
        let (built, messages) = step::output(&mut build).map_err(|error| error.to_string())?;
        let (true, Some(program)) = (built, golden::executable(&messages, "sensemble")) else {
            tally.step(&name, false);
            continue;
        };
        let arch = target.split('-').next().expect("a target has a processor");
        let kept = folder.join(format!("sensemble-{arch}"));
        let bytes = fs::copy(&program, &kept).map_err(|error| format!("{program}: {error}"))?;
        let stripped = is_stripped(&kept)?;
        tally.step(&format!("{name} is stripped"), stripped);
        sizes.push(format!("dist/sensemble-{arch}  {:.1} MiB", mib(bytes)));
        starts(target, &kept, &mut tally)?;
    }
    golden::on_the_pi("dist", &mut tally)?;
    println!("\n{}", sizes.join("\n"));
    println!("{}", tally.report());
    Ok(tally.good())
}

fn needs(target: &str) -> Result<(), String> {
    if target == golden::PI { golden::cross() } else { crate::debian::rust_target(target) }
}

/// Says its version: the binary loads and starts on that processor.
fn starts(target: &str, program: &Path, tally: &mut Tally) -> Result<(), String> {
    let name = format!("the binary for {target} starts");
    let mut command = if target == golden::PI {
        match golden::emulator() {
            Ok(emulator) => {
                let mut command = Command::new(emulator);
                command.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
                command
            }
            Err(reason) => {
                tally.skip(name, reason);
                return Ok(());
            }
        }
    } else if target.starts_with(std::env::consts::ARCH) {
        Command::new(program)
    } else {
        tally.skip(name, format!("this machine is {}", std::env::consts::ARCH));
        return Ok(());
    };
    let (success, _) =
        step::captured(command.arg("--version")).map_err(|error| error.to_string())?;
    if success {
        tally.passed += 1;
    } else {
        tally.step(&name, false);
    }
    Ok(())
}

/// A stripped program has no table of symbols.
fn is_stripped(program: &Path) -> Result<bool, String> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let table = b".symtab\0";
    Ok(!bytes.windows(table.len()).any(|window| window == table))
}

fn mib(bytes: u64) -> f64 {
    let kib = u32::try_from(bytes / 1024).expect("a program is smaller than 4 TiB");
    f64::from(kib) / 1024.0
}
