//! A serving worker over loopback, a scheduler that only has bundles and takes corrections, and a node
//! that only gives orders.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part of this")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use models::{
    ClassId, Ensemble, Family, Member, Model, Parts, Preparation, Schema, Voting, Weighted,
    member::Linear,
    synthetic::{self, Numbers, Shape},
};
use proto::v1::{
    self,
    bundles_server::{Bundles, BundlesServer},
    corrections_server::{Corrections, CorrectionsServer},
    serving_client::ServingClient,
    serving_control_client::ServingControlClient,
};
use runtime::{Drain, Exit};
use serving_worker::{Config, Presence, RunError};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Server, server::TcpIncoming},
};

pub const TOKEN: &str = "00112233445566778899aabbccddeeff";
pub const WIDTH: usize = 3;
pub const CLASSES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is something, for a bounded time.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Three features; class i wins when feature i is the largest. The names of the classes end with
/// `mark`, so that a class shows which ensemble said it. `members` of them all say the same.
pub fn ensemble(mark: &str, members: usize) -> Ensemble {
    let names = |prefix: &str, of: usize| (0..of).map(|at| format!("{prefix}{at}{mark}")).collect();
    let weights =
        (0..CLASSES * WIDTH).map(|at| if at / WIDTH == at % WIDTH { 1.0 } else { 0.0 }).collect();
    let member = Member {
        family: Family::Ridge,
        preparation: 0,
        model: Arc::new(Model::Linear(Linear { width: WIDTH, weights, bias: vec![0.0; CLASSES] })),
    };
    Ensemble::new(Parts {
        schema: Schema::new(names("f", WIDTH), names("class", CLASSES), Some(ClassId(0))).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: vec![Weighted { weight: 1.0, member }; members],
        voting: Voting::default(),
        golden: Vec::new(),
    })
    .unwrap()
}

/// The largest feature is the second: `class1`.
pub const SAMPLE: [f32; WIDTH] = [0.5, 2.0, -1.0];

#[derive(Debug, Default)]
struct Store {
    bundles: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Corrections by id, as applied.
    corrections: BTreeMap<Vec<u8>, v1::Correction>,
    applied: u32,
    repeated: u32,
    /// Labels that are refused for good.
    refused: BTreeSet<String>,
    /// While it is set, nothing is answered.
    down: bool,
}

/// A scheduler with bundles and corrections.
#[derive(Clone, Debug, Default)]
pub struct Scheduler(Arc<Mutex<Store>>);

impl Scheduler {
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder()
            .add_service(BundlesServer::new(self.clone()))
            .add_service(CorrectionsServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        runtime::spawn::named("fake scheduler", server);
        address
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    /// Keeps a bundle and gives its digest.
    pub fn put(&self, ensemble: &Ensemble) -> Vec<u8> {
        self.put_bytes(models::bundle::encode(ensemble))
    }

    pub fn put_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let digest = models::bundle::digest(&bytes).to_vec();
        self.store().bundles.insert(digest.clone(), bytes);
        digest
    }

    /// Damages or repairs the bundle of `digest`.
    pub fn change(&self, digest: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        change(self.store().bundles.get_mut(digest).unwrap());
    }

    pub fn set_down(&self, down: bool) {
        self.store().down = down;
    }

    pub fn refuse(&self, label: &str) {
        self.store().refused.insert(label.to_owned());
    }

    /// By id: the label that counts.
    pub fn corrections(&self) -> BTreeMap<Vec<u8>, String> {
        let store = self.store();
        store.corrections.iter().map(|(id, it)| (id.clone(), it.label.clone())).collect()
    }

    pub fn correction(&self, id: &[u8]) -> Option<v1::Correction> {
        self.store().corrections.get(id).cloned()
    }

    pub fn applied(&self) -> u32 {
        self.store().applied
    }
}

