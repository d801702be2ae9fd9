//! The serving worker of this device: adopted when it still runs, else started; watched, and
//! started again on the same ports when it ends.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use kameo::actor::ActorRef;
use runtime::{Drain, backoff::Backoff, secret};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::Instant,
};

use crate::{
    Config,
    attach::{self, Intent, Introduction},
    folder,
    foreman::{Foreman, ServingDown, ServingUp},
    logs::Log,
    process::{Process, was_started_with},
    training::fault,
};

/// How long a new worker may take to answer: a small share of a small machine is slow.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a worker may take to finish what it has begun.
const DRAIN_MAX: Duration = Duration::from_secs(6);
/// A worker that lived this long did not fail at its start.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// Failures in a row after which remembered ports are given up: somebody else has them.
const FAILURES_MAX: u32 = 2;
/// How often a starting worker is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the worker's log is kept within its size.
const BOUND_EVERY: Duration = Duration::from_secs(30);

/// What a serving worker writes once it answers: `serving.json`.
#[derive(Clone, Debug, serde::Deserialize)]
struct Card {
    pid: u32,
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
    token: String,
    #[serde(default)]
    mqtt: Option<String>,
    #[serde(default)]
    traces: Option<String>,
}

/// Where the serving worker of a node answers: the node's `addresses.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// Where a node in `data_dir` writes its [`Addresses`].
#[must_use]
pub fn addresses_path(data_dir: &Path) -> PathBuf {
    data_dir.join("addresses.json")
}

