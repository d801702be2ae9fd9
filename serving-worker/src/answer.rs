//! From a request to its answers: the hot path. It reads the snapshot and takes no lock and no
//! mailbox hop but those that are said here.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use models::{Answer, Coverage, Features, Level, Scratch, ShapeError, Stage};
use proto::v1::{self, serving_client::ServingClient};
use store::ring::Ring;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::transport::Channel;
use traces::{Traced, Tracer};

use crate::{
    admission::{self, Crowd, IN_FLIGHT_MAX, Shed},
    deadline,
    error::PredictError,
    floor::{Floor, Turn},
    identity::Ids,
    meter::{Inside, Meter},
    pace::{Pace, Where, place},
    receipt::Entry,
    relay::{Escort, Relay},
    reply::{fallback, reply, rows_max},
    served::{Served, ServedSet, Snapshot},
    traced::{Account, ROWS_MAX, Row, Watch},
    urgency::Urgency,
};

type Peer = ServingClient<Channel>;

thread_local! {
    /// Buffers of this thread, so that answering allocates nothing but the answer.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Answers samples by what is served now.
#[derive(Debug)]
pub(crate) struct Desk {
    snapshot: Snapshot,
    receipts: Arc<Ring>,
    ids: Ids,
    in_flight: Arc<Semaphore>,
    cores: u32,
    floor: Arc<Floor>,
    /// Whom to ask for what is not served here.
    pub(crate) relay: Relay,
    /// How long a request of any task takes.
    pace: Pace,
    /// Answers whose receipt was not kept.
    pub(crate) unkept: AtomicU64,
    /// Requests that were refused because too many were in flight, over all tasks.
    pub(crate) busy: AtomicU64,
    /// Where traces are sent, if anywhere.
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// A part of what may be in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
}

/// On which terms something is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When the request was read.
    pub(crate) since: Instant,
    /// When its caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    pub(crate) urgency: Urgency,
    /// Whether it has been held back until there was room for it: then it is not refused, and what came
    /// by itself goes first.
    pub(crate) held_back: bool,
    /// Where it stands in its trace.
    pub(crate) trace: Option<Traced>,
}

impl Terms {
    /// When the work must have ended, so that the answer is in time.
    fn work_until(&self) -> Option<Instant> {
        self.deadline.map(|deadline| deadline::work_until(deadline, self.since))
    }

    /// The usual ones.
    pub(crate) fn new(since: Instant, deadline: Option<Instant>) -> Self {
        Self { since, deadline, urgency: Urgency::default(), held_back: false, trace: None }
    }

    /// Those of a sample of a stream: nobody waits for this one, many wait for the whole.
    pub(crate) fn of_stream(since: Instant) -> Self {
        Self { since, deadline: None, urgency: Urgency::Low, held_back: true, trace: None }
    }
}

/// Many samples of one task, as they came.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) task: String,
    /// The revision, where only one will do; else empty.
    pub(crate) version: String,
    pub(crate) width: usize,
    /// Row-major.
    pub(crate) values: Vec<f32>,
    pub(crate) set: SetAsked,
    pub(crate) terms: Terms,
}

/// The set of classes that a caller wants beside the class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SetAsked {
    /// How often it must hold the true class; absent: as the policy says.
    pub(crate) coverage: Option<f64>,
    /// Whether there must be one, also where the policy says nothing.
    pub(crate) needed: bool,
}

/// The answers to a batch, all by the same revision.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) task: String,
    pub(crate) revision: u64,
    /// How many classes the task has.
    pub(crate) classes: usize,
    pub(crate) answers: Vec<v1::PredictReply>,
}

/// The samples of one request, whole and finite, and what will answer all of them.
struct Request {
    served: Arc<Served>,
    samples: Features,
    since: Instant,
    /// When the work must have ended, so that the answer is in time.
    stop: Option<Instant>,
    urgency: Urgency,
    /// The set beside each answer, if one is wanted.
    level: Option<Level>,
    /// Whether each answer is timed from when the request came (one sample) or by itself (many).
    single: bool,
    trace: Option<Traced>,
    /// Counts it among those of its task for as long as it is worked on, whoever waits for it.
    _inside: Inside,
}

