//! The same story with a data set: its held-out part is the traffic.

use std::{collections::BTreeMap, path::PathBuf};

use client::Admin;

use super::{
    closing, correcting, policies,
    rows::Rows,
    splitting::{self, Split},
    stage::{Part, Stage},
    story::Story,
    task_text::{TaskText, Wish},
    training,
};
use crate::{
    classes_file::ClassesFile,
    draft::Classes,
    failure::{Doing as _, Failure},
    report::Report,
    table_file::{self, Columns, Picked, Table},
};

/// Corrections that make it learn again: what a patient person gives.
const CORRECTIONS: usize = 60;
/// Rows that are asked over and over while training and measuring.
const QUESTIONS_MAX: usize = 500;
/// Groups of traffic that are told one by one.
const GROUPS_TOLD_MAX: usize = 12;

const BEST_EFFORT: Wish = Wish { objective: "best-effort", p99_ms: 500.0, accuracy_min: 0.0 };

/// Which data set, and what its columns mean.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) label: String,
    pub(crate) group: Option<String>,
    pub(crate) background: Option<String>,
    pub(crate) classes: Option<PathBuf>,
    pub(crate) test_where: Option<Picked>,
}

/// A data set that was read and split.
#[derive(Debug)]
pub(crate) struct Read {
    task: TaskText,
    split: Split,
    ignored: Vec<String>,
}

/// Reads the data set: everything that can be wrong with it is said before a fleet is started.
pub(crate) fn read(source: &Source) -> Result<Read, Failure> {
    let mut columns = Columns {
        label: Some(source.label.clone()),
        group: source.group.clone(),
        ..Columns::default()
    };
    // The column that picks may be the label or the group, or one of its own.
    let own = source
        .test_where
        .as_ref()
        .map(|picked| &picked.column)
        .filter(|column| **column != source.label && source.group.as_ref() != Some(*column));
    columns.extra.extend(own.cloned());
    let table = table_file::read(&source.file, &columns)?;

    let labels = table.labels.iter().cloned().collect();
    let beside = source.file.with_file_name("classes.csv");
    let file = match &source.classes {
        Some(path) => Some(ClassesFile::read(path)?),
        // A stranger's file beside the data is no error: it is not used.
        None if beside.is_file() => ClassesFile::read(&beside)
            .ok()
            .filter(|file| Classes::of(&labels, Some(file), None, None).is_ok()),
        None => None,
    };
    let classes = Classes::of(&labels, file.as_ref(), None, source.background.as_deref())?;
    let position: BTreeMap<&str, usize> =
        classes.cells.iter().enumerate().map(|(at, (cell, _))| (cell.as_str(), at)).collect();
    let mut rows = Rows::new(table.features.len());
    for row in 0..table.len() {
        let class = position.get(table.labels[row].as_str()).copied();
        let class = class.ok_or_else(|| Failure::new("a label is no class"))?;
        let group = source.group.as_ref().map(|_| table.groups[row].as_str());
        rows.push(table.row(row), class, group);
    }
    let held_out = source.test_where.as_ref().map(|picked| picked_rows(&table, source, picked));
    let split = splitting::split(&rows, held_out.as_deref())
        .doing(|| format!("{} cannot be split", source.file.display()))?;
    let task = TaskText {
        name: name(source),
        features: table.features.clone(),
        classes: classes.cells.into_iter().map(|(_, name)| name).collect(),
        background: classes.background,
        group: source.group.clone(),
        after_corrections: split.traffic.len().min(CORRECTIONS),
        missed_events_max: 0.1,
    };
    Ok(Read { task, split, ignored: table.ignored })
}

/// For each row whether `picked` holds for it.
fn picked_rows(table: &Table, source: &Source, picked: &Picked) -> Vec<bool> {
    let cells = if picked.column == source.label {
        &table.labels
    } else {
        table.extra.get(&picked.column).unwrap_or(&table.groups)
    };
    cells.iter().map(|cell| picked.holds(cell)).collect()
}

/// A name for the task from that of the file.
fn name(source: &Source) -> String {
    let stem = source.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default();
    let name: String = stem
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "data-set".to_owned() } else { name.to_owned() }
}

