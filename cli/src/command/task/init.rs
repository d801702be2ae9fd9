//! `sensemble task init`: a first task file from what a file of samples says.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    classes_file::ClassesFile,
    command::Call,
    draft::{Classes, Draft, Taken},
    failure::{Doing as _, Failure, Outcome},
    output,
    samples::{Matrix, clip_labels},
    table_file::{Columns, FeatureColumns, Picked, Problem, TableReader},
};

/// Most ignored columns that are named one by one.
const NAMED_MAX: usize = 12;

/// What `task init` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The name of the task: letters, digits, `-`, `_` and `.`.
    name: String,
    /// A table of samples (CSV, gzip, Parquet); images as IDX or NPY; a table with a column `file`
    /// or a folder of folders for sounds.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// What goes into the task.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// The column that holds the class. What stands left of it are the features or channels; what
    /// stands right of it, when it is the first.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Where the labels of images are.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Samples a second, for windows.
    #[arg(long, value_name = "HZ")]
    rate_hz: Option<f64>,
    /// Seconds of a window or a stretch of sound.
    #[arg(long, value_name = "SECONDS")]
    length_s: Option<f64>,
    /// Seconds from one to the next; the length when absent.
    #[arg(long, value_name = "SECONDS")]
    step_s: Option<f64>,
    /// The column that changes where another recording begins, for windows.
    #[arg(long, value_name = "COLUMN")]
    recording: Option<String>,
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

/// What goes into a task.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Kind {
    /// Features as they are.
    #[default]
    Features,
    /// Windows of raw samples.
    Window,
    /// Sounds.
    Audio,
    /// Grey images.
    Image,
}

/// What a file says.
struct Seen {
    taken: Taken,
    labels: BTreeSet<String>,
    rows: u64,
    ignored: Vec<String>,
}

impl Seen {
    fn new(taken: Taken) -> Self {
        Self { taken, labels: BTreeSet::new(), rows: 0, ignored: Vec::new() }
    }

    fn label(&mut self, label: &String) {
        self.rows += 1;
        if !self.labels.contains(label) && self.labels.len() <= models::schema::CLASSES_MAX {
            self.labels.insert(label.clone());
        }
    }
}

impl Options {
    fn need<T: Copy>(value: Option<T>, flag: &str) -> Result<T, Failure> {
        value.ok_or_else(|| Failure::usage(format!("this kind of input needs {flag}")))
    }

    /// Reads the file.
    fn see(&self) -> Result<Seen, Failure> {
        let columns = Columns {
            features: FeatureColumns::ByLayout,
            label: self.label.clone(),
            group: self.group.clone(),
            picked: self.picked.clone(),
            extra: self.recording.iter().cloned().collect(),
            ..Columns::default()
        };
        match self.kind {
            Kind::Image => {
                let mut images = Matrix::labelled(&self.from, self.labels.as_deref(), &columns)?;
                let &[_, height, width] = images.shape() else {
                    return Err(Failure::new(
                        "images have three dimensions: how many, rows, columns",
                    ));
                };
                let mut seen = Seen::new(Taken::Image { width, height });
                while let Some(row) = images.next_row()? {
                    seen.label(&row.label);
                }
                Ok(seen)
            }
            Kind::Audio => {
                let length_s = Self::need(self.length_s, "--length-s")?;
                let step_s = self.step_s.unwrap_or(length_s);
                let mut seen = Seen::new(Taken::Audio { length_s, step_s });
                clip_labels(&self.from, &columns)?.iter().for_each(|label| seen.label(label));
                Ok(seen)
            }
            Kind::Features | Kind::Window => {
                if self.label.is_none() {
                    return Err(Failure::usage("say which column holds the class with --label"));
                }
                let mut reader = TableReader::open(&self.from, &columns)?;
                let names = reader.features().to_vec();
                let taken = if let Kind::Window = self.kind {
                    let length_s = Self::need(self.length_s, "--length-s")?;
                    Taken::Window {
                        channels: names,
                        rate_hz: Self::need(self.rate_hz, "--rate-hz")?,
                        length_s,
                        step_s: self.step_s.unwrap_or(length_s),
                        recording: self.recording.clone(),
                    }
                } else {
                    Taken::Features(names)
                };
                let mut seen = Seen { ignored: reader.ignored().to_vec(), ..Seen::new(taken) };
                while let Some(row) = reader.next_row()? {
                    seen.label(&row.label);
                }
                if seen.rows == 0 {
                    let picked = !self.picked.is_empty();
                    return Err(reader.error(Problem::NoRows { picked }).into());
                }
                Ok(seen)
            }
        }
    }
}

/// Reads the samples and writes the file.
pub(super) fn run(options: &Options, call: &Call) -> Result<Outcome, Failure> {
    let Options { name, label, group, background, .. } = options;
    let Seen { taken, labels, rows, ignored } = options.see()?;
    let file = options.classes.as_deref().map(ClassesFile::read).transpose()?;
    let by_label = options.picked.iter().find(|picked| Some(&picked.column) == label.as_ref());
    let classes = Classes::of(&labels, file.as_ref(), by_label, background.as_deref())
        .doing(|| format!("{} does not make a task", options.from.display()))?;
    let draft = Draft { name: name.clone(), taken, classes, group: group.clone() };

    let output = options.output.clone().unwrap_or_else(|| format!("{name}.toml").into());
    let text = draft.to_string();
    // What the scheduler would refuse is refused before it is written.
    let task = scheduler::task_file::Task::parse(&text)?;
    write(&output, &text, options.force)?;

    let classes: Vec<&str> = draft.classes.cells.iter().map(|class| class.1.as_str()).collect();
    let background = draft.classes.background.map(|index| classes[index]);
    if call.json() {
        output::json(&json!({
            "task": name, "file": output, "features": task.schema.features(), "classes": classes,
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
        task.schema.features().len(),
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