/// How one sample is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) begun: Instant,
    /// When the vote is cut short.
    pub(crate) stop: Option<Instant>,
    /// The set beside the answer: it takes every vote.
    pub(crate) level: Option<Level>,
}

/// What an answer took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) gate_us: u32,
    pub(crate) vote_us: u32,
    /// When the last stage ended.
    pub(crate) ended: Instant,
}

impl Desk {
    pub(crate) fn new(
        snapshot: Snapshot,
        receipts: Arc<Ring>,
        ids: Ids,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            relay: Relay::new(Arc::clone(&snapshot), tracer.clone()),
            tracer,
            snapshot,
            receipts,
            ids,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            floor: Arc::new(Floor::new(cores)),
            pace: Pace::new(Duration::ZERO),
            unkept: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        }
    }

    /// What is served now.
    pub(crate) fn served(&self) -> Arc<ServedSet> {
        self.snapshot.load_full()
    }

    /// Where turns for long work are given.
    pub(crate) fn floor(&self) -> &Arc<Floor> {
        &self.floor
    }

    pub(crate) fn receipts(&self) -> &Arc<Ring> {
        &self.receipts
    }

    /// Requests in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        IN_FLIGHT_MAX - self.in_flight.available_permits()
    }

    /// Lets a request in, or says when there will be room: before a byte of it is looked at.
    pub(crate) fn admit(&self) -> Result<Admitted, PredictError> {
        match Arc::clone(&self.in_flight).try_acquire_owned() {
            Ok(permit) => Ok(Admitted { _permit: permit }),
            Err(_no_permits) => {
                self.busy.fetch_add(1, Relaxed);
                Err(self.full())
            }
        }
    }

    /// Lets the next sample of a stream in, as soon as there is room: a stream is held back rather
    /// than refused.
    pub(crate) async fn admit_in_turn(&self) -> Result<Admitted, PredictError> {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await;
        Ok(Admitted { _permit: permit.map_err(|_| self.full())? })
    }

    fn full(&self) -> PredictError {
        let all = u64::try_from(IN_FLIGHT_MAX).unwrap_or(u64::MAX);
        let retry = admission::retry(self.pace.of(all) / self.cores);
        PredictError::Busy { in_flight: IN_FLIGHT_MAX, retry }
    }

    /// Answers one sample.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`] but `TooMany`.
    pub(crate) async fn predict(
        self: &Arc<Self>,
        request: v1::PredictRequest,
        terms: Terms,
        escort: &Escort,
    ) -> Result<v1::PredictReply, PredictError> {
        let served = match self.find(&request.task, "") {
            Err(error @ PredictError::NotServed { .. }) => {
                let call = async |mut it: Peer, request| it.predict(request).await;
                let until = terms.work_until();
                let passed = self.relay.pass_on(&request.task, &request, escort, until, call);
                return Box::pin(passed).await.unwrap_or(Err(error));
            }
            found => found?,
        };
        let v1::PredictRequest { features, coverage, .. } = request;
        let level = level(&served, SetAsked { coverage, needed: false })?;
        let width = features.len();
        let samples = self.check(&served, width, features)?;
        let terms = Terms { trace: escort.trace, ..terms };
        let mut replies = self.answer(served, samples, terms, level).await?;
        replies.pop().ok_or(PredictError::Broken)
    }

    /// Answers many samples of one task, all by the same revision.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`]; then none of them is answered.
    pub(crate) async fn predict_batch(
        self: &Arc<Self>,
        request: v1::PredictBatchRequest,
        terms: Terms,
        escort: &Escort,
    ) -> Result<v1::PredictBatchReply, PredictError> {
        let v1::PredictBatchRequest { task, width, values, revision, coverage } = request;
        let width = usize::try_from(width).expect("32 bits fit in a usize on every target");
        let version = if revision == 0 { String::new() } else { revision.to_string() };
        let set = SetAsked { coverage, needed: false };
        let batch = Batch { task, version, width, values, set, terms };
        let Answered { answers, classes, .. } = self.answer_batch(batch, escort).await?;
        Ok(v1::PredictBatchReply { answers, classes: u32::try_from(classes).unwrap_or(u32::MAX) })
    }

    /// Answers many samples of one task, and says what has answered all of them.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`]; then none of them is answered.
    pub(crate) async fn answer_batch(
        self: &Arc<Self>,
        batch: Batch,
        escort: &Escort,
    ) -> Result<Answered, PredictError> {
        let served = match self.find(&batch.task, &batch.version) {
            Err(error @ PredictError::NotServed { .. }) => {
                return Box::pin(self.pass_on(batch, escort)).await.unwrap_or(Err(error));
            }
            found => found?,
        };
        let Batch { task, version: _, width, values, set, terms } = batch;
        let level = level(&served, set)?;
        let samples = self.check(&served, width, values)?;
        let (rows, rows_max) = (samples.len(), rows_max(&served, level.is_some()));
        if rows_max < rows {
            served.meter.failed();
            return Err(PredictError::TooMany { task, rows, rows_max });
        }
        let (revision, classes) = (served.wanted.revision, served.schema().classes().len());
        let terms = Terms { trace: escort.trace, ..terms };
        let answers = self.answer(served, samples, terms, level).await?;
        Ok(Answered { task, revision, classes, answers })
    }

    /// Asks for a batch where its task is served; `None` when that is nowhere.
    async fn pass_on(
        &self,
        batch: Batch,
        escort: &Escort,
    ) -> Option<Result<Answered, PredictError>> {
        let Batch { task, version, width, values, set, terms } = batch;
        // A version that is no number is none of ours.
        let revision = if version.is_empty() { 0 } else { version.parse().ok()? };
        let width = u32::try_from(width).ok()?;
        let coverage = set.coverage;
        let request =
            v1::PredictBatchRequest { task: task.clone(), width, values, revision, coverage };
        let call = async |mut it: Peer, request| it.predict_batch(request).await;
        let until = terms.work_until();
        let passed = self.relay.pass_on(&task, &request, escort, until, call).await?;
        Some(passed.and_then(|v1::PredictBatchReply { answers, classes }| {
            let classes = usize::try_from(classes).unwrap_or(usize::MAX);
            // What another worker says is as untrusted as what an app says: these numbers say
            // how much is written for the caller.
            let rows = request.values.len() / usize::try_from(width).unwrap_or(1).max(1);
            let shares = answers.len().saturating_mul(classes).saturating_mul(size_of::<f32>());
            let whole = answers.len() == rows
                && shares <= proto::MESSAGE_BYTES_MAX
                && answers.iter().all(|it| it.scores.is_empty() || it.scores.len() == classes)
                && answers.iter().all(|it| it.set.len() <= classes);
            if !whole {
                return Err(PredictError::Broken);
            }
            if set.needed && answers.iter().any(|it| it.set.is_empty() && it.no_set.is_empty()) {
                return Err(PredictError::NoSet { task, why: UNNAMED.to_owned() });
            }
            let revision = answers.first().map_or(revision, |it| it.revision);
            Ok(Answered { task, revision, classes, answers })
        }))
    }

    /// What serves `task`, in the revision asked for, where `version` is not empty.
    ///
    /// # Errors
    ///
    /// [`PredictError::NotServed`], [`PredictError::NotLoaded`] and [`PredictError::Version`].
    pub(crate) fn find(&self, task: &str, version: &str) -> Result<Arc<Served>, PredictError> {
        let set = self.snapshot.load();
        if let Some(served) = set.tasks.get(task) {
            let revision = served.wanted.revision;
            if version.is_empty() || version.parse() == Ok(revision) {
                return Ok(Arc::clone(served));
            }
            let (task, version) = (task.to_owned(), shortened(version));
            return Err(PredictError::Version { task, version, served: revision });
        }
        if let Some((_, fault)) = set.missing.get(task) {
            let fault = if fault.is_empty() { String::new() } else { format!(": {fault}") };
            return Err(PredictError::NotLoaded { task: task.to_owned(), fault });
        }
        Err(PredictError::NotServed { task: shortened(task), served: names(set.tasks.keys()) })
    }

    /// The one place where the values of a request become samples.
    fn check(
        &self,
        served: &Served,
        width: usize,
        values: Vec<f32>,
    ) -> Result<Features, PredictError> {
        let expected = served.schema().width();
        let checked = if width == expected {
            Features::new(width, values)
        } else {
            Err(ShapeError::Width { expected, actual: width })
        };
        checked.map_err(|source| malformed(served, source))
    }

    /// Refuses what would be refused when all of it had come: for a request of which no more is known
    /// than its task and how long its caller waits.
    ///
    /// # Errors
    ///
    /// [`PredictError::Busy`] and [`PredictError::Crowded`].
    pub(crate) fn foresee(
        &self,
        task: &str,
        urgency: Urgency,
        left: Option<Duration>,
    ) -> Result<(), PredictError> {
        let all = self.in_flight() + 1;
        if IN_FLIGHT_MAX < all {
            self.busy.fetch_add(1, Relaxed);
            return Err(self.full());
        }
        let set = self.snapshot.load();
        let Some(served) = set.tasks.get(task) else { return Ok(()) };
        self.weigh(served, served.meter.inside(), all, urgency, left)
    }

    /// Counts a request of `rows` samples among those of its task, unless too many are before it.
    fn enter(&self, served: &Served, rows: u64, terms: &Terms) -> Result<Inside, PredictError> {
        let inside = Meter::enter(&served.meter, rows);
        if !terms.held_back {
            let left = terms.deadline.map(|it| it.saturating_duration_since(terms.since));
            self.weigh(served, inside.before, self.in_flight(), terms.urgency, left)?;
        }
        Ok(inside)
    }

    /// Whether one more of a task is let in behind those that are there `before` it.
    fn weigh(
        &self,
        served: &Served,
        (of_task, rows_before): (usize, u64),
        all: usize,
        urgency: Urgency,
        left: Option<Duration>,
    ) -> Result<(), PredictError> {
        let ahead = served.pace.of(rows_before) / self.cores;
        admission::admit(Crowd { all, of_task, ahead }, urgency, left).map_err(|Shed { retry }| {
            served.meter.shed.fetch_add(1, Relaxed);
            served.meter.failed();
            PredictError::Crowded { task: served.wanted.task.clone(), in_flight: of_task, retry }
        })
    }

    /// Answers at once when it takes next to nothing, else when it has its turn.
    async fn answer(
        self: &Arc<Self>,
        served: Arc<Served>,
        samples: Features,
        terms: Terms,
        level: Option<Level>,
    ) -> Result<Vec<v1::PredictReply>, PredictError> {
        let rows = u64::try_from(samples.len()).unwrap_or(u64::MAX);
        let inside = self.enter(&served, rows, &terms)?;
        let Terms { since, urgency, trace, .. } = terms;
        let request = Request {
            trace,
            stop: terms.work_until(),
            single: samples.len() == 1,
            served,
            samples,
            since,
            urgency,
            level,
            _inside: inside,
        };
        let pace = &request.served.pace;
        match place(pace.of(1), pace.of(rows)) {
            Where::Here if !terms.held_back => self.compute(&request),
            Where::Here | Where::Slices => {
                let Some(_turn) = self.turn(&request).await else { return self.compute(&request) };
                let answered = self.compute_in_slices(&request).await;
                if terms.held_back {
                    // Before the next of many streams has its turn.
                    tokio::task::yield_now().await;
                }
                answered
            }
            Where::Apart => {
                let Some(turn) = self.turn(&request).await else { return self.compute(&request) };
                let desk = Arc::clone(self);
                let computed = tokio::task::spawn_blocking(move || {
                    let _until_computed = turn;
                    desk.compute(&request)
                });
                computed.await.map_err(|_| PredictError::Broken)?
            }
        }
    }

    /// A turn for long work; `None` when it comes too late for an answer: then there is what the policy
    /// names for that, or nothing. A caller that gives up while it waits here costs nothing more.
    async fn turn(&self, request: &Request) -> Option<Turn> {
        let turn = self.floor.turn(&request.served.task, request.urgency);
        match request.stop {
            Some(stop) => tokio::time::timeout_at(stop, turn).await.ok(),
            None => Some(turn.await),
        }
    }

    /// Answers all rows, and lets others come between them.
    async fn compute_in_slices(
        &self,
        request: &Request,
    ) -> Result<Vec<v1::PredictReply>, PredictError> {
        let mut progress = Progress::new(request);
        while !SCRATCH.with_borrow_mut(|it| self.advance(request, &mut progress, it, SLICE))? {
            // The runtime looks what has come before it goes on with this.
            tokio::task::yield_now().await;
        }
        Ok(self.conclude(request, progress))
    }

    /// Answers all rows at once.
    fn compute(&self, request: &Request) -> Result<Vec<v1::PredictReply>, PredictError> {
        let mut progress = Progress::new(request);
        let whole = Duration::MAX;
        while !SCRATCH.with_borrow_mut(|it| self.advance(request, &mut progress, it, whole))? {}
        Ok(self.conclude(request, progress))
    }

    /// Answers rows for so long, at least one; whether that was the last.
    fn advance(
        &self,
        request: &Request,
        progress: &mut Progress,
        scratch: &mut Scratch,
        slice: Duration,
    ) -> Result<bool, PredictError> {
        let Request { served, samples, since, stop, level, single, trace, .. } = request;
        let recorded = trace.is_some_and(|it| it.recorded);
        let trace = trace.map(|it| it.context.trace);
        let begun = Instant::now();
        let mut now = begun;
        let next = progress.replies.len();
        for at in next..samples.len() {
            let row = samples.row(at);
            let from = if *single { *since } else { now };
            let mut watch = (recorded && at < ROWS_MAX).then(Watch::default);
            let asked = Asked { begun: now, stop: *stop, level: *level };
            let asked = ask(served, row, scratch, asked, watch.as_mut());
            let (answer, times) = asked.map_err(|source| malformed(served, source))?;
            let id = self.ids.next();
            if let Some(watch) = watch {
                let answer = answer.as_ref().map(|it| (it.stage, it.votes));
                progress.told.push(Row { id, begun: now, watch, ended: times.ended, answer });
            }
            let reply = match &answer {
                Some(answer) => reply(served, id, answer, times, scratch, *level),
                None => fallback(served, id, level.is_some())?,
            };
            let entry = Entry {
                served,
                row,
                reply: &reply,
                votes: answer.as_ref().map(|answer| &answer.votes),
                queue_us: progress.queue_us,
                at_ms: progress.at_ms,
                trace,
            };
            progress.receipts.push((id, entry.encode()));
            progress.replies.push(reply);
            now = times.ended;
            if let Some(answer) = answer {
                let us = u64::try_from(now.duration_since(from).as_micros()).unwrap_or(u64::MAX);
                served.meter.answered(answer.stage, us);
                if answer.decided {
                    progress.decided += 1;
                } else {
                    served.meter.cut_short.fetch_add(1, Relaxed);
                }
            }
            if slice <= now.duration_since(begun) {
                break;
            }
        }
        progress.compute += begun.elapsed();
        Ok(progress.replies.len() == samples.len())
    }

    /// Queues the receipts before anybody can see the answers.
    fn conclude(&self, request: &Request, progress: Progress) -> Vec<v1::PredictReply> {
        let Progress { begun, at_ms, queue, compute, decided, told, replies, receipts, .. } =
            progress;
        let Request { served, trace, .. } = request;
        // What was cut short says nothing of how long an answer takes.
        served.pace.add(decided, compute);
        self.pace.add(1, compute);
        served.meter.finished(queue, compute, at_ms);
        let answers = u64::try_from(receipts.len()).unwrap_or(u64::MAX);
        let traced = trace.filter(|it| it.recorded).zip(self.tracer.as_ref());
        let told = traced.map(|told_to| (told_to, told, receipts.len(), Instant::now()));
        if let Err(error) = self.receipts.put(receipts) {
            // An answer in time is worth more than a receipt: it is given, and cannot be corrected.
            let before = self.unkept.fetch_add(answers, Relaxed);
            if before == 0 {
                tracing::warn!(error = %runtime::Report(&error), "answers without receipts are given");
            }
        }
        if let Some(((traced, tracer), rows, rows_all, put)) = told {
            let (served, kept) = (Arc::clone(served), (put, Instant::now()));
            Account { traced, served, begun, rows, rows_all, kept }.tell(tracer);
        }
        replies
    }
}

