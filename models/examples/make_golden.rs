//! Writes the golden files of the current bundle version into a folder:
//!
//! ```text
//! cargo run -p models --example make_golden -- models/golden
//! ```
//!
//! It writes what the newest version has that the one before cannot say, and families that came since;
//! the files of older versions lie there already. Run it for a *new* version or a new form only: it
//! never writes over a file.

use std::{path::PathBuf, process::ExitCode};

use models::{
    Ensemble, Family, Parts, bundle,
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
    let seven = |voting| {
        let parts = synthetic::ensemble(&Family::PAPER, SHAPE, true, 14).into_parts();
        Ensemble::new(Parts { voting, ..parts }).expect("made-up curves and slopes hold")
    };
    let soft = synthetic::voting(Family::PAPER.len(), 17);
    let pooled = synthetic::pooled(Family::PAPER.len(), 25);
    let golden = |ensemble: Ensemble| {
        let rows = synthetic::rows(SHAPE.width, 6, 18);
        let few = ensemble.with_golden(rows.iter().map(Vec::as_slice));
        few.expect("fourteen made-up samples are samples")
    };
    let alone = synthetic::ensemble(&[Family::RbfSvm], SHAPE, false, 20);
    // Rows of many blocks, of which an answer leaves some out.
    let blocks = Shape { width: 20, rows: 200, ..SHAPE };
    let near = synthetic::ensemble(&[Family::Knn], blocks, false, 24);
    let files = [
        ("logistic", synthetic::ensemble(&[Family::Logistic], SHAPE, false, 21)),
        ("lda", synthetic::ensemble(&[Family::Lda], SHAPE, false, 22)),
        ("rbf-svm", synthetic::short(alone.clone())),
        ("compact", synthetic::short(synthetic::compacted(alone))),
        ("soft", synthetic::short(seven(soft.clone()))),
        ("near", near.clone()),
        ("near", synthetic::compacted(near)),
        ("half", synthetic::halved(synthetic::ensemble(&[Family::Mlp], SHAPE, false, 23))),
        (
            "whole",
            synthetic::with_sets(golden(synthetic::halved(synthetic::short(
                synthetic::compacted(seven(soft)),
            )))),
        ),
        ("pooled", synthetic::short(seven(pooled.clone()))),
        (
            "whole",
            synthetic::with_sets(golden(synthetic::halved(synthetic::short(
                synthetic::compacted(seven(pooled)),
            )))),
        ),
    ];
    for (name, ensemble) in files {
        let bytes = bundle::encode(&ensemble);
        // The version stands behind four bytes of magic.
        let path = folder.join(format!("v{}-{name}.bundle", bytes[4]));
        if path.exists() {
            continue;
        }
        let written = golden_files::answers(&ensemble, 7, 40).and_then(|answers| {
            std::fs::write(&path, &bytes)
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
