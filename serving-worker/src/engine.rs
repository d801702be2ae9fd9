//! The engine: the one actor that owns what is served.
//!
//! Orders reach it as messages, one at a time; predictions never do: they read the snapshot that it
//! publishes, so that a slow load cannot delay an answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kameo::{
    actor::{Actor, ActorRef},
    error::Infallible,
    message::{Context, Message},
};
use runtime::{Report, backoff::Backoff};
use store::blobs::{BlobError, Blobs};
use tokio::sync::watch;

use crate::{
    load::{self, Haste, InMemory, LoadError, Source},
    meter::Meter,
    orders::{Orders, Wanted},
    remembered::{Memory, Remembered, Upstream},
    routes::Routes,
    served::{Served, ServedSet, Snapshot},
};

/// The first and the longest wait before a failed load is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// When the bundles on disk are more than this, those that are no longer served go.
const SPARE_BYTES_MAX: u64 = 256 << 20;
/// How long one of the two windows of the latency quantiles is.
const WINDOW: Duration = Duration::from_secs(30);

/// This should be served from now on; `None` says only where the scheduler is.
pub(crate) struct Obey {
    pub(crate) upstream: Upstream,
    pub(crate) orders: Option<Vec<Wanted>>,
    /// Where the other tasks are; read with orders.
    pub(crate) routes: Routes,
}

/// A load came to its end.
struct Loaded {
    wanted: Wanted,
    result: Result<Served, LoadError>,
}

/// A failed load is due again.
struct Retry(Wanted);

/// The windows of the latency quantiles turn.
struct Turn;

/// What the engine works with; it survives a restart of the actor.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) snapshot: Snapshot,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) memory: Memory,
    /// Told to whoever fetches and forwards.
    pub(crate) upstream: watch::Sender<Upstream>,
    /// Rung whenever the snapshot has changed.
    pub(crate) changed: watch::Sender<()>,
}

pub(crate) struct Engine {
    parts: Parts,
    orders: Orders,
    routes: Arc<Routes>,
    tasks: BTreeMap<String, Arc<Served>>,
    backoffs: BTreeMap<String, Backoff>,
    /// Whether anybody has ever said what to serve.
    ordered: bool,
    itself: ActorRef<Self>,
    turner: tokio::task::JoinHandle<()>,
}

impl Actor for Engine {
    type Args = Parts;
    type Error = Infallible;

    /// Starting and recovering are the same: what was served last is served again from the disk,
    /// before anything is asked of the network.
    async fn on_start(parts: Parts, itself: ActorRef<Self>) -> Result<Self, Infallible> {
        let memory = parts.memory.clone();
        let read = tokio::task::spawn_blocking(move || memory.read()).await;
        let remembered = match read {
            Ok(Ok(remembered)) => remembered,
            Ok(Err(error)) => {
                tracing::error!(error = %Report(&error), "what was served before is not known");
                None
            }
            Err(_panicked_and_said_so) => None,
        };
        let ordered = remembered.is_some();
        let Remembered { upstream, orders, routes } = remembered.unwrap_or_default();
        let routes = Arc::new(routes);
        parts.upstream.send_if_modified(|known| {
            let news = known.scheduler.is_empty() && !upstream.scheduler.is_empty();
            if news {
                *known = upstream;
            }
            news
        });
        let ticks = itself.clone();
        let turner = runtime::spawn::named("turn", async move {
            loop {
                tokio::time::sleep(WINDOW).await;
                if ticks.tell(Turn).await.is_err() {
                    return;
                }
            }
        });
        let tasks = parts.snapshot.load().tasks.clone();
        let backoffs = BTreeMap::new();
        let mut engine = Self { parts, orders, routes, tasks, backoffs, ordered, itself, turner };
        engine.restore().await;
        Ok(engine)
    }

    async fn on_stop(
        &mut self,
        _: kameo::actor::WeakActorRef<Self>,
        _: kameo::error::ActorStopReason,
    ) -> Result<(), Infallible> {
        self.turner.abort();
        Ok(())
    }
}

impl Message<Obey> for Engine {
    type Reply = ();

