//! Checks golden files on this machine, whatever it is: `golden FOLDER` prints how many answers
//! were as they should be, or which was not. Release builds for other machines are tried with it.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

#[path = "../tests/golden_files/mod.rs"]
mod golden_files;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: golden FOLDER");
        return ExitCode::from(64);
    };
    let checked = golden_files::bundles(&folder).and_then(|paths| {
        let answers: Result<Vec<usize>, String> =
            paths.iter().map(|path| golden_files::check(path)).collect();
        answers
    });
    match checked {
        Ok(answers) if !answers.is_empty() => {
            let (bundles, answers) = (answers.len(), answers.iter().sum::<usize>());
            let written = writeln!(
                std::io::stdout(),
                "{bundles} golden bundles, {answers} answers: all as they should be on {}",
                std::env::consts::ARCH
            );
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(_) => {
            eprintln!("golden: no bundles in {}", folder.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("golden: {error}");
            ExitCode::FAILURE
        }
    }
}
