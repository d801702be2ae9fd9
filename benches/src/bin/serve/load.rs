//! The generator of load: a child process on a core of its own (or on the server's, where that is the
//! comparison), one thread, requests that were encoded beforehand.
//!
//! An open loop sends at its times whatever the server does, and a latency counts from when its request
//! was due, so that a server that stalls cannot hide it (no coordinated omission).

use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};

use benches::folder::{Fault, Folder};
use bytes::Bytes;
use prost::Message as _;
use proto::v1;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use crate::{
    bench::figure,
    pacer::Pacer,
    process::step_back,
    spread::{Spread, Typical, median, nanoseconds},
    wire::{self, AsBytes, Method},
};

/// What is to be sent, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where to; a failed request is sent once more, to the next.
    pub(crate) addresses: Vec<String>,
    pub(crate) method: Method,
    /// Asked in turn.
    pub(crate) tasks: Vec<String>,
    /// Whose test rows are asked about.
    pub(crate) folder: PathBuf,
    pub(crate) scaled: bool,
    /// The share of background among them; else as they come.
    pub(crate) background: Option<f64>,
    /// Rows of one request.
    pub(crate) rows: usize,
    pub(crate) pace: Pace,
    /// Sent but not counted.
    pub(crate) warm_s: f64,
    pub(crate) seconds: f64,
    /// Told to the server with each request.
    pub(crate) deadline_ms: Option<u64>,
    /// Behind the others of its core: it is there to disturb the server, and is not what is measured.
    pub(crate) behind: bool,
    /// Ends when its standard input does, at the latest after `seconds`.
    pub(crate) until_told: bool,
    /// For even and for odd revisions, the class of each of the rows, in files of 16-bit numbers.
    pub(crate) expected: Option<[PathBuf; 2]>,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So many at a time, each as soon as the one before is answered; a connection each.
    Closed(usize),
    /// So many a second, evenly.
    Open(f64),
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// `RESOURCE_EXHAUSTED`.
    pub(crate) shed: u64,
    /// `DEADLINE_EXCEEDED` or `CANCELLED`.
    pub(crate) late: u64,
    /// Any other error, also after the second try.
    pub(crate) failed: u64,
    /// Answered at the second try.
    pub(crate) retried: u64,
    /// Answers that are not those of the revision that they name.
    pub(crate) mixed: u64,
    /// Not sent, because too many were on their way.
    pub(crate) held_back: u64,
    /// Answers of each tenth of a second, by when they came, and the worst latency among them in microseconds.
    pub(crate) tenths: Vec<(u32, f64)>,
    /// Of answers, in microseconds.
    pub(crate) latency: Spread,
    /// … in most windows of [`WINDOW`].
    pub(crate) typical: Typical,
    pub(crate) first_error: Option<String>,
    /// … of those that are counted as failed.
    pub(crate) first_failure: Option<String>,
}

impl Found {
    pub(crate) fn per_s(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    /// Whatever was not answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.failed + self.shed + self.late + self.held_back
    }
}

/// What came of the same plan, asked again and again in turn with others: a machine that is shared is slower for
/// seconds on end, and what is compared must share that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(pub(crate) Vec<Found>);

impl Rounds {
    /// The median over rounds.
    pub(crate) fn median(&self, of: impl Fn(&Found) -> f64) -> f64 {
        median(self.0.iter().map(of))
    }

    /// The median over rounds of the 99th percentile in most windows, beside that of the same round of `other`.
    pub(crate) fn p99_beside(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(own, other)| own.typical.p99 / other.typical.p99))
    }

    /// All rounds together.
    pub(crate) fn sum(&self, of: impl Fn(&Found) -> u64) -> u64 {
        self.0.iter().map(of).sum()
    }

    /// `p50`, `p99` and the 99th percentile in most windows, in microseconds.
    pub(crate) fn shown(&self) -> [String; 3] {
        let of: [&dyn Fn(&Found) -> f64; 3] =
            [&|it| it.latency.p50, &|it| it.latency.p99, &|it| it.typical.p99];
        of.map(|of| figure(self.median(of)))
    }
}

/// Rows that are asked about, at most: enough that no cache keeps them all as one.
pub(crate) const ROWS_MAX: usize = 1_500;
/// Connections of an open loop.
const CONNECTIONS: usize = 4;
/// Requests of an open loop on their way; more are held back and counted.
const IN_FLIGHT_MAX: usize = 20_000;
/// In how long parts of the time percentiles are looked at, too: a machine that is shared stops for
/// milliseconds, and in most of these it does not.
const WINDOW: Duration = Duration::from_millis(250);
/// How long the last answers are waited for.
const TAIL: Duration = Duration::from_secs(5);

