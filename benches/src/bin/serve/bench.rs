//! The bench itself: part after part, tables as it goes, everything in JSON at the end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use benches::{
    fitted::{only, smaller, together},
    folder::{Fault, Folder},
    sets::Which,
};
use models::{Ensemble, Family, Subset, bundle};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::{
    drain,
    figures::Report,
    latency,
    load::{Found, Pace, Plan},
    neighbours, overload,
    peers::{Peers, SEVEN},
    process::{CLIENT, Core, SERVER, keep_awake, pinned, stay_on},
    rude, shared_core, stages, start, swap, traced,
    wire::Method,
    worker::{Node, Order, Start, Worker},
};

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) program: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) learning: Option<PathBuf>,
    pub(crate) serving: Option<PathBuf>,
    pub(crate) kserve: Option<PathBuf>,
    /// Why the peers are not asked.
    pub(crate) without_peers: Option<String>,
    pub(crate) soak_minutes: Option<f64>,
    /// Parts that are run; all when empty.
    pub(crate) only: Vec<String>,
    /// Leaves idle cores to the machine.
    pub(crate) cores_may_sleep: bool,
    pub(crate) quick: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            program: PathBuf::new(),
            data: "../shared/data".into(),
            work: "target/serve".into(),
            json: None,
            learning: None,
            serving: None,
            kserve: None,
            without_peers: None,
            soak_minutes: None,
            only: Vec::new(),
            cores_may_sleep: false,
            quick: false,
        }
    }
}

/// The task of all seven members, as peers call it too.
pub(crate) const SEVEN_TASK: &str = crate::peers::TASK;
/// The task of the three fast ones.
pub(crate) const THREE_TASK: &str = "three";
/// The task of the two dearest in single precision, both of which every answer asks.
pub(crate) const DEAR_TASK: &str = "dear";

/// What the parts share.
pub(crate) struct Bench {
    pub(crate) ask: Ask,
    pub(crate) peers: Option<Peers>,
    pub(crate) runtime: Runtime,
    /// The rows that are asked about.
    pub(crate) folder: Folder,
    /// Seven members with equal weights, in the forms in which a job ships them.
    pub(crate) ensemble: Ensemble,
    /// The two dearest of them in single precision.
    pub(crate) dear: Ensemble,
    /// Its bundle as a file.
    pub(crate) bundle: PathBuf,
    pub(crate) report: Report,
}

