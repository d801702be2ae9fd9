//! A node from its start to its end.

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc, time::Duration};

use kameo::actor::Spawn as _;
use runtime::{Drain, Exit, secret};
use tokio::sync::{Notify, watch};

use crate::{
    Config, ConfigError,
    folder::{self, FolderError},
    foreman::{Beginning, Foreman, Lines, StopRuns, orders_path},
    lease::Lease,
    measure::{Declared, Meter, machine_cores},
    peers,
    serving::Keeper,
    share::Share,
    speed,
};

/// Messages that wait for the foreman; a sender waits when there are more.
const MAILBOX: usize = 64;

/// How long all trainings may take to end; each is killed earlier than that.
const RUNS_END_MAX: Duration = Duration::from_secs(4);

/// Why a node did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was told something that cannot be.
    #[error("the configuration does not hold")]
    Config(#[from] ConfigError),
    /// Its folder cannot be used.
    #[error("the data folder cannot be used")]
    Folder(#[from] FolderError),
    /// The program for its workers is not there.
    #[error("the program {path} for the workers is not there")]
    Program {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    /// The system cannot be measured.
    #[error("this machine cannot be measured")]
    Measure(#[source] sysinfo::Error),
    /// The speed of this device was not measured.
    #[error("the speed of this device is not known")]
    Speed(#[source] io::Error),
}

/// Runs a node until it is told to stop.
///
/// Stopped, it ends its trainings, then drains its serving worker, then leaves its cgroup. Killed, it
/// leaves the serving worker answering.
///
/// # Errors
///
/// [`RunError`] when it cannot begin.
pub async fn run(mut config: Config, drain: Drain) -> Result<Exit, RunError> {
    config.check()?;
    let _owned = folder::own(&config.data_dir, "node")?;
    let real = |path: PathBuf| fs::canonicalize(&path).map_err(|source| (path, source));
    config.data_dir =
        real(config.data_dir).map_err(|(path, source)| FolderError::Open { path, source })?;
    config.program =
        real(config.program).map_err(|(path, source)| RunError::Program { path, source })?;

    let machine_cores = machine_cores();
    config.cpu_cores = config.cpu_cores.map(|cores| cores.min(machine_cores));
    let share = match config.cpu_cores {
        Some(cores) if cores < machine_cores => {
            Share::enter(&config.device, &config.data_dir, cores)
        }
        Some(_) | None => Share::whole(),
    };
    let exit = within(config, &share, machine_cores, drain).await;
    share.leave();
    exit
}

/// Runs it once the share is held.
async fn within(
    config: Config,
    share: &Share,
    machine_cores: f64,
    drain: Drain,
) -> Result<Exit, RunError> {
    let held = config.cpu_cores.filter(|_| share.held());
    let speed = tokio::select! {
        () = drain.wait() => return Ok(Exit::Drained),
        speed = speed::known_or_measured(&config.data_dir, held) => speed.map_err(RunError::Speed)?,
    };
    let orders = folder::read_json(&orders_path(&config)).unwrap_or_else(|error| {
        tracing::error!(%error, "the last orders are unreadable; waiting for the scheduler");
        None
    });

    // Every part stops by this one, which is asked for when a part fails, too.
    let parts = Drain::new();
    let boot = u64::from_le_bytes(secret::random::<8>().map_err(RunError::Random)?);
    let (intent, intent_seen) = watch::channel(None);
    let (peers, peers_seen) = watch::channel(BTreeMap::new());
    let (rtt, rtt_seen) = watch::channel(Vec::new());
    let (living, mut living_seen) = watch::channel(0);
    let news = Arc::new(Notify::new());
    let (share_by, notes) = Beginning::share(share);
    let declared = Declared { cpu_cores: config.cpu_cores, memory_bytes: config.memory_bytes };
    let config = Arc::new(config);
    let scheduler = proto::parse::endpoint(&config.scheduler).map_err(ConfigError::Scheduler)?;
    let foreman = Foreman::spawn_with_mailbox(
        Beginning {
            config: config.clone(),
            boot,
            meter: Meter::new(declared, machine_cores).map_err(RunError::Measure)?,
            speed,
            share_by,
            notes,
            orders,
            lines: Lines { intent, peers, rtt: rtt_seen, living, news: news.clone() },
        },
        kameo::mailbox::bounded(MAILBOX),
    );
    let lease = Lease { scheduler, foreman: foreman.clone(), news, drain: parts.clone() };
    let keeper = Keeper {
        config: config.clone(),
        intent: intent_seen,
        foreman: foreman.clone(),
        drain: parts.clone(),
    };
    let mut lease = runtime::spawn::named("lease", lease.hold());
    let mut keeper = runtime::spawn::named("serving", keeper.keep());
    let mut peers = runtime::spawn::named("peers", peers::measure(peers_seen, rtt, parts.clone()));

    // No part ends of itself but by a fault of ours: then the whole node ends, aloud, and
    // whoever started it starts it again. The serving worker goes on, and is adopted.
    let fault = tokio::select! {
        () = drain.wait() => None,
        () = foreman.wait_for_shutdown() => Some("foreman"),
        _ = &mut lease => Some("lease"),
        _ = &mut keeper => Some("serving"),
        _ = &mut peers => Some("peers"),
    };
    if let Some(part) = fault {
        tracing::error!(part, "a part of the node ended");
        return Ok(Exit::GaveUp);
    }
    tracing::info!("draining");
    if foreman.ask(StopRuns).await.is_ok() {
        let ended = living_seen.wait_for(|&living| living == 0);
        if tokio::time::timeout(RUNS_END_MAX, ended).await.is_err() {
            tracing::warn!("a training did not end");
        }
    }
    parts.ask();
    for part in [lease, keeper, peers] {
        if let Err(error) = part.await {
            tracing::error!(%error, "a part of the node failed while draining");
        }
    }
    Ok(Exit::Drained)
}
