//! `sensemble task init`: a first task file from what a table of samples says.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    classes_file::ClassesFile,
    command::Call,
    draft::{Classes, Draft},
    failure::{Doing as _, Failure, Outcome},
    output,
    table_file::{Columns, FeatureColumns, Picked, Problem, TableReader},
};

/// Most ignored columns that are named one by one.
const NAMED_MAX: usize = 12;

/// What `task init` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The name of the task: letters, digits, `-`, `_` and `.`.
    name: String,
    /// A table of samples (.csv or .csv.gz).
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The column that holds the class. What stands left of it are the features; what stands right
    /// of it, when it is the first.
    #[arg(long, value_name = "COLUMN")]
    label: String,
    /// The column that says which rows belong together (subject, day, device).
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// The class that stands for "nothing of interest", by its name or by its id.
    #[arg(long, value_name = "CLASS")]
    background: Option<String>,
    /// A table `id,name,background` that names the ids in the label column.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Only rows whose cell is one of these; may be said more than once.
    #[arg(long = "where", value_name = "COLUMN=V1,V2")]
    picked: Vec<Picked>,
    /// The task file to write; NAME.toml when absent.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a task file that is there already.
    #[arg(long)]
    force: bool,
}

/// Reads the table and writes the file.
pub(super) fn run(options: &Options, call: &Call) -> Result<Outcome, Failure> {
    let Options { name, label, group, background, .. } = options;
    let columns = Columns {
        features: FeatureColumns::ByLayout,
        label: Some(label.clone()),
        group: group.clone(),
        picked: options.picked.clone(),
        extra: Vec::new(),
    };
    let mut reader = TableReader::open(&options.from, &columns)?;
    let mut labels = BTreeSet::new();
    let mut rows = 0_u64;
    while let Some(row) = reader.next_row()? {
        rows += 1;
        if !labels.contains(&row.label) && labels.len() <= models::schema::CLASSES_MAX {
            labels.insert(row.label.clone());
        }
    }
    if rows == 0 {
        return Err(reader.error(Problem::NoRows { picked: !options.picked.is_empty() }).into());
    }

    let file = options.classes.as_deref().map(ClassesFile::read).transpose()?;
    let by_label = options.picked.iter().find(|picked| picked.column == *label);
    let classes = Classes::of(&labels, file.as_ref(), by_label, background.as_deref())
        .doing(|| format!("{} does not make a task", options.from.display()))?;
    let draft = Draft {
        name: name.clone(),
        features: reader.features().to_vec(),
        classes,
        group: group.clone(),
    };

    let output = options.output.clone().unwrap_or_else(|| format!("{name}.toml").into());
    write(&output, &draft.to_string(), options.force)?;

    let ignored = reader.ignored();
    let classes: Vec<&str> = draft.classes.cells.iter().map(|class| class.1.as_str()).collect();
    let background = draft.classes.background.map(|index| classes[index]);
    if call.json() {
        output::json(&json!({
            "task": name, "file": output, "features": draft.features, "classes": classes,
            "background": background, "group": group, "ignored": ignored, "rows": rows,
        }))?;
        return Ok(Outcome::Done);
    }
    if !ignored.is_empty() {
        let shown = ignored[..ignored.len().min(NAMED_MAX)].join(", ");
        let more = ignored.len().saturating_sub(NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        eprintln!("not features, left out: {shown}{more}");
    }
    let numbers = classes.iter().all(|class| class.parse::<i64>().is_ok());
    let beside = options.from.with_file_name("classes.csv");
    if file.is_none() && numbers && beside.is_file() {
        eprintln!("the classes have numbers for names; --classes {} names them", beside.display());
    }
    output::line(format_args!(
        "wrote {}: {} features, {} classes{}",
        output.display(),
        draft.features.len(),
        classes.len(),
        background.map_or_else(String::new, |name| format!(", background {name}")),
    ))?;
    output::line(format_args!("next: sensemble task apply {}", output.display()))?;
    Ok(Outcome::Done)
}

/// Writes the file. One that is there already may hold a person's edits, and is left alone unless
/// there is nothing to lose.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let there = std::fs::read_to_string(path);
    let nothing_to_lose = there.as_ref().is_ok_and(|there| there.is_empty() || there == text);
    let exists = path.symlink_metadata().is_ok();
    if exists && !nothing_to_lose && !force {
        return Err(Failure::new(format!("{} is there already", path.display()))
            .hint("write another one with --output FILE, or replace it with --force"));
    }
    std::fs::write(path, text).doing(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_edits_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kitchen.toml");
        write(&path, "first", false).unwrap();
        write(&path, "first", false).unwrap();
        assert!(write(&path, "second", false).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        write(&path, "second", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        std::fs::write(&path, "").unwrap();
        write(&path, "third", false).unwrap();
    }
}
