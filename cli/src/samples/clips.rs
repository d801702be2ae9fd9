//! Clips: FLAC and WAV files that a table lists, that lie in folders named after their classes, or
//! one alone.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use signals::{Clip, Sound, audio::clip::FILE_BYTES_MAX};

use crate::table_file::{Columns, FeatureColumns, Problem, Row, TableError, TableReader};

/// The column of a table that names the files, relative to the table.
const FILE_COLUMN: &str = "file";
/// Most clips of one import.
const CLIPS_MAX: usize = 1_000_000;
/// What clips are called.
const ENDINGS: [&str; 2] = ["flac", "wav"];

/// Clips that become rows of features while they are read.
pub(crate) struct Clips {
    file: String,
    sound: Sound,
    clips: Vec<Listed>,
    next: usize,
    waiting: VecDeque<Vec<f32>>,
    row: Row,
}

/// A clip and what is known of it.
#[derive(Debug, Default)]
struct Listed {
    path: PathBuf,
    label: String,
    group: String,
    line: u64,
}

impl Clips {
    /// Lists the clips of a folder or a table, or the one at `path`.
    pub(super) fn open(path: &Path, sound: &Sound, columns: &Columns) -> Result<Self, TableError> {
        let (file, clips) = (path.display().to_string(), listed(path, columns)?);
        let (next, waiting, row) = (0, VecDeque::new(), Row::default());
        Ok(Self { file, sound: sound.clone(), clips, next, waiting, row })
    }

    /// How many clips there are and how many were read.
    pub(super) fn progress(&self) -> (u64, u64) {
        let count = |clips| u64::try_from(clips).unwrap_or(u64::MAX);
        (count(self.clips.len()), count(self.next))
    }

    /// An error about the list of clips.
    pub(super) fn error(&self, problem: Problem) -> TableError {
        TableError { file: self.file.clone(), problem }
    }

    /// The next stretch of sound; its line is that of its clip in the list.
    pub(super) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        while self.waiting.is_empty() {
            let Some(listed) = self.clips.get(self.next) else { return Ok(None) };
            self.next += 1;
            let said = |problem| TableError { file: listed.path.display().to_string(), problem };
            let samples = read(&listed.path).map_err(said)?;
            let rows = self.sound.rows(&samples).map_err(|error| said(Problem::Shape(error)))?;
            self.waiting.extend(rows);
            self.row.line = listed.line;
            self.row.label.clone_from(&listed.label);
            self.row.group.clone_from(&listed.group);
        }
        self.row.number += 1;
        self.row.values = self.waiting.pop_front().unwrap_or_default();
        Ok(Some(&self.row))
    }
}

/// The labels of the clips in a folder or a table.
///
/// # Errors
///
/// [`TableError`] when there are none.
pub(crate) fn clip_labels(path: &Path, columns: &Columns) -> Result<Vec<String>, TableError> {
    Ok(listed(path, columns)?.into_iter().map(|clip| clip.label).collect())
}

/// The clips of a folder or a table, or the one at `path`; there is one at least.
fn listed(path: &Path, columns: &Columns) -> Result<Vec<Listed>, TableError> {
    let said = |problem| TableError { file: path.display().to_string(), problem };
    let clips = if path.is_dir() {
        in_folders(path).map_err(said)?
    } else if is_clip(path) {
        vec![Listed { path: path.to_owned(), line: 1, ..Listed::default() }]
    } else {
        in_table(path, columns)?
    };
    if clips.is_empty() {
        return Err(said(Problem::NoRows { picked: !columns.picked.is_empty() }));
    }
    Ok(clips)
}

/// The samples of a clip at 16 kHz.
fn read(path: &Path) -> Result<Vec<f32>, Problem> {
    let file = File::open(path).map_err(Problem::Open)?;
    let mut bytes = Vec::new();
    // One byte more than is decoded, so that what is too large is refused and not cut.
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(Problem::Open)?;
    Clip::decode(&bytes).and_then(Clip::at_16_khz).map_err(Problem::Clip)
}

fn is_clip(path: &Path) -> bool {
    let ending = path.extension().map(|it| it.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The clips of a table, whose files stand relative to it.
fn in_table(path: &Path, columns: &Columns) -> Result<Vec<Listed>, TableError> {
    let mut extra = columns.extra.clone();
    extra.insert(0, FILE_COLUMN.to_owned());
    let features = FeatureColumns::Named(Vec::new());
    let mut table = TableReader::open(path, &Columns { features, extra, ..columns.clone() })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut clips = Vec::new();
    while let Some(row) = table.next_row()? {
        clips.push(Listed {
            path: folder.join(&row.extra[0]),
            label: row.label.clone(),
            group: row.group.clone(),
            line: row.line,
        });
        if CLIPS_MAX < clips.len() {
            return Err(table.error(Problem::TooLarge { values: CLIPS_MAX }));
        }
    }
    Ok(clips)
}

/// The clips of folders that are named after classes, and those beside the folders, by their names.
fn in_folders(path: &Path) -> Result<Vec<Listed>, Problem> {
    let mut clips = Vec::new();
    for entry in sorted(path)? {
        if entry.is_dir() {
            let label = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let inside = sorted(&entry)?.into_iter().filter(|it| is_clip(it));
            clips.extend(inside.map(|path| Listed {
                path,
                label: label.clone(),
                ..Listed::default()
            }));
        } else if is_clip(&entry) {
            clips.push(Listed { path: entry, ..Listed::default() });
        }
        if CLIPS_MAX < clips.len() {
            return Err(Problem::TooLarge { values: CLIPS_MAX });
        }
    }
    for (line, clip) in (1..).zip(&mut clips) {
        clip.line = line;
    }
    Ok(clips)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = fs::read_dir(folder).map_err(Problem::Open)?;
    let mut paths = Vec::new();
    for entry in entries.take(CLIPS_MAX + 1) {
        paths.push(entry.map_err(Problem::Open)?.path());
    }
    paths.sort();
    Ok(paths)
}
