//! The forwarder: the one actor that takes corrections from the outbox to the scheduler.
//!
//! A round reads a batch, sends it, and moves the cursor only after the reply: each correction arrives
//! at least once, and the scheduler applies it once. What the scheduler refuses for good is set aside
//! in a bounded file, so that one bad correction cannot hold up the others.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kameo::{
    actor::{Actor, ActorRef},
    error::Infallible,
    message::{Context as Handling, Message},
};
use prost::Message as _;
use proto::{trace::Context, v1, v1::corrections_client::CorrectionsClient};
use runtime::{Report, backoff::Backoff};
use store::outbox::{Outbox, OutboxError, Record};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use traces::{Attributes as _, SpanKind, Traced, Tracer, span};

use crate::remembered::Upstream;

/// Most corrections of one message, and about as many bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// How long the scheduler may take to accept a connection or a batch.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The first and the longest wait after a batch that was not taken.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// The file of refused corrections is started anew at this size; one older file is kept.
const REFUSED_BYTES_MAX: u64 = 1 << 20;

/// Send the next batch.
struct Forward;

/// What became of a [`Forward`].
#[derive(Debug, PartialEq, Eq, kameo::Reply)]
enum Forwarded {
    /// Taken by the scheduler; there may be more.
    Sent,
    /// Nothing waits, or nobody said where to send it.
    Idle,
    /// Not taken; to be tried again after a while.
    Failed,
}

/// What the forwarder works with; it survives a restart of the actor.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) outbox: Outbox,
    pub(crate) upstream: watch::Receiver<Upstream>,
    /// Where refused corrections are set aside.
    pub(crate) refused: PathBuf,
    pub(crate) counts: Arc<Counts>,
    /// Where traces are sent, if anywhere.
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// What was forwarded since the worker started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Taken by the scheduler, for the first time or again.
    pub(crate) forwarded: AtomicU64,
    /// Refused by the scheduler for good.
    pub(crate) refused: AtomicU64,
    /// Batches that were not taken.
    pub(crate) failures: AtomicU64,
}

