//! Task files: TOML as a person wrote it, parsed into a [`Task`] or refused with the line and what
//! to do about it.
//!
//! Unknown keys are refused: a misspelled limit must not become a default.

mod input;
mod policy;

use std::{collections::BTreeMap, ops::Range};

use models::{ClassId, Schema};
use signals::Input;
use toml::Spanned;

pub use self::input::Cutting;
use self::{input::RawInput, policy::RawPolicy};

use crate::policy::Policy;

/// Longest task file, in bytes: names of 100,000 features fit.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Longest name of a task, in bytes.
pub const TASK_NAME_BYTES_MAX: usize = 64;
/// Longest name of a site, in bytes.
pub const SITE_BYTES_MAX: usize = 64;
/// More replicas than this are more likely a typing error than a wish.
pub const REPLICAS_MAX: u32 = 64;
/// Most trials of a search.
pub const TRIALS_MAX: u32 = 1_000;

/// One prediction problem and what its admin asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Unique among the tasks.
    pub name: String,
    /// What a model sees and answers.
    pub schema: Schema,
    /// What goes in, and how it becomes what a model sees.
    pub input: Input,
    /// How recordings are cut, where the input is a window.
    pub cutting: Cutting,
    /// The column that says which rows belong together (subject, day, device).
    pub group: Option<String>,
    /// Cells of a label column that stand for classes.
    pub labels: BTreeMap<String, String>,
    /// What the admin asks for.
    pub policy: Policy,
}

/// Why a text is no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskFileError {
    /// Larger than any task file.
    #[error("the task file has {bytes} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Not TOML, or not the keys of a task file.
    #[error("line {line}: {says}; correct the line (`sensemble task init` writes an example)")]
    Toml {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        says: String,
    },
    /// A value that means nothing here.
    #[error("line {line}: {key}: {problem}; {advice}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    task: RawTask,
    input: RawInput,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    policy: RawPolicy,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    name: Spanned<String>,
    classes: Spanned<Vec<String>>,
    background: Option<Spanned<String>>,
}

/// Where in the text something was said.
struct Source<'a>(&'a str);

impl Source<'_> {
    fn line(&self, span: Range<usize>) -> usize {
        let before = self.0.get(..span.start.min(self.0.len())).unwrap_or(self.0);
        before.bytes().filter(|&byte| byte == b'\n').count() + 1
    }

    fn wrong(
        &self,
        span: Range<usize>,
        key: &'static str,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> TaskFileError {
        TaskFileError::Value {
            line: self.line(span),
            key,
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// A value between two bounds, both included; NaN is not.
    fn within(
        &self,
        key: &'static str,
        value: &Spanned<f64>,
        least: f64,
        most: f64,
    ) -> Result<f64, TaskFileError> {
        let found = *value.get_ref();
        if (least..=most).contains(&found) {
            Ok(found)
        } else {
            Err(self.wrong(
                value.span(),
                key,
                format!("{found} is out of range"),
                format!("write a number from {least} to {most}"),
            ))
        }
    }
}

impl Task {
    /// Parses a task file.
    ///
    /// # Errors
    ///
    /// [`TaskFileError`] with the line of the first thing that is wrong, and what to do about it.
    pub fn parse(text: &str) -> Result<Self, TaskFileError> {
        if FILE_BYTES_MAX < text.len() {
            return Err(TaskFileError::TooLong { bytes: text.len() });
        }
        let source = Source(text);
        let raw: Raw = toml::from_str(text).map_err(|error| TaskFileError::Toml {
            line: source.line(error.span().unwrap_or(0..0)),
            says: error.message().lines().collect::<Vec<_>>().join(" "),
        })?;
        let name = task_name(&source, &raw.task.name)?;
        let (input, cutting) = raw.input.parse(&source)?;
        let schema = schema(&source, &raw, &input)?;
        let mut labels = BTreeMap::new();
        for (cell, class) in raw.labels {
            if schema.class(class.get_ref()).is_none() {
                return Err(source.wrong(
                    class.span(),
                    "labels",
                    format!("{:?} is no class", class.get_ref()),
                    format!("name one of {}", list(schema.classes())),
                ));
            }
            labels.insert(cell.into_inner(), class.into_inner());
        }
        let group = raw.input.group.map(Spanned::into_inner);
        let policy = raw.policy.parse(&source, &schema)?;
        Ok(Self { name, schema, input, cutting, group, labels, policy })
    }
}

fn task_name(source: &Source<'_>, name: &Spanned<String>) -> Result<String, TaskFileError> {
    let text = name.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = !text.is_empty()
        && text.len() <= TASK_NAME_BYTES_MAX
        && text.chars().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(text.clone());
    }
    Err(source.wrong(
        name.span(),
        "task.name",
        format!("{text:?} cannot be the name of a task"),
        format!(
            "write 1 to {TASK_NAME_BYTES_MAX} letters, digits, '-', '_' or '.', \
             beginning with a letter or a digit"
        ),
    ))
}

