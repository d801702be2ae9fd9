//! The bench itself: set after set, both sides, tables as it goes, everything in JSON at the end.

use std::{fs, path::PathBuf};

use benches::{
    folder::{Fault, Folder},
    machine,
    sets::Which,
};
use models::Family;
use serde::Serialize;

use crate::{
    figures::{Automl, BEST_EFFORT, Early, Findings, PeerLine, Training},
    page,
    picture::{Panel, draw},
    sides::{Peers, ours},
};

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) data: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) pictures: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) python: Option<PathBuf>,
    pub(crate) script: PathBuf,
    /// Why the peers are not asked.
    pub(crate) without_peers: Option<String>,
    /// Take what the peers reached in an earlier run over the same rows.
    pub(crate) known_peers: bool,
    pub(crate) quick: bool,
    pub(crate) sets: Vec<Which>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            data: "../shared/data".into(),
            work: "target/learn".into(),
            pictures: None,
            json: None,
            python: None,
            script: "benches/peers/learn.py".into(),
            without_peers: None,
            known_peers: false,
            quick: false,
            sets: Which::REAL.to_vec(),
        }
    }
}

/// Seconds that an AutoML peer and we are given, and threads.
const AUTOML_S: u32 = 60;
const AUTOML_JOBS: usize = 2;
/// Trials of our search in that time, at most.
const TRIALS: &str = "1000";

/// Everything that is written to `--json FILE`.
#[derive(Serialize)]
struct Report<'a> {
    quick: bool,
    machine: &'a str,
    skipped: &'a [String],
    sets: &'a [Findings],
    summary: Summary,
}

/// The figures that the project promises, flat. Absent ones were not measured.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Our sum of fits over the peers', processor seconds.
    fit_ratio_mnist: Option<f64>,
    fit_ratio_hapt: Option<f64>,
    /// Our highest peak of a fit over the peers', on MNIST.
    memory_ratio: Option<f64>,
    /// The peers' time of a seven-member vote over ours: the least of HAPT six and MNIST.
    vote_us_ratio: Option<f64>,
    vote_us_ratio_hapt: Option<f64>,
    vote_us_ratio_mnist: Option<f64>,
    /// The same with compact members.
    vote_us_ratio_compact: Option<f64>,
    /// Share of test rows, of all sets, with the class of the full vote.
    early_stop_same: Option<f64>,
    /// Mean share of the full vote's work.
    early_stop_work: Option<f64>,
    /// The same of the members that a training ships.
    early_stop_work_shipped: Option<f64>,
    first_revision_s_hapt: Option<f64>,
    first_revision_s_mnist: Option<f64>,
    /// Of the best-effort vote.
    accuracy_hapt6: Option<f64>,
    accuracy_mnist: Option<f64>,
    /// Mean time of two-stage serving at 70 % background over the vote alone, HAPT.
    two_stage_ratio_70: Option<f64>,
    /// Share of the events that the gate ended.
    missed_70: Option<f64>,
    /// Whole process of a training on MNIST.
    training_mib_mnist: Option<f64>,
    accuracy_automl: Option<f64>,
    accuracy_ours_in_the_time_of_automl: Option<f64>,
    /// Families whose interval lies below the peer's accuracy.
    families_below: Vec<String>,
    /// Rows of MNIST that were used: fewer in `--quick`.
    mnist_rows: Option<usize>,
}