pub(crate) struct Forwarder {
    parts: Parts,
    /// The connection, and where it leads.
    channel: Option<(String, Channel)>,
    /// How many corrections go into the next message; fewer after one that was not understood.
    batch: usize,
    failing: bool,
    bell: tokio::task::JoinHandle<()>,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("the outbox cannot be read")]
    Outbox(#[source] OutboxError),
    #[error("the scheduler's address is none")]
    Address(#[source] proto::parse::ParseError),
    #[error("the scheduler cannot be reached")]
    Unreachable(#[source] tonic::transport::Error),
    #[error("the scheduler was silent for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the scheduler did not take the corrections")]
    Refused(#[source] Box<tonic::Status>),
    #[error("the refused corrections cannot be set aside")]
    SetAside(#[source] io::Error),
}

impl Actor for Forwarder {
    type Args = Parts;
    type Error = Infallible;

    async fn on_start(parts: Parts, itself: ActorRef<Self>) -> Result<Self, Infallible> {
        let bell = ring(itself, parts.outbox.changes(), parts.upstream.clone());
        let bell = runtime::spawn::named("forward", bell);
        Ok(Self { parts, channel: None, batch: BATCH, failing: false, bell })
    }

    async fn on_stop(
        &mut self,
        _: kameo::actor::WeakActorRef<Self>,
        _: kameo::error::ActorStopReason,
    ) -> Result<(), Infallible> {
        self.bell.abort();
        Ok(())
    }
}

/// Asks for rounds for as long as something waits, with growing pauses while they fail.
async fn ring(
    forwarder: ActorRef<Forwarder>,
    mut waiting: watch::Receiver<store::outbox::Waiting>,
    mut upstream: watch::Receiver<Upstream>,
) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        waiting.mark_unchanged();
        upstream.mark_unchanged();
        let Ok(forwarded) = forwarder.ask(Forward).await else { return };
        match forwarded {
            Forwarded::Sent => backoff.reset(),
            Forwarded::Idle => {
                backoff.reset();
                let changed = async {
                    tokio::select! {
                        changed = waiting.changed() => changed,
                        changed = upstream.changed() => changed,
                    }
                };
                if changed.await.is_err() {
                    return;
                }
            }
            Forwarded::Failed => {
                tokio::select! {
                    () = tokio::time::sleep(backoff.wait()) => {}
                    changed = upstream.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

impl Message<Forward> for Forwarder {
    type Reply = Forwarded;

    async fn handle(&mut self, _: Forward, _: &mut Handling<Self, Forwarded>) -> Forwarded {
        match self.forward().await {
            Ok(sent) => {
                if sent && self.failing {
                    tracing::info!("corrections are forwarded again");
                    self.failing = false;
                }
                if sent { Forwarded::Sent } else { Forwarded::Idle }
            }
            Err(error) => {
                self.channel = None;
                self.parts.counts.failures.fetch_add(1, Relaxed);
                if !self.failing {
                    tracing::warn!(error = %Report(&error), "corrections wait in the outbox");
                }
                self.failing = true;
                Forwarded::Failed
            }
        }
    }
}

impl Forwarder {
    /// One round: whether anything was taken off the outbox.
    async fn forward(&mut self) -> Result<bool, ForwardError> {
        let Upstream { scheduler, device } = self.parts.upstream.borrow().clone();
        if scheduler.is_empty() {
            return Ok(false);
        }
        let records = self.parts.outbox.read(self.batch, BATCH_BYTES).await;
        let records = records.map_err(ForwardError::Outbox)?;
        let Some(last) = records.last() else { return Ok(false) };
        let next = last.sequence + 1;

        let mut refused = Vec::new();
        let corrections: Vec<v1::Correction> = records
            .iter()
            .filter_map(|Record { sequence, bytes }| {
                let correction = v1::Correction::decode(bytes.as_slice());
                if correction.is_err() {
                    refused.push(Refused::unreadable(*sequence));
                }
                correction.ok()
            })
            .collect();
        if !corrections.is_empty() {
            let mut request = v1::SubmitCorrections { device, corrections: corrections.clone() };
            let ways = self.ways(&mut request.corrections);
            let submitted = self.submit(&scheduler, request).await;
            self.tell(ways, submitted.as_ref().err());
            match submitted {
                Ok(reply) => {
                    let taken = u64::from(reply.applied) + u64::from(reply.repeated);
                    self.parts.counts.forwarded.fetch_add(taken, Relaxed);
                    refused.extend(reply.refused.iter().map(|it| Refused::new(it, &corrections)));
                }
                Err(ForwardError::Refused(status)) if never_taken(&status) => {
                    if 1 < records.len() {
                        // One of them is to blame: halve until it stands alone.
                        self.batch = records.len() / 2;
                        return Ok(true);
                    }
                    refused.extend(corrections.iter().map(|it| Refused::whole(it, &status)));
                }
                Err(error) => return Err(error),
            }
        }
        self.batch = BATCH;
        self.set_aside(refused).await?;
        self.parts.outbox.acknowledge(next).await.map_err(ForwardError::Outbox)?;
        Ok(true)
    }

    /// The ways of those corrections whose traces are recorded; from here on, they come from there.
    fn ways(&self, corrections: &mut [v1::Correction]) -> Vec<Traced> {
        let Some(tracer) = &self.parts.tracer else { return Vec::new() };
        let begun = Instant::now();
        let ways = corrections.iter_mut().filter_map(|correction| {
            let from = Context::parse(correction.traceparent.as_bytes())?;
            let way = tracer.begin(Some(from), begun).filter(|way| way.recorded)?;
            correction.traceparent = way.context.header();
            Some(way)
        });
        ways.collect()
    }

    /// Tells the collector of them.
    fn tell(&self, ways: Vec<Traced>, fault: Option<&ForwardError>) {
        let Some(tracer) = self.parts.tracer.as_ref().filter(|_| !ways.is_empty()) else { return };
        let (ended, fault) = (Instant::now(), fault.map(|it| Report(it).to_string()));
        let count = u64::try_from(ways.len()).unwrap_or(u64::MAX);
        tracer.say(count, move |_| {
            let name = "sensemble.v1.Corrections/Submit";
            let spans = ways.iter().map(|way| {
                let span = span::of(way, name, SpanKind::Client, ended)
                    .with("rpc.system", "grpc")
                    .with("rpc.service", "sensemble.v1.Corrections")
                    .with("rpc.method", "Submit");
                fault.iter().fold(span, |span, fault| span.failed(fault))
            });
            spans.collect()
        });
    }

    async fn submit(
        &mut self,
        scheduler: &str,
        request: v1::SubmitCorrections,
    ) -> Result<v1::SubmitCorrectionsReply, ForwardError> {
        let channel = match &self.channel {
            Some((to, channel)) if to == scheduler => channel.clone(),
            Some(_) | None => {
                let endpoint = proto::parse::endpoint(scheduler).map_err(ForwardError::Address)?;
                let channel = Endpoint::from_shared(endpoint)
                    .map_err(ForwardError::Unreachable)?
                    .connect_timeout(SILENCE_MAX)
                    .tcp_nodelay(true)
                    .connect()
                    .await
                    .map_err(ForwardError::Unreachable)?;
                self.channel = Some((scheduler.to_owned(), channel.clone()));
                channel
            }
        };
        let mut client = CorrectionsClient::new(channel)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
        let reply = timeout(SILENCE_MAX, client.submit(request)).await;
        let reply = reply.map_err(|_| ForwardError::Silent)?;
        reply.map(tonic::Response::into_inner).map_err(|it| ForwardError::Refused(Box::new(it)))
    }

    async fn set_aside(&self, refused: Vec<Refused>) -> Result<(), ForwardError> {
        if refused.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(refused.len()).unwrap_or(u64::MAX);
        self.parts.counts.refused.fetch_add(count, Relaxed);
        tracing::warn!(
            corrections = count, file = %self.parts.refused.display(),
            "corrections refused for good are set aside"
        );
        let path = self.parts.refused.clone();
        tokio::task::spawn_blocking(move || append(&path, &refused))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(ForwardError::SetAside)
    }
}

/// Whether sending the same message again would be refused again.
fn never_taken(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition)
}

/// A correction that the scheduler will never take, for whoever wants to look.
#[derive(Debug, serde::Serialize)]
struct Refused {
    prediction_id: String,
    task: String,
    label: String,
    at_ms: u64,
    reason: String,
}

impl Refused {
    fn new(refused: &v1::RefusedCorrection, of: &[v1::Correction]) -> Self {
        let known = of.iter().find(|it| it.prediction_id == refused.prediction_id);
        let known = known.cloned().unwrap_or_default();
        Self { reason: refused.reason.clone(), ..Self::from(&known) }
    }

    fn whole(correction: &v1::Correction, status: &tonic::Status) -> Self {
        Self { reason: status.message().to_owned(), ..Self::from(correction) }
    }

    fn unreadable(sequence: u64) -> Self {
        let reason = format!("record {sequence} of the outbox is no correction");
        Self { reason, ..Self::from(&v1::Correction::default()) }
    }

    fn from(correction: &v1::Correction) -> Self {
        Self {
            prediction_id: runtime::secret::hex(&correction.prediction_id),
            task: correction.task.clone(),
            label: correction.label.clone(),
            at_ms: correction.at_ms,
            reason: String::new(),
        }
    }
}

/// One line of JSON each; durable when this returns.
fn append(path: &Path, refused: &[Refused]) -> io::Result<()> {
    let full = fs::metadata(path).is_ok_and(|metadata| REFUSED_BYTES_MAX <= metadata.len());
    if full {
        fs::rename(path, path.with_extension("old.jsonl"))?;
    }
    let mut lines = Vec::new();
    for line in refused {
        serde_json::to_writer(&mut lines, line)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(&lines)?;
    file.sync_all()
}
