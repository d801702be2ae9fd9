//! From a request to its answers: the hot path. It reads the snapshot and takes no lock and no
//! mailbox hop but those that are said here.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use models::{Answer, Features, Scratch, ShapeError, Stage};
use proto::v1;
use store::ring::Ring;
use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError},
    time::Instant,
};

use crate::{
    deadline,
    error::PredictError,
    identity::Ids,
    receipt::Receipt,
    served::{Served, ServedSet, Snapshot},
};

/// Requests in flight, over all connections. More are refused at once: a sensor would rather ask
/// again than wait behind a thousand others.
pub(crate) const IN_FLIGHT_MAX: usize = 256;
/// Work that is done where the request is read, about half a millisecond of multiply-adds. More of
/// it goes to a blocking thread, so that it does not hold up the requests of others.
const INLINE_EFFORT_MAX: u64 = 1 << 20;
/// Buffers kept for later requests.
const SCRATCHES_MAX: usize = 64;

/// Answers samples by what is served now.
#[derive(Debug)]
pub(crate) struct Desk {
    snapshot: Snapshot,
    receipts: Arc<Ring>,
    ids: Ids,
    in_flight: Semaphore,
    /// Heavy requests that compute at the same time: one for each core.
    heavy: Arc<Semaphore>,
    scratches: Mutex<Vec<Scratch>>,
    /// Answers whose receipt was not kept.
    pub(crate) unkept: AtomicU64,
    /// Requests that were refused because too many were in flight.
    pub(crate) busy: AtomicU64,
}

/// A part of what may be in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    _permit: SemaphorePermit<'a>,
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
    /// When the request was read.
    pub(crate) since: Instant,
    /// When an answer is of no use any more.
    pub(crate) deadline: Option<Instant>,
}

/// The samples of one request, whole and finite, and what will answer all of them.
struct Request {
    served: Arc<Served>,
    samples: Features,
    /// When it was read.
    since: Instant,
    deadline: Option<Instant>,
    /// Whether each answer is timed from when the request came (one sample) or by itself (many).
    single: bool,
}

