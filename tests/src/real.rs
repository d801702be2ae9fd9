//! Real data, with the split of its README: the way from a file to figures on rows of other people
//! or other days.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use crate::{app::App, sensemble::Sensemble, skip, wait::until};

/// Longest fit of one member, on a busy machine in a debug build.
const MEMBER_MAX: Duration = Duration::from_secs(120);
/// Longest training of all members there.
const WHOLE_MAX: Duration = Duration::from_secs(540);

/// A data set and its split.
#[derive(Clone, Copy, Debug)]
pub struct Real<'a> {
    /// The task.
    pub name: &'a str,
    /// Below the folder of the data sets; `classes.csv` stands beside it.
    pub file: &'a str,
    /// Which rows belong together, when it has such a column.
    pub group: Option<&'a str>,
    /// Rows of both halves.
    pub rows: Option<&'a str>,
    /// Rows to learn from.
    pub train: &'a str,
    /// Rows of other people or days.
    pub test: &'a str,
}

/// Room occupancy: days to learn from, other days to be tested on.
pub const ROOM: Real<'static> = Real {
    name: "room",
    file: "room_occupancy/room_occupancy.csv.gz",
    group: None,
    rows: None,
    train: "day=2017-12-22,2017-12-24,2017-12-25",
    test: "day=2017-12-23,2017-12-26,2018-01-10,2018-01-11",
};

/// HAPT, twelve activities and the time between them.
pub const HAPT: Real<'static> = Real {
    name: "hapt",
    file: "hapt/hapt_features.csv.gz",
    group: Some("subject"),
    rows: None,
    train: "split=train",
    test: "split=test",
};

/// HAPT, the six activities alone.
pub const HAPT_SIX: Real<'static> =
    Real { name: "hapt-six", rows: Some("label=1,2,3,4,5,6"), ..HAPT };

/// What came of it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What `evaluate` said of the rows to be tested on.
    pub report: Value,
    /// From the order to train until the first revision answered, in seconds.
    pub first_s: f64,
    /// Until the last member had joined or been left out.
    pub whole_s: f64,
    /// Revisions released.
    pub revisions: u64,
}

impl Figures {
    /// A share of the report.
    ///
    /// # Panics
    ///
    /// When the report has no such number.
    #[must_use]
    pub fn share(&self, key: &str) -> f64 {
        self.report[key].as_f64().unwrap_or_else(|| panic!("no {key}: {}", self.report))
    }
}

impl Real<'_> {
    /// Walks the path on a fresh Sensemble; `None` (and the story `story` is skipped) without the data.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[must_use]
    pub fn walk(&self, story: &str) -> Option<Figures> {
        let path = skip::data(story, self.file)?;
        let classes = path.with_file_name("classes.csv");
        let sensemble = Sensemble::up(&[]);
        Some(self.figures(&sensemble, &path, &classes))
    }

    fn figures(&self, sensemble: &Sensemble, path: &Path, classes: &Path) -> Figures {
        let Self { name, file: _, group, rows, train, test } = *self;
        let (path, classes) = (path.display().to_string(), classes.display().to_string());
        let rows: Vec<&str> = rows.iter().flat_map(|rows| ["--where", rows]).collect();
        let group: Vec<&str> = group.iter().flat_map(|group| ["--group", group]).collect();
        let toml = sensemble.path("task.toml").display().to_string();

        let init = ["task", "init", name, "--from", &path, "--label", "label"];
        let more = ["--classes", &classes, "--output", &toml, "--where", train];
        let _written = sensemble.run(&[&init[..], &more, &group, &rows].concat()).good();
        let _applied = sensemble.run(&["task", "apply", &toml]).good();
        let import = ["data", "import", name, &path, "--label", "label", "--where", train];
        let _imported = sensemble.run(&[&import[..], &rows].concat()).good();

        let start = Instant::now();
        let _started = sensemble.run(&["train", "run", name]).good();
        let app = until("a place for the first revision", MEMBER_MAX, || {
            let placed = sensemble.json(&["placement", "list"]);
            let address = placed.first().and_then(|it| it["serving_address"].as_str());
            address.and_then(|address| App::connect(address).ok()).ok_or(placed.clone())
        });
        until("the first revision", MEMBER_MAX, || {
            let served = app.describe().expect("the worker says");
            let good = served.iter().any(|it| it.task == name && it.fault.is_empty());
            if good { Ok(()) } else { Err(served) }
        });
        let first_s = start.elapsed().as_secs_f64();
        until("the end of the training", WHOLE_MAX, || {
            let jobs = sensemble.json(&["train", "status", name]);
            let ended = |it: &Value| it["state"] == "done" || it["state"] == "failed";
            if !jobs.is_empty() && jobs.iter().all(ended) { Ok(()) } else { Err(jobs) }
        });
        let whole_s = start.elapsed().as_secs_f64();
        let revisions = sensemble.wait_until_served(name);
        let evaluate = ["evaluate", name, &path, "--label", "label", "--where", test];
        let report = sensemble.json(&[&evaluate[..], &rows].concat()).remove(0);
        Figures { report, first_s, whole_s, revisions }
    }
}