/// Why there is no serving worker.
#[derive(Debug, thiserror::Error)]
enum ServingError {
    /// Nowhere to write what it says.
    #[error("cannot open the log of the serving worker")]
    Log(#[source] io::Error),
    /// No secret for its token.
    #[error("the system gives no random bytes")]
    Token(#[source] io::Error),
    /// The program does not start.
    #[error("cannot start {program} serving-worker")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ended before it answered.
    #[error("the serving worker ended before it answered: {0}")]
    Early(String),
    /// It did not answer in time.
    #[error("the serving worker did not answer within {START_MAX:?}: {0}")]
    Late(String),
}

/// A worker that answered once.
struct Worker {
    card: Card,
    process: Process,
    /// Ours to reap; an adopted one is not.
    child: Option<Child>,
}

/// How a worker was left.
enum End {
    /// We were told to stop, and it has drained.
    Drained,
    /// It ended, or was ended because it hung.
    Died(String),
}

/// Keeps the serving worker.
pub(crate) struct Keeper {
    pub(crate) config: Arc<Config>,
    pub(crate) intent: Intent,
    pub(crate) foreman: ActorRef<Foreman>,
    pub(crate) drain: Drain,
}

impl Keeper {
    /// Keeps a serving worker until told to stop; it has drained when this returns.
    pub(crate) async fn keep(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut failures = 0;
        while !self.drain.asked() {
            let began = Instant::now();
            let found = match self.adopt().await {
                Some(worker) => Ok(worker),
                None => self.start(failures < FAILURES_MAX).await,
            };
            let why = match found {
                Ok(worker) => match self.attend(worker).await {
                    End::Drained => return,
                    End::Died(why) => why,
                },
                Err(error) => runtime::Report(&error).to_string(),
            };
            if self.drain.asked() {
                return;
            }
            if STEADY_AFTER < began.elapsed() {
                backoff.reset();
                failures = 0;
            }
            failures += 1;
            let wait = backoff.wait();
            tracing::warn!(why, ?wait, "the serving worker is started again");
            if self.foreman.tell(ServingDown { why }).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.drain.wait() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.config.data_dir.join("serving")
    }

    fn log(&self) -> Log {
        Log::new(&self.config.data_dir.join("logs"), "serving-worker")
    }

    /// The worker that an earlier node left, when it is one that we would have started. One that
    /// runs another program, or on other ports than we were told, is drained first.
    async fn adopt(&self) -> Option<Worker> {
        let folder = self.folder();
        let card: Card = read_card(&folder)?;
        let process = Process::hold(card.pid).ok()?;
        if !was_started_with(card.pid, &[Path::new("serving-worker"), &folder]) {
            return None;
        }
        let config = &self.config;
        let placed =
            [(config.grpc, card.grpc), (config.http, card.http), (config.metrics, card.metrics)];
        let fits = placed.iter().all(|(told, has)| {
            told.ip() == has.ip() && (told.port() == 0 || told.port() == has.port())
        });
        let broker = config.mqtt.as_ref().map(|it| &it.told) == card.mqtt.as_ref();
        let traces = config.traces.as_ref().map(|it| &it.told) == card.traces.as_ref();
        let program = fs::canonicalize(&config.program).ok();
        if fits
            && broker
            && traces
            && fs::read_link(format!("/proc/{}/exe", card.pid)).ok() == program
        {
            tracing::info!(pid = card.pid, grpc = %card.grpc, "serving worker adopted");
            return Some(Worker { card, process, child: None });
        }
        tracing::info!(pid = card.pid, "the serving worker is replaced by this program's");
        process.stop(DRAIN_MAX).await;
        None
    }

    /// Where the worker was last. Not in `addresses.json`, which says where one answers now and may
    /// be removed by whoever waits for that.
    fn places_path(&self) -> PathBuf {
        self.config.data_dir.join("places.json")
    }

    /// Where the worker should listen: as told; where it was told "anywhere", where it was before.
    fn places(&self, remember: bool) -> Addresses {
        let config = &self.config;
        let told = Addresses { grpc: config.grpc, http: config.http, metrics: config.metrics };
        let path = self.places_path();
        match folder::read_json::<Addresses>(&path) {
            Ok(Some(before)) if remember => {
                let keep = |told: SocketAddr, before: SocketAddr| {
                    if told.port() == 0 && told.ip() == before.ip() { before } else { told }
                };
                Addresses {
                    grpc: keep(told.grpc, before.grpc),
                    http: keep(told.http, before.http),
                    metrics: keep(told.metrics, before.metrics),
                }
            }
            Ok(_) => told,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "earlier addresses are not known");
                told
            }
        }
    }

    /// Starts a worker and waits until it answers.
    ///
    /// It gets no pipe from us and writes to a file of its own, so that it goes on when this node
    /// is killed.
    async fn start(&self, remember: bool) -> Result<Worker, ServingError> {
        let config = &self.config;
        let folder = self.folder();
        let log = self.log();
        let start_error = |source| ServingError::Start { program: config.program.clone(), source };
        let token = secret::hex(&secret::random::<16>().map_err(ServingError::Token)?);
        let Addresses { grpc, http, metrics } = self.places(remember);
        let mut command = Command::new(&config.program);
        command
            .arg("serving-worker")
            .arg("--data-dir")
            .arg(&folder)
            .args(["--grpc", &grpc.to_string()])
            .args(["--http", &http.to_string()])
            .args(["--metrics", &metrics.to_string()])
            .args(["--site", &config.site, "--device", &config.device])
            .envs(config.traces.iter().flat_map(|it| it.environment.iter().cloned()))
            .env("SENSEMBLE_CONTROL_TOKEN", &token)
            .stdin(Stdio::null())
            .stdout(log.open().map_err(ServingError::Log)?)
            .stderr(log.open().map_err(ServingError::Log)?)
            // Out of reach of the terminal's ctrl-c: this node drains it, in order.
            .process_group(0);
        if config.insecure {
            command.arg("--insecure");
        }
        // In the environment, because the address may hold a password.
        match &config.mqtt {
            None => command.env_remove("SENSEMBLE_MQTT"),
            Some(mqtt) => command.env("SENSEMBLE_MQTT", &mqtt.url),
        };
        let mut child = command.spawn().map_err(start_error)?;
        let process = Process::hold(child.id().unwrap_or_default()).map_err(start_error)?;
        let answers = async {
            loop {
                if let Some(card) = read_card(&folder)
                    && card.pid == process.pid()
                {
                    return card;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let answered = tokio::select! {
            card = answers => Ok(card),
            () = process.ended() => Err(None),
            () = tokio::time::sleep(START_MAX) => Err(Some(START_MAX)),
            () = self.drain.wait() => Err(Some(Duration::ZERO)),
        };
        match answered {
            Ok(card) => {
                tracing::info!(pid = card.pid, grpc = %card.grpc, "serving worker started");
                Ok(Worker { card, process, child: Some(child) })
            }
            Err(None) => {
                let status = child.wait().await.map_err(start_error)?.to_string();
                Err(ServingError::Early(fault(&status, &log)))
            }
            Err(Some(_)) => {
                process.stop(DRAIN_MAX).await;
                let status = child.wait().await.map_err(start_error)?.to_string();
                Err(ServingError::Late(fault(&status, &log)))
            }
        }
    }

    /// Stays with `worker` until it ends, hangs, or we are told to stop.
    async fn attend(&self, mut worker: Worker) -> End {
        let introduction = Introduction {
            token: worker.card.token.clone(),
            scheduler: self.config.scheduler.clone(),
            device: self.config.device.clone(),
        };
        let (attached, mut is_attached) = watch::channel(false);
        let line = attach::hold(
            worker.card.grpc,
            &introduction,
            self.intent.clone(),
            &self.foreman,
            &attached,
        );
        let announce = async {
            if is_attached.wait_for(|&it| it).await.is_ok() {
                self.announce(&worker.card).await;
            }
            let log = self.log();
            loop {
                tokio::time::sleep(BOUND_EVERY).await;
                if let Err(error) = log.bound() {
                    tracing::warn!(%error, "the log of the serving worker is not kept short");
                }
            }
        };
        tokio::select! {
            () = self.drain.wait() => {
                worker.process.stop(DRAIN_MAX).await;
                reap(worker.child.as_mut()).await;
                self.retract();
                return End::Drained;
            }
            () = worker.process.ended() => {}
            () = line => worker.process.stop(Duration::ZERO).await,
            () = announce => {}
        }
        let status = reap(worker.child.as_mut()).await;
        End::Died(fault(&status, &self.log()))
    }

    /// Tells everybody where the worker answers.
    async fn announce(&self, card: &Card) {
        let known = Addresses { grpc: card.grpc, http: card.http, metrics: card.metrics };
        for path in [self.places_path(), addresses_path(&self.config.data_dir)] {
            if let Err(error) = folder::write_json(&path, &known) {
                tracing::error!(%error, path = %path.display(), "the addresses are not written");
            }
        }
        tracing::info!(grpc = %card.grpc, "serving worker attached");
        let up = ServingUp { pid: card.pid, grpc: card.grpc };
        if self.foreman.tell(up).await.is_err() {
            tracing::debug!("the node is ending");
        }
    }
}

impl Keeper {
    /// Nobody answers there any more. Left as it is while a worker is started again: the next one
    /// answers at the same place.
    fn retract(&self) {
        let path = addresses_path(&self.config.data_dir);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "not removed");
        }
    }
}

fn read_card(folder: &Path) -> Option<Card> {
    let path = folder.join("serving.json");
    folder::read_json(&path).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "unreadable");
        None
    })
}

async fn reap(child: Option<&mut Child>) -> String {
    match child {
        None => "it ended".to_owned(),
        Some(child) => match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its end is not known: {error}"),
        },
    }
}
