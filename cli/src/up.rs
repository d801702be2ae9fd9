//! Everything on one machine: a scheduler and a node, or a scheduler and a lab, as child processes
//! of the same program.
//!
//! Each child is started again when it ends, on the ports that it had. Each holds the other end of a
//! pipe of ours as its standard input, so that none outlives us, however we end.

mod child;
pub(crate) mod command;
mod devices;
mod leftovers;
mod ports;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use command::Options;
use node::{folder, folder::FolderError, health::Health, logs::Log};
use runtime::{Drain, Exit, backoff::Backoff};
use tokio::time::timeout;

use crate::lab;
use child::{Child, ChildError, Role};

/// How long everything may take to answer: a device of the lab may have a tenth of a core.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long nodes may take to drain their workers.
const NODES_STOP_MAX: Duration = Duration::from_secs(11);
/// How long the scheduler may take to put away what it has.
const SCHEDULER_STOP_MAX: Duration = Duration::from_secs(4);
/// How long one question to a child that starts may take.
const ASK_MAX: Duration = Duration::from_secs(2);

/// What `up` is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Where the scheduler listens; port 0 picks free ports for all.
    pub(crate) listen: SocketAddr,
    /// Whether plaintext beyond loopback is accepted.
    pub(crate) insecure: bool,
    /// The place with its own network that this machine stands in.
    pub(crate) site: String,
    /// The broker at which serving workers answer, if any.
    pub(crate) mqtt: Option<String>,
    /// What the environment of children says of traces.
    pub(crate) traces: Vec<(String, String)>,
    /// The program that the children are started from.
    pub(crate) program: PathBuf,
    /// The devices of a lab; one node with the whole machine when absent.
    pub(crate) lab: Option<lab::Fleet>,
}

/// Where everything answers: `addresses.json`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Addresses {
    /// The scheduler.
    pub(crate) scheduler: String,
    /// gRPC of the serving worker; in a lab of the first device, at its distance.
    pub(crate) grpc: String,
    /// HTTP of the same serving worker.
    pub(crate) http: String,
    /// Metrics of the same serving worker.
    pub(crate) metrics: String,
}

/// Why `up` ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// The folder is in use, or cannot be used.
    #[error("the data folder cannot be used")]
    Folder(#[from] FolderError),
    /// An address cannot be had.
    #[error("no address for the {what}")]
    Address {
        /// Who would listen there.
        what: String,
        /// Why not.
        #[source]
        source: runtime::listen::ListenError,
    },
    /// A file cannot be written or removed.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A child does not run.
    #[error("the {name} does not run")]
    Child {
        /// Which one.
        name: String,
        /// Why not.
        #[source]
        source: ChildError,
    },
    /// The lab's fleet is none.
    #[error("the fleet of the lab is empty")]
    EmptyFleet,
    /// Something did not answer in time.
    #[error("the {name} did not answer within {READY_MAX:?}; see {log}")]
    Late {
        /// Which one.
        name: String,
        /// What it said.
        log: PathBuf,
    },
}

/// Where `up` writes its [`Addresses`].
#[must_use]
pub(crate) fn addresses_path(data_dir: &Path) -> PathBuf {
    data_dir.join("addresses.json")
}

/// Runs everything until it is told to stop; `on_ready` is called once, when everything answers.
///
/// Stopped, the nodes drain first, then the scheduler.
///
/// # Errors
///
/// [`UpError`] when something cannot be started, or ended in a way that starting it again would not
/// help.
pub(crate) async fn run(
    mut config: Config,
    drain: Drain,
    on_ready: impl FnOnce(&Addresses),
) -> Result<Exit, UpError> {
    let _owned = folder::own(&config.data_dir, "up")?;
    // The children are told where things are in a way that holds wherever they run.
    config.data_dir = fs::canonicalize(&config.data_dir)
        .map_err(|source| FolderError::Open { path: config.data_dir, source })?;
    let mut everything = Everything::default();
    let outcome = tokio::select! {
        () = drain.wait() => Ok(Exit::Drained),
        outcome = everything.live(&config, on_ready) => outcome,
    };
    tracing::info!("draining");
    everything.stop().await;
    let addresses = addresses_path(&config.data_dir);
    if let Err(error) = fs::remove_file(&addresses)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %addresses.display(), "not removed");
    }
    node::share::sweep();
    outcome
}

/// What runs.
#[derive(Default)]
struct Everything {
    scheduler: Option<Child>,
    nodes: Vec<Child>,
    lines: Vec<devices::Line>,
}