    async fn handle(&mut self, obey: Obey, _: &mut Context<Self, ()>) {
        let Obey { upstream, orders, routes } = obey;
        // A node that does not know where the scheduler is takes nothing away from what is known.
        let moved = self.parts.upstream.send_if_modified(|known| {
            let news = !upstream.scheduler.is_empty() && *known != upstream;
            if news {
                *known = upstream;
            }
            news
        });
        let before = self.orders.clone();
        let first = !self.ordered && orders.is_some();
        let moved_elsewhere = orders.is_some() && *self.routes != routes;
        if moved_elsewhere {
            tracing::info!(tasks = routes.len(), "tasks that are served elsewhere are known");
            self.routes = Arc::new(routes);
        }
        if let Some(orders) = orders {
            self.ordered = true;
            self.obey(orders);
        }
        if moved {
            // What could not be had from nowhere may be had from there.
            for wanted in self.orders.missing().cloned().collect::<Vec<_>>() {
                self.backoffs.remove(&wanted.task);
                self.start_load(wanted);
            }
        }
        if moved || first || moved_elsewhere || self.orders != before {
            self.publish();
            self.remember().await;
        }
    }
}

impl Message<Loaded> for Engine {
    type Reply = ();

    async fn handle(&mut self, loaded: Loaded, _: &mut Context<Self, ()>) {
        let Loaded { wanted, result } = loaded;
        match result {
            Ok(served) => {
                if !self.orders.loaded(&wanted) {
                    return;
                }
                self.swap(served);
                self.backoffs.remove(&wanted.task);
            }
            Err(error) => {
                if !self.orders.failed(&wanted, Report(&error).to_string()) {
                    return;
                }
                let backoff = self.backoffs.entry(wanted.task.clone());
                let wait = backoff.or_insert_with(|| Backoff::new(RETRY.0, RETRY.1)).wait();
                tracing::warn!(
                    task.id = wanted.task, revision = wanted.revision, error = %Report(&error),
                    again_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "revision not loaded; the one before keeps serving"
                );
                let engine = self.itself.clone();
                runtime::spawn::named("retry", async move {
                    tokio::time::sleep(wait).await;
                    // When the engine is gone, so is the reason to try again.
                    let _gone = engine.tell(Retry(wanted)).await;
                });
            }
        }
        self.publish();
        self.remember().await;
        self.make_room().await;
    }
}

impl Message<Retry> for Engine {
    type Reply = ();

    async fn handle(&mut self, Retry(wanted): Retry, _: &mut Context<Self, ()>) {
        if self.orders.missing().any(|missing| *missing == wanted) {
            self.start_load(wanted);
        }
    }
}

impl Message<Turn> for Engine {
    type Reply = ();

    async fn handle(&mut self, _: Turn, _: &mut Context<Self, ()>) {
        self.tasks.values().for_each(|served| served.meter.turn());
    }
}

impl Engine {
    fn obey(&mut self, orders: Vec<Wanted>) {
        let obeyed = self.orders.obey(orders);
        for (wanted, newest) in &obeyed.stale {
            tracing::warn!(
                task.id = wanted.task,
                generation = wanted.generation,
                newest,
                "stale order not obeyed"
            );
        }
        for task in &obeyed.dropped {
            self.tasks.remove(task);
            self.backoffs.remove(task);
            tracing::info!(task.id = task, "task no longer served here");
        }
        for wanted in obeyed.load {
            tracing::info!(
                task.id = wanted.task,
                generation = wanted.generation,
                revision = wanted.revision,
                members = wanted.subset.len(),
                gated = wanted.gated,
                "task ordered"
            );
            self.backoffs.remove(&wanted.task);
            self.start_load(wanted);
        }
    }

    /// Serves again from the disk what was served before, then goes after what is missing.
    async fn restore(&mut self) {
        let good: Vec<Wanted> = self.orders.good.values().cloned().collect();
        for wanted in good {
            if self.tasks.get(&wanted.task).is_some_and(|served| served.wanted == wanted) {
                continue;
            }
            let blobs = Arc::clone(&self.parts.blobs);
            let source = Source { blobs, scheduler: String::new(), haste: Haste::Now };
            let meter = self.meter(&wanted.task);
            let in_memory = self.in_memory(&wanted);
            match load::load(source, wanted.clone(), in_memory, meter).await {
                Ok(served) => self.swap(served),
                Err(error) => {
                    tracing::warn!(
                        task.id = wanted.task, revision = wanted.revision,
                        error = %Report(&error), "last good revision not restored"
                    );
                    self.orders.good.remove(&wanted.task);
                }
            }
        }
        for wanted in self.orders.missing().cloned().collect::<Vec<_>>() {
            self.start_load(wanted);
        }
        self.publish();
    }