/// Everything that the tasks of the generator share; they run on one thread.
struct Tally {
    found: Found,
    /// By window of when they were due.
    times: Vec<Vec<u32>>,
    began: Instant,
    ends: Instant,
}

impl Tally {
    fn hold_back(&mut self, due: Instant) {
        if self.began <= due {
            self.found.sent += 1;
            self.found.held_back += 1;
        }
    }
}

/// What may be sent, and what should come back.
struct Deck {
    requests: Vec<Bytes>,
    expected: Option<[Vec<u16>; 2]>,
    method: Method,
    deadline: Option<Duration>,
}

impl Deck {
    fn of(plan: &Plan) -> Result<Self, Fault> {
        let samples =
            wire::rows(&Folder(plan.folder.clone()), ROWS_MAX, plan.scaled, plan.background)?;
        let width = samples.width();
        let values: Vec<f32> = samples.rows().flatten().copied().collect();
        let mut requests = Vec::new();
        for (at, rows) in values.chunks_exact(plan.rows * width).enumerate() {
            let task = &plan.tasks[at % plan.tasks.len()];
            requests.push(plan.method.request(task, width, rows)?);
        }
        let expected = match &plan.expected {
            None => None,
            Some([even, odd]) => Some([classes(even)?, classes(odd)?]),
        };
        let deadline = plan.deadline_ms.map(Duration::from_millis);
        Ok(Self { requests, expected, method: plan.method, deadline })
    }

    /// Whether the answer is that of another revision than it says.
    fn is_mixed(&self, at: usize, answer: Bytes) -> bool {
        let Some(expected) = &self.expected else { return false };
        let Ok(reply) = v1::PredictReply::decode(answer) else { return true };
        let expected = &expected[usize::from(reply.revision % 2 == 1)];
        u32::from(expected[at]) != reply.class_id
    }
}

fn classes(path: &PathBuf) -> Result<Vec<u16>, Fault> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect())
}

/// Sends what was planned and says what came of it.
pub(crate) fn generate(plan: &Plan) -> Result<Found, Fault> {
    if plan.behind {
        step_back()?;
    }
    // Sockets are looked at often: an open loop that is late keeps this thread busy.
    let runtime =
        tokio::runtime::Builder::new_current_thread().event_interval(7).enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(run(plan)))
}

async fn run(plan: &Plan) -> Result<Found, Fault> {
    let deck = Rc::new(Deck::of(plan)?);
    let began = Instant::now() + Duration::from_secs_f64(plan.warm_s);
    let ends = began + Duration::from_secs_f64(plan.seconds);
    let tally = Tally { found: Found::default(), times: Vec::new(), began, ends };
    let tally = Rc::new(RefCell::new(tally));
    if plan.until_told {
        let told = Rc::downgrade(&tally);
        let ended = tokio::task::spawn_blocking(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        });
        tokio::task::spawn_local(async move {
            let _ended = ended.await;
            if let Some(tally) = told.upgrade() {
                tally.borrow_mut().ends = Instant::now();
            }
        });
    }
    match plan.pace {
        Pace::Closed(clients) => {
            let mut running = Vec::new();
            for client in 0..clients {
                let lines = connect(&plan.addresses).await?;
                let (deck, tally) = (Rc::clone(&deck), Rc::clone(&tally));
                running.push(tokio::task::spawn_local(async move {
                    let mut at = client * deck.requests.len() / clients;
                    while Instant::now() < tally.borrow().ends {
                        at = (at + 1) % deck.requests.len();
                        ask(&deck, &lines, at, Instant::now(), &tally).await;
                    }
                }));
            }
            for client in running {
                client.await?;
            }
        }
        Pace::Open(rate) => open(plan, &deck, rate, &tally).await?,
    }
    drop(deck);
    let Tally { mut found, mut times, began, ends } =
        Rc::try_unwrap(tally).map_err(|_| "an answer is still waited for")?.into_inner();
    found.typical = Typical::of(&mut times);
    found.latency = Spread::of(&mut times.concat());
    found.seconds = (ends - began).as_secs_f64();
    Ok(found)
}

async fn connect(addresses: &[String]) -> Result<Vec<Channel>, Fault> {
    let mut lines = Vec::new();
    for address in addresses {
        lines.push(wire::endpoint(address)?.connect_lazy());
    }
    Ok(lines)
}