/// Tells the story on a fleet that runs.
pub(crate) async fn tell(admin: Admin, mut story: Story, read: Read) -> Result<Stage, Failure> {
    let Read { task, split, ignored } = read;
    story.chapter(&format!("The data set {}", task.name))?;
    story.say(format!(
        "{} rows to train on, {} held out: {}",
        split.train.len(),
        split.traffic.len() + split.held_out.len(),
        split.how
    ))?;
    story.say(format!(
        "{} features, {} classes{}",
        task.features.len(),
        task.classes.len(),
        task.background
            .map(|class| format!(", background {:?}", task.classes[class]))
            .unwrap_or_default()
    ))?;
    if !ignored.is_empty() {
        story.say(format!("columns that are not used: {}", ignored.join(", ")))?;
    }
    let report = Report {
        title: format!("Sensemble on {}", task.name),
        subtitle:
            "A data set, its held-out part streamed as traffic through a fleet of five declared \
                   devices: trained, placed, served, corrected, improved."
                .to_owned(),
        ..Report::default()
    };
    let mut stage = Stage::new(admin, task, story, report);
    stage.apply(BEST_EFFORT).await?;
    let imported = stage.import(&split.train).await?;
    stage.story.say(format!("{imported} rows imported"))?;

    stage.story.chapter("Train lazily, and answer while training")?;
    let questions = sample(&split.traffic, QUESTIONS_MAX);
    training::train(&mut stage, &questions).await?;

    stage.story.chapter("Two policies, two placements")?;
    policies::compare(&mut stage, BEST_EFFORT, &questions).await?;

    stage.story.chapter("Stream the held-out part as traffic")?;
    let mut seen = Rows::new(split.traffic.width);
    let mut answers = Vec::new();
    let mut whole = stage.tally();
    for (name, rows) in by_group(&split.traffic) {
        let begun = stage.story.seconds();
        let got = stage.app.stream(&rows).await?;
        let mut tally = stage.tally();
        tally.add_all(&rows, &got)?;
        whole.add_all(&rows, &got)?;
        let seconds = (stage.story.seconds() - begun).max(1e-3);
        stage.story.say(format!("{name:<16} {} in {seconds:.1} s", tally.words()))?;
        seen.extend(&rows);
        answers.extend(got);
    }
    let missed = whole.missed_words().map(|words| format!("; {words}")).unwrap_or_default();
    stage.story.say(format!("{:<16} {}{missed}", "all traffic", whole.words()))?;

    stage.story.chapter("Correct, learn again, compare")?;
    let chosen = correcting::choose(&seen, &answers, stage.task.after_corrections);
    let parts: Vec<Part> = by_group(&split.held_out);
    closing::compare(&mut stage, &parts, &seen, &answers, &chosen).await?;
    stage.report.notes.extend([
        format!("The split: {}.", split.how),
        "Traffic and the rows that revisions are compared on alternate in blocks within the held-out \
         part, with a gap between them: corrections teach about the same people or days, never about \
         the same rows."
            .to_owned(),
        "All five devices share this machine: their declared cores and round trips are those of the \
         lab, their latencies are measured through it."
            .to_owned(),
    ]);
    Ok(stage)
}

/// At most `max` rows, spread evenly.
fn sample(rows: &Rows, max: usize) -> Rows {
    let count = rows.len().min(max);
    rows.select(&(0..count).map(|nth| nth * rows.len() / count.max(1)).collect::<Vec<_>>())
}

/// The rows of each group, in order of appearance; all together when there are none or too many.
fn by_group(rows: &Rows) -> Vec<Part> {
    let mut names: Vec<&str> = Vec::new();
    for group in &rows.groups {
        if !names.contains(&group.as_str()) {
            names.push(group);
        }
        if GROUPS_TOLD_MAX < names.len() {
            break;
        }
    }
    if names.is_empty() || GROUPS_TOLD_MAX < names.len() {
        return vec![("held out".to_owned(), rows.clone())];
    }
    names
        .into_iter()
        .map(|name| {
            let of_it: Vec<usize> =
                (0..rows.len()).filter(|&row| rows.group(row) == Some(name)).collect();
            (name.to_owned(), rows.select(&of_it))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str) -> Source {
        Source {
            file: PathBuf::from(file),
            label: "label".to_owned(),
            group: None,
            background: None,
            classes: None,
            test_where: None,
        }
    }

    #[test]
    fn a_task_is_named_after_its_file() {
        assert_eq!(name(&source("/data/Room_Occupancy.csv.gz")), "room-occupancy");
        assert_eq!(name(&source("/data/__.csv")), "data-set");
    }

    #[test]
    fn a_table_is_read_with_its_classes_and_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rooms.csv");
        let mut text = "a,b,label,day\n".to_owned();
        for row in 0..40 {
            text += &format!("{row},1,{},{}\n", row % 2, if row < 24 { "mon" } else { "tue" });
        }
        std::fs::write(&path, text).unwrap();
        std::fs::write(
            dir.path().join("classes.csv"),
            "id,name,background\n0,empty,1\n1,taken,0\n",
        )
        .unwrap();
        let source = Source {
            group: Some("day".to_owned()),
            test_where: Some("day=tue".parse().unwrap()),
            ..source(path.to_str().unwrap())
        };
        let read = read(&source).unwrap();
        assert_eq!(read.task.classes, ["empty", "taken"]);
        assert_eq!(read.task.background, Some(0));
        assert_eq!(read.task.features, ["a", "b"]);
        assert_eq!(read.split.train.len(), 24);
        assert!(read.split.held_out.groups.iter().all(|group| group == "tue"));
    }

    #[test]
    fn groups_are_told_one_by_one_while_they_are_few() {
        let mut rows = Rows::new(1);
        for row in 0..6_u8 {
            rows.push(&[f32::from(row)], 0, Some(if row % 2 == 0 { "a" } else { "b" }));
        }
        let parts = by_group(&rows);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].1.values, [1.0, 3.0, 5.0]);
        assert_eq!(sample(&rows, 3).values, [0.0, 2.0, 4.0]);
        assert_eq!(sample(&rows, 100).len(), 6);
    }
}
