//! The line to the node: its orders come in, what is served goes out.
//!
//! The worker outlives its node: when the line breaks it goes on serving and waits for a node to
//! attach again.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;
use proto::{v1, v1::serving_control_server::ServingControl};
use runtime::{Drain, Report};
use store::outbox::Outbox;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    engine::{Engine, Obey},
    orders,
    remembered::Upstream,
    routes,
    served::Snapshot,
};

/// How often a node hears of its worker when nothing changes.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Reports that may wait for a slow node; each is the whole state, so that one may be left out.
const REPORT_QUEUE: usize = 4;

/// Takes orders from one node at a time.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    token: Arc<str>,
    engine: ActorRef<Engine>,
    snapshot: Snapshot,
    changed: watch::Receiver<()>,
    outbox: Outbox,
    drain: Drain,
    /// Which session is the newest; the others end.
    newest: watch::Sender<u64>,
    attached: watch::Sender<usize>,
}

/// A node that holds the line, until this is dropped.
struct Attached(watch::Sender<usize>);

impl Attached {
    fn new(attached: &watch::Sender<usize>) -> Self {
        attached.send_modify(|nodes| *nodes += 1);
        Self(attached.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.send_modify(|nodes| *nodes -= 1);
    }
}

impl Control {
    pub(crate) fn new(
        token: &str,
        engine: ActorRef<Engine>,
        snapshot: Snapshot,
        changed: watch::Receiver<()>,
        outbox: Outbox,
        drain: Drain,
    ) -> Self {
        Self {
            token: token.into(),
            engine,
            snapshot,
            changed,
            outbox,
            drain,
            newest: watch::Sender::new(0),
            attached: watch::Sender::new(0),
        }
    }

    /// Returns when no node has been attached for `orphan_wait`.
    pub(crate) fn orphaned(&self, orphan_wait: Duration) -> impl Future<Output = ()> + use<> {
        let mut attached = self.attached.subscribe();
        // The sender is kept by the sessions of the future too.
        let _keep = self.attached.clone();
        async move {
            let _keep = _keep;
            loop {
                let alone = attached.wait_for(|&nodes| nodes == 0).await.is_ok();
                let found = attached.wait_for(|&nodes| 0 < nodes);
                if !alone || tokio::time::timeout(orphan_wait, found).await.is_err() {
                    return;
                }
            }
        }
    }

    /// One node's line, until it breaks or is replaced.
    async fn session(
        mut self,
        mut orders: Streaming<v1::Assignments>,
        reports: mpsc::Sender<Result<v1::ServingReport, Status>>,
    ) {
        let mut newest = self.newest.subscribe();
        let mut session: Option<(u64, Attached)> = None;
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                message = orders.message() => match message {
                    Ok(Some(assignments)) => {
                        if !self.is_token(&assignments.token) {
                            break Some(Status::permission_denied(
                                "this is not the token that the serving worker was started with",
                            ));
                        }
                        let mine = session.get_or_insert_with(|| {
                            self.newest.send_modify(|newest| *newest += 1);
                            (*self.newest.borrow(), Attached::new(&self.attached))
                        });
                        if mine.0 < *self.newest.borrow() {
                            break Some(replaced());
                        }
                        if let Err(status) = self.obey(assignments).await {
                            break Some(status);
                        }
                        self.report(&reports);
                    }
                    Ok(None) => break None,
                    Err(status) => {
                        tracing::debug!(error = %status, "the line to the node broke");
                        break None;
                    }
                },
                _ = ticks.tick(), if session.is_some() => self.report(&reports),
                _ = self.changed.changed(), if session.is_some() => self.report(&reports),
                _ = newest.changed() => {
                    let newest = *newest.borrow_and_update();
                    if session.as_ref().is_some_and(|(mine, _)| *mine < newest) {
                        break Some(replaced());
                    }
                }
                () = reports.closed() => break None,
                () = self.drain.wait() => break Some(Status::unavailable("the serving worker ends")),
            }
        };
        if session.is_some() {
            tracing::info!(
                reason = end.as_ref().map_or("it left", |status| status.message()),
                "node detached; what is served goes on"
            );
        }
        if let Some(status) = end {
            let _gone = reports.send(Err(status)).await;
        }
    }

    async fn obey(&self, assignments: v1::Assignments) -> Result<(), Status> {
        let v1::Assignments { scheduler, device, has_orders, tasks, routes, token: _ } =
            assignments;
        let orders = if has_orders {
            let orders = orders::parse(tasks);
            Some(orders.map_err(|error| Status::invalid_argument(Report(&error).to_string()))?)
        } else {
            None
        };
        let routes = routes::parse(routes);
        let obey = Obey { upstream: Upstream { scheduler, device }, orders, routes };
        // The engine is restarted when it fails; a node that is told so attaches again.
        self.engine.ask(obey).await.map_err(|_| Status::unavailable("the engine is restarting"))
    }

    fn report(&self, reports: &mpsc::Sender<Result<v1::ServingReport, Status>>) {
        let report = v1::ServingReport {
            tasks: self.snapshot.load().report(),
            outbox_waiting: self.outbox.waiting().records,
            rss_bytes: resident_bytes().unwrap_or(0),
        };
        let _full_or_gone = reports.try_send(Ok(report));
    }

    /// Compares in a time that does not tell how much was right.
    fn is_token(&self, token: &str) -> bool {
        let differences = self.token.bytes().zip(token.bytes()).map(|(a, b)| a ^ b);
        let same = differences.fold(0, |all, difference| all | difference) == 0;
        same && self.token.len() == token.len() && !token.is_empty()
    }
}

fn replaced() -> Status {
    Status::aborted("another node has attached to this serving worker")
}

/// What this process keeps in memory, as Linux says.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[tonic::async_trait]
impl ServingControl for Control {
    type AttachStream = ReceiverStream<Result<v1::ServingReport, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::Assignments>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (reports, stream) = mpsc::channel(REPORT_QUEUE);
        let session = self.clone().session(request.into_inner(), reports);
        runtime::spawn::named("attach", session);
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