impl Everything {
    /// Starts everything, says when it answers, and stays until a child gives up.
    async fn live(
        &mut self,
        config: &Config,
        on_ready: impl FnOnce(&Addresses),
    ) -> Result<Exit, UpError> {
        let path = addresses_path(&config.data_dir);
        remove(&path)?;
        // After a kill, what was started on this folder may still be draining.
        leftovers::end(&config.data_dir, NODES_STOP_MAX).await;
        let listen = ports::scheduler(config).await?;
        let mut plans = devices::plan(config).await?;
        let scheduler = self.start_scheduler(config, listen).await?;
        let addresses = self.start_nodes(config, scheduler, &mut plans).await?;
        folder::write_json(&path, &addresses).map_err(|source| UpError::Write { path, source })?;
        on_ready(&addresses);
        Err(self.given_up().await)
    }

    async fn start_scheduler(
        &mut self,
        config: &Config,
        listen: SocketAddr,
    ) -> Result<SocketAddr, UpError> {
        let folder = config.data_dir.join("scheduler");
        remove(&ports::scheduler_path(&config.data_dir))?;
        let role = Role {
            name: "scheduler".to_owned(),
            program: config.program.clone(),
            words: vec![
                "scheduler".into(),
                "--data-dir".into(),
                folder.into(),
                "--site".into(),
                config.site.clone().into(),
            ],
            insecure: config.insecure,
            environment: config.traces.clone(),
            log: Log::new(&config.data_dir.join("logs"), "scheduler"),
            stop_max: SCHEDULER_STOP_MAX,
        };
        let log = role.log.path().to_owned();
        // A scheduler that is started again listens where the first one did: nodes and people know
        // that address.
        let chosen = std::sync::Arc::new(std::sync::OnceLock::<SocketAddr>::new());
        let known = chosen.clone();
        let child = Child::start(role, move || {
            let listen = known.get().unwrap_or(&listen);
            vec!["--listen".into(), listen.to_string().into()]
        });
        let child = self.scheduler.insert(child);
        let data_dir = config.data_dir.clone();
        let address = child.until_ready(&log, async move {
            let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
            loop {
                if let Some(address) = ports::scheduler_now(&data_dir)
                    && answers(address).await
                {
                    return address;
                }
                tokio::time::sleep(backoff.wait()).await;
            }
        });
        let address = address.await?;
        let address = *chosen.get_or_init(|| address);
        tracing::info!(%address, "scheduler answers");
        Ok(address)
    }

    async fn start_nodes(
        &mut self,
        config: &Config,
        scheduler: SocketAddr,
        plans: &mut [devices::Plan],
    ) -> Result<Addresses, UpError> {
        let mut logs = Vec::new();
        for plan in &mut *plans {
            remove(&node::serving::addresses_path(&plan.data_dir))?;
            let (child, line, log) = plan.start(config, scheduler)?;
            self.nodes.push(child);
            self.lines.extend(line);
            logs.push(log);
        }
        let mut first = None;
        for ((child, plan), log) in self.nodes.iter_mut().zip(&*plans).zip(logs) {
            let (data_dir, advertise) = (plan.data_dir.clone(), plan.advertise);
            let answered = child.until_ready(&log, async move {
                let mut backoff =
                    Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
                loop {
                    if let Some(found) = devices::addresses(&data_dir) {
                        let grpc = advertise.unwrap_or(found.grpc);
                        if answers(grpc).await {
                            return (grpc, found);
                        }
                    }
                    tokio::time::sleep(backoff.wait()).await;
                }
            });
            let (grpc, found) = answered.await?;
            tracing::info!(name = child.name(), %grpc, "serving worker answers");
            first = first.or(Some(Addresses {
                scheduler: scheduler.to_string(),
                grpc: grpc.to_string(),
                http: found.http.to_string(),
                metrics: found.metrics.to_string(),
            }));
        }
        first.ok_or(UpError::EmptyFleet)
    }

    /// Returns when a child has given up.
    async fn given_up(&mut self) -> UpError {
        let children = self.scheduler.iter_mut().chain(&mut self.nodes);
        let ends = children.map(|child| Box::pin(child.given_up()));
        let (error, _, _) = futures_util::future::select_all(ends).await;
        error
    }

    /// Stops the nodes, which drain their workers, then the scheduler.
    async fn stop(self) {
        let Self { scheduler, nodes, lines } = self;
        futures_util::future::join_all(nodes.into_iter().map(Child::stop)).await;
        drop(lines);
        if let Some(scheduler) = scheduler {
            scheduler.stop().await;
        }
    }
}

/// Whether a service answers that it serves.
async fn answers(address: SocketAddr) -> bool {
    let Ok(mut health) = Health::of(&format!("http://{address}"), ASK_MAX) else { return false };
    match timeout(ASK_MAX, health.ask(ASK_MAX)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(%address, error = %runtime::Report(&error), "not ready");
            false
        }
        Err(_) => false,
    }
}

fn remove(path: &Path) -> Result<(), UpError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(UpError::Write { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
