//! The scheduler: which device does what, and why.
//!
//! Pure rules ([`policy`], [`task_file`], [`fleet`], [`rtt`], [`latency`], [`admission`],
//! [`placement`], [`release`], [`retrain`], [`jobs`], [`trainer`]) say what should be; two actors own
//! what is: the [`registry`] everything that is written down, the [`controller`] everything that is
//! measured. The services are what others see of them.

pub mod policy;
pub mod task_file;

pub mod admission;
pub mod fleet;
pub mod jobs;
pub mod latency;
pub mod placement;
pub mod release;
pub mod retrain;
pub mod rtt;
pub mod trainer;
pub mod trials;

pub mod books;
pub mod controller;
pub mod journal;
pub mod knowledge;
pub mod meter;
pub mod registry;

mod error;
mod prober;
mod root;
mod service;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kameo::actor::{ActorRef, Spawn as _};
use runtime::{Drain, Exit, listen::ListenError};
use store::{
    blobs::{BlobError, Blobs},
    state::{State, StateError},
};
use tokio::{net::TcpListener, sync::watch};
use traces::{Process, Tracer};

use crate::{
    books::{Books, BooksError},
    controller::{Controller, Tick},
    registry::Vault,
    root::{Beginning, Crew, Root, Started},
    service::Services,
};

/// Bytes of all bundles together: some hundred revisions of a few tasks.
const BUNDLES_BYTES_MAX: u64 = 16 << 30;
/// How long what was begun may take to finish when the scheduler is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long the last traces may take to the collector after that.
const TRACES_MAX: Duration = Duration::from_secs(1);

/// What a scheduler is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback in plaintext.
    pub insecure: bool,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where it stands: latencies are seen from here unless a policy says otherwise.
    pub site: String,
    /// How often nodes report and devices are measured.
    pub heartbeat: Duration,
    /// How long a silent device keeps its tasks.
    pub lease: Duration,
    /// The collector that is told of traces, if any.
    pub traces: Option<traces::Settings>,
}

/// The periods and the site, for whoever needs no more of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Where the scheduler stands.
    pub site: String,
    /// How often nodes report.
    pub heartbeat: Duration,
    /// How long a silent device keeps its tasks.
    pub lease: Duration,
}

