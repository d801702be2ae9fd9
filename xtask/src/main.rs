//! Chores: test, ci, fuzz, bench, dist.
//!
//! One command each, the same for a person and for the machine that checks a change. A chore says
//! what it runs before it runs it, and names what it could not do.

#![expect(clippy::print_stdout, reason = "a chore talks to the person who started it")]

mod bench;
mod ci;
mod debian;
mod dist;
mod fuzz;
mod golden;
mod peers;
mod step;
mod tally;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask CHORE

  test          build, then every test: rules, stories over real processes, documentation, aarch64
  ci            what a change must pass: format, clippy, documentation, licences, then `test`
  fuzz [TARGET …]
                what reads bytes from outside, under libFuzzer, which it builds with a C++ compiler; without a name
                every target, one after another; [--seconds N] of processor time each, 60 if not said, [--seed N],
                [--replay FILE] to show one target one input again
  bench         kernels, in a release build
  bench learn   our trainers beside scikit-learn, XGBoost and FLAML, which it installs under target/;
                [--quick] [--json FILE] [--data DIR] [--sets NAME,NAME] [--pictures DIR]
  bench serve   our serving worker on the wire beside an empty server, MLServer, KServe and ONNX Runtime, which
                it installs under target/; [--quick] [--json FILE] [--data DIR] [--only PART,PART] [--soak MINUTES]
                [--cores-may-sleep]: else something at idle priority keeps both from it
  bench path    the whole path on real data
  dist          stripped binaries for x86-64 and aarch64, into dist/
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test::run(tally::Tally::default()),
        ["ci"] => ci::run(),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["bench"] => bench::kernels(),
        ["bench", "learn", words @ ..] => bench::learn(words),
        ["bench", "serve", words @ ..] => bench::serve(words),
        ["bench", "path"] => bench::path(),
        ["dist"] => dist::run(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("xtask: no such chore: {}\n\n{USAGE}", words.join(" "));
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