impl Desk {
    pub(crate) fn new(snapshot: Snapshot, receipts: Arc<Ring>, ids: Ids) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            snapshot,
            receipts,
            ids,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            heavy: Arc::new(Semaphore::new(cores)),
            scratches: Mutex::new(Vec::new()),
            unkept: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        }
    }

    /// What is served now.
    pub(crate) fn served(&self) -> Arc<ServedSet> {
        self.snapshot.load_full()
    }

    pub(crate) fn receipts(&self) -> &Arc<Ring> {
        &self.receipts
    }

    /// Requests in flight now.
    pub(crate) fn in_flight(&self) -> usize {
        IN_FLIGHT_MAX - self.in_flight.available_permits()
    }

    /// Lets a request in, or says how many there are already.
    pub(crate) fn admit(&self) -> Result<Admitted<'_>, usize> {
        match self.in_flight.try_acquire() {
            Ok(permit) => Ok(Admitted { _permit: permit }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                self.busy.fetch_add(1, Relaxed);
                Err(IN_FLIGHT_MAX)
            }
        }
    }

    /// Lets the next sample of a stream in, as soon as there is room: a stream is held back rather
    /// than refused.
    pub(crate) async fn admit_in_turn(&self) -> Result<Admitted<'_>, usize> {
        let permit = self.in_flight.acquire().await.map_err(|_| IN_FLIGHT_MAX)?;
        Ok(Admitted { _permit: permit })
    }

    /// Answers one sample.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`] but `Busy` and `TooMany`.
    pub(crate) async fn predict(
        self: &Arc<Self>,
        request: v1::PredictRequest,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<v1::PredictReply, PredictError> {
        let v1::PredictRequest { task, features } = request;
        let served = self.find(&task, "")?;
        let width = features.len();
        let samples = self.check(&served, width, features)?;
        let request = Request { served, samples, since, deadline, single: true };
        let mut replies = self.answer(request).await?;
        replies.pop().ok_or(PredictError::Broken)
    }

    /// Answers many samples of one task, all by the same revision.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`] but `Busy`; then none of them is answered.
    pub(crate) async fn predict_batch(
        self: &Arc<Self>,
        request: v1::PredictBatchRequest,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<v1::PredictBatchReply, PredictError> {
        let v1::PredictBatchRequest { task, width, values } = request;
        let width = usize::try_from(width).expect("32 bits fit in a usize on every target");
        let version = String::new();
        let batch = Batch { task, version, width, values, since, deadline };
        let (_, answers) = self.answer_batch(batch).await?;
        Ok(v1::PredictBatchReply { answers })
    }

    /// Answers many samples of one task, and says what has answered all of them.
    ///
    /// # Errors
    ///
    /// Every variant of [`PredictError`] but `Busy`; then none of them is answered.
    pub(crate) async fn answer_batch(
        self: &Arc<Self>,
        batch: Batch,
    ) -> Result<(Arc<Served>, Vec<v1::PredictReply>), PredictError> {
        let Batch { task, version, width, values, since, deadline } = batch;
        let served = self.find(&task, &version)?;
        let samples = self.check(&served, width, values)?;
        let (rows, rows_max) = (samples.len(), rows_max(&served));
        if rows_max < rows {
            served.meter.failed();
            return Err(PredictError::TooMany { task, rows, rows_max });
        }
        let single = rows == 1;
        let request = Request { served: Arc::clone(&served), samples, since, deadline, single };
        Ok((served, self.answer(request).await?))
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

    /// Answers here when it takes next to nothing, else on a blocking thread.
    async fn answer(
        self: &Arc<Self>,
        request: Request,
    ) -> Result<Vec<v1::PredictReply>, PredictError> {
        let rows = u64::try_from(request.samples.len()).unwrap_or(u64::MAX);
        if request.served.effort.saturating_mul(rows) <= INLINE_EFFORT_MAX {
            return self.compute(&request);
        }
        // A caller that gives up while it waits here costs nothing more.
        let turn = Arc::clone(&self.heavy).acquire_owned();
        let turn = match request.deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, turn).await {
                Ok(turn) => turn,
                Err(_) => return Err(expired(&request.served)),
            },
            None => turn.await,
        };
        let turn = turn.map_err(|_| PredictError::Broken)?;
        let desk = Arc::clone(self);
        let computed = tokio::task::spawn_blocking(move || {
            let _until_computed = turn;
            desk.compute(&request)
        });
        computed.await.map_err(|_| PredictError::Broken)?
    }

    /// Answers all rows and queues their receipts before anybody can see the answers.
    fn compute(&self, request: &Request) -> Result<Vec<v1::PredictReply>, PredictError> {
        let Request { served, samples, since, deadline, single } = request;
        let begun = Instant::now();
        if deadline::passed(*deadline, begun) {
            return Err(expired(served));
        }
        let mut scratch = self.take_scratch();
        let at_ms = runtime::clock::unix_ms();
        let mut replies = Vec::with_capacity(samples.len());
        let mut receipts = Vec::with_capacity(samples.len());
        let mut from = *since;
        for row in samples.rows() {
            if !single {
                from = Instant::now();
                if deadline::passed(*deadline, from) {
                    self.keep_scratch(scratch);
                    return Err(expired(served));
                }
            }
            let asked = ask(served, row, &mut scratch);
            let (answer, times) = asked.map_err(|source| malformed(served, source))?;
            let id = self.ids.next();
            receipts.push((id, Receipt::new(served, &answer, row, times, at_ms).encode()));
            replies.push(reply(served, id, &answer, times, scratch.shares()));
            served.meter.answered(answer.stage, micros(from));
        }
        self.keep_scratch(scratch);
        served.meter.finished(begun.duration_since(*since), begun.elapsed(), at_ms);
        let answers = u64::try_from(receipts.len()).unwrap_or(u64::MAX);
        if let Err(error) = self.receipts.put(receipts) {
            // An answer in time is worth more than a receipt: it is given, and cannot be corrected.
            let before = self.unkept.fetch_add(answers, Relaxed);
            if before == 0 {
                tracing::warn!(error = %runtime::Report(&error), "answers without receipts are given");
            }
        }
        Ok(replies)
    }

    fn take_scratch(&self) -> Scratch {
        // Held for the time of a pop; requests that compute do not hold it.
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn keep_scratch(&self, scratch: Scratch) {
        let mut scratches = self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
        if scratches.len() < SCRATCHES_MAX {
            scratches.push(scratch);
        }
    }
}

/// Counts a request that nobody waits for any more.
fn expired(served: &Served) -> PredictError {
    served.meter.failed();
    PredictError::Expired { task: served.wanted.task.clone() }
}

fn malformed(served: &Served, source: ShapeError) -> PredictError {
    served.meter.failed();
    PredictError::Malformed { task: served.wanted.task.clone(), source }
}

/// One answer and the microseconds in the gate and in the vote.
pub(crate) fn ask(
    served: &Served,
    row: &[f32],
    scratch: &mut Scratch,
) -> Result<(Answer, [u32; 2]), ShapeError> {
    let mut begun = Instant::now();
    let mut times = [0, 0];
    let answer = served.ensemble.answer_timed(
        row,
        &served.asking,
        served.wanted.gated,
        scratch,
        |stage| {
            let now = Instant::now();
            let us = u32::try_from(now.duration_since(begun).as_micros()).unwrap_or(u32::MAX);
            begun = now;
            match stage {
                Stage::Gate => times[0] = us,
                Stage::Vote => times[1] = us,
            }
        },
    )?;
    Ok((answer, times))
}

fn reply(
    served: &Served,
    id: [u8; 16],
    answer: &Answer,
    [gate_us, vote_us]: [u32; 2],
    shares: &[f32],
) -> v1::PredictReply {
    let (stage, scores) = match answer.stage {
        Stage::Gate => (v1::Stage::Gate, Vec::new()),
        Stage::Vote => (v1::Stage::Vote, shares.to_vec()),
    };
    v1::PredictReply {
        prediction_id: id.to_vec().into(),
        class: served.schema().classes()[answer.class.index()].clone(),
        class_id: u32::from(answer.class.0),
        confidence: answer.confidence,
        stage: stage.into(),
        voted: answer.voted(),
        members: served.members,
        revision: served.wanted.revision,
        gate_us,
        vote_us,
        scores,
    }
}

/// How many answers certainly fit into one message.
pub(crate) fn rows_max(served: &Served) -> usize {
    let classes = served.schema().classes();
    let name = classes.iter().map(String::len).max().unwrap_or(0);
    // Everything in a reply but the name and the scores is below 96 bytes, tags included.
    let reply = 96 + name + 4 * classes.len();
    proto::MESSAGE_BYTES_MAX / reply
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
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
mod tests {
    use store::ring::Limits;

    use super::*;

    #[test]
    fn as_much_as_may_be_in_flight_is_let_in_and_what_ends_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            bytes_max: 1 << 20,
            records_max: 100,
            segment_bytes: 1 << 16,
            record_bytes_max: 1 << 10,
            queue_bytes_max: 1 << 16,
        };
        let receipts = Arc::new(Ring::open(dir.path(), limits).unwrap());
        let desk = Desk::new(Snapshot::default(), receipts, Ids::new().unwrap());
        let mut admitted: Vec<Admitted<'_>> =
            (0..IN_FLIGHT_MAX).map(|_| desk.admit().unwrap()).collect();
        assert_eq!(desk.admit().unwrap_err(), IN_FLIGHT_MAX);
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
