//! Writes the golden files of the current bundle version into a folder:
//!
//! ```text
//! cargo run -p models --example make_golden -- models/golden
//! ```
//!
//! Run it for a *new* version or a new form only, and never over a file that was released.

use std::{path::PathBuf, process::ExitCode};

use models::{
    Ensemble, Family, Preparation, Step, bundle,
    synthetic::{self, Shape},
};

#[path = "../tests/golden_files/mod.rs"]
#[expect(dead_code, reason = "the test checks what this program writes")]
mod golden_files;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: make_golden FOLDER");
        return ExitCode::from(64);
    };
    let mut files: Vec<(String, Ensemble)> = Family::ALL
        .into_iter()
        .map(|family| (family.name().to_owned(), synthetic::ensemble(&[family], SHAPE, false, 11)))
        .collect();
    files.push(("gated".to_owned(), synthetic::ensemble(&Family::ALL, SHAPE, true, 12)));
    files.push(("selected".to_owned(), selected()));
    for (name, ensemble) in files {
        let path = folder.join(format!("v{}-{name}.bundle", bundle::VERSION));
        let written = golden_files::answers(&ensemble, 7, 40).and_then(|answers| {
            std::fs::write(&path, bundle::encode(&ensemble))
                .and_then(|()| std::fs::write(path.with_extension("answers"), answers))
                .map_err(|error| format!("{}: {error}", path.display()))
        });
        if let Err(error) = written {
            eprintln!("make_golden: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

const SHAPE: Shape = Shape::SMALL;

/// All seven behind a selection of columns: one of them twice, one not at all.
fn selected() -> Ensemble {
    let mut parts = synthetic::ensemble(&Family::ALL, SHAPE, false, 13).into_parts();
    let select = Step::Select { columns: vec![5, 0, 1, 1, 3, 4] };
    parts.preparations = std::mem::take(&mut parts.preparations)
        .into_iter()
        .map(|Preparation { steps }| Preparation {
            steps: std::iter::once(select.clone()).chain(steps).collect(),
        })
        .collect();
    Ensemble::new(parts).expect("as many columns come out as went in")
}
