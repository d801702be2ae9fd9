//! Golden files: bundles that were once written, and the answers they must give for ever.
//!
//! Beside each `NAME.bundle` lies `NAME.answers`:
//!
//! ```text
//! seed 7 rows 40
//! 2 vote
//! 0 gate
//! ```
//!
//! The first line says which rows [`models::synthetic::rows`] makes (it may never change); each
//! further line is the class and the stage of one of them, in order, edges included. Golden rows
//! inside a bundle are asked as well, as a serving worker asks them.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use models::{Ensemble, Features, Stage, Subset, bundle, synthetic};

/// Every `*.bundle` in `folder`, in order of name.
pub(crate) fn bundles(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{folder:?}: {error}"))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<PathBuf>, _> = paths.collect();
    let mut paths = paths.map_err(|error| format!("{folder:?}: {error}"))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bundle"));
    paths.sort();
    Ok(paths)
}

/// The answers of `ensemble`, as they stand in a file.
pub(crate) fn answers(ensemble: &Ensemble, seed: u64, count: usize) -> Result<String, String> {
    let mut text = format!("seed {seed} rows {count}\n");
    let rows = synthetic::rows(ensemble.schema().width(), count, seed);
    let all = Subset::all(ensemble.members().len());
    let samples = Features::new(ensemble.schema().width(), rows.concat());
    let samples = samples.map_err(|error| error.to_string())?;
    let batch = ensemble.predict(&samples, all, true).map_err(|error| error.to_string())?;
    let mut scratch = ensemble.scratch();
    for (row, batched) in rows.iter().zip(batch) {
        let answer = ensemble.answer(row, all, true, &mut scratch);
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.class != batched {
            return Err(format!("alone {:?}, among others {batched:?}", answer.class));
        }
        let stage = match answer.stage {
            Stage::Gate => "gate",
            Stage::Vote => "vote",
        };
        writeln!(text, "{} {stage}", answer.class.0).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

/// Decodes one golden bundle and compares its answers; how many there were.
pub(crate) fn check(path: &Path) -> Result<usize, String> {
    let at = |error: String| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    let expected = std::fs::read_to_string(path.with_extension("answers"))
        .map_err(|error| at(error.to_string()))?;
    let ensemble = bundle::decode(&bytes).map_err(|error| at(format!("{error}: {error:?}")))?;
    ensemble
        .check_golden(&mut ensemble.scratch())
        .map_err(|fault| at(format!("its own golden rows: {fault}")))?;
    let mut words = expected.split_whitespace();
    let mut number = |name: &str| {
        let found = words.next() == Some(name);
        let number = words.next().and_then(|word| word.parse::<u32>().ok());
        number.filter(|_| found).ok_or_else(|| at(format!("the answers do not say {name}")))
    };
    let seed = number("seed")?;
    let count = number("rows")?;
    let count = usize::try_from(count).map_err(|error| at(error.to_string()))?;
    let actual = answers(&ensemble, u64::from(seed), count).map_err(at)?;
    for (row, (actual, expected)) in actual.lines().zip(expected.lines()).skip(1).enumerate() {
        if actual != expected {
            return Err(at(format!("row {row} is answered {actual:?}, not {expected:?}")));
        }
    }
    if actual.lines().count() != expected.lines().count() {
        return Err(at("the answers are not as many as the rows".to_owned()));
    }
    Ok(actual.lines().count() - 1)
}