fn schema(source: &Source<'_>, raw: &Raw, input: &Input) -> Result<Schema, TaskFileError> {
    let classes = &raw.task.classes;
    let background = match &raw.task.background {
        None => None,
        Some(name) => {
            let id = classes.get_ref().iter().position(|class| class == name.get_ref());
            let id = id.and_then(|id| u16::try_from(id).ok()).ok_or_else(|| {
                source.wrong(
                    name.span(),
                    "task.background",
                    format!("{:?} is no class", name.get_ref()),
                    format!("name one of {}", list(classes.get_ref())),
                )
            })?;
            Some(ClassId(id))
        }
    };
    Schema::new(input.feature_names(), classes.get_ref().clone(), background).map_err(|error| {
        use models::SchemaError as E;
        let (span, key) = match &error {
            E::Features { .. }
            | E::Repeated { what: "features", .. }
            | E::Name { what: "features", .. } => (raw.input.said(), "input.features"),
            E::Classes { .. } | E::Repeated { .. } | E::Name { .. } | E::Background { .. } => {
                (classes.span(), "task.classes")
            }
        };
        source.wrong(span, key, error.to_string(), "correct the list")
    })
}

fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut text = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if SHOWN_MAX < names.len() {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use models::{Coverage, Family};

    use super::*;
    use crate::policy::{Adapt, Objective, Place, Train};

    const WHOLE: &str = r#"
[task]
name = "kitchen-activity"
classes = ["idle", "blender", "tap"]
background = "idle"

[input]
kind = "features"
features = ["a", "b"]
group = "subject"

[labels]
"0" = "idle"

[policy]
objective = "balanced"
latency = { p99_ms = 20, site = "kitchen" }
accuracy = { min = 0.80, missed_events_max = 0.03 }
place = { on_site = true, require = { arch = "aarch64" }, replicas = 2 }
train = { budget_s = 100, families = ["knn", "ridge"], trials = 40, lazy = false }
adapt = { after_corrections = 5, on_drift = true, min_gain = 0.01, probation_s = 600, canary = [0.1, 0.5, 1.0] }
label = { auto_above = 0.97, review_between = [0.5, 0.97], questions_per_day = 20 }
fallback = "idle"
coverage = 0.95
abstain_below = 0.6
"#;

    #[test]
    fn the_whole_grammar_is_read() {
        let task = Task::parse(WHOLE).unwrap();
        assert_eq!(task.name, "kitchen-activity");
        assert_eq!(task.schema.background(), Some(ClassId(0)));
        assert_eq!(task.group.as_deref(), Some("subject"));
        assert_eq!(task.labels["0"], "idle");
        let policy = &task.policy;
        assert_eq!(policy.objective, Objective::Balanced);
        assert_eq!(policy.latency_us_max, Some(20_000));
        assert_eq!(policy.site.as_deref(), Some("kitchen"));
        assert_eq!((policy.accuracy_min, policy.missed_events_max), (0.80, 0.03));
        assert_eq!(
            policy.place,
            Place { on_site: true, arch: Some("aarch64".into()), replicas: 2 }
        );
        assert_eq!(
            policy.train,
            Train {
                budget_s: 100,
                families: vec![Family::Knn, Family::Ridge],
                trials: 40,
                lazy: false
            }
        );
        assert_eq!(policy.adapt, Adapt { after_corrections: Some(5), min_gain: 0.01 });
        assert_eq!(policy.fallback.as_deref(), Some("idle"));
        assert_eq!(policy.coverage.map(Coverage::thousandths), Some(950));
        assert_eq!(policy.abstain_below_thousandths, Some(600));
        assert_eq!(policy.recorded_only.len(), 6);
    }

    #[test]
    fn a_short_file_has_the_documented_defaults() {
        let text = "[task]\nname = \"t\"\nclasses = [\"a\", \"b\"]\n\
                    [input]\nkind = \"features\"\nfeatures = [\"x\"]\n";
        assert_eq!(Task::parse(text).unwrap().policy, Policy::default());
    }

    /// Changes one line of the whole file and returns what the parser says.
    fn says(from: &str, to: &str) -> String {
        assert!(WHOLE.contains(from), "{from}");
        Task::parse(&WHOLE.replace(from, to)).unwrap_err().to_string()
    }

    #[test]
    fn each_error_names_its_line_and_what_to_do() {
        let cases = [
            ("lazy = false", "lasy = false", "line 20", "unknown field `lasy`"),
            ("[policy]", "[polcy]", "line 15", "unknown field `polcy`"),
            ("p99_ms = 20", "p99_ms = -1", "line 17", "write a number from"),
            ("p99_ms = 20", "p99_ms = nan", "line 17", "write a number from"),
            ("min = 0.80", "min = 80", "line 18", "from 0 to 1"),
            ("replicas = 2", "replicas = 0", "line 19", "from 1 to 64"),
            ("background = \"idle\"", "background = \"x\"", "line 5", "name one of idle"),
            ("\"0\" = \"idle\"", "\"0\" = \"off\"", "line 13", "name one of idle"),
            ("fallback = \"idle\"", "fallback = \"off\"", "line 23", "name one of idle"),
            ("coverage = 0.95", "coverage = 1.0", "line 24", "from 0.5 to 0.999"),
            ("abstain_below = 0.6", "abstain_below = 60", "line 25", "from 0.001 to 1"),
            ("coverage = 0.95", "coverage = 95", "line 24", "from 0.5 to 0.999"),
            ("\"knn\", \"ridge\"", "\"resnet\"", "line 20", "some of knn, ridge"),
            ("families = [\"knn\", \"ridge\"]", "families = 3", "line 20", "families is \"all\""),
            ("kind = \"features\"", "kind = \"window\"", "line 9", "another kind"),
            ("kind = \"features\"", "kind = \"smell\"", "line 8", "no kind of input"),
            ("features = [\"a\", \"b\"]", "", "line 8", "write features = ["),
            ("features = [\"a\", \"b\"]", "features = [\"a\", \"a\"]", "line 9", "twice"),
            ("group = \"subject\"", "rate_hz = 50", "line 10", "another kind"),
            ("canary = [0.1, 0.5, 1.0]", "canary = [0.5, 0.1]", "line 21", "rising shares"),
            ("[0.5, 0.97]", "[0.97, 0.5]", "line 22", "the smaller one first"),
            ("\"kitchen-activity\"", "\"../kitchen\"", "line 3", "letters, digits"),
            ("objective = \"balanced\"", "objective = \"fast\"", "line 16", "best-effort"),
            ("[task]", "[task", "line 2", "correct the line"),
        ];
        for (from, to, line, part) in cases {
            let text = says(from, to);
            assert!(text.contains(part), "{to}: {text}");
            assert!(text.starts_with(&format!("{line}:")), "{to}: {text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _any_answer_will_do = Task::parse(&text);
        }

        #[test]
        fn a_file_cut_anywhere_never_panics(at in 0..WHOLE.len()) {
            let _any_answer_will_do = Task::parse(&WHOLE[..at]);
        }
    }
}
