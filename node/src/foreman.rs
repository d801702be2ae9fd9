//! The foreman: the one actor that owns what this device was told to do and what it is seen to do.
//!
//! Orders, reports and the ends of children reach it as messages, one at a time; after each it does
//! what the difference asks for. The serving worker reads what it should serve from a snapshot, so
//! that orders are never late because a measurement is slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use kameo::{
    actor::{Actor, ActorRef},
    error::Infallible,
    message::{Context, Message},
};
use models::Speed;
use proto::v1;
use runtime::Drain;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    Config, folder,
    jobs::{Command, Run, State, commands},
    measure::Meter,
    orders::{Intended, Orders, Standing, standing},
    share::Share,
    training::Training,
};

/// Obey these orders, unless newer ones are obeyed.
pub(crate) struct Obey(pub(crate) Orders);

/// This is what the serving worker serves.
pub(crate) struct Served(pub(crate) v1::ServingReport);

/// The serving worker answers, at this address.
pub(crate) struct ServingUp {
    pub(crate) pid: u32,
    pub(crate) grpc: std::net::SocketAddr,
}

/// The serving worker is gone; another will be started.
pub(crate) struct ServingDown {
    pub(crate) why: String,
}

/// The process of a run has ended.
struct Ended {
    run: Run,
    end: Result<(), String>,
}

/// Orders could not be read: say so in the reports.
pub(crate) struct Misread(pub(crate) String);

/// Report what this device has, does and cannot do.
pub(crate) struct Observe;

/// The answer to [`Observe`].
#[derive(kameo::Reply)]
pub(crate) struct Observation(pub(crate) v1::NodeReport);

/// Start no more runs, and stop those that live.
pub(crate) struct StopRuns;

/// What the other parts of the node read and are told.
pub(crate) struct Lines {
    /// What the serving worker should serve.
    pub(crate) intent: watch::Sender<Option<Intended>>,
    /// Whose round trip should be measured.
    pub(crate) peers: watch::Sender<BTreeMap<String, String>>,
    /// What the round trips were.
    pub(crate) rtt: watch::Receiver<Vec<v1::RttObservation>>,
    /// How many runs live.
    pub(crate) living: watch::Sender<usize>,
    /// Rung when a report should not wait for its time.
    pub(crate) news: Arc<Notify>,
}

/// What a foreman begins with.
pub(crate) struct Beginning {
    pub(crate) config: Arc<Config>,
    /// Of this start of the node.
    pub(crate) boot: u64,
    pub(crate) meter: Meter,
    pub(crate) speed: Speed,
    /// How the share is held, and why not.
    pub(crate) share_by: &'static str,
    pub(crate) notes: Vec<(&'static str, String)>,
    /// The last orders of an earlier start.
    pub(crate) orders: Option<Orders>,
    pub(crate) lines: Lines,
}

impl Beginning {
    /// What is to be said about how the share is held.
    pub(crate) fn share(share: &Share) -> (&'static str, Vec<(&'static str, String)>) {
        (share.by(), share.note().map(|note| ("share", note.to_owned())).into_iter().collect())
    }
}

/// A run that lives.
struct Living {
    pid: u32,
    stop: Drain,
}

/// The foreman.
pub(crate) struct Foreman {
    config: Arc<Config>,
    boot: u64,
    meter: Meter,
    speed: Speed,
    share_by: &'static str,
    /// What is not done although it was asked, by what it is about.
    notes: BTreeMap<&'static str, String>,
    orders: Option<Orders>,
    runs: BTreeMap<Run, State>,
    living: BTreeMap<Run, Living>,
    serving: v1::ServingReport,
    worker: Option<ServingUp>,
    stopping: bool,
    lines: Lines,
}

impl Actor for Foreman {
    type Args = Beginning;
    type Error = Infallible;

