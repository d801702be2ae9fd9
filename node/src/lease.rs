//! The lease: for as long as the stream to the scheduler stands, reports go up and orders come down.
//!
//! When it breaks the node goes on with its last orders, and tries again and again.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;
use proto::v1::{NodeReport, fleet_client::FleetClient};
use runtime::{Drain, Report, backoff::Backoff};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::{
    foreman::{Foreman, Misread, Obey, Observation, Observe},
    orders::Orders,
};

/// How long a scheduler may take to accept the stream.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Until the scheduler says how often it wants to hear.
const HEARTBEAT_FIRST: Duration = Duration::from_secs(1);
/// Until the scheduler says how long a lease is.
const PATIENCE_FIRST: Duration = Duration::from_secs(10);
/// News waits this long for more news, so that a burst of it is one report.
const NEWS_EVERY_MIN: Duration = Duration::from_millis(20);

/// Why the lease broke.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    /// The scheduler cannot be reached.
    #[error("cannot reach the scheduler")]
    Unreachable(#[source] tonic::transport::Error),
    /// The scheduler refused the lease, or broke it off.
    #[error("the scheduler broke off")]
    Broken(#[source] Box<tonic::Status>),
    /// The scheduler ended the stream.
    #[error("the scheduler ended the lease")]
    Ended,
    /// Neither orders nor an end.
    #[error("the scheduler was silent for {0:?}")]
    Silent(Duration),
    /// The foreman is gone: this node is ending.
    #[error("the node is ending")]
    Ending,
}

/// What a lease needs.
pub(crate) struct Lease {
    /// `http://host:port` of the scheduler.
    pub(crate) scheduler: String,
    pub(crate) foreman: ActorRef<Foreman>,
    /// Rung when a report should not wait for its time.
    pub(crate) news: Arc<Notify>,
    pub(crate) drain: Drain,
}

impl Lease {
    /// Holds the lease until told to stop.
    pub(crate) async fn hold(self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut absent = false;
        loop {
            let mut held = false;
            let error = tokio::select! {
                () = self.drain.wait() => return,
                error = self.session(|| held = true) => error,
            };
            if held {
                backoff.reset();
                absent = false;
            }
            // Said once for each absence: it may last for days.
            if !absent {
                tracing::warn!(error = %Report(&error), "no lease; going on with the last orders");
                absent = true;
            }
            tokio::select! {
                () = self.drain.wait() => return,
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }

    async fn report(&self) -> Result<NodeReport, LeaseError> {
        let Observation(report) =
            self.foreman.ask(Observe).await.map_err(|_| LeaseError::Ending)?;
        Ok(report)
    }

    /// One stream, until it breaks. `held` is called with every set of orders.
    async fn session(&self, mut held: impl FnMut()) -> LeaseError {
        match self.stream(&mut held).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn stream(
        &self,
        held: &mut impl FnMut(),
    ) -> Result<std::convert::Infallible, LeaseError> {
        let channel = Endpoint::from_shared(self.scheduler.clone())
            .map_err(LeaseError::Unreachable)?
            .connect_timeout(ANSWER_MAX)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(LeaseError::Unreachable)?;
        let (reports, outgoing) = mpsc::channel(1);
        reports.send(self.report().await?).await.map_err(|_| LeaseError::Ended)?;
        let mut client = FleetClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        let mut orders = timeout(ANSWER_MAX, client.lease(ReceiverStream::new(outgoing)))
            .await
            .map_err(|_| LeaseError::Silent(ANSWER_MAX))?
            .map_err(|status| LeaseError::Broken(Box::new(status)))?
            .into_inner();
        tracing::info!(scheduler = self.scheduler, "lease held");

        let mut patience = PATIENCE_FIRST;
        let mut heard = Instant::now();
        let mut heartbeat = ticks(HEARTBEAT_FIRST);
        loop {
            tokio::select! {
                message = orders.message() => {
                    let message = message
                        .map_err(|status| LeaseError::Broken(Box::new(status)))?
                        .ok_or(LeaseError::Ended)?;
                    heard = Instant::now();
                    held();
                    match Orders::parse(message) {
                        Ok(orders) => {
                            patience = orders.patience();
                            if heartbeat.period() != orders.heartbeat() {
                                heartbeat = ticks(orders.heartbeat());
                            }
                            self.foreman.ask(Obey(orders)).await.map_err(|_| LeaseError::Ending)?;
                        }
                        Err(error) => {
                            let why = Report(&error).to_string();
                            tracing::error!(error = why, "orders make no sense");
                            let tell = self.foreman.tell(Misread(why));
                            tell.await.map_err(|_| LeaseError::Ending)?;
                        }
                    }
                    continue;
                }
                _ = heartbeat.tick() => {}
                () = self.news.notified() => tokio::time::sleep(NEWS_EVERY_MIN).await,
            }
            if patience < heard.elapsed() {
                return Err(LeaseError::Silent(patience));
            }
            let report = self.report().await?;
            timeout(patience, reports.send(report))
                .await
                .map_err(|_| LeaseError::Silent(patience))?
                .map_err(|_| LeaseError::Ended)?;
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, sync::Mutex};

    use proto::v1::{
        NodeOrders,
        fleet_server::{Fleet, FleetServer},
    };
    use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
    use tonic::{Request, Response, Status, Streaming};

    use super::*;
    use crate::foreman::tests::{Begun, begin};

    /// A scheduler that answers each report with what it is told to answer.
    #[derive(Clone, Default)]
    struct Scheduler {
        reports: Arc<Mutex<Vec<NodeReport>>>,
        answer: Arc<Mutex<NodeOrders>>,
        /// Breaks off instead of answering.
        broken: Arc<Mutex<bool>>,
    }

    #[tonic::async_trait]
    impl Fleet for Scheduler {
        type LeaseStream = Pin<Box<dyn Stream<Item = Result<NodeOrders, Status>> + Send>>;

        async fn lease(
            &self,
            request: Request<Streaming<NodeReport>>,
        ) -> Result<Response<Self::LeaseStream>, Status> {
            let scheduler = self.clone();
            let orders = request.into_inner().map(move |report| {
                scheduler.reports.lock().unwrap().push(report?);
                if *scheduler.broken.lock().unwrap() {
                    return Err(Status::unavailable("restarting"));
                }
                Ok(scheduler.answer.lock().unwrap().clone())
            });
            Ok(Response::new(Box::pin(orders)))
        }
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let waited = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("{what}"));
    }

    #[tokio::test]
    async fn a_lease_survives_a_scheduler_that_breaks_off_and_orders_that_make_no_sense() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheduler = Scheduler::default();
        let answer = |generation, digest: usize| NodeOrders {
            generation,
            serving: vec![proto::v1::Assignment {
                task: "t".to_owned(),
                digest: vec![1; digest].into(),
                ..proto::v1::Assignment::default()
            }],
            heartbeat_ms: 50,
            lease_ms: 5_000,
            ..NodeOrders::default()
        };
        *scheduler.answer.lock().unwrap() = answer(3, 32);
        let serve = tonic::transport::Server::builder()
            .add_service(FleetServer::new(scheduler.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let _server = runtime::spawn::named("scheduler", serve);

        let folder = tempfile::tempdir().unwrap();
        let Begun { foreman, news, .. } = begin(folder.path(), None);
        let drain = Drain::new();
        let lease =
            Lease { scheduler: format!("http://{address}"), foreman, news, drain: drain.clone() };
        let held = runtime::spawn::named("lease", lease.hold());
        let last = || scheduler.reports.lock().unwrap().last().cloned();
        let generation = || last().map_or(0, |report| report.generation);
        until("the first orders", || generation() == 3).await;

        *scheduler.broken.lock().unwrap() = true;
        let before = scheduler.reports.lock().unwrap().len();
        until("tries again", || before + 3 < scheduler.reports.lock().unwrap().len()).await;
        *scheduler.broken.lock().unwrap() = false;

        *scheduler.answer.lock().unwrap() = answer(4, 31);
        until("a note of nonsense", || last().is_some_and(|it| !it.notes.is_empty())).await;
        assert_eq!(generation(), 3, "and the last good orders stay");

        *scheduler.answer.lock().unwrap() = answer(5, 32);
        until("newer orders", || generation() == 5).await;
        until("no note any more", || last().is_some_and(|it| it.notes.is_empty())).await;

        drain.ask();
        timeout(Duration::from_secs(5), held).await.unwrap().unwrap();
    }
}