async fn open(
    plan: &Plan,
    deck: &Rc<Deck>,
    rate: f64,
    tally: &Rc<RefCell<Tally>>,
) -> Result<(), Fault> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Rc::new(connect(&plan.addresses).await?));
    }
    let flights = Rc::new(());
    let pacer = Pacer::start(rate)?;
    let mut number: u64 = 0;
    loop {
        let due = pacer.due(number);
        if tally.borrow().ends < due {
            break;
        }
        while Instant::now() < due {
            pacer.rings().await;
        }
        let turn = usize::try_from(number)?;
        number += 1;
        if IN_FLIGHT_MAX <= Rc::strong_count(&flights) {
            tally.borrow_mut().hold_back(due);
            tokio::task::yield_now().await;
            continue;
        }
        let at = turn % deck.requests.len();
        let lines = Rc::clone(&connections[turn % CONNECTIONS]);
        let (deck, tally, flight) = (Rc::clone(deck), Rc::clone(tally), Rc::clone(&flights));
        tokio::task::spawn_local(async move {
            ask(&deck, &lines, at, due, &tally).await;
            drop(flight);
        });
        if number.is_multiple_of(4) {
            tokio::task::yield_now().await;
        }
    }
    let patience = Instant::now() + TAIL;
    while 1 < Rc::strong_count(&flights) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match Rc::strong_count(&flights) - 1 {
        0 => Ok(()),
        lost => Err(format!("{lost} requests were neither answered nor refused").into()),
    }
}

/// One request, tried again once where there is another server, and counted.
async fn ask(deck: &Deck, lines: &[Channel], at: usize, due: Instant, tally: &RefCell<Tally>) {
    let gives_up = deck.deadline.map(|deadline| due + deadline);
    let mut outcome = in_time(gives_up, call(deck, &lines[at % lines.len()], at)).await;
    let again = 1 < lines.len() && matches!(&outcome, Err(status) if is_worth_another(status));
    if again {
        outcome = in_time(gives_up, call(deck, &lines[(at + 1) % lines.len()], at)).await;
    }
    let came = Instant::now();
    let mut tally = tally.borrow_mut();
    if due < tally.began || tally.ends < due {
        return;
    }
    tally.found.sent += 1;
    match outcome {
        Ok(answer) => {
            let took = came.saturating_duration_since(due);
            let window = due.saturating_duration_since(tally.began).as_nanos() / WINDOW.as_nanos();
            let window = usize::try_from(window).unwrap_or(usize::MAX).min(TENTHS_MAX);
            if tally.times.len() <= window {
                tally.times.resize(window + 1, Vec::new());
            }
            tally.times[window].push(nanoseconds(took));
            let tenth = came.saturating_duration_since(tally.began).as_millis() / 100;
            let found = &mut tally.found;
            found.answered += 1;
            found.retried += u64::from(again);
            found.mixed += u64::from(deck.is_mixed(at, answer));
            let tenth = usize::try_from(tenth).unwrap_or(usize::MAX).min(TENTHS_MAX);
            if found.tenths.len() <= tenth {
                found.tenths.resize(tenth + 1, (0, 0.0));
            }
            let (answers, worst) = &mut found.tenths[tenth];
            *answers += 1;
            *worst = worst.max(took.as_secs_f64() * 1e6);
        }
        Err(status) => tally.found.refused(&status),
    }
}

/// What came, unless its caller gave up before.
async fn in_time<T>(
    gives_up: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(gives_up) = gives_up else { return work.await };
    let late = |_| Err(Status::deadline_exceeded("its caller gave up"));
    tokio::time::timeout_at(gives_up, work).await.unwrap_or_else(late)
}

/// Two hours of tenths of a second.
const TENTHS_MAX: usize = 72_000;

impl Found {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other code of gRPC is a failure, also one of the future"
    )]
    fn refused(&mut self, status: &Status) {
        match status.code() {
            Code::ResourceExhausted => self.shed += 1,
            Code::DeadlineExceeded | Code::Cancelled => self.late += 1,
            _ => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{status:?}"));
            }
        }
        self.first_error.get_or_insert_with(|| format!("{status:?}"));
    }
}

/// A server that ends or is gone; anything else would fail again.
fn is_worth_another(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

async fn call(deck: &Deck, line: &Channel, at: usize) -> Result<Bytes, Status> {
    let mut request = Request::new(deck.requests[at].clone());
    if let Some(deadline) = deck.deadline {
        request.set_timeout(deadline);
    }
    let mut client = Grpc::new(line.clone()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let reply = client.unary(request, deck.method.path(), AsBytes).await?;
    Ok(reply.into_inner())
}
