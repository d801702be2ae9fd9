//! The task file that a demo applies.

use toml::Value;

/// What a policy of the demo asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wish {
    /// `best-effort` or `low-latency`.
    pub(crate) objective: &'static str,
    /// The 99th percentile of latency that it allows.
    pub(crate) p99_ms: f64,
    /// The least accuracy that it accepts.
    pub(crate) accuracy_min: f64,
}

impl Wish {
    /// It in words.
    pub(crate) fn words(&self) -> String {
        let mut words = format!("answers within {} ms", self.p99_ms);
        if self.accuracy_min > 0.0 {
            words += &format!(", at least {:.0} % right", self.accuracy_min * 100.0);
        }
        words
    }
}

/// A task without its policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskText {
    /// Its name.
    pub(crate) name: String,
    /// The names of the features.
    pub(crate) features: Vec<String>,
    /// The names of the classes.
    pub(crate) classes: Vec<String>,
    /// The background class.
    pub(crate) background: Option<usize>,
    /// What its groups are called, when rows have one.
    pub(crate) group: Option<String>,
    /// Corrections after which it is trained again.
    pub(crate) after_corrections: usize,
    /// Ceiling of the share of events that are answered "background".
    pub(crate) missed_events_max: f64,
}

impl TaskText {
    /// The task file under the policy `wish`.
    pub(crate) fn toml(&self, wish: Wish) -> String {
        let names = |names: &[String]| {
            Value::Array(names.iter().cloned().map(Value::String).collect()).to_string()
        };
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        let background = self
            .background
            .map(|class| format!("background = {}\n", quoted(&self.classes[class])))
            .unwrap_or_default();
        let group = self
            .group
            .as_ref()
            .map(|group| format!("group = {}\n", quoted(group)))
            .unwrap_or_default();
        let missed = self
            .background
            .map(|_| format!(", missed_events_max = {:?}", self.missed_events_max))
            .unwrap_or_default();
        format!(
            "[task]\nname = {}\nclasses = {}\n{background}\n\
             [input]\nkind = \"features\"\nfeatures = {}\n{group}\n\
             [policy]\nobjective = {}\nlatency = {{ p99_ms = {:?} }}\n\
             accuracy = {{ min = {:?}{missed} }}\n\
             train = {{ budget_s = 300, families = \"all\", lazy = true }}\n\
             adapt = {{ after_corrections = {} }}\n",
            quoted(&self.name),
            names(&self.classes),
            names(&self.features),
            quoted(wish.objective),
            wish.p99_ms,
            wish.accuracy_min,
            self.after_corrections,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_understands_what_the_demo_applies() {
        let task = TaskText {
            name: "machine-activity".to_owned(),
            features: vec!["a \"b\"".to_owned(), "c\\d".to_owned()],
            classes: vec!["idle".to_owned(), "cpu".to_owned()],
            background: Some(0),
            group: Some("round".to_owned()),
            after_corrections: 12,
            missed_events_max: 0.02,
        };
        let wish = Wish { objective: "low-latency", p99_ms: 20.0, accuracy_min: 0.8 };
        let read: toml::Table = toml::from_str(&task.toml(wish)).unwrap();
        assert_eq!(read["input"]["features"][0].as_str(), Some("a \"b\""));
        assert_eq!(read["input"]["features"][1].as_str(), Some("c\\d"));
        assert_eq!(read["task"]["background"].as_str(), Some("idle"));
        assert_eq!(read["policy"]["latency"]["p99_ms"].as_float(), Some(20.0));
        assert_eq!(read["policy"]["adapt"]["after_corrections"].as_integer(), Some(12));
    }

    #[test]
    fn a_task_without_a_background_promises_nothing_about_events() {
        let task = TaskText {
            name: "t".to_owned(),
            features: vec!["a".to_owned()],
            classes: vec!["x".to_owned(), "y".to_owned()],
            background: None,
            group: None,
            after_corrections: 12,
            missed_events_max: 0.02,
        };
        let wish = Wish { objective: "best-effort", p99_ms: 400.0, accuracy_min: 0.0 };
        let text = task.toml(wish);
        assert!(!text.contains("missed_events") && !text.contains("group"), "{text}");
        assert!(toml::from_str::<toml::Table>(&text).is_ok());
    }
}
