//! A job against a scheduler that does as the contract says, over real connections.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use models::{
    ClassId, Ensemble, Family, Member, Model, Parts, Preparation, Schema, Subset, Voting, Weighted,
    bundle, member::Linear,
};
use prost::bytes::Bytes;
use proto::v1::{
    BeginRequest, BundleChunk, EarlierTraining, FamilyFit, GetBundleRequest, ImportedMember,
    ProgressReply, ProgressRequest, PublishReply, PublishRequest, PutBundleReply, Released,
    SampleChunk, SamplesRequest, TrainingJob,
    bundles_server::{Bundles, BundlesServer},
    publish_reply::Outcome,
    training_server::{Training, TrainingServer},
};
use runtime::{Drain, Exit};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use training_worker::{Config, draw::Draw, run};

const WIDTH: usize = 5;
const CLASSES: usize = 3;

/// What the scheduler says and what it was told.
#[derive(Default)]
struct State {
    job: TrainingJob,
    chunks: Vec<SampleChunk>,
    attempt: u64,
    stop: bool,
    bundles: BTreeMap<Vec<u8>, Vec<u8>>,
    published: Vec<PublishRequest>,
    progress: Vec<ProgressRequest>,
    begun: u32,
    /// Calls that break off before the scheduler answers.
    breaks: u32,
}

#[derive(Clone, Default)]
struct Scheduler(Arc<Mutex<State>>);

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn check(&self, attempt: u64) -> Result<(), Status> {
        let mut state = self.state();
        if 0 < state.breaks {
            state.breaks -= 1;
            return Err(Status::unavailable("not now"));
        }
        if attempt < state.attempt { Err(Status::aborted("replaced")) } else { Ok(()) }
    }

    /// Serves on `listener` until the test ends.
    fn serve(&self, listener: TcpListener) {
        let server = Server::builder()
            .add_service(TrainingServer::new(self.clone()))
            .add_service(BundlesServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime::spawn::named("scheduler", async move { server.await.unwrap() });
    }

    async fn start(self) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.serve(listener);
        (self, address)
    }
}

