//! From a request to its answers: the hot path. It reads the snapshot and takes no lock and no
//! mailbox hop but those that are said here.

mod computing;
mod level;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use models::{Features, Level, ShapeError};
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
    relay::{Escort, Relay},
    reply::rows_max,
    served::{Served, ServedSet, Snapshot},
    urgency::Urgency,
};

use self::{
    computing::Request,
    level::{UNNAMED, level},
};
pub(crate) use self::{
    computing::{Asked, Times, ask},
    level::SetAsked,
};

type Peer = ServingClient<Channel>;

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
        Self { since, deadline, urgency: Urgency::default(), trace: None }
    }

    /// Those of a sample of a stream: nobody waits for this one, many wait for the whole.
    pub(crate) fn of_stream(since: Instant) -> Self {
        Self { since, deadline: None, urgency: Urgency::HeldBack, trace: None }
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

/// The answers to a batch, all by the same revision.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) task: String,
    pub(crate) revision: u64,
    /// How many classes the task has.
    pub(crate) classes: usize,
    pub(crate) answers: Vec<v1::PredictReply>,
    /// Who answered, where that was here.
    pub(crate) served: Option<Arc<Served>>,
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

    /// Lets the next message of a broker in, as soon as there is room: a broker keeps what is not taken
    /// yet, and cannot be told when to send it again.
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
        let answers = self.answer(Arc::clone(&served), samples, terms, level).await?;
        Ok(Answered { task, revision, classes, answers, served: Some(served) })
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
            Ok(Answered { task, revision, classes, answers, served: None })
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
        let left = terms.deadline.map(|it| it.saturating_duration_since(terms.since));
        self.weigh(served, inside.before, self.in_flight(), terms.urgency, left)?;
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
        let ahead = served.drag.of(served.pace.of(rows_before) / self.cores);
        admission::admit(Crowd { all, of_task, ahead }, urgency, left).map_err(|Shed { retry }| {
            served.meter.shed.fetch_add(1, Relaxed);
            served.meter.failed();
            PredictError::Crowded { task: served.wanted.task.clone(), retry }
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
        let held_back = terms.urgency == Urgency::HeldBack;
        // What is held back is not there before its turn: nobody waits behind it.
        let first = if held_back { Some(self.turn(&served.task, &terms).await) } else { None };
        let inside = self.enter(&served, rows, &terms)?;
        let place = place(served.pace.of(1), served.pace.of(rows));
        let (_, rows_before) = inside.before;
        let request = Request::new(served, samples, &terms, level, inside);
        let turn = match (place, first) {
            (Where::Here, None) => return self.compute(&request),
            (_, Some(turn)) => turn,
            (Where::Slices | Where::Apart, None) => {
                let Served { task, pace, drag, .. } = &*request.served;
                let (waits, ahead) = (Instant::now(), pace.of(rows_before) / self.cores);
                let turn = self.turn(task, &terms).await;
                drag.add(waits.elapsed(), ahead);
                turn
            }
        };
        let Some(turn) = turn else { return self.compute(&request) };
        if place == Where::Apart {
            let desk = Arc::clone(self);
            let computed = tokio::task::spawn_blocking(move || {
                let _until_computed = turn;
                desk.compute(&request)
            });
            return computed.await.map_err(|_| PredictError::Broken)?;
        }
        let answered = self.compute_in_slices(&request).await;
        if held_back {
            // Before the next of many streams has its turn.
            tokio::task::yield_now().await;
        }
        answered
    }

    /// A turn for long work; `None` when it comes too late for an answer: then there is what the policy
    /// names for that, or nothing. A caller that gives up while it waits here costs nothing more.
    async fn turn(&self, task: &Arc<str>, terms: &Terms) -> Option<Turn> {
        let turn = self.floor.turn(task, terms.urgency);
        match terms.work_until() {
            Some(stop) => tokio::time::timeout_at(stop, turn).await.ok(),
            None => Some(turn.await),
        }
    }
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
    use futures_util::FutureExt as _;
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

    /// Under a flood the cores refuse, too: who was let in by what the work ahead takes to compute was
    /// answered too late, since it took twice and three times as long.
    #[tokio::test]
    async fn who_would_wait_longer_than_the_computing_ahead_is_refused_by_what_others_waited() {
        let dir = tempfile::tempdir().unwrap();
        let mut served = crate::served::tests::served(&[models::Family::Ridge], false);
        served.pace = Pace::new(Duration::from_millis(1));
        let desk = desk(dir.path(), None);
        let ahead = served.pace.of(100) / desk.cores;
        let weigh = || desk.weigh(&served, (10, 100), 11, Urgency::Usual, Some(5 * ahead));
        assert!(weigh().is_ok());
        (0..100).for_each(|_| served.drag.add(3 * ahead, ahead));
        let Err(PredictError::Crowded { retry, .. }) = weigh() else { panic!("it is let in") };
        assert!(
            2 * ahead < retry && retry <= 3 * ahead + ahead / 3,
            "{retry:?} is when to try again"
        );
        assert!(desk.weigh(&served, (0, 0), 1, Urgency::Usual, Some(ahead)).is_ok());
    }

    /// Once only requests of many samples told that nobody was ahead: a task that is asked one at a time
    /// would have refused the second for ever after a crowd.
    #[tokio::test]
    async fn one_sample_alone_tells_that_a_crowd_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let served = Arc::new(crate::served::tests::served(&[models::Family::Ridge], false));
        let sample = v1::PredictRequest {
            task: "kitchen".to_owned(),
            features: vec![0.5; served.schema().width()],
            ..v1::PredictRequest::default()
        };
        let desk = Arc::new(desk(dir.path(), Some(Arc::clone(&served))));
        let escort = Escort::of(&tonic::metadata::MetadataMap::new());
        let second = Duration::from_secs(1);
        (0..100).for_each(|_| served.drag.add(8 * second, second));
        let before = served.drag.of(second);
        let terms = Terms::new(Instant::now(), None);
        desk.predict(sample, terms, &escort).await.unwrap();
        assert!(served.drag.of(second) < before);
    }

    /// Once every sample of a stream that waited for its turn held one of the places of all requests,
    /// and made it crowded for everybody: 256 busy streams had every other request refused.
    #[tokio::test]
    async fn streams_that_wait_for_a_turn_take_nobodys_place() {
        let dir = tempfile::tempdir().unwrap();
        let served = Arc::new(crate::served::tests::served(&[models::Family::Ridge], false));
        let sample = v1::PredictRequest {
            task: "kitchen".to_owned(),
            features: vec![0.5; served.schema().width()],
            ..v1::PredictRequest::default()
        };
        let desk = Arc::new(desk(dir.path(), Some(Arc::clone(&served))));
        let escort = Escort::of(&tonic::metadata::MetadataMap::new());
        let other: Arc<str> = Arc::from("attic");
        let mut taken = Vec::new();
        while let Some(turn) = desk.floor().turn(&other, Urgency::Usual).now_or_never() {
            taken.push(turn);
        }
        while let Some(turn) = desk.floor().turn(&served.task, Urgency::Usual).now_or_never() {
            taken.push(turn);
        }

        let stream = || desk.predict(sample.clone(), Terms::of_stream(Instant::now()), &escort);
        let mut streams: Vec<_> = (0..2 * IN_FLIGHT_MAX).map(|_| Box::pin(stream())).collect();
        assert!(streams.iter_mut().all(|it| it.now_or_never().is_none()), "nobody has a turn");

        assert!(!desk.floor().is_crowded());
        let usual = Terms::new(Instant::now(), None);
        let _admitted = desk.admit().unwrap();
        assert_eq!((served.meter.inside().0, desk.in_flight()), (0, 1));
        desk.predict(sample.clone(), usual, &escort).now_or_never().unwrap().unwrap();
        drop(taken);
        for answer in futures_util::future::join_all(streams).await {
            answer.unwrap();
        }
    }

    #[test]
    fn names_from_outside_are_bounded() {
        let many: Vec<String> = (0..30).map(|at| format!("{at}")).collect();
        assert!(names(many.iter()).ends_with("18, 19, …"));
        assert_eq!(names([].iter()), "none");
        assert_eq!(shortened(&"ä".repeat(100)).chars().count(), 65);
    }
}