/// How far a request is answered.
struct Progress {
    begun: Instant,
    at_ms: u64,
    /// From when it was read until it was begun.
    queue: Duration,
    queue_us: u32,
    /// What was computed so far, without what came between.
    compute: Duration,
    /// Answers that no deadline cut short.
    decided: u64,
    /// The first rows, where the request is traced.
    told: Vec<Row>,
    replies: Vec<v1::PredictReply>,
    receipts: Vec<([u8; 16], Vec<u8>)>,
}

impl Progress {
    fn new(request: &Request) -> Self {
        let begun = Instant::now();
        let queue = begun.duration_since(request.since);
        Self {
            begun,
            at_ms: runtime::clock::unix_ms(),
            queue,
            queue_us: u32::try_from(queue.as_micros()).unwrap_or(u32::MAX),
            compute: Duration::ZERO,
            decided: 0,
            told: Vec::new(),
            replies: Vec::with_capacity(request.samples.len()),
            receipts: Vec::with_capacity(request.samples.len()),
        }
    }
}

/// How long rows are computed before others may come between.
const SLICE: Duration = Duration::from_micros(100);

/// Why there is no set where neither the request nor the policy says of which coverage.
const UNNAMED: &str = "its policy names no coverage: name one, such as 0.9";

/// The set that is answered beside the class: what was asked for, or else what the policy says.
///
/// # Errors
///
/// [`PredictError::NoSet`] for what nobody can promise, or not with the members that serve here.
fn level(
    served: &Served,
    SetAsked { coverage, needed }: SetAsked,
) -> Result<Option<Level>, PredictError> {
    let refused = |why: String| {
        served.meter.failed();
        PredictError::NoSet { task: served.wanted.task.clone(), why }
    };
    let Some(share) = coverage else {
        if needed && served.level.is_none() {
            return Err(refused(UNNAMED.to_owned()));
        }
        return Ok(served.level);
    };
    let (least, most) = Coverage::RANGE;
    let coverage = Coverage::of_share(share).ok_or_else(|| {
        refused(format!("a coverage lies between {least} and {most}, not at {share}"))
    })?;
    let level = served.promised(coverage).ok_or_else(|| {
        let most = served.most_promised().map(Coverage::share);
        let most = most.map_or("no set at all".to_owned(), |most| format!("at most {most}"));
        refused(format!("this revision can promise {most}, not {share}"))
    })?;
    Ok(Some(level))
}