pub(crate) fn run(ask: Ask) -> Result<(), Fault> {
    if ask.program.as_os_str().is_empty() {
        return Err("--program names the binary that is to be measured".into());
    }
    let machine = benches::machine();
    let Ask { quick, cores_may_sleep, .. } = ask;
    let awake = if cores_may_sleep { vec![] } else { vec![SERVER, CLIENT] };
    let idle = if cores_may_sleep { "sleep when the machine wants" } else { "are kept awake" };
    println!(
        "Machine: {machine}. Server on core {}, generator on core {}; idle cores {idle}.\n",
        SERVER.0, CLIENT.0
    );
    // Until the last part has ended.
    let _awake = awake.into_iter().map(keep_awake).collect::<io::Result<Vec<_>>>()?;
    let mut report = Report { quick, cores_may_sleep, machine, ..Report::default() };

    let which = match Which::HaptSix.load(&ask.data, ask.quick) {
        Ok(set) => {
            let folder = Folder(ask.work.join(Which::HaptSix.name()));
            folder.write(&set)?;
            folder
        }
        Err(reason) => {
            println!("HAPT is not there ({reason}); what follows is synthetic.\n");
            report.skipped.push(format!("HAPT: {reason}"));
            let folder = Folder(ask.work.join(Which::Synthetic.name()));
            folder.write(&Which::Synthetic.load(&ask.data, ask.quick)?)?;
            folder
        }
    };
    let exact = together(&which, &Family::PAPER)?;
    let dear = only(&exact, &[Family::Knn, Family::RbfSvm])?;
    let ensemble = smaller(&exact)?;
    let bundle = ask.work.join("seven.bundle");
    fs::write(&bundle, bundle::encode(&ensemble))?;
    stay_on(CLIENT)?;
    let mut bench = Bench {
        peers: None,
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?,
        folder: which,
        ensemble,
        dear,
        bundle,
        report,
        ask,
    };
    bench.find_peers();

    type Part = fn(&mut Bench) -> Result<(), Fault>;
    let parts: [(&str, Part); 10] = [
        ("latency", latency::run),
        ("shared-core", shared_core::run),
        ("stages", stages::run),
        ("overload", overload::run),
        ("rude", rude::run),
        ("swap", swap::run),
        ("drain", drain::run),
        ("neighbours", neighbours::run),
        ("traced", traced::run),
        ("start", start::run),
    ];
    for (name, part) in parts {
        if !bench.ask.only.is_empty() && !bench.ask.only.iter().any(|it| it == name) {
            continue;
        }
        if let Err(fault) = part(&mut bench) {
            bench.skip(format!("{name}: {fault}"));
        }
    }

    let Bench { report, ask, .. } = bench;
    println!("## Summary\n\n```json\n{}\n```\n", serde_json::to_string_pretty(&report.summary)?);
    for skipped in &report.skipped {
        println!("Not measured: {skipped}");
    }
    if let Some(path) = &ask.json {
        fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

impl Bench {
    pub(crate) fn skip(&mut self, what: String) {
        println!("Not measured: {what}\n");
        self.report.skipped.push(what);
    }

    /// Seconds of one measurement: fewer in `--quick`.
    pub(crate) fn seconds(&self, whole: f64, quick: f64) -> f64 {
        if self.ask.quick { quick } else { whole }
    }

    fn find_peers(&mut self) {
        let Ask { learning, serving, kserve, without_peers, .. } = &self.ask;
        let (Some(learning), Some(serving), Some(kserve)) = (learning, serving, kserve) else {
            let reason = without_peers.clone().unwrap_or_else(|| "no Python was named".to_owned());
            self.skip(format!("the peers: {reason}"));
            return;
        };
        let peers = Peers {
            learning: learning.clone(),
            serving: serving.clone(),
            kserve: kserve.clone(),
            scripts: "benches/peers".into(),
            folder: self.folder.0.clone(),
        };
        match peers.ready() {
            Ok(()) => self.peers = Some(peers),
            Err(fault) => self.skip(format!("the peers: {fault}")),
        }
    }

    /// A serving worker with a folder of its own, on the server's core.
    pub(crate) fn start(&self, name: &str) -> Result<Start, Fault> {
        Start::fresh(&self.ask.program, self.ask.work.join("workers").join(name), SERVER)
    }

    /// A worker that serves these tasks, and who gives it orders.
    pub(crate) fn serving(&self, name: &str, core: Core) -> Result<(Worker, Node), Fault> {
        self.serving_from(&Start { core, ..self.start(name)? })
    }

    /// The same of one that is started so.
    pub(crate) fn serving_from(&self, start: &Start) -> Result<(Worker, Node), Fault> {
        let digest = start.keep(&self.ensemble)?;
        let worker = start.run()?;
        let mut node = Node::attach(&self.runtime, &worker)?;
        let orders = self.orders(digest, 1);
        node.serve(&self.runtime, &orders)?;
        Ok((worker, node))
    }

    /// The tasks of one bundle.
    pub(crate) fn orders(&self, digest: [u8; 32], revision: u64) -> Vec<Order> {
        let order = |task: &str, names: &[&str]| Order {
            task: task.to_owned(),
            revision,
            digest,
            members: crate::peers::places(names),
            gated: false,
        };
        vec![order(SEVEN_TASK, &SEVEN), order(THREE_TASK, &crate::peers::THREE)]
    }

    /// A plan for one of our tasks.
    pub(crate) fn plan(&self, address: &str, task: &str, pace: Pace, seconds: f64) -> Plan {
        Plan {
            addresses: vec![address.to_owned()],
            method: Method::Infer,
            tasks: vec![task.to_owned()],
            folder: self.folder.0.clone(),
            scaled: false,
            background: None,
            rows: 1,
            pace,
            warm_s: 0.3,
            seconds,
            deadline_ms: None,
            behind: false,
            until_told: false,
            expected: None,
        }
    }

    /// Runs the generator to its end.
    pub(crate) fn load(&mut self, name: &str, plan: &Plan, core: Core) -> Result<Found, Fault> {
        let generator = start_load(plan, core)?;
        self.loaded(name, generator)
    }

    /// Waits for a generator that was started, and keeps what it found.
    pub(crate) fn loaded(&mut self, name: &str, generator: Child) -> Result<Found, Fault> {
        self.found(name, generator.wait_with_output()?)
    }

    /// Keeps what a generator has written.
    pub(crate) fn found(&mut self, name: &str, output: Output) -> Result<Found, Fault> {
        if !output.status.success() {
            return Err(format!("the generator of {name} ended with {}", output.status).into());
        }
        let found: Found = serde_json::from_slice(&output.stdout)?;
        self.report.loads.push((name.to_owned(), found.clone()));
        Ok(found)
    }

    /// Answers a second when sixteen clients wait for each other's.
    pub(crate) fn peak(&mut self, name: &str, plan: &Plan) -> Result<f64, Fault> {
        let seconds = self.seconds(3.0, 1.0);
        let plan = Plan { pace: Pace::Closed(16), seconds, ..plan.clone() };
        Ok(self.load(name, &plan, CLIENT)?.per_s())
    }
}

/// Starts the generator.
pub(crate) fn start_load(plan: &Plan, core: Core) -> Result<Child, Fault> {
    let mut command = pinned(core, &std::env::current_exe()?);
    command
        .args(["load", &serde_json::to_string(plan)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// Runs this program with `words` on `core` and reads the line of JSON that it writes.
pub(crate) fn ours<T: DeserializeOwned>(core: Core, words: &[&str]) -> Result<T, Fault> {
    let mut command: Command = pinned(core, &std::env::current_exe()?);
    let output = command.args(words).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`serve {}` ended with {}", words.join(" "), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The members of one of our tasks.
pub(crate) fn subset(names: &[&str]) -> Subset {
    Subset(crate::peers::places(names).into_iter().fold(0, |bits, at| bits | 1 << at))
}

/// A path as an argument.
pub(crate) fn word(path: &Path) -> Result<&str, Fault> {
    path.to_str().ok_or_else(|| "a path is not text".into())
}

/// One line of a table.
pub(crate) fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// The head of a table.
pub(crate) fn head(titles: &[&str]) {
    println!("| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
}

/// Three digits that tell, whatever the size.
pub(crate) fn figure(value: f64) -> String {
    match value {
        value if 100.0 <= value => format!("{value:.0}"),
        value if 10.0 <= value => format!("{value:.1}"),
        value if 0.095 <= value => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}