type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Training for Scheduler {
    type SamplesStream = Chunks<SampleChunk>;

    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<TrainingJob>, Status> {
        self.check(request.get_ref().attempt)?;
        let mut state = self.state();
        state.begun += 1;
        Ok(Response::new(state.job.clone()))
    }

    async fn samples(
        &self,
        request: Request<SamplesRequest>,
    ) -> Result<Response<Self::SamplesStream>, Status> {
        self.check(request.get_ref().attempt)?;
        let chunks: Vec<_> = self.state().chunks.iter().cloned().map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishReply>, Status> {
        self.check(request.get_ref().attempt)?;
        let mut state = self.state();
        state.published.push(request.into_inner());
        let revision = u64::try_from(state.published.len()).unwrap();
        Ok(Response::new(PublishReply { outcome: Some(Outcome::Released(Released { revision })) }))
    }

    async fn progress(
        &self,
        request: Request<ProgressRequest>,
    ) -> Result<Response<ProgressReply>, Status> {
        let mut state = self.state();
        state.progress.push(request.into_inner());
        Ok(Response::new(ProgressReply { stop: state.stop }))
    }
}

#[tonic::async_trait]
impl Bundles for Scheduler {
    type GetBundleStream = Chunks<BundleChunk>;

    async fn put_bundle(
        &self,
        request: Request<Streaming<BundleChunk>>,
    ) -> Result<Response<PutBundleReply>, Status> {
        self.check(u64::MAX)?;
        let mut stream = request.into_inner();
        let (mut digest, mut length, mut data) = (Bytes::new(), 0, Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if digest.is_empty() {
                (digest, length) = (chunk.digest, chunk.length);
            }
            assert!(chunk.data.len() <= proto::CHUNK_BYTES);
            data.extend_from_slice(&chunk.data);
        }
        assert_eq!(u64::try_from(data.len()).unwrap(), length);
        assert_eq!(bundle::digest(&data), digest[..]);
        let existed = self.state().bundles.insert(digest.to_vec(), data).is_some();
        Ok(Response::new(PutBundleReply { existed }))
    }

    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<Self::GetBundleStream>, Status> {
        let digest = request.into_inner().digest;
        let data = self.state().bundles.get(&digest[..]).cloned();
        let data = Bytes::from(data.ok_or_else(|| Status::not_found("no such bundle"))?);
        let length = u64::try_from(data.len()).unwrap();
        // In two pieces, as a large one comes.
        let (head, tail) = (data.slice(..100), data.slice(100..));
        let chunks = [
            Ok(BundleChunk { digest, length, data: head }),
            Ok(BundleChunk { data: tail, ..BundleChunk::default() }),
        ];
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

/// Points of three classes, of twelve people; class 0 is the background.
fn samples(rows: usize) -> SampleChunk {
    let mut draw = Draw::new(5);
    let mut chunk = SampleChunk { width: 5, ..SampleChunk::default() };
    let mut values = Vec::new();
    for row in 0..rows {
        let class = row % CLASSES;
        for column in 0..WIDTH {
            let corner = if column == class { 2.5 } else { 0.0 };
            #[expect(clippy::cast_possible_truncation, reason = "test data")]
            values.push((corner + draw.normal()) as f32);
        }
        chunk.labels.push(u32::try_from(class).unwrap());
        chunk.groups.push(format!("person {}", row * 12 / rows));
    }
    chunk.values = proto::parse::pack(&values);
    chunk
}

fn job(families: &[&str]) -> TrainingJob {
    TrainingJob {
        task: "shapes".to_owned(),
        features: (0..WIDTH).map(|column| format!("x{column}")).collect(),
        classes: ["nothing", "round", "square"].map(str::to_owned).to_vec(),
        background: Some(0),
        families: families.iter().copied().map(str::to_owned).collect(),
        missed_events_max: 0.02,
        lazy: true,
        budget_s: 300,
        seed: 7,
        ..TrainingJob::default()
    }
}

fn scheduler(job: TrainingJob) -> Scheduler {
    let chunks = vec![samples(900)];
    Scheduler(Arc::new(Mutex::new(State { job, chunks, attempt: 1, ..State::default() })))
}

fn config(address: SocketAddr, attempt: u64) -> Config {
    Config {
        scheduler: address.to_string(),
        job: "job-1".to_owned(),
        attempt,
        device: "here".to_owned(),
        threads: 1,
        steps: None,
    }
}

async fn train(address: SocketAddr, attempt: u64) -> Exit {
    run(config(address, attempt), Drain::new()).await.unwrap()
}

/// Trains on a device that keeps steps in `folder`, and says what was published last.
async fn train_keeping(scheduler: &Scheduler, address: SocketAddr, folder: &Path) -> Kept {
    scheduler.state().progress.clear();
    let config = Config { steps: Some(folder.to_owned()), ..config(address, 1) };
    assert_eq!(run(config, Drain::new()).await.unwrap(), Exit::Drained);
    let state = scheduler.state();
    let offer = state.published.last().unwrap();
    let report = offer.report.as_ref().unwrap();
    Kept {
        digest: offer.digest.to_vec(),
        computed: report.steps_computed,
        kept: report.steps_kept,
        told: state.progress.iter().map(|word| word.step.clone()).collect(),
    }
}

/// What became of the steps of a training.
struct Kept {
    digest: Vec<u8>,
    computed: u32,
    kept: u32,
    told: Vec<String>,
}

/// Corrections from `from` on: people say that a far-away point is square.
fn corrections(from: u8, count: u8) -> SampleChunk {
    let mut corrections = SampleChunk { width: 5, corrections: true, ..Default::default() };
    let mut values = Vec::new();
    for key in from..from + count {
        values.extend([-9.0, f32::from(key % 7), -9.0, 9.0, 9.0]);
        corrections.labels.push(2);
        corrections.keys.push(Bytes::copy_from_slice(&[key; 16]));
    }
    corrections.values = proto::parse::pack(&values);
    corrections
}

fn decode(state: &State, digest: &[u8]) -> models::Ensemble {
    bundle::decode(&state.bundles[digest]).unwrap()
}

fn families(ensemble: &models::Ensemble) -> Vec<Family> {
    ensemble.members().iter().map(|weighted| weighted.member.family).collect()
}

#[tokio::test]
async fn a_first_training_publishes_each_time_a_member_stands() {
    let (scheduler, address) = scheduler(job(&["ridge", "knn", "forest"])).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);

    let state = scheduler.state();
    let counts: Vec<usize> =
        state.published.iter().map(|offer| decode(&state, &offer.digest).members().len()).collect();
    assert_eq!(counts, [1, 2, 3]);
    let last: Vec<bool> = state.published.iter().map(|offer| offer.last).collect();
    assert_eq!(last, [false, false, true]);
    assert!(state.published.iter().all(|offer| offer.job == "job-1" && offer.attempt == 1));

    let offer = &state.published[2];
    let report = offer.report.as_ref().unwrap();
    assert_eq!(report.split, "group");
    assert_eq!(
        (report.training_rows, report.validation_rows, report.held_out_rows),
        (750, 750, 150)
    );
    assert_eq!(report.bundle_bytes, u64::try_from(state.bundles[&offer.digest[..]].len()).unwrap());
    assert!(0.9 < report.held_out.as_ref().unwrap().accuracy);
    assert!(report.frontier.iter().all(|subset| subset.members != 0 && subset.work.is_some()));
    assert!(report.members.iter().all(|it| it.weight > 0.0 && it.fit_seconds > 0.0));
    assert!(offer.comparison.is_none());
    assert!(state.progress.iter().any(|word| word.step.starts_with("fitting") && word.total == 3));
}

/// A training of another task in which fits of `slow` took far longer than others.
fn earlier(slow: &str, families: &[&str]) -> EarlierTraining {
    let fit = |family: &&str| FamilyFit {
        family: (*family).to_owned(),
        seconds: if *family == slow { 600.0 } else { 0.1 },
        settings: Vec::new(),
    };
    EarlierTraining {
        own: false,
        training_rows: 900,
        width: 5,
        classes: 3,
        families: families.iter().map(fit).collect(),
    }
}

#[tokio::test]
async fn what_took_long_for_other_tasks_comes_later_and_that_is_told() {
    const ASKED: [&str; 3] = ["forest", "linear-svm", "mlp"];
    for (known, order, why) in [
        (0, ["linear-svm", "forest", "mlp"], "learnt from no task yet"),
        (9, ["linear-svm", "mlp", "forest"], "learnt from 9 other tasks"),
    ] {
        let earlier = vec![earlier("forest", &ASKED); known];
        let (scheduler, address) = scheduler(TrainingJob { earlier, ..job(&ASKED) }).start().await;
        assert_eq!(train(address, 1).await, Exit::Drained);
        let state = scheduler.state();
        let stood = |offer: &PublishRequest| {
            let report = offer.report.as_ref().unwrap();
            report.members.iter().chain(&report.left_out).map(|it| it.family.clone()).collect()
        };
        let stood: Vec<BTreeSet<String>> = state.published.iter().map(stood).collect();
        let in_order =
            (1..=3).map(|count| order[..count].iter().map(ToString::to_string).collect());
        assert_eq!(stood, in_order.collect::<Vec<_>>());
        let told = state.progress.iter().map(|word| word.step.as_str());
        let told: Vec<&str> = told.filter(|step| step.starts_with("order: ")).collect();
        let [told] = told[..] else { panic!("{told:?}") };
        assert!(told.contains(order[0]) && told.ends_with(why), "{told}");
    }
}

#[tokio::test]
async fn what_is_reported_of_held_out_rows_is_what_the_bundle_answers() {
    let (scheduler, address) = scheduler(job(&[])).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    let offer = state.published.last().unwrap();
    let ensemble = decode(&state, &offer.digest);
    assert_eq!(families(&ensemble).len(), Family::ALL.len());

    // The same rows, parted by the same rule, asked of the bundle itself.
    let schema = ensemble.schema().clone();
    let mut table = training_worker::table::Table::new(WIDTH, CLASSES);
    table.take(&samples(900)).unwrap();
    let material = training_worker::material::Material::new(schema, table, 7).unwrap();
    let held_out = &material.held_out;
    let all = Subset::all(ensemble.members().len());
    let given = ensemble.predict(&held_out.samples, all, true).unwrap();
    let confusion = models::Confusion::of(CLASSES, &held_out.truth, &given);
    let report = offer.report.as_ref().unwrap();
    assert_eq!(confusion.counts(), report.held_out.as_ref().unwrap().confusion);
}

#[tokio::test]
async fn a_later_attempt_goes_on_from_what_an_earlier_one_published() {
    let (scheduler, address) = scheduler(job(&["ridge", "linear-svm", "mlp"])).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    let first = {
        let mut state = scheduler.state();
        let first = state.published[0].digest.clone();
        state.job.resume_digest = first.clone();
        state.attempt = 2;
        state.published.clear();
        first
    };
    assert_eq!(train(address, 2).await, Exit::Drained);

    let state = scheduler.state();
    let (before, after) = (decode(&state, &first), decode(&state, &state.published[1].digest));
    assert_eq!(state.published.len(), 2, "only what was missing is fitted");
    assert_eq!(before.members()[0].member.model, after.members()[0].member.model);
    assert_eq!(families(&after).len(), 3);
    assert_eq!(after.preparations().len(), 1, "the same preparation is done once");
}

/// A classifier that was fitted elsewhere, in a bundle of its own: the class is the largest column.
fn own() -> Vec<u8> {
    let TrainingJob { features, classes, .. } = job(&[]);
    let weights = (0..CLASSES * WIDTH).map(|at| if at % WIDTH == at / WIDTH { 1.0 } else { 0.0 });
    let linear = Linear { width: WIDTH, weights: weights.collect(), bias: vec![0.0; CLASSES] };
    let member = Member {
        family: Family::LinearSvm,
        preparation: 0,
        model: Arc::new(Model::Linear(linear)),
    };
    let parts = Parts {
        schema: Schema::new(features, classes, Some(ClassId(0))).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: vec![Weighted { weight: 1.0, member }],
        voting: Voting::default(),
        golden: Vec::new(),
    };
    bundle::encode(&Ensemble::new(parts).unwrap())
}

/// A scheduler whose task has [`own`], which may have been taught by so many samples.
fn with_own(families: &[&str], samples_seen: u64) -> Scheduler {
    let digest = bundle::digest(&own()).to_vec();
    let imported = vec![ImportedMember {
        name: "own".to_owned(),
        digest: digest.clone().into(),
        samples_seen,
        corrections_seen: 0,
    }];
    let scheduler = scheduler(TrainingJob { imported, ..job(families) });
    scheduler.state().bundles.insert(digest, own());
    scheduler
}

/// What the last report says of the imported member: what it counts and how often it was right.
fn said_of_own(state: &State) -> Option<(f32, f64)> {
    let report = state.published.last().unwrap().report.as_ref().unwrap();
    let mut members = report.members.iter().chain(&report.left_out);
    members.find(|it| it.imported == "own").map(|it| (it.weight, it.validation_accuracy))
}

#[tokio::test]
async fn an_imported_member_is_weighed_beside_those_that_are_fitted() {
    let (scheduler, address) = with_own(&["forest"], 0).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    let (weight, accuracy) = said_of_own(&state).unwrap();
    assert!(0.1 < weight && 0.8 < accuracy, "{weight} {accuracy}");
    let lasts: Vec<bool> = state.published.iter().map(|offer| offer.last).collect();
    assert_eq!(lasts, [false, true], "the first of ours is not kept waiting");
    // As it came, to the last bit; who does not help beside it stays at home.
    let ensemble = decode(&state, &state.published[1].digest);
    let last = &ensemble.members().last().unwrap().member;
    let alone = bundle::decode(&own()).unwrap();
    assert_eq!(last.model, alone.members()[0].member.model);
}

#[tokio::test]
async fn a_later_attempt_does_not_take_an_imported_member_for_one_that_it_fitted() {
    let (scheduler, address) = with_own(&["linear-svm", "knn"], 0).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    {
        let mut state = scheduler.state();
        let whole = state.published.last().unwrap().digest.clone();
        state.job.resume_digest = whole;
        state.attempt = 2;
    }
    assert_eq!(train(address, 2).await, Exit::Drained);
    let state = scheduler.state();
    let report = state.published.last().unwrap().report.as_ref().unwrap();
    let mut members: Vec<(&str, &str)> = report
        .members
        .iter()
        .chain(&report.left_out)
        .map(|it| (it.family.as_str(), it.imported.as_str()))
        .collect();
    members.sort_unstable();
    assert_eq!(members, [("knn", ""), ("linear-svm", ""), ("linear-svm", "own")]);
}

#[tokio::test]
async fn an_imported_member_that_knows_the_rows_by_heart_is_left_out_and_that_is_told() {
    let (scheduler, address) = with_own(&["ridge"], 900).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    assert_eq!(said_of_own(&state), None);
    assert!(state.progress.iter().any(|it| it.step.starts_with("left out \"own\"")));
    let report = state.published.last().unwrap().report.as_ref().unwrap();
    assert_eq!(report.held_out_rows, 150, "nothing is set aside for somebody who stays out");
}

#[tokio::test]
async fn nothing_missing_is_published_as_it_stands() {
    let (scheduler, address) = scheduler(job(&["ridge"])).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    {
        let mut state = scheduler.state();
        state.job.resume_digest = state.published[0].digest.clone();
    }
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    assert_eq!(state.published.len(), 2);
    assert_eq!(state.published[0].digest, state.published[1].digest);
    assert!(state.published[1].last);
}

#[tokio::test]
async fn a_search_tells_its_trials_and_a_later_attempt_does_not_make_them_again() {
    let brief = TrainingJob { trials_max: 14, ..job(&["ridge", "knn"]) };
    let (scheduler, address) = scheduler(brief).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    let trials = |state: &State| -> Vec<proto::v1::Trial> {
        state.progress.iter().flat_map(|word| word.trials.clone()).collect()
    };
    let (all, last) = {
        let mut state = scheduler.state();
        let all = trials(&state);
        let last = state.published.last().unwrap().clone();
        // The attempt was lost after six of them.
        state.job.trials = all[..6].to_vec();
        (state.attempt, state.progress) = (2, Vec::new());
        (all, last)
    };
    assert!(last.last);
    let numbers: Vec<u32> = all.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (0..14).collect::<Vec<u32>>());
    assert!(all.iter().all(|trial| 0 < trial.asked && trial.right <= trial.asked));
    let settings = &last.report.as_ref().unwrap().members[0].settings;
    assert!(settings.iter().any(|setting| setting.name == "alpha" || setting.name == "k"));

    assert_eq!(train(address, 2).await, Exit::Drained);
    let state = scheduler.state();
    let untimed = |trials: &[proto::v1::Trial]| -> Vec<proto::v1::Trial> {
        trials.iter().map(|it| proto::v1::Trial { seconds: 0.0, ..it.clone() }).collect()
    };
    assert_eq!(untimed(&trials(&state)), untimed(&all[6..]));
    assert_eq!(state.published.last().unwrap().digest, last.digest);
}

#[tokio::test]
async fn a_retraining_starts_from_the_settings_that_are_served() {
    let (scheduler, address) = scheduler(job(&["knn"])).start().await;
    let setting = |name: &str, value| proto::v1::Setting { name: name.to_owned(), value };
    let served = proto::v1::Settings {
        family: "knn".to_owned(),
        settings: vec![setting("k", 9.0), setting("components", 64.0)],
    };
    scheduler.state().job.baseline_settings = vec![served.clone()];
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    let report = state.published[0].report.clone().unwrap();
    // Which columns neighbours are near in, the rows say anew.
    assert_eq!(report.members[0].settings[..2], served.settings);
    assert_eq!(report.members[0].settings[2].name, "discriminants");
    let ensemble = decode(&state, &state.published[0].digest);
    let models::Model::Knn(knn) = &*ensemble.members()[0].member.model else {
        panic!("knn was asked for")
    };
    assert_eq!(knn.k, 9);
}

#[tokio::test]
async fn a_retraining_publishes_one_candidate_compared_with_what_is_served() {
    let (scheduler, address) = scheduler(job(&["ridge", "forest"])).start().await;
    assert_eq!(train(address, 1).await, Exit::Drained);
    {
        let mut state = scheduler.state();
        state.job.baseline_digest = state.published.last().unwrap().digest.clone();
        state.job.baseline_members = vec![0];
        state.published.clear();
        state.chunks.push(corrections(0, 40));
    }
    assert_eq!(train(address, 1).await, Exit::Drained);

    let state = scheduler.state();
    let [offer] = &state.published[..] else { panic!("{} offers", state.published.len()) };
    assert!(offer.last);
    let counts = offer.comparison.as_ref().unwrap();
    assert_eq!(counts.corrections, 40);
    assert_eq!(counts.corrections_candidate_right, 40, "what was corrected is learned");
    let report = offer.report.as_ref().unwrap();
    let kept_back = counts.rows - report.held_out_rows;
    assert!((1..20).contains(&kept_back), "{kept_back} corrections only measure");
    assert_eq!(report.training_rows, 750 + 3 * (40 - kept_back));
    assert_eq!(counts.only_candidate_right, counts.class_only_candidate_right.iter().sum::<u64>());
    let alike = counts.both_right + counts.only_candidate_right + counts.only_baseline_right;
    assert!(alike <= counts.rows);
}

#[tokio::test]
async fn a_job_waits_for_a_scheduler_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let scheduler = scheduler(job(&["ridge"]));
    // Also: the first calls that it answers break off.
    scheduler.state().breaks = 3;
    let running = runtime::spawn::named("job", train(address, 1));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!running.is_finished());
    scheduler.serve(TcpListener::bind(address).await.unwrap());
    assert_eq!(running.await.unwrap(), Exit::Drained);
    assert_eq!(scheduler.state().published.len(), 1);
}