#[tonic::async_trait]
impl Bundles for Scheduler {
    async fn put_bundle(
        &self,
        _: Request<Streaming<v1::BundleChunk>>,
    ) -> Result<Response<v1::PutBundleReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type GetBundleStream = ReceiverStream<Result<v1::BundleChunk, Status>>;

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<Self::GetBundleStream>, Status> {
        let digest = request.into_inner().digest;
        let store = self.store();
        if store.down {
            return Err(Status::unavailable("down"));
        }
        let bundle = store.bundles.get(&*digest);
        let bytes = bundle.ok_or_else(|| Status::not_found("no such bundle"))?.clone();
        let (chunks, stream) = mpsc::channel(bytes.len() + 1);
        let length = u64::try_from(bytes.len()).unwrap();
        for data in bytes.chunks(100) {
            let data = data.to_vec().into();
            let chunk = v1::BundleChunk { digest: digest.clone(), length, data };
            chunks.try_send(Ok(chunk)).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl Corrections for Scheduler {
    async fn submit(
        &self,
        request: Request<v1::SubmitCorrections>,
    ) -> Result<Response<v1::SubmitCorrectionsReply>, Status> {
        let mut store = self.store();
        if store.down {
            return Err(Status::unavailable("down"));
        }
        let mut reply = v1::SubmitCorrectionsReply::default();
        for correction in request.into_inner().corrections {
            let id = correction.prediction_id.to_vec();
            if store.refused.contains(&correction.label) {
                let prediction_id = correction.prediction_id;
                let reason = "this label is no class".to_owned();
                reply.refused.push(v1::RefusedCorrection { prediction_id, reason });
            } else if store.corrections.get(&id).is_none_or(|it| it.at_ms < correction.at_ms) {
                store.corrections.insert(id, correction);
                reply.applied += 1;
            } else {
                reply.repeated += 1;
            }
        }
        store.applied += reply.applied;
        store.repeated += reply.repeated;
        Ok(Response::new(reply))
    }
}

/// A running serving worker.
pub struct Worker {
    pub presence: Presence,
    pub dir: PathBuf,
    drain: Drain,
    running: JoinHandle<Result<Exit, RunError>>,
}

pub fn config(dir: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        data_dir: dir.to_owned(),
        grpc: any,
        http: any,
        metrics: any,
        insecure: false,
        token: TOKEN.to_owned(),
        orphan_wait: Duration::from_secs(60),
        grace: Duration::ZERO,
        mqtt: None,
        device: "pi".to_owned(),
        traces: None,
    }
}

impl Worker {
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(config(dir)).await
    }

    pub async fn start_with(config: Config) -> Self {
        let dir = config.data_dir.clone();
        let path = dir.join("serving.json");
        // The announcement of an earlier run is not this one's.
        let _none = fs::remove_file(&path);
        let drain = Drain::new();
        let running = runtime::spawn::named("worker", serving_worker::run(config, drain.clone()));
        let presence = until("the worker to announce itself", || {
            assert!(!running.is_finished(), "the worker ended at its start");
            let read = fs::read(&path).ok();
            async move { serde_json::from_slice(&read?).ok() }
        })
        .await;
        Self { presence, dir, drain, running }
    }

    pub async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.presence.grpc);
        Channel::from_shared(address).unwrap().connect().await.unwrap()
    }

    pub async fn app(&self) -> ServingClient<Channel> {
        ServingClient::new(self.channel().await)
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(usize::MAX)
    }

    /// Attaches a node.
    pub async fn node(&self, scheduler: &str) -> Node {
        Node::attach(self.channel().await, scheduler, TOKEN).await
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(self) -> Exit {
        self.drain.ask();
        self.running.await.unwrap().unwrap()
    }

    /// Tells it to stop and does not wait.
    pub fn ask_to_stop(&self) {
        self.drain.ask();
    }

    /// How it ended of itself.
    pub async fn ended(self) -> Exit {
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap()
    }

    /// One page over HTTP: status and text.
    pub async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// What came back over HTTP.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Page {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Worker {
    /// One request over HTTP/1.1, written by hand: what is sent is what the test says.
    pub async fn http(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Page {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes and reads what comes back, whether or not all of them were taken.
    pub async fn exchange(&self, bytes: &[u8]) -> Page {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.presence.http).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        let send = async {
            // A server that refuses early need not read all.
            let _taken = writing.write_all(bytes).await;
        };
        let (_sent, _reset) = tokio::join!(send, reading.read_to_end(&mut answer));
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|it| it.split_once(": "));
        Page {
            status,
            headers: headers.map(|(name, it)| (name.to_lowercase(), it.to_owned())).collect(),
            body: answer[end + 4..].to_vec(),
        }
    }
}

/// A node that gives orders.
pub struct Node {
    orders: mpsc::Sender<v1::Assignments>,
    reports: Streaming<v1::ServingReport>,
    scheduler: String,
    token: String,
}