/// Counts a request that nobody waits for any more.
pub(crate) fn expired(served: &Served) -> PredictError {
    served.meter.failed();
    PredictError::Expired { task: served.wanted.task.clone() }
}

fn malformed(served: &Served, source: ShapeError) -> PredictError {
    served.meter.failed();
    PredictError::Malformed { task: served.wanted.task.clone(), source }
}

/// One answer, begun at `begun` and cut short at `stop`, and what it took; `None` when that was too
/// late to hear anybody. `watch` notes when the gate ended and each member was begun.
pub(crate) fn ask(
    served: &Served,
    row: &[f32],
    scratch: &mut Scratch,
    Asked { begun, stop, level }: Asked,
    watch: Option<&mut Watch>,
) -> Result<(Option<Answer>, Times), ShapeError> {
    let (mut gate, mut members) = match watch {
        Some(Watch { gate, members }) => (Some(gate), Some(members)),
        None => (None, None),
    };
    let mut times = Times { gate_us: 0, vote_us: 0, ended: begun };
    if deadline::passed(stop, begun) {
        return Ok((None, times));
    }
    let answer = served.ensemble.answer_while(
        row,
        if level.is_some() { &served.asking_all } else { &served.asking },
        served.wanted.gated,
        scratch,
        |stage| {
            let now = Instant::now();
            let us = now.duration_since(times.ended).as_micros();
            let us = u32::try_from(us).unwrap_or(u32::MAX);
            times.ended = now;
            match stage {
                Stage::Gate => {
                    times.gate_us = us;
                    if let Some(gate) = &mut gate {
                        **gate = Some(now);
                    }
                }
                Stage::Vote => times.vote_us = us,
            }
        },
        // Without a deadline, and not traced, no clock is read between members.
        || {
            let Some(members) = &mut members else {
                return stop.is_none_or(|stop| Instant::now() < stop);
            };
            let now = Instant::now();
            members.push(now);
            stop.is_none_or(|stop| now < stop)
        },
    )?;
    Ok((answer, times))
}

