//! What was measured of a task's answers, each figure with its interval.

use std::{collections::BTreeMap, time::Duration};

use models::{
    ClassId,
    metrics::{Confusion, Interval, Share},
};
use proto::v1;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{Table, micros, percent},
};

/// Classes above this many are not printed as a matrix: no terminal is that wide.
const MATRIX_MAX: usize = 16;

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Figures {
    task: String,
    classes: Vec<String>,
    background: Option<ClassId>,
    confusion: Confusion,
    /// Answers of each revision.
    revisions: BTreeMap<u64, u64>,
    at_gate: u64,
    sets: Sets,
    /// Of the answers that did not abstain, those that were right.
    answered: Share,
    /// Time of each answer inside the worker.
    service_us: Vec<u32>,
    took: Duration,
}

/// Sets of classes that came with answers.
#[derive(Debug, Default)]
struct Sets {
    /// How often they promise to hold the true class; the least of all of them.
    coverage: f64,
    held: Share,
    classes: u64,
    /// Answers that should have had one.
    missing: u64,
}

impl Sets {
    fn add(&mut self, truth: ClassId, answer: &v1::PredictReply) {
        self.missing += u64::from(!answer.no_set.is_empty());
        if answer.set.is_empty() {
            return;
        }
        let first = self.held.of == 0;
        self.coverage = if first { answer.coverage } else { self.coverage.min(answer.coverage) };
        self.held.of += 1;
        self.held.hits += u64::from(answer.set.contains(&u32::from(truth.0)));
        self.classes += u64::try_from(answer.set.len()).unwrap_or(u64::MAX);
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn mean_size(&self) -> f64 {
        self.classes as f64 / self.held.of.max(1) as f64
    }

    /// `null` when there was none and none was wanted.
    fn json(&self) -> Value {
        if self.held.of == 0 && self.missing == 0 {
            return Value::Null;
        }
        let Interval { low, high } = self.held.interval();
        json!({
            "promised": self.coverage, "coverage": self.held.value(), "interval": [low, high],
            "mean_size": self.mean_size(), "rows": self.held.of, "missing": self.missing,
        })
    }
}

impl Figures {
    /// Nothing yet.
    pub(super) fn new(task: &v1::TaskView) -> Self {
        let background = task.classes.iter().position(|class| *class == task.background);
        Self {
            task: task.name.clone(),
            classes: task.classes.clone(),
            background: background.and_then(|id| u16::try_from(id).ok()).map(ClassId),
            confusion: Confusion::new(task.classes.len()),
            revisions: BTreeMap::new(),
            at_gate: 0,
            sets: Sets::default(),
            answered: Share::default(),
            service_us: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// How many answers there are.
    pub(super) fn rows(&self) -> u64 {
        self.confusion.rows()
    }

    /// A call took so long, network included.
    pub(super) fn took(&mut self, took: Duration) {
        self.took += took;
    }

    /// One more answer.
    pub(super) fn add(&mut self, truth: ClassId, answer: &v1::PredictReply) -> Result<(), Failure> {
        let given = u16::try_from(answer.class_id).ok().map(ClassId);
        let given = given.filter(|given| given.index() < self.classes.len()).ok_or_else(|| {
            Failure::new(format!("the worker answered {:?}, which is no class", answer.class))
                .hint("was the task changed? try again in a moment")
        })?;
        self.confusion.add(truth, given);
        self.sets.add(truth, answer);
        if !answer.abstained {
            self.answered.of += 1;
            self.answered.hits += u64::from(given == truth);
        }
        *self.revisions.entry(answer.revision).or_default() += 1;
        self.at_gate += u64::from(answer.stage() == v1::Stage::Gate);
        self.service_us.push(answer.gate_us.saturating_add(answer.vote_us));
        Ok(())
    }

    /// Everything, for scripts.
    pub(super) fn json(&self, address: &str) -> Value {
        let accuracy = self.confusion.accuracy();
        let missed = self.confusion.missed_events(self.background);
        let pair = |interval: Interval| json!([interval.low, interval.high]);
        let classes = self.classes.iter().zip(self.confusion.recalls());
        json!({
            "task": self.task,
            "rows": self.rows(),
            "accuracy": accuracy.value(),
            "interval": pair(accuracy.interval()),
            "balanced_accuracy": self.confusion.balanced_accuracy(),
            "balanced_accuracy_interval": pair(self.confusion.balanced_accuracy_interval()),
            "missed_events": missed.value(),
            "missed_events_interval": pair(missed.interval()),
            "events": missed.of,
            "background": self.background.map(|id| &self.classes[id.index()]),
            "classes": self.classes,
            "confusion": self.confusion.counts().chunks(self.classes.len()).collect::<Vec<_>>(),
            "per_class": classes.map(|(class, recall)| json!({
                "class": class, "rows": recall.of, "recall": recall.value(),
                "interval": pair(recall.interval()),
            })).collect::<Value>(),
            "sets": self.sets.json(),
            "answered": {
                "share": Share { hits: self.answered.of, of: self.rows() }.value(),
                "rows": self.answered.of, "abstained": self.rows() - self.answered.of,
                "accuracy": self.answered.value(), "interval": pair(self.answered.interval()),
            },
            "stopped_at_gate": Share { hits: self.at_gate, of: self.rows() }.value(),
            "revision": self.revisions.last_key_value().map(|it| it.0),
            "revisions": self.revisions.keys().collect::<Vec<_>>(),
            "latency": {
                "service_p50_us": self.quantile(50), "service_p99_us": self.quantile(99),
                "rows_per_second": self.rows_per_second(),
            },
            "address": address,
        })
    }

    /// Everything, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let accuracy = self.confusion.accuracy();
        let missed = self.confusion.missed_events(self.background);
        let between = |interval: Interval| {
            format!("({} to {})", percent(interval.low), percent(interval.high))
        };
        let revisions: Vec<u64> = self.revisions.keys().copied().collect();
        let mut lines = vec![
            format!(
                "{} on {} rows, revision {}",
                self.task,
                self.rows(),
                crate::output::list(&revisions)
            ),
            String::new(),
            format!(
                "accuracy           {}  {}",
                percent(accuracy.value()),
                between(accuracy.interval())
            ),
            format!(
                "balanced accuracy  {}  {}",
                percent(self.confusion.balanced_accuracy()),
                between(self.confusion.balanced_accuracy_interval())
            ),
        ];
        if self.background.is_some() {
            lines.push(format!(
                "missed events      {}  {}  of {} events called background",
                percent(missed.value()),
                between(missed.interval()),
                missed.of
            ));
            let gate = Share { hits: self.at_gate, of: self.rows() };
            lines.push(format!("stopped at gate    {}", percent(gate.value())));
        }
        let abstained = self.rows() - self.answered.of;
        if 0 < abstained {
            let share = Share { hits: self.answered.of, of: self.rows() };
            lines.push(format!(
                "answered           {}  and of these {} right  {}; {abstained} times nobody knew, and the figures above count the guess",
                percent(share.value()),
                percent(self.answered.value()),
                between(self.answered.interval())
            ));
        }
        if 0 < self.sets.held.of {
            let held = self.sets.held;
            lines.push(format!(
                "sets of classes    {}  {}  hold the true class, {:.2} classes on average; {} promised",
                percent(held.value()),
                between(held.interval()),
                self.sets.mean_size(),
                percent(self.sets.coverage)
            ));
        }
        if 0 < self.sets.missing {
            lines.push(format!(
                "without a set      {} answers: not everybody was heard in time",
                self.sets.missing
            ));
        }
        lines.push(format!(
            "time of an answer  p50 {}, p99 {} in the worker; {:.0} answers a second in all",
            micros(self.quantile(50)),
            micros(self.quantile(99)),
            self.rows_per_second()
        ));
        lines.push(String::new());
        lines.extend(self.per_class().lines());
        if self.classes.len() <= MATRIX_MAX {
            lines.push(String::new());
            lines.extend(self.matrix());
        }
        lines
    }

    fn per_class(&self) -> Table {
        let mut table = Table::new(&["class", ">rows", ">recall", "95 % interval"]);
        for (class, recall) in self.classes.iter().zip(self.confusion.recalls()) {
            let Interval { low, high } = recall.interval();
            let known = recall.of != 0;
            table.row([
                class.clone(),
                recall.of.to_string(),
                if known { percent(recall.value()) } else { "-".to_owned() },
                if known {
                    format!("{} to {}", percent(low), percent(high))
                } else {
                    String::new()
                },
            ]);
        }
        table
    }

    /// Rows are what was true, columns what was answered.
    fn matrix(&self) -> Vec<String> {
        let largest = self.confusion.counts().iter().max().copied().unwrap_or(0);
        let cell = largest.to_string().len().max(3);
        let name = self.classes.iter().map(|class| class.chars().count()).max().unwrap_or(0);
        let heading: String = (1..=self.classes.len()).map(|it| format!(" {it:>cell$}")).collect();
        let mut lines =
            vec![format!("{:<width$}{heading}", "TRUE \\ ANSWERED", width = name.max(15) + 4)];
        for (truth, class) in self.classes.iter().enumerate() {
            let counts: String = (0..self.classes.len())
                .map(|given| format!(" {:>cell$}", self.confusion.count(truth, given)))
                .collect();
            lines.push(format!("{:>2}  {class:<width$}{counts}", truth + 1, width = name.max(15)));
        }
        lines
    }

    fn rows_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rows = self.rows() as f64;
        rows / self.took.as_secs_f64().max(1e-9)
    }

