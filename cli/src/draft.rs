//! A first draft of a task file, from what a table of samples says: written for a person to edit.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use crate::{
    classes_file::{ClassesFile, by_number},
    table_file::Picked,
};

/// Where a list of names is broken into lines.
const LINE_MAX: usize = 96;

/// What a task is about, before a policy is thought of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    /// The name of the task.
    pub(crate) name: String,
    /// What goes in.
    pub(crate) taken: Taken,
    /// The classes and what stands for them.
    pub(crate) classes: Classes,
    /// The column that says which rows belong together.
    pub(crate) group: Option<String>,
}

/// What goes into a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Taken {
    /// Features by their names.
    Features(Vec<String>),
    /// Windows of these channels.
    Window {
        /// In the order of a sample's values.
        channels: Vec<String>,
        /// Samples a second.
        rate_hz: f64,
        /// From the beginning of a window to its end.
        length_s: f64,
        /// From the beginning of a window to the beginning of the next.
        step_s: f64,
        /// The column that changes where another recording begins.
        recording: Option<String>,
    },
    /// Stretches of sound.
    Audio {
        /// From the beginning of a stretch to its end.
        length_s: f64,
        /// From the beginning of a stretch to the beginning of the next.
        step_s: f64,
    },
    /// Grey images.
    Image {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
    },
}

impl fmt::Display for Taken {
    /// As it stands under `[input]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(features) => {
                writeln!(f, "kind = \"features\"")?;
                writeln!(
                    f,
                    "# The values of a sample, in this order; files are read by these names."
                )?;
                writeln!(f, "features = {}", array(&features.iter().collect::<Vec<_>>()))
            }
            Self::Window { channels, rate_hz, length_s, step_s, recording } => {
                writeln!(f, "kind = \"window\"")?;
                writeln!(
                    f,
                    "# Raw samples in the order of time; files are read by these names. Axes such"
                )?;
                writeln!(f, "# as acc_x, acc_y and acc_z are taken as one vector too.")?;
                writeln!(f, "channels = {}", array(&channels.iter().collect::<Vec<_>>()))?;
                writeln!(f, "rate_hz = {rate_hz:?}\nlength_s = {length_s:?}\nstep_s = {step_s:?}")?;
                writeln!(f, "# For slow telemetry seven statistics of each channel are enough:")?;
                writeln!(f, "# detail = \"brief\"")?;
                writeln!(f, "# No window reaches across the beginning of another recording.")?;
                match recording {
                    Some(recording) => writeln!(f, "recording = {}", quoted(recording))?,
                    None => writeln!(f, "# recording = \"experiment\"")?,
                }
                writeln!(
                    f,
                    "# Windows that are less clearly of one class than this are left out:"
                )?;
                writeln!(f, "# label_share_min = 0.75")
            }
            Self::Audio { length_s, step_s } => {
                writeln!(f, "kind = \"audio\"")?;
                writeln!(f, "# FLAC or WAV; each stretch is answered by itself.")?;
                writeln!(f, "rate_hz = 16000\nlength_s = {length_s:?}\nstep_s = {step_s:?}")
            }
            Self::Image { width, height } => {
                writeln!(f, "kind = \"image\"\nwidth = {width}\nheight = {height}")?;
                writeln!(
                    f,
                    "# Where lines lie and how they run; \"pixels\" takes them as they are."
                )?;
                writeln!(f, "detail = \"lines\"")
            }
        }
    }
}

/// The classes of a label column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classes {
    /// For each class the cell that stands for it and its name, in the order of the classes.
    pub(crate) cells: Vec<(String, String)>,
    /// The class that stands for "nothing of interest".
    pub(crate) background: Option<usize>,
}

/// Why a label column does not give classes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DraftError {
    /// A label that the file of classes does not name.
    #[error("the label {label:?} is not in the classes file, which has {known}")]
    Unnamed {
        /// What stands in the label column.
        label: String,
        /// What there is.
        known: String,
    },
    /// A background class that is none.
    #[error("{background:?} is not one of the classes: {known}")]
    Background {
        /// What was asked for.
        background: String,
        /// What there is.
        known: String,
    },
    /// Nothing to tell apart.
    #[error("the label column has only the class {only:?}; a task needs two")]
    One {
        /// The class.
        only: String,
    },
    /// More classes than a task may have: most likely a column of numbers.
    #[error("the label column has {found} different values; is it a column of classes?")]
    TooMany {
        /// How many.
        found: usize,
    },
}

