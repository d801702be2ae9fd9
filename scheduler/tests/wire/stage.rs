//! What the stories stand on: a scheduler in this process, and nodes and trainers that are played.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use models::{
    Ensemble, Family, Member, Model, Parts, Preparation, Schema, Voting, Weighted, member::Linear,
};
use proto::v1::{
    self, admin_client::AdminClient, bundles_client::BundlesClient,
    corrections_client::CorrectionsClient, fleet_client::FleetClient,
    training_client::TrainingClient,
};
use runtime::{Drain, Exit};
use scheduler::{Config, RunError};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};

/// Nothing here takes this long, even on a busy machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Waits until `found` says something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut found: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A scheduler that runs in this process.
pub(crate) struct Stage {
    pub(crate) channel: Channel,
    /// `host:port`.
    pub(crate) address: String,
    drain: Drain,
    running: JoinHandle<Result<Exit, RunError>>,
}

impl Stage {
    pub(crate) async fn start(data_dir: &Path, lease: Duration) -> Self {
        let address_file = data_dir.join("address.json");
        let _there_may_be_none = std::fs::remove_file(&address_file);
        let drain = Drain::new();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            insecure: false,
            data_dir: data_dir.to_owned(),
            site: "home".to_owned(),
            heartbeat: HEARTBEAT,
            lease,
            traces: None,
        };
        let running = runtime::spawn::named("scheduler", scheduler::run(config, drain.clone()));
        let address = until("the scheduler's address", || async {
            let text = std::fs::read_to_string(&address_file).ok()?;
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(value["address"].as_str()?.to_owned())
        })
        .await;
        let channel =
            Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { channel, address, drain, running }
    }

    pub(crate) async fn stop(self) {
        self.drain.ask();
        drop(self.channel);
        let exit = tokio::time::timeout(WAIT_MAX, self.running).await.unwrap().unwrap();
        assert_eq!(exit.unwrap(), Exit::Drained);
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    pub(crate) fn training(&self) -> TrainingClient<Channel> {
        TrainingClient::new(self.channel.clone())
    }

    pub(crate) fn bundles(&self) -> BundlesClient<Channel> {
        BundlesClient::new(self.channel.clone())
    }

    pub(crate) fn corrections(&self) -> CorrectionsClient<Channel> {
        CorrectionsClient::new(self.channel.clone())
    }
}

/// A device whose node is played: it reports, answers health checks, and does what it is ordered
/// only as far as the story says.
pub(crate) struct Node {
    pub(crate) orders: watch::Receiver<v1::NodeOrders>,
    pub(crate) report: Arc<Mutex<v1::NodeReport>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    pub(crate) async fn join(stage: &Stage, device: &str, speed_ns: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, health) = tonic_health::server::health_reporter();
        let worker = runtime::spawn::named("worker", async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(health).serve_with_incoming(incoming).await.unwrap();
        });
        let report = Arc::new(Mutex::new(v1::NodeReport {
            device: device.to_owned(),
            boot: 1,
            site: "home".to_owned(),
            serving_address: address.to_string(),
            arch: "x86_64".to_owned(),
            capacity: Some(v1::Capacity {
                cpu_cores: 2.0,
                cpu_used: 0.1,
                memory_bytes: 1 << 30,
                memory_free_bytes: 1 << 29,
                cpu_share: 1.0,
                cpu_share_by: "none".to_owned(),
            }),
            speed: Some(v1::DeviceSpeed {
                madd_ns: speed_ns,
                byte_ns: speed_ns,
                node_ns: speed_ns,
                exp_ns: speed_ns,
                call_ns: speed_ns,
            }),
            ..v1::NodeReport::default()
        }));
        let (sender, orders) = watch::channel(v1::NodeOrders::default());
        let channel = stage.channel.clone();
        let saying = Arc::clone(&report);
        let (up, reports) = mpsc::channel(1);
        let reporting = runtime::spawn::named("reports", async move {
            loop {
                let report = saying.lock().unwrap().clone();
                if up.send(report).await.is_err() {
                    return;
                }
                tokio::time::sleep(HEARTBEAT).await;
            }
        });
        let lease = runtime::spawn::named("node", async move {
            let reply = FleetClient::new(channel).lease(ReceiverStream::new(reports)).await;
            let mut down = reply.unwrap().into_inner();
            while let Ok(Some(orders)) = down.message().await {
                assert!(sender.borrow().generation <= orders.generation, "generations only grow");
                if sender.send(orders).is_err() {
                    return;
                }
            }
        });
        Self { orders, report, tasks: vec![worker, reporting, lease] }
    }

    /// Waits for orders that `fit`.
    pub(crate) async fn orders(
        &mut self,
        fit: impl FnMut(&v1::NodeOrders) -> bool,
    ) -> v1::NodeOrders {
        let orders = tokio::time::timeout(WAIT_MAX, self.orders.wait_for(fit)).await;
        orders.expect("orders come in time").unwrap().clone()
    }

    /// Waits for an order to train.
    pub(crate) async fn job(&mut self, attempt: u64) -> v1::TrainingOrder {
        let orders = self.orders(|it| it.jobs.iter().any(|job| job.attempt == attempt)).await;
        orders.jobs.into_iter().find(|job| job.attempt == attempt).unwrap()
    }

    /// Gone, without a word.
    pub(crate) fn vanish(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) const CLASSES: [&str; 2] = ["idle", "busy"];