    async fn on_start(beginning: Beginning, _: ActorRef<Self>) -> Result<Self, Infallible> {
        let Beginning { config, boot, meter, speed, share_by, notes, orders, lines } = beginning;
        // A run never outlives its node: what the last orders had running has ended with it. Which
        // attempt comes next is the scheduler's decision. The text says which attempt it was, so
        // that bad luck twice is not taken for the same fault twice.
        let lost = |(job, train): (&String, &crate::orders::Train)| {
            let run = Run { job: job.clone(), attempt: train.attempt };
            (run, State::Failed(format!("the node was restarted during attempt {}", train.attempt)))
        };
        let runs = orders.iter().flat_map(|orders| orders.jobs.iter().map(lost)).collect();
        if let Some(orders) = &orders {
            tracing::info!(generation = orders.generation, "goes on with its last orders");
            lines.intent.send_replace(Some(orders.intended()));
            lines.peers.send_replace(orders.peers.clone());
        }
        Ok(Self {
            config,
            boot,
            meter,
            speed,
            share_by,
            notes: notes.into_iter().collect(),
            orders,
            runs,
            living: BTreeMap::new(),
            serving: v1::ServingReport::default(),
            worker: None,
            stopping: false,
            lines,
        })
    }
}

/// Where the last orders are kept.
pub(crate) fn orders_path(config: &Config) -> PathBuf {
    config.data_dir.join("orders.json")
}

impl Foreman {
    /// Puts the orders on disk, so that this device does the same after a power cut.
    async fn keep(&mut self, orders: &Orders) {
        let (path, kept) = (orders_path(&self.config), orders.clone());
        let written = tokio::task::spawn_blocking(move || folder::write_json(&path, &kept)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {
                self.notes.remove("orders");
            }
            Err(error) => {
                tracing::error!(%error, "orders not kept");
                let note = format!("the orders are obeyed but not on disk: {error}");
                self.notes.insert("orders", note);
            }
        }
    }

    /// Does what the difference between the orders and the runs asks for.
    fn pursue(&mut self, me: &ActorRef<Self>) {
        let none = BTreeMap::new();
        let wanted = match &self.orders {
            Some(orders) if !self.stopping => &orders.jobs,
            Some(_) | None => &none,
        };
        for command in commands(wanted, &self.runs) {
            match command {
                Command::Stop(run) => {
                    tracing::info!(job = run.job, attempt = run.attempt, "training stopped");
                    if let Some(living) = self.living.get(&run) {
                        living.stop.ask();
                    }
                    self.runs.insert(run, State::Stopping);
                }
                Command::Forget(run) => {
                    self.runs.remove(&run);
                }
                Command::Start(run) => {
                    let state = self.start(&run, me);
                    self.runs.insert(run, state);
                }
            }
        }
        self.lines.living.send_replace(self.living.len());
    }

    fn start(&mut self, run: &Run, me: &ActorRef<Self>) -> State {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and the cores of a machine"
        )]
        let threads = self.meter.cpu_cores().floor().clamp(1.0, 1_024.0) as u32;
        match Training::start(&self.config, threads, run) {
            Ok(training) => {
                let pid = training.pid();
                tracing::info!(
                    job = run.job,
                    attempt = run.attempt,
                    pid,
                    threads,
                    "training started"
                );
                let stop = Drain::new();
                self.living.insert(run.clone(), Living { pid, stop: stop.clone() });
                let (run, me) = (run.clone(), me.clone());
                runtime::spawn::named("training", async move {
                    let end = training.end(stop).await;
                    if me.tell(Ended { run, end }).await.is_err() {
                        tracing::debug!("a training ended after its node");
                    }
                });
                State::Running
            }
            Err(error) => {
                let fault = runtime::Report(&error).to_string();
                tracing::error!(job = run.job, error = fault, "training not started");
                State::Failed(fault)
            }
        }
    }
}

impl Message<Obey> for Foreman {
    type Reply = ();

    async fn handle(&mut self, Obey(orders): Obey, context: &mut Context<Self, ()>) {
        self.notes.remove("misread");
        match standing(self.orders.as_ref().map(|orders| orders.generation), orders.generation) {
            Standing::Older => {
                tracing::warn!(generation = orders.generation, "older orders are not obeyed");
                return;
            }
            Standing::Same => {
                // The same work; who answers where may have changed since.
                self.lines.peers.send_if_modified(|peers| {
                    let changed = *peers != orders.peers;
                    peers.clone_from(&orders.peers);
                    changed
                });
                return;
            }
            Standing::Newer => {}
        }
        self.keep(&orders).await;
        tracing::info!(
            generation = orders.generation,
            tasks = orders.serving.len(),
            jobs = orders.jobs.len(),
            "orders obeyed"
        );
        self.lines.intent.send_replace(Some(orders.intended()));
        self.lines.peers.send_replace(orders.peers.clone());
        self.orders = Some(orders);
        self.pursue(context.actor_ref());
        self.lines.news.notify_one();
    }
}