impl Classes {
    /// The classes of the `labels` that occur.
    ///
    /// With a file of classes: all of its classes, by their ids, or those that `picked` asks for
    /// when rows were picked by the label itself. Without: the labels that occur, numbers by value.
    /// `background` is a name or an id; the file's own background when it is `None`.
    ///
    /// # Errors
    ///
    /// One variant of [`DraftError`] for each way of being wrong.
    pub(crate) fn of(
        labels: &BTreeSet<String>,
        file: Option<&ClassesFile>,
        picked: Option<&Picked>,
        background: Option<&str>,
    ) -> Result<Self, DraftError> {
        let cells: Vec<(String, String)> = match file {
            Some(file) => {
                if let Some(label) = labels.iter().find(|label| file.name(label).is_none()) {
                    let known = names(&file.classes);
                    return Err(DraftError::Unnamed { label: label.clone(), known });
                }
                let wanted = |id: &str| picked.is_none_or(|picked| picked.holds(id));
                file.classes.iter().filter(|class| wanted(&class.0)).cloned().collect()
            }
            None => {
                let mut sorted: Vec<&String> = labels.iter().collect();
                sorted.sort_by(|one, two| by_number(one, two));
                sorted.into_iter().map(|label| (label.clone(), label.clone())).collect()
            }
        };
        if models::schema::CLASSES_MAX < cells.len() {
            return Err(DraftError::TooMany { found: cells.len() });
        }
        if cells.len() < 2 {
            let only = cells.into_iter().next().map_or_else(String::new, |class| class.1);
            return Err(DraftError::One { only });
        }
        let is = |wanted: &str| {
            let by_name = cells.iter().position(|class| class.1 == wanted);
            by_name.or_else(|| cells.iter().position(|class| class.0 == wanted))
        };
        let background = match background {
            Some(background) => Some(is(background).ok_or_else(|| DraftError::Background {
                background: background.to_owned(),
                known: names(&cells),
            })?),
            // Not there when its rows were not picked: then the task has none.
            None => file.and_then(|file| file.background.as_deref()).and_then(is),
        };
        Ok(Self { cells, background })
    }
}

fn names(classes: &[(String, String)]) -> String {
    let shown = classes.iter().take(20).map(|(id, name)| match id == name {
        true => name.clone(),
        false => format!("{name} ({id})"),
    });
    let more = if 20 < classes.len() { ", …" } else { "" };
    shown.collect::<Vec<_>>().join(", ") + more
}