pub(crate) fn run(ask: &Ask) -> Result<(), Fault> {
    let mut bench = Bench {
        peers: ask.python.clone().map(|python| Peers {
            python,
            script: ask.script.clone(),
            known: ask.known_peers,
        }),
        ask,
        found: Vec::new(),
        skipped: Vec::new(),
    };
    let machine = machine();
    println!("Machine: {machine}.\n");
    if bench.peers.is_none() {
        let reason = ask.without_peers.as_deref().unwrap_or("no --python was named");
        bench.skip(format!("the peers: {reason}"));
    }
    for &which in &ask.sets {
        bench.set(which)?;
    }
    if bench.found.is_empty() {
        println!("No data set is there; what follows is synthetic.\n");
        bench.set(Which::Synthetic)?;
    }
    bench.automl();
    bench.pictures()?;

    let summary = summary(&bench.found);
    println!("## Summary\n\n```json\n{}\n```\n", serde_json::to_string_pretty(&summary)?);
    for skipped in &bench.skipped {
        println!("Not measured: {skipped}");
    }
    if let Some(path) = &ask.json {
        let (skipped, sets) = (&bench.skipped, &bench.found);
        let report = Report { quick: ask.quick, machine: &machine, skipped, sets, summary };
        fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

struct Bench<'a> {
    ask: &'a Ask,
    peers: Option<Peers>,
    found: Vec<Findings>,
    skipped: Vec<String>,
}

impl Bench<'_> {
    fn skip(&mut self, what: String) {
        println!("Not measured: {what}\n");
        self.skipped.push(what);
    }

    /// What `found` gave; a fault is a measurement that is missing, not the end of the run.
    fn keep<T>(&mut self, what: &str, found: Result<T, Fault>) -> Option<T> {
        found.map_err(|fault| self.skip(format!("{what}: {fault}"))).ok()
    }

    /// Where the rows of a parting of a set are; fewer rows are another place.
    fn folder(&self, which: Which, parting: usize) -> Folder {
        let size = if self.ask.quick && which == Which::Mnist { "-quick" } else { "" };
        let parting = if parting == 0 { String::new() } else { format!("-{parting}") };
        Folder(self.ask.work.join(format!("{}{size}{parting}", which.name())))
    }

    fn set(&mut self, which: Which) -> Result<(), Fault> {
        let sets = match which.partings(&self.ask.data, self.ask.quick) {
            Ok(sets) => sets,
            Err(reason) => {
                self.skip(format!("{}: {reason}", which.name()));
                return Ok(());
            }
        };
        print!("{}", page::heading(&sets));
        if which == Which::Esc10 && self.ask.quick {
            self.skip("ESC-10 by its other four folds: left out in --quick".to_owned());
        }
        let mut whole: Option<Findings> = None;
        for (parting, set) in sets.into_iter().enumerate() {
            let folder = self.folder(which, parting);
            folder.write(&set)?;
            let found = Findings {
                set: which.name().to_owned(),
                title: set.meta.title.clone(),
                partings: 1,
                train_rows: set.train.labels.len(),
                test_rows: set.test.labels.len(),
                ..Findings::default()
            };
            drop(set);
            let found = self.parting(which, &folder, found);
            match &mut whole {
                None => whole = Some(found),
                Some(whole) => whole.pool(&found),
            }
        }
        let whole = whole.ok_or("a set without rows")?;
        print!("{}", page::findings(&whole));
        self.found.push(whole);
        Ok(())
    }

    /// Everything that is asked of the rows in `folder`.
    fn parting(&mut self, which: Which, folder: &Folder, mut found: Findings) -> Findings {
        // Thirteen classes take the peers minutes and say little that six do not.
        if which != Which::Hapt || !self.ask.quick {
            self.families(folder, &mut found);
        }
        if matches!(which, Which::HaptSix | Which::Mnist | Which::Synthetic) {
            found.first = self.keep("the first revision", ours(&["first", "1"], folder));
        }
        let words = ["training", "1", "1e9", "0"];
        found.training = self.keep("the training", ours::<Training>(&words, folder));
        found
    }

    fn families(&mut self, folder: &Folder, found: &mut Findings) {
        for family in Family::PAPER {
            let name = family.name();
            let alone = self.keep(name, ours(&["alone", name], folder));
            found.ours.extend(alone);
        }
        found.our_vote = self.keep("our vote of seven", ours(&["vote"], folder));
        let Some(peers) = self.peers.clone() else { return };
        let asked = peers.ask("families", folder, &[], 1, |line| match line {
            PeerLine::Alone(alone) => found.peers.push(alone),
            PeerLine::Vote(vote) => found.peers_vote = Some(vote),
            PeerLine::Automl(automl) => found.automl = Some(automl),
            PeerLine::Failed { failed } => self.skip(format!("the peers' {failed}: see above")),
        });
        self.note(asked, found.title.as_str());
    }

    /// Says when the peers were not asked in this run.
    fn note(&mut self, asked: Result<bool, Fault>, what: &str) {
        match asked {
            Ok(true) => {}
            Ok(false) => println!("The peers' figures ({what}) are those of an earlier run.\n"),
            Err(fault) => self.skip(format!("the peers, {what}: {fault}")),
        }
    }

    /// The same time and the same threads for an AutoML peer and for us.
    fn automl(&mut self) {
        let Some(at) = self.found.iter().position(|found| found.set == Which::HaptSix.name())
        else {
            return;
        };
        if self.ask.quick {
            self.skip("FLAML: left out in --quick".to_owned());
            return;
        }
        let Some(peers) = self.peers.clone() else { return };
        let folder = self.folder(Which::HaptSix, 0);
        let (seconds, jobs) = (AUTOML_S.to_string(), AUTOML_JOBS.to_string());
        let mut theirs = None;
        let asked = peers.ask("automl", &folder, &[&seconds, &jobs], AUTOML_JOBS, |line| {
            if let PeerLine::Automl(automl) = line {
                theirs = Some(automl);
            }
        });
        self.note(asked, "FLAML");
        let words = ["training", &jobs, &seconds, TRIALS];
        let ours = self.keep("ours in that time", ours::<Training>(&words, &folder));
        let found = &mut self.found[at];
        found.automl = theirs;
        found.automl_ours = ours.and_then(|training| {
            let best = training.choices.iter().find(|choice| choice.name == BEST_EFFORT)?;
            Some(Automl {
                automl: best.members.join(", "),
                right: best.right,
                cpu_s: training.cpu_s,
                wall_s: training.wall_s,
            })
        });
        println!("## {AUTOML_S} s and {AUTOML_JOBS} threads, HAPT six\n");
        for (name, it) in [("FLAML", &found.automl), ("ours", &found.automl_ours)] {
            let Some(Automl { automl, right, cpu_s, wall_s }) = it else { continue };
            println!(
                "- {name}: {} with {automl}, after {wall_s:.1} s ({cpu_s:.1} processor s)",
                right.shown()
            );
        }
        println!();
    }

    /// The lazy curves of those sets that have a first revision to show.
    fn pictures(&self) -> Result<(), Fault> {
        let Some(folder) = &self.ask.pictures else { return Ok(()) };
        let panels: Vec<Panel> = self
            .found
            .iter()
            .filter(|found| found.first.is_some())
            .filter_map(|found| {
                let training = found.training.as_ref()?;
                let points = training.points.iter();
                let points =
                    points.map(|it| (it.cpu_s, it.right.value(), format!("+{}", it.family)));
                let sum: f64 = found.peers.iter().map(|peer| peer.fit_cpu_s).sum();
                let vote = found.peers_vote.as_ref();
                Some(Panel {
                    title: found.title.clone(),
                    points: points.collect(),
                    peers: vote.map(|vote| (sum, vote.best().value())),
                })
            })
            .collect();
        fs::create_dir_all(folder)?;
        fs::write(folder.join("lazy.svg"), draw(&panels))?;
        Ok(())
    }
}

