//! The process: everything is opened, started, announced, and ended in the reverse order.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use kameo::{
    actor::{Actor, ActorRef, Spawn as _},
    error::Infallible,
    supervision::{RestartPolicy, SupervisionStrategy},
};
use proto::{
    inference::grpc_inference_service_server::GrpcInferenceServiceServer,
    v1::{serving_control_server::ServingControlServer, serving_server::ServingServer},
};
use runtime::{Drain, Exit, Report, listen, listen::ListenError};
use store::{
    blobs::{BlobError, Blobs},
    outbox::{self, Outbox, OutboxError},
    ring::{self, Ring, RingError},
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tonic::{codec::CompressionEncoding, server::NamedService, service::Routes, transport::Server};
use traces::{Process, Settings, Tracer};

use crate::{
    answer::Desk,
    calls::{self, HEADER_BYTES_MAX, SILENCE_MAX, STREAMS_MAX},
    connections,
    control::Control,
    correction::Corrections,
    doorway::Doorway,
    engine::{self, Engine},
    explanation::Explanations,
    floor::Floor,
    forwarder::{self, Forwarder},
    grpc::Grpc,
    http,
    identity::Ids,
    intake::Intake,
    metrics::Numbers,
    mqtt,
    open_inference::{self, grpc::OpenGrpc},
    presence::{Hold, Presence, PresenceError},
    refused,
    remembered::{Memory, Upstream},
    served::Snapshot,
    streams::Streams,
    switchboard::Switchboard,
};

/// Bundles of revisions that are served, will be, or were: room for two of the largest and then some.
const BUNDLE_BYTES_MAX: u64 = 4 * proto::BUNDLE_BYTES_MAX;
/// Receipts: at a kilobyte each, the last quarter of a million answers. What waits for a disk that stalls
/// lies in memory, and the whole worker is to stay below 64 MiB.
const RECEIPTS: ring::Limits = ring::Limits {
    bytes_max: 256 << 20,
    records_max: 500_000,
    segment_bytes: 4 << 20,
    record_bytes_max: RECORD_BYTES_MAX,
    queue_bytes_max: 16 << 20,
};
/// Corrections that wait for the scheduler: at a kilobyte each, a quarter of a million.
const OUTBOX: outbox::Limits = outbox::Limits {
    bytes_max: 256 << 20,
    segment_bytes: 1 << 20,
    record_bytes_max: RECORD_BYTES_MAX,
};
/// Longest receipt or correction: a sample of as many features as a task may have, and its names.
const RECORD_BYTES_MAX: usize = 8 << 20;
/// Connections to each of the three ports at the same time: a site has some hundreds of sensors.
const CONNECTIONS_MAX: usize = 1024;
/// How long requests in flight may take after the worker was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long the last traces may take to the collector after that.
const TRACES_MAX: Duration = Duration::from_secs(1);
/// How long those who watch our health may go on watching after that.
const WATCH_MAX: Duration = Duration::from_millis(500);
/// Restarts of an actor before the worker gives up aloud.
const RESTARTS_MAX: u32 = 5;
/// … within this time.
const RESTARTS_WITHIN: Duration = Duration::from_secs(10);

/// What a serving worker is told when it is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it keeps bundles, receipts and corrections.
    pub data_dir: PathBuf,
    /// Where it answers gRPC; port 0 picks one.
    pub grpc: SocketAddr,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it shows its metrics.
    pub metrics: SocketAddr,
    /// Whether plaintext beyond loopback is allowed.
    pub insecure: bool,
    /// Who has this may give it orders.
    pub token: String,
    /// How long it goes on without a node.
    pub orphan_wait: Duration,
    /// How long it goes on answering after it was told to stop and has said that it does not serve.
    pub grace: Duration,
    /// The broker that it answers at, if any.
    pub mqtt: Option<mqtt::Place>,
    /// The name of its device.
    pub device: String,
    /// The collector that is told of traces, if any.
    pub traces: Option<Settings>,
}