#[tokio::test]
async fn who_is_told_to_stop_publishes_no_more() {
    let (scheduler, address) = scheduler(job(&[])).start().await;
    scheduler.state().stop = true;
    assert_eq!(train(address, 1).await, Exit::Drained);
    assert!(scheduler.state().published.iter().all(|offer| !offer.last));
}

#[tokio::test]
async fn a_replaced_attempt_ends_quietly() {
    let (scheduler, address) = scheduler(job(&["ridge"])).start().await;
    scheduler.state().attempt = 5;
    assert_eq!(train(address, 4).await, Exit::Drained);
    let state = scheduler.state();
    assert_eq!((state.begun, state.published.len(), state.progress.len()), (0, 0, 0));
}

#[tokio::test]
async fn a_drain_ends_the_wait_for_a_scheduler() {
    let drain = Drain::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let running = runtime::spawn::named("job", run(config(address, 1), drain.clone()));
    drain.ask();
    let exit = tokio::time::timeout(Duration::from_secs(20), running).await.unwrap();
    assert_eq!(exit.unwrap().unwrap(), Exit::Drained);
}

#[tokio::test]
async fn what_cannot_be_trained_is_reported_as_a_fault() {
    let fault = async |job: TrainingJob, chunk: SampleChunk| {
        let (scheduler, address) = scheduler(job).start().await;
        scheduler.state().chunks = vec![chunk];
        assert_eq!(train(address, 1).await, Exit::GaveUp);
        let state = scheduler.state();
        assert!(state.published.is_empty());
        state.progress.last().unwrap().fault.clone()
    };
    let mut wrong = samples(9);
    wrong.labels[8] = 3;
    for (said, job, chunk) in [
        ("class 3, but the task has 3 classes", job(&[]), wrong),
        ("0 of the 3 classes have 3 rows", job(&[]), samples(6)),
        ("the family \"oracle\", which does not exist", job(&["oracle"]), samples(9)),
        (
            "samples of 5 values in a task with 4",
            TrainingJob { features: ["a", "b", "c", "d"].map(str::to_owned).to_vec(), ..job(&[]) },
            samples(9),
        ),
    ] {
        let fault = fault(job, chunk).await;
        assert!(fault.contains(said), "{fault:?} should say {said:?}");
    }
}