impl Message<Misread> for Foreman {
    type Reply = ();

    async fn handle(&mut self, Misread(why): Misread, _: &mut Context<Self, ()>) {
        self.notes.insert("misread", format!("the last orders make no sense: {why}"));
    }
}

impl Message<Ended> for Foreman {
    type Reply = ();

    async fn handle(&mut self, Ended { run, end }: Ended, context: &mut Context<Self, ()>) {
        self.living.remove(&run);
        let state = match end {
            Ok(()) => State::Done,
            Err(fault) => State::Failed(fault),
        };
        tracing::info!(job = run.job, attempt = run.attempt, ?state, "training ended");
        self.runs.insert(run, state);
        self.pursue(context.actor_ref());
        self.lines.news.notify_one();
    }
}

impl Message<Served> for Foreman {
    type Reply = ();

    async fn handle(&mut self, Served(report): Served, _: &mut Context<Self, ()>) {
        let standing = |report: &v1::ServingReport| -> BTreeSet<(String, u64, u64, String)> {
            let of = |task: &v1::ServedTask| {
                (task.task.clone(), task.generation, task.revision, task.fault.clone())
            };
            report.tasks.iter().map(of).collect()
        };
        let news = standing(&self.serving) != standing(&report);
        self.serving = report;
        if news {
            self.lines.news.notify_one();
        }
    }
}

impl Message<ServingUp> for Foreman {
    type Reply = ();

    async fn handle(&mut self, up: ServingUp, _: &mut Context<Self, ()>) {
        self.worker = Some(up);
        self.notes.remove("serving");
        self.lines.news.notify_one();
    }
}

impl Message<ServingDown> for Foreman {
    type Reply = ();

    async fn handle(&mut self, ServingDown { why }: ServingDown, _: &mut Context<Self, ()>) {
        // Its address stays: the next one answers there.
        if let Some(worker) = &mut self.worker {
            worker.pid = 0;
        }
        self.serving = v1::ServingReport::default();
        self.notes.insert("serving", format!("the serving worker is started again: {why}"));
        self.lines.news.notify_one();
    }
}

impl Message<StopRuns> for Foreman {
    type Reply = ();

    async fn handle(&mut self, _: StopRuns, context: &mut Context<Self, ()>) {
        self.stopping = true;
        self.pursue(context.actor_ref());
    }
}

impl Message<Observe> for Foreman {
    type Reply = Observation;

    async fn handle(&mut self, _: Observe, _: &mut Context<Self, Observation>) -> Observation {
        let mut ours = vec![std::process::id()];
        ours.extend(self.worker.as_ref().map(|worker| worker.pid).filter(|&pid| pid != 0));
        ours.extend(self.living.values().map(|living| living.pid));
        let reading = self.meter.read(&ours, Instant::now());
        let jobs = self.runs.iter().map(|(run, state)| {
            let (state, fault) = match state {
                State::Running | State::Stopping => (v1::JobState::Running, String::new()),
                State::Done => (v1::JobState::Done, String::new()),
                State::Failed(fault) => (v1::JobState::Failed, fault.clone()),
            };
            v1::JobObservation {
                job: run.job.clone(),
                attempt: run.attempt,
                state: state.into(),
                fault,
            }
        });
        Observation(v1::NodeReport {
            device: self.config.device.clone(),
            boot: self.boot,
            site: self.config.site.clone(),
            serving_address: self.address(),
            arch: std::env::consts::ARCH.to_owned(),
            capacity: Some(v1::Capacity {
                cpu_cores: self.meter.cpu_cores(),
                cpu_used: reading.cpu_used,
                memory_bytes: reading.memory_bytes,
                memory_free_bytes: reading.memory_free_bytes,
                cpu_share: self.meter.cpu_share(),
                cpu_share_by: self.share_by.to_owned(),
            }),
            speed: Some(self.speed.into()),
            serving: self.serving.tasks.clone(),
            jobs: jobs.collect(),
            outbox_waiting: self.serving.outbox_waiting,
            rtt: self.lines.rtt.borrow().clone(),
            notes: self.notes.values().cloned().collect(),
            generation: self.orders.as_ref().map_or(0, |orders| orders.generation),
        })
    }
}