fn summary(all: &[Findings]) -> Summary {
    let of = |which: Which| all.iter().find(|found| found.set == which.name());
    let (hapt, mnist, gated) = (of(Which::HaptSix), of(Which::Mnist), of(Which::Hapt));
    let best = |found: Option<&Findings>| Some(found?.choice(BEST_EFFORT)?.right.value());
    let stages = gated.and_then(|found| found.training.as_ref()?.stages.as_ref());
    let seventy = stages
        .and_then(|stages| stages.mixtures.iter().find(|it| (it.background - 0.7).abs() < 0.01));
    let (vote_hapt, vote_mnist) =
        (hapt.and_then(Findings::vote_ratio), mnist.and_then(Findings::vote_ratio));
    let votes = [vote_hapt, vote_mnist].into_iter().flatten();
    let compact = [hapt, mnist].into_iter().filter_map(|it| it?.compact_vote_ratio());
    let (same, work) = early_stop(all.iter().filter_map(|it| it.our_vote.as_ref()?.early));
    let shipped = early_stop(all.iter().filter_map(|it| Some(it.training.as_ref()?.early)));
    Summary {
        fit_ratio_mnist: mnist.and_then(Findings::fit_ratio),
        fit_ratio_hapt: hapt.and_then(Findings::fit_ratio),
        memory_ratio: mnist.and_then(Findings::memory_ratio),
        vote_us_ratio: votes.reduce(f64::min),
        vote_us_ratio_hapt: vote_hapt,
        vote_us_ratio_mnist: vote_mnist,
        vote_us_ratio_compact: compact.reduce(f64::min),
        early_stop_same: same,
        early_stop_work: work,
        early_stop_work_shipped: shipped.1,
        first_revision_s_hapt: hapt.and_then(|found| Some(found.first?.wall_s)),
        first_revision_s_mnist: mnist.and_then(|found| Some(found.first?.wall_s)),
        accuracy_hapt6: best(hapt),
        accuracy_mnist: best(mnist),
        two_stage_ratio_70: seventy.map(|mixture| mixture.time_ratio),
        missed_70: seventy.and(stages).map(|stages| stages.missed.value()),
        training_mib_mnist: mnist.and_then(|found| Some(found.training.as_ref()?.peak_mib)),
        accuracy_automl: hapt.and_then(|found| Some(found.automl.as_ref()?.right.value())),
        accuracy_ours_in_the_time_of_automl: hapt
            .and_then(|found| Some(found.automl_ours.as_ref()?.right.value())),
        families_below: all.iter().flat_map(below).collect(),
        mnist_rows: mnist.map(|found| found.train_rows + found.test_rows),
    }
}

/// Share of rows with the same class, and mean share of the work, over the rows of all sets.
fn early_stop(all: impl Iterator<Item = Early>) -> (Option<f64>, Option<f64>) {
    let (mut same, mut work, mut of) = (0.0, 0.0, 0.0);
    for early in all {
        let rows = early.same.of as f64;
        same += early.same.hits as f64;
        work += early.work * rows;
        of += rows;
    }
    if of == 0.0 { (None, None) } else { (Some(same / of), Some(work / of)) }
}

/// Families of ours that are less accurate than the peer's by more than their own interval.
fn below(found: &Findings) -> Vec<String> {
    found
        .pairs()
        .filter(|(our, peer)| our.right.share().interval().high < peer.right.value())
        .map(|(our, _)| format!("{} {}", found.set, our.family))
        .collect()
}