    /// The smallest time that `percent` % of the answers did not exceed.
    fn quantile(&self, percent: usize) -> u32 {
        let mut sorted = self.service_us.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let task = v1::TaskView {
            name: "room".to_owned(),
            classes: ["one", "empty", "two"].map(str::to_owned).to_vec(),
            background: "empty".to_owned(),
            ..Default::default()
        };
        let mut figures = Figures::new(&task);
        // Of the events, one is called background and one is right.
        for (truth, given, us) in [(0, 1, 10), (2, 2, 20), (1, 1, 30), (1, 0, 40)] {
            let answer = v1::PredictReply {
                class_id: given,
                revision: 7,
                gate_us: us,
                stage: v1::Stage::Gate.into(),
                ..Default::default()
            };
            figures.add(ClassId(truth), &answer).unwrap();
        }
        figures
    }

    #[test]
    fn the_figures_are_those_of_the_confusion() {
        let json = figures().json("pi:8001");
        assert_eq!(json["accuracy"], 0.5);
        assert_eq!(json["balanced_accuracy"], 0.5);
        assert_eq!(json["missed_events"], 0.5);
        assert_eq!(json["events"], 2);
        assert_eq!(json["confusion"], json!([[0, 1, 0], [1, 1, 0], [0, 0, 1]]));
        assert_eq!(json["revisions"], json!([7]));
        assert_eq!(json["latency"]["service_p50_us"], 20);
        assert_eq!(json["latency"]["service_p99_us"], 40);
        let low = json["interval"][0].as_f64().unwrap();
        assert!((0.0..0.5).contains(&low), "{low}");
    }