/// Why a scheduler does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// One lost report would be a lost device.
    #[error(
        "the heartbeat of {heartbeat:?} must be positive and at most half of the lease of {lease:?}"
    )]
    Heartbeat {
        /// As configured.
        heartbeat: Duration,
        /// As configured.
        lease: Duration,
    },
    /// The state cannot be opened.
    #[error("the scheduler's state was not opened")]
    State(#[source] StateError),
    /// The state is not understood.
    #[error("the scheduler's books were not opened")]
    Books(#[source] BooksError),
    /// The bundles cannot be opened.
    #[error("the folder of bundles was not opened")]
    Bundles(#[source] BlobError),
    /// It does not listen.
    #[error("the scheduler does not listen")]
    Listen(#[source] ListenError),
    /// Its address was not written down.
    #[error("cannot write {path}")]
    Address {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Traces cannot be begun.
    #[error("there are no random bytes for the ids of traces")]
    Traces(#[source] io::Error),
    /// The actors did not start.
    #[error("the scheduler's actors did not start; the log says why")]
    Actors,
    /// It stopped listening.
    #[error("the scheduler's services failed")]
    Services(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs a scheduler until the drain is asked for.
///
/// Everything it knows is in `config.data_dir`; leases and ways are measured again after each start.
/// Once it answers, `DATA_DIR/address.json` says where.
///
/// # Errors
///
/// [`RunError`] when it cannot start; once it runs, [`Exit::GaveUp`] says that it could not go on.
pub async fn run(config: Config, drain: Drain) -> Result<Exit, RunError> {
    let Config { listen, insecure, data_dir, site, heartbeat, lease, traces } = config;
    if heartbeat.is_zero() || lease < heartbeat * 2 {
        return Err(RunError::Heartbeat { heartbeat, lease });
    }
    let limits = Limits { site, heartbeat, lease };
    let vault = open(&data_dir).await?;
    let listener = runtime::listen::bind(listen, insecure).await.map_err(RunError::Listen)?;
    let state = Arc::clone(&vault.state);
    let process = Process {
        service: "scheduler",
        instance: limits.site.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let traced = traces.map(|settings| Tracer::start(&settings, process));
    let (tracer, exporter) = traced.transpose().map_err(RunError::Traces)?.unzip();

    let root = Root::spawn(Beginning { vault, limits });
    root.wait_for_startup().await;
    let started = root.ask(Crew).await.map_err(|_| RunError::Actors)?;
    let (registry, controller) = (started.desk.registry.clone(), started.controller.clone());
    let exit = serve(&data_dir, (listener, tracer), &root, started, &drain).await;

    // From the top down: a root that is gone restarts nobody, and the controller asks the registry.
    // What was acknowledged is in the state already.
    root.kill();
    root.wait_for_shutdown().await;
    controller.kill();
    controller.wait_for_shutdown().await;
    registry.kill();
    registry.wait_for_shutdown().await;
    state.close().await;
    if let Some(exporter) = exporter {
        exporter.end(TRACES_MAX).await;
    }
    tracing::info!("scheduler stopped");
    exit
}

/// Opens what is kept in `data_dir`.
async fn open(data_dir: &Path) -> Result<Vault, RunError> {
    let migrations = sqlx::migrate!("./migrations");
    let state =
        State::open(&data_dir.join("state.db"), &migrations).await.map_err(RunError::State)?;
    // Read once here, so that a start fails with the reason; the registry reads it again.
    let mut connection =
        state.readers().acquire().await.map_err(BooksError::State).map_err(RunError::Books)?;
    Books::read(&mut connection).await.map_err(RunError::Books)?;
    drop(connection);
    let bundles =
        Blobs::open(data_dir.join("bundles"), BUNDLES_BYTES_MAX).map_err(RunError::Bundles)?;
    let vault = Vault {
        state: Arc::new(state),
        bundles: Arc::new(bundles),
        samples: data_dir.join("samples"),
        books: watch::Sender::new(Arc::new(Books::default())),
        newest: watch::Sender::new(0),
        meter: Arc::default(),
    };
    sweep(&vault).await;
    Ok(vault)
}

/// Removes samples files that an import left behind when it was cut off: nobody refers to them.
async fn sweep(vault: &Vault) {
    let known: Result<Vec<String>, _> =
        sqlx::query_scalar("SELECT task_id || '/' || file FROM sample_files")
            .fetch_all(vault.state.readers())
            .await;
    let Ok(known) = known else { return };
    let known: std::collections::BTreeSet<PathBuf> =
        known.into_iter().map(|file| vault.samples.join(file)).collect();
    let Ok(folders) = std::fs::read_dir(&vault.samples) else { return };
    let files = folders.flatten().filter_map(|folder| std::fs::read_dir(folder.path()).ok());
    for file in files.flat_map(|files| files.flatten()) {
        if !known.contains(&file.path()) && std::fs::remove_file(file.path()).is_ok() {
            tracing::info!(file = %file.path().display(), "removed what an import left behind");
        }
    }
}

/// Serves until the drain, the end of an actor, or the end of the listener.
async fn serve(
    data_dir: &Path,
    (listener, tracer): (TcpListener, Option<Arc<Tracer>>),
    root: &ActorRef<Root>,
    Started { desk, controller }: Started,
    drain: &Drain,
) -> Result<Exit, RunError> {
    let address = listener
        .local_addr()
        .map_err(|source| RunError::Address { path: data_dir.join("address.json"), source })?;
    // Streams hear of the drain before the listener waits for them.
    let stop = drain.child();
    let heartbeat = desk.limits.heartbeat;
    let pulse =
        runtime::spawn::named("pulse", pulse(desk.clone(), controller.clone(), stop.clone()));
    let prober =
        runtime::spawn::named("prober", prober::run(controller.clone(), heartbeat, stop.clone()));
    let services = Services::new(desk, controller, tracer, stop.clone());
    let mut serving = runtime::spawn::named("services", services.serve(listener));
    write_address(data_dir, address)?;
    tracing::info!(%address, "scheduler answers");

    let exit = tokio::select! {
        // Being told to stop ends `serving` too; the first reason is the one that counts.
        biased;
        () = drain.wait() => {
            let ended = tokio::time::timeout(DRAIN_MAX, &mut serving).await;
            if ended.is_err() {
                tracing::warn!("some requests did not end in time");
                serving.abort();
            }
            Ok(Exit::Drained)
        }
        () = root.wait_for_shutdown() => {
            tracing::error!("an actor could not be restarted");
            Ok(Exit::GaveUp)
        }
        ended = &mut serving => match ended {
            Ok(Ok(())) => Ok(Exit::GaveUp),
            Ok(Err(error)) => Err(RunError::Services(error)),
            Err(error) => Err(RunError::Services(error.into())),
        },
    };
    stop.ask();
    serving.abort();
    let _ended = (pulse.await, prober.await);
    exit
}

/// Ticks once a heartbeat, and soon after something has changed.
async fn pulse(desk: controller::Desk, controller: ActorRef<Controller>, drain: Drain) {
    let mut beat = tokio::time::interval(desk.limits.heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let periodic = tokio::select! {
            () = drain.wait() => return,
            _ = beat.tick() => true,
            () = desk.nudge.notified() => false,
        };
        if controller.ask(Tick { periodic }).await.is_err() {
            // It is restarting; the next beat tries again.
            tracing::debug!("the controller did not answer");
        }
    }
}

/// Says where the scheduler answers, whole or not at all.
fn write_address(data_dir: &Path, address: SocketAddr) -> Result<(), RunError> {
    let path = data_dir.join("address.json");
    let temporary = data_dir.join("address.json.part");
    let text = serde_json::json!({ "address": address.to_string() }).to_string();
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|source| RunError::Address { path, source })
}
