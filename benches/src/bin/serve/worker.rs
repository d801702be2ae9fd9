//! Our serving worker as its node starts it: a process, a folder, orders.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use benches::folder::Fault;
use models::{Ensemble, bundle};
use proto::v1::{self, serving_control_client::ServingControlClient};
use serving_worker::Presence;
use store::blobs::Blobs;
use tokio::time::Instant;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    process::{Core, Process, pinned},
    wire,
};

const TOKEN: &str = "only this bench gives it orders";
/// How long a worker may take to announce itself, or to serve what was ordered.
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for the bundles of a bench.
const BUNDLE_BYTES_MAX: u64 = 2 << 30;

/// A serving worker on one core.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) presence: Presence,
}

/// How it is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// `sensemble`.
    pub(crate) program: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) core: Core,
    /// Port 0 picks one.
    pub(crate) grpc: SocketAddr,
    /// Whom it tells of traces, if anybody.
    pub(crate) told: Option<Told>,
}

/// Where traces go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) collector: SocketAddr,
    /// By OpenTelemetry's name; empty for what a worker does when nothing is said.
    pub(crate) sampler: &'static str,
}

impl Start {
    /// A folder of its own, without what an earlier run left in it.
    pub(crate) fn fresh(program: &Path, dir: PathBuf, core: Core) -> Result<Self, Fault> {
        match fs::remove_dir_all(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        fs::create_dir_all(&dir)?;
        Ok(Self {
            program: program.to_owned(),
            dir,
            core,
            grpc: ([127, 0, 0, 1], 0).into(),
            told: None,
        })
    }

    /// Puts a bundle where the worker looks first; only while it does not run.
    pub(crate) fn keep(&self, ensemble: &Ensemble) -> Result<[u8; 32], Fault> {
        let blobs = Blobs::open(self.dir.join("bundles"), BUNDLE_BYTES_MAX)?;
        Ok(blobs.put(&bundle::encode(ensemble))?)
    }

    /// Starts it, waits until it has announced itself.
    pub(crate) fn run(&self) -> Result<Worker, Fault> {
        let announced = self.dir.join("serving.json");
        let _none = fs::remove_file(&announced);
        let mut command = pinned(self.core, &self.program);
        command.env("SENSEMBLE_CONTROL_TOKEN", TOKEN).arg("serving-worker");
        command.arg("--data-dir").arg(&self.dir).args(["--grpc", &self.grpc.to_string()]);
        command.args(["--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        command.args(["--orphan-wait-s", "7200"]).env("SENSEMBLE_LOG", "warn");
        if let Some(Told { collector, sampler }) = self.told {
            command.args(["--otlp-endpoint", &format!("http://{collector}")]);
            command.args(["--traces-sampler", sampler]);
        }
        let mut process = Process::start(&mut command)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let known = fs::read(&announced).ok();
            if let Some(presence) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                return Ok(Worker { process, presence });
            }
            if let Some(status) = process.0.try_wait()? {
                return Err(format!("the serving worker ended with {status}").into());
            }
            if until < Instant::now() {
                return Err("the serving worker did not announce itself".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a task should be: which bundle, which members.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) task: String,
    pub(crate) revision: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) members: Vec<u32>,
    pub(crate) gated: bool,
}

/// Someone who gives orders to one worker and reads its reports.
#[derive(Debug)]
pub(crate) struct Node {
    orders: mpsc::Sender<v1::Assignments>,
    reports: Streaming<v1::ServingReport>,
}

impl Node {
    pub(crate) fn attach(runtime: &Runtime, worker: &Worker) -> Result<Self, Fault> {
        let address = worker.presence.grpc.to_string();
        runtime.block_on(async {
            let channel = wire::endpoint(&address)?.connect().await?;
            let (orders, outgoing) = mpsc::channel(4);
            orders.send(said(Vec::new(), false)).await?;
            let mut client = ServingControlClient::new(channel);
            let reports = client.attach(ReceiverStream::new(outgoing)).await?.into_inner();
            Ok(Self { orders, reports })
        })
    }

    /// Orders all of this, and nothing else, and waits until it serves.
    pub(crate) fn serve(&mut self, runtime: &Runtime, wanted: &[Order]) -> Result<(), Fault> {
        let tasks = wanted.iter().map(|order| v1::Assignment {
            task: order.task.clone(),
            // Every revision is a decision of its own here.
            generation: order.revision,
            revision: order.revision,
            digest: order.digest.to_vec().into(),
            members: order.members.clone(),
            gated: order.gated,
            fallback: String::new(),
            coverage_thousandths: 0,
            abstain_below_thousandths: 0,
            input: String::new(),
        });
        let message = said(tasks.collect(), true);
        runtime.block_on(async {
            self.orders.send(message).await?;
            let until = tokio::time::Instant::now() + PATIENCE;
            loop {
                let report = tokio::time::timeout_at(until, self.reports.message()).await;
                let report = report.map_err(|_| "what was ordered does not serve")??;
                let report = report.ok_or("the worker left")?;
                let fault = report.tasks.iter().find(|task| !task.fault.is_empty());
                if let Some(task) = fault {
                    return Err(format!("{} does not serve: {}", task.task, task.fault).into());
                }
                let served = |order: &Order| {
                    let mut tasks = report.tasks.iter();
                    tasks.any(|it| it.task == order.task && it.revision == order.revision)
                };
                if wanted.iter().all(served) {
                    return Ok(());
                }
            }
        })
    }
}

fn said(tasks: Vec<v1::Assignment>, has_orders: bool) -> v1::Assignments {
    v1::Assignments {
        token: TOKEN.to_owned(),
        scheduler: String::new(),
        device: "bench".to_owned(),
        has_orders,
        tasks,
        routes: Vec::new(),
    }
}