    #[test]
    fn what_is_answered_is_measured_apart_from_what_is_guessed() {
        let mut figures = figures();
        assert_eq!(figures.json("pi:8001")["answered"]["share"], 1.0);
        assert!(!figures.lines().join(" ").contains("nobody knew"));
        for (truth, given) in [(0, 2), (1, 1)] {
            let answer =
                v1::PredictReply { class_id: given, abstained: true, ..Default::default() };
            figures.add(ClassId(truth), &answer).unwrap();
        }
        let json = figures.json("pi:8001");
        let answered = &json["answered"];
        assert_eq!((&answered["rows"], &answered["abstained"]), (&json!(4), &json!(2)));
        assert_eq!((&answered["accuracy"], &json["accuracy"]), (&json!(0.5), &json!(0.5)));
        let text = figures.lines().join("\n");
        assert!(text.contains("answered           66.7 %  and of these 50.0 % right"), "{text}");
    }

    #[test]
    fn sets_are_measured_where_there_are_any() {
        let mut figures = figures();
        assert_eq!(figures.json("pi:8001")["sets"], Value::Null);
        let mut add = |truth: u16, set: &[u32], no_set: &str| {
            let answer = v1::PredictReply {
                set: set.to_vec(),
                coverage: 0.9,
                no_set: no_set.to_owned(),
                ..Default::default()
            };
            figures.add(ClassId(truth), &answer).unwrap();
        };
        add(0, &[0, 2], "");
        add(1, &[0], "");
        add(1, &[], "too late");
        let sets = figures.json("pi:8001")["sets"].clone();
        assert_eq!((&sets["promised"], &sets["coverage"]), (&json!(0.9), &json!(0.5)));
        assert_eq!((&sets["mean_size"], &sets["rows"]), (&json!(1.5), &json!(2)));
        assert_eq!(sets["missing"], 1);
        let text = figures.lines().join("\n");
        assert!(text.contains("1.50 classes on average; 90.0 % promised"), "{text}");
    }

    #[test]
    fn an_answer_that_is_no_class_is_refused() {
        let answer = v1::PredictReply { class_id: 3, ..Default::default() };
        assert!(figures().add(ClassId(0), &answer).is_err());
    }

    #[test]
    fn people_see_the_same() {
        let text = figures().lines().join("\n");
        assert!(text.contains("accuracy           50.0 %"), "{text}");
        assert!(text.contains("of 2 events called background"), "{text}");
    }
}