pub(crate) fn task(policy: &str) -> String {
    format!(
        "[task]\nname = \"kitchen\"\nclasses = [\"idle\", \"busy\"]\n\
         [input]\nkind = \"features\"\nfeatures = [\"a\", \"b\"]\n[policy]\n{policy}\n"
    )
}

/// A bundle of linear members; `slope` makes it another one.
pub(crate) fn bundle(members: usize, slope: f32) -> Vec<u8> {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let schema = Schema::new(names(&["a", "b"]), names(&CLASSES), None).unwrap();
    let member = |at: usize| Weighted {
        weight: 1.0,
        member: Member {
            family: [Family::Ridge, Family::LinearSvm][at % 2],
            preparation: 0,
            model: Arc::new(Model::Linear(Linear {
                width: 2,
                weights: vec![-slope, 0.0, slope, 0.0],
                bias: vec![0.0, f32::from(u16::try_from(at).unwrap())],
            })),
        },
    };
    let parts = Parts {
        schema,
        preparations: vec![Preparation::default()],
        gate: None,
        members: (0..members).map(member).collect(),
        voting: Voting::default(),
        golden: Vec::new(),
    };
    models::bundle::encode(&Ensemble::new(parts).unwrap())
}

/// What a trainer would have measured of [`bundle`]: each member adds a little.
pub(crate) fn report(members: usize) -> v1::RevisionReport {
    let work = |calls: usize| v1::WorkUnits {
        madds: 4 * u64::try_from(calls).unwrap(),
        calls: u64::try_from(calls).unwrap(),
        ..v1::WorkUnits::default()
    };
    v1::RevisionReport {
        members: (0..members)
            .map(|at| v1::MemberReport {
                family: ["ridge", "linear-svm"][at % 2].to_owned(),
                weight: 1.0,
                validation_accuracy: 0.9,
                ..v1::MemberReport::default()
            })
            .collect(),
        frontier: (1..=members)
            .map(|count| v1::SubsetReport {
                members: (1 << count) - 1,
                accuracy: 0.9 + 0.01 * f64::from(u32::try_from(count).unwrap()),
                balanced_accuracy: 0.9,
                accuracy_standard_error: 0.005,
                work: Some(work(count)),
                ..v1::SubsetReport::default()
            })
            .collect(),
        ..v1::RevisionReport::default()
    }
}

pub(crate) async fn put(stage: &Stage, bytes: &[u8]) -> Vec<u8> {
    let digest = models::bundle::digest(bytes).to_vec();
    let length = u64::try_from(bytes.len()).unwrap();
    let chunks: Vec<v1::BundleChunk> = bytes
        .chunks(100)
        .map(|data| v1::BundleChunk {
            digest: digest.clone().into(),
            length,
            data: data.to_vec().into(),
        })
        .collect();
    stage.bundles().put_bundle(tokio_stream::iter(chunks)).await.unwrap();
    digest
}

pub(crate) fn chunk(values: &[f32], labels: &[u32]) -> v1::ImportChunk {
    v1::ImportChunk {
        task: "kitchen".to_owned(),
        width: 2,
        values: proto::parse::pack(values),
        labels: labels.to_vec(),
        groups: Vec::new(),
    }
}

pub(crate) async fn import(
    stage: &Stage,
    chunks: Vec<v1::ImportChunk>,
) -> Result<v1::ImportReply, tonic::Status> {
    let reply = stage.admin().import_samples(tokio_stream::iter(chunks)).await?;
    Ok(reply.into_inner())
}

/// A trainer that publishes one bundle as the last of its job.
pub(crate) async fn train(
    stage: &Stage,
    order: &v1::TrainingOrder,
    bytes: &[u8],
    members: usize,
    comparison: Option<v1::PairedComparison>,
    last: bool,
) -> v1::publish_reply::Outcome {
    let digest = put(stage, bytes).await;
    let publish = v1::PublishRequest {
        job: order.job.clone(),
        attempt: order.attempt,
        digest: digest.into(),
        report: Some(report(members)),
        comparison,
        last,
        seconds: 1.0,
    };
    let reply = stage.training().publish(publish).await.unwrap();
    reply.into_inner().outcome.unwrap()
}

pub(crate) fn correction(id: u8, label: &str, at_ms: u64) -> v1::Correction {
    v1::Correction {
        prediction_id: vec![id; 16].into(),
        task: "kitchen".to_owned(),
        label: label.to_owned(),
        given: "idle".to_owned(),
        revision: 1,
        at_ms,
        features: proto::parse::pack(&[f32::from(id), 1.0]),
        traceparent: String::new(),
    }
}

pub(crate) async fn submit(
    stage: &Stage,
    corrections: Vec<v1::Correction>,
) -> v1::SubmitCorrectionsReply {
    let submit = v1::SubmitCorrections { device: "pi".to_owned(), corrections };
    stage.corrections().submit(submit).await.unwrap().into_inner()
}