/// At most this many names stand in an error.
const NAMES_MAX: usize = 20;

/// `a, b, c` or `none`, bounded.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut shown: Vec<String> = names.take(NAMES_MAX + 1).map(|it| shortened(it)).collect();
    if NAMES_MAX < shown.len() {
        shown[NAMES_MAX] = "…".to_owned();
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// A name from outside, bounded.
pub(crate) fn shortened(name: &str) -> String {
    let mut short: String = name.chars().take(64).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use store::ring::Limits;

    use super::*;

    /// A desk that serves this alone, with few receipts in `dir`.
    pub(crate) fn desk(dir: &std::path::Path, served: Option<Arc<Served>>) -> Desk {
        let limits = Limits {
            bytes_max: 1 << 20,
            records_max: 100,
            segment_bytes: 1 << 16,
            record_bytes_max: 1 << 10,
            queue_bytes_max: 1 << 16,
        };
        let receipts = Arc::new(Ring::open(dir, limits).unwrap());
        let tasks = served.into_iter().map(|it| (it.wanted.task.clone(), it)).collect();
        let snapshot = Snapshot::default();
        snapshot.store(Arc::new(ServedSet { tasks, ..ServedSet::default() }));
        Desk::new(snapshot, receipts, Ids::new().unwrap(), None)
    }

    #[tokio::test]
    async fn others_come_between_the_rows_of_long_work() {
        let dir = tempfile::tempdir().unwrap();
        let mut served = crate::served::tests::served(&[models::Family::Ridge], false);
        served.pace = Pace::new(Duration::from_micros(100));
        let width = served.schema().width();
        let desk = Arc::new(desk(dir.path(), Some(Arc::new(served))));
        let rows = 20_000;
        let request = v1::PredictBatchRequest {
            task: "kitchen".to_owned(),
            width: u32::try_from(width).unwrap(),
            values: vec![0.5; rows * width],
            ..v1::PredictBatchRequest::default()
        };
        let terms = Terms::new(Instant::now(), None);
        let escort = Escort::of(&tonic::metadata::MetadataMap::new());
        let long = desk.predict_batch(request, terms, &escort);
        let mut long = std::pin::pin!(long);
        let mut between = 0;
        let reply = loop {
            tokio::select! {
                biased;
                reply = &mut long => break reply.unwrap(),
                () = tokio::task::yield_now() => between += 1,
            }
        };
        assert_eq!(reply.answers.len(), rows);
        assert!(5 < between, "others came {between} times");
    }

    #[test]
    fn as_much_as_may_be_in_flight_is_let_in_and_what_ends_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path(), None);
        let mut admitted: Vec<Admitted> =
            (0..IN_FLIGHT_MAX).map(|_| desk.admit().unwrap()).collect();
        assert!(matches!(desk.admit().unwrap_err(), PredictError::Busy { .. }));
        assert_eq!((desk.in_flight(), desk.busy.load(Relaxed)), (IN_FLIGHT_MAX, 1));
        admitted.pop();
        let _one_more = desk.admit().unwrap();
    }

    #[test]
    fn names_from_outside_are_bounded() {
        let many: Vec<String> = (0..30).map(|at| format!("{at}")).collect();
        assert!(names(many.iter()).ends_with("18, 19, …"));
        assert_eq!(names([].iter()), "none");
        assert_eq!(shortened(&"ä".repeat(100)).chars().count(), 65);
    }
}
