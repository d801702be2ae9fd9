//! The work of a request, once it is let in and has its turn: its rows one after the other, in slices
//! where others wait, and what is noted of them.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use models::{Answer, Features, Level, Scratch, ShapeError, Stage};
use proto::v1;
use tokio::time::Instant;
use traces::Traced;

use super::{Desk, Terms, malformed};
use crate::{
    deadline,
    error::PredictError,
    meter::Inside,
    receipt::Entry,
    reply::{fallback, reply},
    served::Served,
    traced::{Account, ROWS_MAX, Row, Watch},
};

thread_local! {
    /// Buffers of this thread, so that answering allocates nothing but the answer.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// How long rows are computed before others may come between.
const SLICE: Duration = Duration::from_micros(100);

/// The samples of one request, whole and finite, and what will answer all of them.
pub(super) struct Request {
    pub(super) served: Arc<Served>,
    samples: Features,
    since: Instant,
    /// When the work must have ended, so that the answer is in time.
    stop: Option<Instant>,
    /// The set beside each answer, if one is wanted.
    level: Option<Level>,
    /// Whether each answer is timed from when the request came (one sample) or by itself (many).
    single: bool,
    trace: Option<Traced>,
    /// Counts it among those of its task for as long as it is worked on, whoever waits for it.
    inside: Inside,
}

impl Request {
    pub(super) fn new(
        served: Arc<Served>,
        samples: Features,
        terms: &Terms,
        level: Option<Level>,
        inside: Inside,
    ) -> Self {
        Self {
            served,
            since: terms.since,
            stop: terms.work_until(),
            level,
            single: samples.len() == 1,
            trace: terms.trace,
            samples,
            inside,
        }
    }
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

impl Desk {
    /// Answers all rows, and lets others come between them.
    pub(super) async fn compute_in_slices(
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
    pub(super) fn compute(&self, request: &Request) -> Result<Vec<v1::PredictReply>, PredictError> {
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
        let Request { served, trace, inside, .. } = request;
        // What was cut short says nothing of how long an answer takes.
        served.pace.add(decided, compute);
        if inside.before.0 == 0 {
            // Who waited for nobody tells by their own work: a crowd that has gone is forgotten.
            served.drag.add(begun.elapsed(), compute);
        }
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

#[cfg(test)]
mod tests {
    use crate::{
        answer::{Terms, tests::desk},
        pace::Pace,
        relay::Escort,
    };

    use super::*;

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
}