#[tokio::test]
async fn a_spent_budget_ends_with_what_stands() {
    let (scheduler, address) = scheduler(TrainingJob { budget_s: 1, ..job(&[]) }).start().await;
    // So many rows that all families take longer than a second.
    scheduler.state().chunks = vec![samples(20_000)];
    assert_eq!(train(address, 1).await, Exit::Drained);
    let state = scheduler.state();
    let last = state.published.last().unwrap();
    assert!(last.last);
    let members = decode(&state, &last.digest).members().len();
    assert!((1..Family::ALL.len()).contains(&members), "{members} members");
}

/// The families of the stories about steps: with a gate, and with two that are fitted on other columns, too.
const STEPPED: [&str; 4] = ["ridge", "knn", "forest", "rbf-svm"];

#[tokio::test]
async fn a_job_with_kept_steps_or_half_of_them_publishes_the_same_as_one_without() {
    let brief = TrainingJob { trials_max: 7, ..job(&STEPPED) };
    let (scheduler, address) = scheduler(brief).start().await;
    scheduler.state().chunks.push(corrections(0, 10));
    assert_eq!(train(address, 1).await, Exit::Drained);
    let without: Vec<Vec<u8>> = {
        let mut state = scheduler.state();
        std::mem::take(&mut state.published).into_iter().map(|it| it.digest.to_vec()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let digests = |scheduler: &Scheduler| -> Vec<Vec<u8>> {
        let mut state = scheduler.state();
        std::mem::take(&mut state.published).into_iter().map(|it| it.digest.to_vec()).collect()
    };
    let first = train_keeping(&scheduler, address, folder.path()).await;
    assert_eq!(digests(&scheduler), without);
    let files = files(folder.path());
    assert!(files.len() <= usize::try_from(first.computed).unwrap() && 20 < files.len());

    // All of them: nothing is computed.
    let all = train_keeping(&scheduler, address, folder.path()).await;
    assert_eq!(digests(&scheduler), without);
    assert_eq!((all.computed, all.kept), (0, first.computed + first.kept));
    let told = format!("; {} of {} steps were kept", all.kept, all.kept);
    assert!(all.told.iter().any(|it| it.ends_with(&told)), "{:?}", all.told);

    // Of every third one bit is wrong, of every third the end is missing.
    for (at, file) in files.iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        match at % 3 {
            0 => *bytes.last_mut().unwrap() ^= 1,
            1 => bytes.truncate(bytes.len() / 2),
            _ => continue,
        }
        fs::write(file, bytes).unwrap();
    }
    let half = train_keeping(&scheduler, address, folder.path()).await;
    assert_eq!(digests(&scheduler), without);
    assert!(0 < half.computed && 0 < half.kept && half.computed + half.kept == all.kept);
    let again = train_keeping(&scheduler, address, folder.path()).await;
    assert_eq!(again.computed, 0, "what was damaged has been mended");
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[tokio::test]
async fn after_ten_corrections_only_what_serves_is_fitted_again() {
    let (scheduler, address) = scheduler(job(&STEPPED)).start().await;
    let folder = tempfile::tempdir().unwrap();
    let first = train_keeping(&scheduler, address, folder.path()).await;
    {
        let mut state = scheduler.state();
        let last = state.published.last().unwrap().clone();
        let report = last.report.unwrap();
        let served = report.members.iter().map(|it| proto::v1::Settings {
            family: it.family.clone(),
            settings: it.settings.clone(),
        });
        state.job.baseline_settings = served.collect();
        state.job.baseline_digest = last.digest;
        state.chunks.push(corrections(0, 10));
    }
    let second = train_keeping(&scheduler, address, folder.path()).await;
    assert_ne!(first.digest, second.digest, "what was said is learnt");
    // Four members and the gates of three families; all votes across the folds were there, but for the
    // brief word of the first member where it begins with other settings now.
    assert!((4..=8).contains(&second.computed), "{} computed", second.computed);
    assert!(4 * second.computed < second.kept, "{} kept", second.kept);
    let state = scheduler.state();
    let counts = state.published.last().unwrap().comparison.clone().unwrap();
    // Those that are kept back to measure teach nobody.
    assert_eq!(counts.corrections, 10);
    assert!(8 <= counts.corrections_candidate_right, "{counts:?}");
}

#[tokio::test]
async fn another_policy_and_one_family_more_compute_nothing_of_what_was_there() {
    let (scheduler, address) = scheduler(job(&["ridge", "knn"])).start().await;
    let folder = tempfile::tempdir().unwrap();
    let _first = train_keeping(&scheduler, address, folder.path()).await;
    scheduler.state().job.missed_events_max = 0.2;
    scheduler.state().job.coverage_thousandths = 800;
    let other = train_keeping(&scheduler, address, folder.path()).await;
    // A looser ceiling may let one more gate stand, which is fitted once to serve.
    assert!(other.computed <= 3, "{} computed", other.computed);
    scheduler.state().job.families.push("forest".to_owned());
    let more = train_keeping(&scheduler, address, folder.path()).await;
    assert!((2..=6).contains(&more.computed), "a forest for each fold and one: {}", more.computed);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_no_reason_to_fail() {
    let (scheduler, address) = scheduler(job(&["ridge", "forest"])).start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("steps");
    fs::write(&file, "no folder").unwrap();
    let kept = train_keeping(&scheduler, address, &file).await;
    assert_eq!(kept.kept, 0);
    assert!(0 < kept.computed);
    assert_eq!(fs::read(&file).unwrap(), b"no folder");
}