/// Why a serving worker did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Without a token anybody could give it orders.
    #[error("the control token is empty")]
    Token,
    /// The folder is not ours.
    #[error("the data folder cannot be used")]
    Presence(#[from] PresenceError),
    /// The bundles cannot be opened.
    #[error("the bundle folder cannot be opened")]
    Blobs(#[from] BlobError),
    /// The receipts cannot be opened.
    #[error("the receipts cannot be opened")]
    Receipts(#[from] RingError),
    /// The outbox cannot be opened.
    #[error("the outbox cannot be opened")]
    Outbox(#[from] OutboxError),
    /// An address cannot be had.
    #[error("the serving worker cannot listen")]
    Listen(#[from] ListenError),
    /// The operating system failed us.
    #[error("the serving worker cannot start")]
    System(#[from] io::Error),
    /// The gRPC service cannot be set up.
    #[error("the gRPC service cannot be set up")]
    Grpc(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is on disk.
struct Opened {
    hold: Hold,
    blobs: Blobs,
    receipts: Ring,
    outbox: Outbox,
}

/// The actors of this process.
struct Actors {
    engine: ActorRef<Engine>,
    _forwarder: ActorRef<Forwarder>,
}

/// Restarts what fails below it, and gives up aloud when that does not help.
struct Root;

struct RootArgs {
    engine: engine::Parts,
    forwarder: forwarder::Parts,
    started: oneshot::Sender<Actors>,
}

impl Actor for Root {
    type Args = RootArgs;
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForOne
    }

    async fn on_start(args: RootArgs, root: ActorRef<Self>) -> Result<Self, Infallible> {
        let RootArgs { engine, forwarder, started } = args;
        let engine = Engine::supervise(&root, engine)
            .restart_policy(RestartPolicy::Transient)
            .restart_limit(RESTARTS_MAX, RESTARTS_WITHIN)
            .spawn_with_mailbox(kameo::mailbox::bounded(64))
            .await;
        // What was served last is served again before anybody can ask.
        engine.wait_for_startup().await;
        let forwarder = Forwarder::supervise(&root, forwarder)
            .restart_policy(RestartPolicy::Transient)
            .restart_limit(RESTARTS_MAX, RESTARTS_WITHIN)
            .spawn_with_mailbox(kameo::mailbox::bounded(4))
            .await;
        let _gone = started.send(Actors { engine, _forwarder: forwarder });
        Ok(Self)
    }
}

/// Serves until it is told to stop, gives up, or no node has attached for too long.
///
/// # Errors
///
/// [`RunError`] when it cannot start, or its gRPC service fails.
pub async fn run(config: Config, drain: Drain) -> Result<Exit, RunError> {
    if config.token.is_empty() {
        return Err(RunError::Token);
    }
    let data_dir = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || open(data_dir));
    let Opened { hold, blobs, receipts, outbox } = opened.await.map_err(io::Error::other)??;
    let (receipts, blobs) = (Arc::new(receipts), Arc::new(blobs));

    let grpc_listener = listen::bind(config.grpc, config.insecure).await?;
    let http_listener = listen::bind(config.http, config.insecure).await?;
    let metrics_listener = listen::bind(config.metrics, config.insecure).await?;
    let presence = Presence {
        pid: std::process::id(),
        grpc: grpc_listener.local_addr()?,
        http: http_listener.local_addr()?,
        metrics: metrics_listener.local_addr()?,
        token: config.token.clone(),
        mqtt: config.mqtt.as_ref().map(mqtt::Place::told),
        traces: config.traces.as_ref().map(Settings::told),
    };
    let process = Process {
        service: "serving-worker",
        instance: config.device.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let started = config.traces.as_ref().map(|settings| Tracer::start(settings, process));
    let (tracer, exporter) = started.transpose()?.unzip();

    let snapshot = Snapshot::default();
    let changed = watch::Sender::new(());
    let upstream = watch::Sender::new(Upstream::default());
    let forwarded = Arc::new(forwarder::Counts::default());
    let (started, actors) = oneshot::channel();
    let root = Root::spawn(RootArgs {
        engine: engine::Parts {
            snapshot: Arc::clone(&snapshot),
            blobs: Arc::clone(&blobs),
            memory: Memory::in_folder(&config.data_dir),
            upstream: upstream.clone(),
            changed: changed.clone(),
        },
        forwarder: forwarder::Parts {
            outbox: outbox.clone(),
            upstream: upstream.subscribe(),
            refused: config.data_dir.join("refused.jsonl"),
            counts: Arc::clone(&forwarded),
            tracer: tracer.clone(),
        },
        started,
    });
    let Actors { engine, .. } = actors.await.map_err(io::Error::other)?;

    // Told when this worker ends for whatever reason; streams end on it.
    let ending = Drain::new();
    // Told a grace earlier: from then on this worker says that it is not ready.
    let leaving = Drain::new();
    let desk = Desk::new(Arc::clone(&snapshot), Arc::clone(&receipts), Ids::new()?, tracer);
    let desk = Arc::new(desk);
    let corrections =
        Arc::new(Corrections::new(Arc::clone(&snapshot), Arc::clone(&receipts), outbox.clone()));
    let explanations = Explanations::new(Arc::clone(&snapshot), Arc::clone(&corrections), blobs);
    let streams = Streams::new(ending.clone());
    let grpc =
        Grpc::new(Arc::clone(&desk), Arc::clone(&corrections), explanations, streams.clone());
    let open_grpc = OpenGrpc::new(Arc::clone(&desk), streams, leaving.clone());
    let counts = config.mqtt.is_some().then(Arc::default);
    let control =
        Control::new(&config.token, engine, snapshot, changed.subscribe(), outbox, ending.clone());
    let orphaned = control.orphaned(config.orphan_wait);
    let numbers = Numbers {
        desk: Arc::clone(&desk),
        corrections: Arc::clone(&corrections),
        forwarded,
        mqtt: counts.clone(),
    };
    let mqtt = config.mqtt.zip(counts).map(|(place, counts)| {
        let parts = (Arc::clone(&desk), Arc::clone(&corrections));
        mqtt::start(place, parts, changed.subscribe(), counts, ending.clone())
    });

    let intake = Intake::default();
    let doors = Doors { desk: Arc::clone(&desk), intake: intake.clone() };
    let floor = Arc::clone(desk.floor());
    let (health, mut grpc_server) =
        serve_grpc(grpc_listener, doors, (grpc, open_grpc, control), ending.clone()).await?;
    let routes = http::probes(Arc::clone(&desk), leaving.clone())
        .merge(http::feedback(Arc::clone(&desk), corrections, intake.clone()))
        .merge(open_inference::http::routes(desk, intake, leaving.clone()))
        .fallback(refused::no_such_page)
        .method_not_allowed_fallback(refused::no_such_method);
    let served = |name, listener, routes| {
        serve_http(name, listener, routes, Arc::clone(&floor), ending.clone())
    };
    let http_server = served("http", http_listener, routes);
    let metrics_server = served("metrics", metrics_listener, http::metrics(numbers));
    hold.announce(&presence)?;
    tracing::info!(
        grpc = %presence.grpc, http = %presence.http, metrics = %presence.metrics,
        "serving worker answers"
    );

    let exit = tokio::select! {
        () = drain.wait() => Ok(Exit::Drained),
        () = orphaned => {
            tracing::warn!(
                seconds = config.orphan_wait.as_secs(), "no node has attached; nobody needs this worker"
            );
            Ok(Exit::Drained)
        }
        () = root.wait_for_shutdown() => Ok(Exit::GaveUp),
        served = &mut grpc_server => served.map(|()| Exit::GaveUp).map_err(|error| io::Error::other(error).into()),
    };

    let mut health = health;
    health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    health.set_not_serving::<ServingServer<Grpc>>().await;
    health.set_not_serving::<GrpcInferenceServiceServer<OpenGrpc>>().await;
    leaving.ask();
    if matches!(exit, Ok(Exit::Drained)) {
        // Who asks before sending hears it now; who sends meanwhile is answered as ever.
        tokio::time::sleep(config.grace).await;
    }
    ending.ask();
    let servers = async {
        if !grpc_server.is_finished() {
            let _ended = grpc_server.await;
        }
        let _ended = http_server.await;
        let _ended = metrics_server.await;
        if let Some(mqtt) = mqtt {
            let _ended = mqtt.await;
        }
    };
    let farewell = async {
        // Whoever watches our health has heard it by then; the watch would hold the server for ever.
        tokio::time::sleep(WATCH_MAX).await;
        health.clear_service_status("").await;
        health.clear_service_status(<ServingServer<Grpc> as NamedService>::NAME).await;
        let open = <GrpcInferenceServiceServer<OpenGrpc> as NamedService>::NAME;
        health.clear_service_status(open).await;
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            () = servers => {}
            () = farewell => {}
        }
    };
    if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
        tracing::warn!("requests that did not end in time are cut off");
    }
    // Gone already when it gave up.
    let _gone = root.stop_gracefully().await;
    root.wait_for_shutdown().await;
    if let Some(exporter) = exporter {
        exporter.end(TRACES_MAX).await;
    }
    let flushed = tokio::task::spawn_blocking(move || {
        receipts.flush();
        hold.retract();
    });
    flushed.await.map_err(io::Error::other)?;
    tracing::info!(?exit, "serving worker ended");
    exit
}

/// Opens what is on disk, and says what a crash has cost.
fn open(data_dir: PathBuf) -> Result<Opened, RunError> {
    let hold = Hold::take(&data_dir)?;
    let blobs = Blobs::open(data_dir.join("bundles"), BUNDLE_BYTES_MAX)?;
    let receipts = Ring::open(data_dir.join("receipts"), RECEIPTS)?;
    let (outbox, recovered) = Outbox::open(data_dir.join("outbox"), OUTBOX)?;
    let outbox::Recovered { waiting, torn_bytes, lost } = recovered;
    if 0 < lost {
        tracing::error!(
            lost,
            waiting,
            "the disk has damaged corrections that it had promised to keep"
        );
    } else {
        tracing::info!(waiting, torn_bytes, "data folder opened");
    }
    Ok(Opened { hold, blobs, receipts, outbox })
}

/// What watches over every call.
struct Doors {
    desk: Arc<Desk>,
    intake: Intake,
}

impl Doors {
    fn before<S>(&self, service: S) -> Doorway<S> {
        Doorway::new(service, Arc::clone(&self.desk), self.intake.clone())
    }
}

async fn serve_grpc(
    listener: TcpListener,
    doors: Doors,
    (grpc, open_grpc, control): (Grpc, OpenGrpc, Control),
    ending: Drain,
) -> Result<(tonic_health::server::HealthReporter, JoinHandle<()>), RunError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ServingServer<Grpc>>().await;
    health.set_serving::<GrpcInferenceServiceServer<OpenGrpc>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| RunError::Grpc(Box::new(error)))?;
    // Packed messages are read; answers are never packed (docs/decisions/0043).
    let serving = ServingServer::new(grpc)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let open = GrpcInferenceServiceServer::new(open_grpc)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let control = ServingControlServer::new(control)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let floor = Arc::clone(doors.desk.floor());
    let incoming = connections::incoming(listener, CONNECTIONS_MAX, floor);
    let others = Routes::new(health_service).add_service(reflection).add_service(control);
    let board = Switchboard::new(doors.before(serving), doors.before(open), others);
    let server = runtime::spawn::named("grpc", calls::serve(incoming, board, ending));
    Ok((health, server))
}

fn serve_http(
    name: &'static str,
    listener: TcpListener,
    routes: axum::Router,
    floor: Arc<Floor>,
    ending: Drain,
) -> JoinHandle<()> {
    runtime::spawn::named(name, async move {
        let ended = async move { ending.wait().await };
        // The server of the gRPC library, because it closes a connection whose request does not come
        // to the end of its headers; `axum::serve` waits for ever.
        let server = Server::builder()
            .accept_http1(true)
            .max_concurrent_streams(Some(STREAMS_MAX))
            .http2_max_header_list_size(Some(HEADER_BYTES_MAX))
            .http2_keepalive_interval(Some(SILENCE_MAX))
            .http2_keepalive_timeout(Some(SILENCE_MAX));
        let incoming = connections::incoming(listener, CONNECTIONS_MAX, floor);
        let served = server.serve_with_incoming_shutdown(routes, incoming, ended).await;
        if let Err(error) = served {
            tracing::error!(error = %Report(&error), "HTTP is no longer answered");
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use models::Subset;

    use super::*;
    use crate::{
        engine::{Obey, tests::Panic},
        orders::Wanted,
    };

    /// The actors over a folder, and what they publish.
    async fn start(dir: &std::path::Path) -> (ActorRef<Root>, ActorRef<Engine>, Snapshot) {
        let (outbox, _) = Outbox::open(dir.join("outbox"), OUTBOX).unwrap();
        let snapshot = Snapshot::default();
        let upstream = watch::Sender::new(Upstream::default());
        let (started, actors) = oneshot::channel();
        let root = Root::spawn(RootArgs {
            forwarder: forwarder::Parts {
                outbox,
                upstream: upstream.subscribe(),
                refused: dir.join("refused.jsonl"),
                counts: Arc::default(),
                tracer: None,
            },
            engine: engine::Parts {
                snapshot: Arc::clone(&snapshot),
                blobs: Arc::new(Blobs::open(dir.join("bundles"), BUNDLE_BYTES_MAX).unwrap()),
                memory: Memory::in_folder(dir),
                upstream,
                changed: watch::Sender::new(()),
            },
            started,
        });
        (root, actors.await.unwrap().engine, snapshot)
    }

    fn order(generation: u64) -> Obey {
        let wanted = Wanted {
            task: "kitchen".to_owned(),
            generation,
            revision: generation,
            digest: [0; 32],
            subset: Subset(1),
            gated: false,
            coverage_thousandths: 0,
            abstain_below_thousandths: 0,
            fallback: String::new(),
            input: String::new(),
        };
        Obey { upstream: Upstream::default(), orders: Some(vec![wanted]), routes: BTreeMap::new() }
    }

    #[tokio::test]
    async fn an_engine_that_fails_is_restarted_and_remembers_its_orders() {
        let dir = tempfile::tempdir().unwrap();
        let (root, engine, snapshot) = start(dir.path()).await;
        engine.ask(order(5)).await.unwrap();
        engine.tell(Panic).await.unwrap();
        // The same address reaches the restarted one; the older order is older to it too.
        engine.ask(order(4)).await.unwrap();
        assert_eq!(snapshot.load().missing["kitchen"].0.generation, 5);
        engine.ask(order(6)).await.unwrap();
        assert_eq!(snapshot.load().missing["kitchen"].0.generation, 6);
        assert!(root.is_alive());
    }

    #[tokio::test]
    async fn an_engine_that_keeps_failing_is_given_up_aloud() {
        let dir = tempfile::tempdir().unwrap();
        let (root, engine, _) = start(dir.path()).await;
        let failing = runtime::spawn::named("failing", async move {
            loop {
                // Between its restarts, and after the last, nobody is there to ask.
                let _gone = engine.ask(Panic).await;
                tokio::task::yield_now().await;
            }
        });
        let ended = tokio::time::timeout(Duration::from_secs(20), root.wait_for_shutdown());
        ended.await.expect("the root ends with what it cannot restart");
        failing.abort();
    }
}