impl Node {
    pub async fn attach(channel: Channel, scheduler: &str, token: &str) -> Self {
        let (orders, outgoing) = mpsc::channel(8);
        let mut node = Self::introduction(scheduler, token);
        node.has_orders = false;
        orders.send(node).await.unwrap();
        let mut client = ServingControlClient::new(channel);
        let reports = client.attach(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { orders, reports, scheduler: scheduler.to_owned(), token: token.to_owned() }
    }

    fn introduction(scheduler: &str, token: &str) -> v1::Assignments {
        v1::Assignments {
            token: token.to_owned(),
            scheduler: scheduler.to_owned(),
            device: "pi".to_owned(),
            has_orders: true,
            tasks: Vec::new(),
            routes: Vec::new(),
        }
    }

    pub async fn order(&self, tasks: Vec<v1::Assignment>) {
        self.order_routes(tasks, Vec::new()).await;
    }

    pub async fn order_routes(&self, tasks: Vec<v1::Assignment>, routes: Vec<v1::Route>) {
        let orders = Self::introduction(&self.scheduler, &self.token);
        self.orders.send(v1::Assignments { tasks, routes, ..orders }).await.unwrap();
    }

    /// The next report, or how the line ended.
    pub async fn report(&mut self) -> Result<v1::ServingReport, Status> {
        let report = tokio::time::timeout(PATIENCE, self.reports.message()).await;
        report.expect("a worker reports every second")?.ok_or_else(|| Status::ok("ended"))
    }

    /// Reads reports until one is as wished.
    pub async fn until(
        &mut self,
        what: &str,
        wish: impl Fn(&v1::ServingReport) -> bool,
    ) -> v1::ServingReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report().await.unwrap();
            if wish(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "waited too long for {what}: {report:?}");
        }
    }

    /// Orders and waits until it is served.
    pub async fn serve(&mut self, order: v1::Assignment) {
        let (task, revision) = (order.task.clone(), order.revision);
        self.order(vec![order]).await;
        self.until("the revision to serve", |report| {
            report.tasks.iter().any(|it| it.task == task && it.revision == revision)
        })
        .await;
    }
}

pub fn order(generation: u64, revision: u64, digest: &[u8]) -> v1::Assignment {
    v1::Assignment {
        task: "kitchen".to_owned(),
        generation,
        revision,
        digest: digest.to_vec().into(),
        members: vec![0],
        gated: false,
        fallback: String::new(),
        coverage_thousandths: 0,
        abstain_below_thousandths: 0,
        input: String::new(),
    }
}

pub fn sample() -> v1::PredictRequest {
    v1::PredictRequest { task: "kitchen".to_owned(), features: SAMPLE.to_vec(), coverage: None }
}

/// Four classes, and as many members as are asked for that compare a sample with `rows` rows each and
/// seldom agree: they know nothing.
pub fn slow_ensemble(members: usize, rows: usize) -> Ensemble {
    let width = SLOW_WIDTH;
    let shape = Shape { width, classes: 4, rows, ..Shape::SMALL };
    let numbers = &mut Numbers::new(7);
    let mut member = || Weighted {
        weight: 1.0,
        member: Member {
            family: Family::Knn,
            preparation: 0,
            model: Arc::new(synthetic::model(Family::Knn, shape, numbers)),
        },
    };
    let names = |prefix: &str, of: usize| (0..of).map(|at| format!("{prefix}-{at}")).collect();
    Ensemble::new(Parts {
        schema: Schema::new(names("f", width), names("class", 4), None).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: (0..members).map(|_| member()).collect(),
        voting: Voting::default(),
        golden: Vec::new(),
    })
    .unwrap()
}

pub const SLOW_WIDTH: usize = 64;

/// Lays a bundle into the folder of a worker that is not running, and gives its digest: no network is
/// needed for it.
pub fn lay(dir: &Path, ensemble: &Ensemble) -> Vec<u8> {
    let bytes = models::bundle::encode(ensemble);
    let blobs = store::blobs::Blobs::open(dir.join("bundles"), 1 << 30).unwrap();
    blobs.put(&bytes).unwrap().to_vec()
}

/// An order of all members of the bundle of `digest` for `task`.
pub fn order_of(task: &str, members: u32, digest: &[u8]) -> v1::Assignment {
    let members = (0..members).collect();
    v1::Assignment { task: task.to_owned(), members, ..order(1, 1, digest) }
}