impl Foreman {
    /// Where apps reach this device; empty until its worker has answered.
    fn address(&self) -> String {
        match (&self.worker, &self.config.advertise) {
            (None, _) => String::new(),
            (Some(_), Some(advertise)) => advertise.clone(),
            // Others reach a worker that listens everywhere by the name of its machine.
            (Some(worker), None) if worker.grpc.ip().is_unspecified() => {
                let host =
                    sysinfo::System::host_name().unwrap_or_else(|_| self.config.device.clone());
                format!("{host}:{}", worker.grpc.port())
            }
            (Some(worker), None) => worker.grpc.to_string(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{fs, path::Path, time::Duration};

    use kameo::actor::Spawn as _;

    use super::*;
    use crate::{measure::Declared, orders::Train, training::tests::config};

    /// A foreman and the far ends of its lines.
    pub(crate) struct Begun {
        pub(crate) foreman: ActorRef<Foreman>,
        pub(crate) intent: watch::Receiver<Option<Intended>>,
        pub(crate) living: watch::Receiver<usize>,
        pub(crate) news: Arc<Notify>,
    }

    /// A foreman in `folder` whose trainings last until they are stopped.
    pub(crate) fn begin(folder: &Path, orders: Option<Orders>) -> Begun {
        let script = "case $3 in *bad*) echo it is bad >&2; exit 1;; *quick*) exit 0;; esac\n\
                      exec cat >/dev/null";
        let (intent, intent_seen) = watch::channel(None);
        let (peers, _) = watch::channel(BTreeMap::new());
        let (_, rtt) = watch::channel(Vec::new());
        let (living, living_seen) = watch::channel(0);
        let news = Arc::new(Notify::new());
        let declared = Declared { cpu_cores: Some(1.5), memory_bytes: None };
        let foreman = Foreman::spawn_with_mailbox(
            Beginning {
                config: Arc::new(config(folder, script)),
                boot: 1,
                meter: Meter::new(declared, 2.0).unwrap(),
                speed: Speed {
                    madd_ns: 1.0,
                    byte_ns: 1.0,
                    node_ns: 1.0,
                    exp_ns: 1.0,
                    call_ns: 1.0,
                },
                share_by: "none",
                notes: Vec::new(),
                orders,
                lines: Lines { intent, peers, rtt, living, news: news.clone() },
            },
            kameo::mailbox::bounded(16),
        );
        Begun { foreman, intent: intent_seen, living: living_seen, news }
    }

    fn orders(generation: u64, jobs: &[(&str, u64)]) -> Orders {
        let train = |&(job, attempt): &(&str, u64)| {
            (job.to_owned(), Train { attempt, task: "t".to_owned() })
        };
        Orders {
            generation,
            serving: BTreeMap::new(),
            jobs: jobs.iter().map(train).collect(),
            peers: BTreeMap::new(),
            routes: Vec::new(),
            heartbeat_ms: 1_000,
            lease_ms: 5_000,
        }
    }

    /// The jobs in the report once it is as it should be.
    async fn until(begun: &Begun, should: &[(&str, u64, v1::JobState)]) -> v1::NodeReport {
        let as_it_should = async {
            loop {
                let Observation(report) = begun.foreman.ask(Observe).await.unwrap();
                let is: Vec<_> = report
                    .jobs
                    .iter()
                    .map(|job| (job.job.as_str(), job.attempt, job.state()))
                    .collect();
                if is == should {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), as_it_should).await.unwrap()
    }

    #[tokio::test]
    async fn what_runs_follows_the_newest_orders_and_no_older_ones() {
        use v1::JobState::{Done, Failed, Running};
        let folder = tempfile::tempdir().unwrap();
        let begun = begin(folder.path(), None);
        begun.foreman.ask(Obey(orders(5, &[("bad", 1), ("long", 1), ("quick", 1)]))).await.unwrap();
        assert_eq!(*begun.intent.borrow(), Some(Intended::default()));
        let report =
            until(&begun, &[("bad", 1, Failed), ("long", 1, Running), ("quick", 1, Done)]).await;
        assert!(report.jobs[0].fault.contains("it is bad"), "{}", report.jobs[0].fault);
        assert_eq!(report.generation, 5);

        begun.foreman.ask(Obey(orders(4, &[]))).await.unwrap();
        until(&begun, &[("bad", 1, Failed), ("long", 1, Running), ("quick", 1, Done)]).await;

        // A failed run is forgotten with its order; its next attempt is another run.
        begun.foreman.ask(Obey(orders(6, &[("bad", 2), ("long", 2)]))).await.unwrap();
        until(&begun, &[("bad", 2, Failed), ("long", 2, Running)]).await;

        begun.foreman.ask(StopRuns).await.unwrap();
        let mut living = begun.living.clone();
        let ended = living.wait_for(|&living| living == 0);
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn orders_are_on_disk_before_they_are_obeyed_and_outlive_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let begun = begin(folder.path(), None);
        let mut ordered = orders(7, &[("long", 3)]);
        let serve = crate::orders::Serve {
            generation: 2,
            revision: 9,
            digest: [1; 32],
            members: vec![0, 2],
            gated: true,
            fallback: String::new(),
            coverage_thousandths: 0,
            abstain_below_thousandths: 0,
            input: "{}".to_owned(),
        };
        ordered.serving.insert("t".to_owned(), serve);
        begun.foreman.ask(Obey(ordered.clone())).await.unwrap();
        begun.foreman.kill();
        begun.foreman.wait_for_shutdown().await;
        let kept: Option<Orders> = folder::read_json(&folder.path().join("orders.json")).unwrap();
        assert_eq!(kept.as_ref(), Some(&ordered));

        let begun = begin(folder.path(), kept);
        let lost = [("long", 3, v1::JobState::Failed)];
        let report = until(&begun, &lost).await;
        assert_eq!(report.jobs[0].fault, "the node was restarted during attempt 3");
        let serving = begun.intent.borrow().clone().unwrap();
        assert_eq!(serving, ordered.intended(), "served without a scheduler");
        // The same orders again start nothing: the next attempt is the scheduler's to decide.
        begun.foreman.ask(Obey(ordered)).await.unwrap();
        until(&begun, &lost).await;
    }

    #[tokio::test]
    async fn a_disk_that_takes_no_orders_is_reported_and_they_are_obeyed_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let begun = begin(folder.path(), None);
        // A folder where the file should be.
        fs::create_dir(folder.path().join("orders.json")).unwrap();
        begun.foreman.ask(Obey(orders(1, &[("quick", 1)]))).await.unwrap();
        let report = until(&begun, &[("quick", 1, v1::JobState::Done)]).await;
        assert!(report.notes[0].contains("not on disk"), "{:?}", report.notes);
    }

    #[tokio::test]
    async fn the_address_stays_while_a_worker_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let begun = begin(folder.path(), None);
        assert_eq!(until(&begun, &[]).await.serving_address, "");
        let grpc = "127.0.0.1:8001".parse().unwrap();
        begun.foreman.tell(ServingUp { pid: 1, grpc }).await.unwrap();
        assert_eq!(until(&begun, &[]).await.serving_address, "127.0.0.1:8001");
        tokio::time::timeout(Duration::from_secs(5), begun.news.notified()).await.unwrap();
        begun.foreman.tell(ServingDown { why: "it ended".to_owned() }).await.unwrap();
        let report = until(&begun, &[]).await;
        assert_eq!(report.serving_address, "127.0.0.1:8001");
        assert!(report.notes[0].contains("it ended"), "{:?}", report.notes);
        assert_eq!(report.capacity.unwrap().cpu_share, 0.75);
    }
}