    fn swap(&mut self, served: Served) {
        let Wanted { task, generation, revision, .. } = &served.wanted;
        tracing::info!(
            task.id = task,
            generation,
            revision,
            members = served.members,
            bytes = served.ensemble.bytes(),
            "revision serves"
        );
        self.tasks.insert(task.clone(), Arc::new(served));
    }

    fn start_load(&self, wanted: Wanted) {
        let source = Source {
            blobs: Arc::clone(&self.parts.blobs),
            scheduler: self.parts.upstream.borrow().scheduler.clone(),
            haste: if self.tasks.is_empty() { Haste::Now } else { Haste::Behind },
        };
        let in_memory = self.in_memory(&wanted);
        let meter = self.meter(&wanted.task);
        let engine = self.itself.clone();
        let load = load::load(source, wanted.clone(), in_memory, meter);
        runtime::spawn::named("load", async move {
            // In a task of its own, so that a panic in it becomes a fault and not a silence.
            let loading = runtime::spawn::named("load bundle", load);
            let result = loading.await.unwrap_or(Err(LoadError::Broken));
            let _gone = engine.tell(Loaded { wanted, result }).await;
        });
    }

    /// What of a wanted revision is in memory.
    fn in_memory(&self, wanted: &Wanted) -> InMemory {
        let mut tasks = self.tasks.values();
        let same = tasks.find(|served| served.wanted.digest == wanted.digest).cloned();
        InMemory { same, before: self.tasks.get(&wanted.task).cloned() }
    }

    fn meter(&self, task: &str) -> Arc<Meter> {
        self.tasks.get(task).map(|served| Arc::clone(&served.meter)).unwrap_or_default()
    }

    fn publish(&self) {
        let missing = self.orders.missing().map(|wanted| {
            let fault = self.orders.faults.get(&wanted.task).cloned().unwrap_or_default();
            (wanted.task.clone(), (wanted.clone(), fault))
        });
        let set = ServedSet {
            tasks: self.tasks.clone(),
            missing: missing.collect(),
            routes: Arc::clone(&self.routes),
            ordered: self.ordered,
        };
        let before = self.parts.snapshot.swap(Arc::new(set));
        if before.tasks.values().any(|served| Arc::strong_count(served) == 1) {
            release(before);
        }
        self.parts.changed.send_replace(());
    }

    /// Bundles that are no longer served are kept for as long as there is room, so that a step back
    /// needs no network.
    async fn make_room(&self) {
        if self.parts.blobs.bytes() <= SPARE_BYTES_MAX {
            return;
        }
        let keep: Vec<[u8; 32]> = self.orders.digests().collect();
        let blobs = Arc::clone(&self.parts.blobs);
        let removed = tokio::task::spawn_blocking(move || {
            let digests = blobs.digests()?;
            digests.iter().filter(|it| !keep.contains(it)).try_for_each(|digest| {
                blobs.remove(digest)?;
                Ok(())
            })
        });
        let removed: Result<Result<(), BlobError>, _> = removed.await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(error = %Report(&error), "old bundles are not removed");
        }
    }

    async fn remember(&self) {
        let upstream = self.parts.upstream.borrow().clone();
        let routes = self.routes.as_ref().clone();
        let remembered = Remembered { upstream, orders: self.orders.clone(), routes };
        let memory = self.parts.memory.clone();
        let written = tokio::task::spawn_blocking(move || memory.write(&remembered)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(error = %Report(&error), "what is served would not survive a restart");
        }
    }
}

/// Frees what nobody is served from any more. Megabytes take a while to give back to the system: not on
/// a thread that answers.
fn release(set: Arc<ServedSet>) {
    let set = Mutex::new(Some(set));
    let free = move || drop(set.lock().unwrap_or_else(PoisonError::into_inner).take());
    runtime::spawn::named("release", async move {
        let _freed = runtime::spawn::behind("release", free).await;
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A defect, to see what becomes of it.
    pub(crate) struct Panic;

    impl Message<Panic> for Engine {
        type Reply = ();

        async fn handle(&mut self, _: Panic, _: &mut Context<Self, ()>) {
            panic!("a defect");
        }
    }
}
