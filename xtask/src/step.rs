//! One command of a chore: said before it runs, timed, its outcome never lost.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

/// Where the workspace stands, whatever directory the chore was started in.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask stands in the workspace").to_owned()
}

/// The cargo that started this chore, in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    command
}

/// Runs `command` with its output shown; whether it succeeded.
pub(crate) fn shown(command: &mut Command) -> io::Result<bool> {
    announce(command);
    let start = now();
    let status = command.status()?;
    finished(start, status.success());
    Ok(status.success())
}

/// Runs `command`, shows its output while it comes and gives it back: both streams, line by line.
pub(crate) fn captured(command: &mut Command) -> io::Result<(bool, String)> {
    announce(command);
    let start = now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    let errors = thread::spawn(move || tee(stderr, &mut io::stderr()));
    let mut text = tee(stdout, &mut io::stdout());
    text.push_str(&errors.join().expect("reading lines does not panic"));
    let success = child.wait()?.success();
    finished(start, success);
    Ok((success, text))
}

/// Runs `command` with its errors shown and gives back what it wrote.
pub(crate) fn output(command: &mut Command) -> io::Result<(bool, String)> {
    announce(command);
    let start = now();
    let output = command.stderr(Stdio::inherit()).output()?;
    finished(start, output.status.success());
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Whether `program` can be started at all.
pub(crate) fn is_there(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn tee(from: impl Read, to: &mut impl Write) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // A closed terminal must not fail the chore: its result is the exit code.
        let _shown = to.write_all(&line);
        text.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    text
}

fn announce(command: &Command) {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let program = words[0].rsplit('/').next().unwrap_or("?");
    eprintln!("\n$ {} {}", program, words[1..].join(" "));
}

fn finished(start: Start, success: bool) {
    let word = if success { "done" } else { "FAILED" };
    eprintln!("  {word} in {:.1} s", start.elapsed().as_secs_f64());
}

#[expect(clippy::disallowed_types, reason = "no tokio here, and nothing that tests pause")]
type Start = std::time::Instant;

fn now() -> Start {
    Start::now()
}