/// The task file.
impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, taken, classes: Classes { cells, background }, group } = self;
        let names: Vec<&String> = cells.iter().map(|class| &class.1).collect();

        writeln!(
            f,
            "# A task of Sensemble. Edit what you like, then: sensemble task apply FILE\n"
        )?;
        writeln!(f, "[task]\nname = {}", quoted(name))?;
        writeln!(f, "classes = {}", array(&names))?;
        match background {
            Some(background) => writeln!(
                f,
                "# \"Nothing of interest\": a cheap first stage answers it without asking the members.\n\
                 background = {}",
                quoted(names[*background])
            )?,
            None => writeln!(
                f,
                "# A class that stands for \"nothing of interest\" turns a cheap first stage on.\n\
                 # background = {}",
                quoted(names[0])
            )?,
        }

        write!(f, "\n[input]\n{taken}")?;
        match group {
            Some(group) => writeln!(
                f,
                "# Rows of one group (subject, day, device) are never both learnt from and tested on.\n\
                 group = {}",
                quoted(group)
            )?,
            None => writeln!(
                f,
                "# A column that says which rows belong together, such as a subject or a day:\n\
                 # group = \"subject\""
            )?,
        }

        if cells.iter().any(|(cell, name)| cell != name) {
            writeln!(f, "\n# What stands in the label column, and the class that it means.")?;
            writeln!(f, "[labels]")?;
            for (cell, name) in cells {
                writeln!(f, "{} = {}", quoted(cell), quoted(name))?;
            }
        }

        writeln!(f, "\n[policy]")?;
        writeln!(
            f,
            "# best-effort: the most accurate that fits. low-latency: the fastest that is accurate"
        )?;
        writeln!(f, "# enough. balanced: between the two.\nobjective = \"best-effort\"")?;
        writeln!(f, "# As an app at that site sees it, with the network:")?;
        writeln!(f, "# latency = {{ p99_ms = 20, site = \"home\" }}")?;
        match background {
            Some(_) => writeln!(
                f,
                "# At most this share of events may be called background by the first stage.\n\
                 # `min = 0.8` beside it refuses what is less accurate.\n\
                 accuracy = {{ missed_events_max = 0.02 }}"
            )?,
            None => writeln!(f, "# Refuses what is less accurate:\n# accuracy = {{ min = 0.8 }}")?,
        }
        writeln!(f, "# place = {{ on_site = true, replicas = 1 }}")?;
        writeln!(f, "# The first member serves as soon as it stands; each further one joins it.")?;
        writeln!(
            f,
            "# With `trials = 40` beside it, better settings are searched for within the budget."
        )?;
        writeln!(f, "train = {{ budget_s = 300, families = \"all\", lazy = true }}")?;
        writeln!(
            f,
            "# Learns again after so many corrections, and keeps it only if it is no worse."
        )?;
        writeln!(f, "adapt = {{ after_corrections = 25 }}")
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A TOML array, on one line where it fits.
fn array(items: &[&String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    let line = format!("[{}]", items.join(", "));
    if line.chars().count() + "features = ".len() <= LINE_MAX {
        return line;
    }
    let mut text = String::from("[");
    let mut room = 0;
    for item in items {
        let width = item.chars().count() + 2;
        if room < width {
            text.truncate(text.trim_end().len());
            text += "\n    ";
            room = LINE_MAX - 4;
        }
        let _never_fails = write!(text, "{item}, ");
        room = room.saturating_sub(width);
    }
    text.truncate(text.trim_end().len());
    text + "\n]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[&str]) -> BTreeSet<String> {
        labels.iter().map(ToString::to_string).collect()
    }

    fn file() -> ClassesFile {
        let class = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        ClassesFile {
            classes: vec![class("0", "empty"), class("1", "one"), class("2", "two")],
            background: Some("0".to_owned()),
        }
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let classes = Classes::of(&labels(&["10", "9", "1"]), None, None, Some("9")).unwrap();
        let names: Vec<&str> = classes.cells.iter().map(|class| class.1.as_str()).collect();
        assert_eq!(names, ["1", "9", "10"]);
        assert_eq!(classes.background, Some(1));
    }

    #[test]
    fn a_classes_file_gives_names_and_the_background() {
        let classes = Classes::of(&labels(&["0", "2"]), Some(&file()), None, None).unwrap();
        assert_eq!(
            classes.cells,
            file().classes,
            "a class without rows today may have some tomorrow"
        );
        assert_eq!(classes.background, Some(0));
        for background in ["one", "1"] {
            let classes =
                Classes::of(&labels(&["0"]), Some(&file()), None, Some(background)).unwrap();
            assert_eq!(classes.background, Some(1), "by name or by id");
        }
    }

    #[test]
    fn picking_labels_leaves_the_other_classes_out() {
        let picked = "label=1,2".parse().unwrap();
        let classes =
            Classes::of(&labels(&["1", "2"]), Some(&file()), Some(&picked), None).unwrap();
        assert_eq!(classes.cells, file().classes[1..]);
        assert_eq!(classes.background, None);
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let of = |found: &[&str], background| {
            Classes::of(&labels(found), Some(&file()), None, background).unwrap_err()
        };
        assert!(matches!(of(&["0", "7"], None), DraftError::Unnamed { label, .. } if label == "7"));
        assert!(matches!(of(&["0"], Some("none")), DraftError::Background { .. }));
        let one = Classes::of(&labels(&["x"]), None, None, None).unwrap_err();
        assert_eq!(one, DraftError::One { only: "x".to_owned() });
    }

    fn features() -> Vec<String> {
        (0..300).map(|it| format!("a \"quoted\" feature {it}")).collect()
    }

    fn draft(background: Option<usize>, group: Option<&str>) -> Draft {
        Draft {
            name: "room".to_owned(),
            taken: Taken::Features(features()),
            classes: Classes { cells: file().classes, background },
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn a_draft_is_toml_and_says_what_it_was_made_of() {
        let draft = draft(Some(0), Some("day"));
        let parsed: toml::Table = draft.to_string().parse().unwrap();
        assert_eq!(parsed["task"]["name"].as_str(), Some("room"));
        assert_eq!(parsed["task"]["background"].as_str(), Some("empty"));
        assert_eq!(parsed["labels"]["2"].as_str(), Some("two"));
        assert_eq!(parsed["input"]["group"].as_str(), Some("day"));
        let written = parsed["input"]["features"].as_array().unwrap();
        assert_eq!(written.len(), 300);
        assert_eq!(written[7].as_str(), Some(features()[7].as_str()));
        assert!(draft.to_string().lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn the_scheduler_takes_a_draft_as_it_is() {
        for (background, group) in [(Some(0), Some("day")), (None, None)] {
            let draft = draft(background, group);
            let text = draft.to_string();
            let task = scheduler::task_file::Task::parse(&text).unwrap();
            assert_eq!(task.schema.features(), features());
            assert_eq!(task.schema.classes(), ["empty", "one", "two"]);
            assert_eq!(task.schema.background().is_some(), background.is_some());
            assert_eq!(task.group.as_deref(), group);
            assert_eq!(task.labels["1"], "one");

            // What is commented out is right as well.
            let all = text.replace("# latency", "latency").replace("# place", "place");
            let all = all.replace("# accuracy", "accuracy").replace("# group", "group");
            let all = all.replace("# background", "background");
            scheduler::task_file::Task::parse(&all).unwrap();
        }
    }

    #[test]
    fn the_scheduler_takes_raw_input_as_it_is() {
        let channels = ["acc_x", "acc_y", "acc_z"].map(str::to_owned).to_vec();
        let (rate_hz, length_s, step_s) = (50.0, 2.56, 1.0);
        let recording = Some("experiment".to_owned());
        for (taken, kind) in [
            (Taken::Window { channels, rate_hz, length_s, step_s, recording }, "window"),
            (Taken::Audio { length_s: 5.0, step_s: 2.0 }, "audio"),
            (Taken::Image { width: 28, height: 20 }, "image"),
        ] {
            let text = Draft { taken, ..draft(None, None) }.to_string();
            let task = scheduler::task_file::Task::parse(&text).unwrap();
            assert_eq!(task.input.kind(), kind);
            let all = text.replace("# label_share", "label_share").replace("# detail", "detail");
            scheduler::task_file::Task::parse(&all).unwrap();
        }
    }
}
