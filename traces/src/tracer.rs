//! The tracer of a process: which requests it traces, and the way of what is said of them.

use std::{io, sync::Arc, time::Duration};

use proto::{
    otlp::Span,
    trace::{Context, SpanId},
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    exporter::{Counts, Exporter, QUEUE_MAX, Saying},
    ids::Ids,
    sampler::Sampler,
    settings::Settings,
};

/// A process, as collectors know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is: `serving-worker`.
    pub service: &'static str,
    /// Which one of them: the device.
    pub instance: String,
    /// Of which version.
    pub version: &'static str,
}

/// Where a request stands in its trace. Small, and copied along with it.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// Where what it causes comes from: recorded, the span of the request itself; else where the request
    /// came from, handed on.
    pub context: Context,
    /// Whether anything is said of it here.
    pub recorded: bool,
    pub(crate) parent: Option<SpanId>,
    pub(crate) began: Instant,
    /// `began` on the wall clock. All times of one request are counted from it, so that they nest
    /// whatever the wall clock does meanwhile.
    pub(crate) began_ns: u64,
}

/// Decides and sends on; clones of the `Arc` are the same tracer.
#[derive(Debug)]
pub struct Tracer {
    sampler: Sampler,
    ids: Arc<Ids>,
    sayings: mpsc::Sender<Saying>,
    counts: Arc<Counts>,
}

impl Traced {
    /// A request that is not recorded here, and comes from `context`.
    #[must_use]
    pub fn passing(context: Context, began: Instant) -> Self {
        Self { context, recorded: false, parent: None, began, began_ns: 0 }
    }

    /// When it was read.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Nanoseconds since 1970.
    pub(crate) fn ns(&self, at: Instant) -> u64 {
        self.began_ns.saturating_add(nanos(at.saturating_duration_since(self.began)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Tracer {
    /// A tracer, and the exporter that has to be ended with the process.
    ///
    /// # Errors
    ///
    /// When the operating system has no random bytes.
    pub fn start(settings: &Settings, process: Process) -> io::Result<(Arc<Self>, Exporter)> {
        let (sayings, heard) = mpsc::channel(QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        let (ids, sampler) = (Arc::new(Ids::new()?), settings.sampler());
        tracing::info!(traces = settings.told(), "traces are sent");
        let exporter =
            Exporter::start(settings.endpoint(), process, heard, (ids.clone(), counts.clone()));
        Ok((Arc::new(Self { sampler, ids, sayings, counts }), exporter))
    }

    /// A request that came from `parent`, if it said so, and was read at `began`. `None` when there is
    /// nothing to be said of it, nor to be handed on.
    #[must_use]
    pub fn begin(&self, parent: Option<Context>, began: Instant) -> Option<Traced> {
        if parent.is_none() && !self.sampler.takes_orphans() {
            return None;
        }
        let trace = parent.map_or_else(|| self.ids.trace(), |it| it.trace);
        if !self.sampler.takes(parent, trace) {
            return parent.map(|context| Traced::passing(context, began));
        }
        let context = Context { trace, span: self.ids.span(), sampled: true };
        let since = nanos(began.elapsed());
        let began_ns = runtime::clock::unix_ns().saturating_sub(since);
        let parent = parent.map(|it| it.span);
        Some(Traced { context, recorded: true, parent, began, began_ns })
    }

    /// A request that is recorded whatever the rule says: somebody asked for it by hand.
    #[must_use]
    pub fn insist(&self, parent: Option<Context>) -> Traced {
        let trace = parent.map_or_else(|| self.ids.trace(), |it| it.trace);
        let context = Context { trace, span: self.ids.span(), sampled: true };
        let parent = parent.map(|it| it.span);
        let (began, began_ns) = (Instant::now(), runtime::clock::unix_ns());
        Traced { context, recorded: true, parent, began, began_ns }
    }

    /// Something that `traced` has others do: a request of its own, from now on.
    #[must_use]
    pub fn leg(&self, traced: &Traced) -> Traced {
        let context = Context { span: self.ids.span(), ..traced.context };
        let began = Instant::now();
        let parent = Some(traced.context.span);
        Traced { context, recorded: true, parent, began, began_ns: traced.ns(began) }
    }

    /// Says something, later and elsewhere: at most `spans`, made by `build` when it is its turn. Left
    /// out and counted when there is no room.
    pub fn say(&self, spans: u64, build: impl FnOnce(&Ids) -> Vec<Span> + Send + 'static) {
        match self.sayings.try_reserve() {
            Ok(room) => room.send(Saying { spans, build: Box::new(build) }),
            Err(_full_or_ended) => self.counts.drop_spans(spans),
        }
    }

    /// What became of what was said.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}
