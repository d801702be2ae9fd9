//! The line to the serving worker: what it should serve goes down, what it serves comes up.

use std::{net::SocketAddr, time::Duration};

use kameo::actor::ActorRef;
use proto::v1::{Assignments, serving_control_client::ServingControlClient};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::{
    foreman::{Foreman, Served},
    orders::Intended,
};

/// How long a worker on this very machine may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A worker that lives but has not answered for this long hangs, and is ended.
const HUNG_AFTER: Duration = Duration::from_secs(20);
/// How long to wait before attaching again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why the line broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// The worker cannot be reached.
    #[error("cannot reach the serving worker")]
    Unreachable(#[source] tonic::transport::Error),
    /// The worker did not answer in time.
    #[error("the serving worker did not answer within {ANSWER_MAX:?}")]
    Silent,
    /// The worker refused, or broke off.
    #[error("the serving worker broke off")]
    Broken(#[source] Box<tonic::Status>),
    /// The worker ended the stream.
    #[error("the serving worker ended the stream")]
    Ended,
    /// Our own foreman is gone: this node is ending.
    #[error("the node is ending")]
    Ending,
}

/// What a worker is told of the node itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    /// Proves that it was this node, or its predecessor, that started the worker.
    pub(crate) token: String,
    /// Where bundles are fetched and corrections are sent.
    pub(crate) scheduler: String,
    /// This device.
    pub(crate) device: String,
}

/// What should be served; `None` while nobody has said.
pub(crate) type Intent = watch::Receiver<Option<Intended>>;

/// Holds the line to the worker at `address`, again and again, until the worker hangs. `attached`
/// is set once it has answered.
pub(crate) async fn hold(
    address: SocketAddr,
    introduction: &Introduction,
    mut intent: Intent,
    foreman: &ActorRef<Foreman>,
    attached: &watch::Sender<bool>,
) {
    let mut answered = Instant::now();
    loop {
        let broken = session(address, introduction, &mut intent, foreman, || {
            answered = Instant::now();
            attached.send_replace(true);
        });
        let error = broken.await;
        if HUNG_AFTER < answered.elapsed() {
            tracing::error!(error = %runtime::Report(&error), "the serving worker hangs");
            return;
        }
        tracing::debug!(error = %runtime::Report(&error), "the serving worker is attached again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// One stream, until it breaks.
async fn session(
    address: SocketAddr,
    introduction: &Introduction,
    intent: &mut Intent,
    foreman: &ActorRef<Foreman>,
    mut answered: impl FnMut(),
) -> AttachError {
    let tell = |intended: Option<Intended>| {
        let has_orders = intended.is_some();
        let Intended { tasks, routes } = intended.unwrap_or_default();
        Assignments {
            token: introduction.token.clone(),
            scheduler: introduction.scheduler.clone(),
            device: introduction.device.clone(),
            has_orders,
            tasks,
            routes,
        }
    };
    let endpoint = match Endpoint::from_shared(format!("http://{}", reachable(address))) {
        Ok(endpoint) => endpoint
            .connect_timeout(ANSWER_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(ANSWER_MAX)
            .keep_alive_while_idle(true),
        Err(error) => return AttachError::Unreachable(error),
    };
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return AttachError::Unreachable(error),
    };
    let (orders, outgoing) = mpsc::channel(1);
    let first = tell(intent.borrow_and_update().clone());
    if orders.send(first).await.is_err() {
        return AttachError::Ending;
    }
    let mut client = ServingControlClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let mut reports = match timeout(ANSWER_MAX, client.attach(ReceiverStream::new(outgoing))).await
    {
        Ok(Ok(reports)) => reports.into_inner(),
        Ok(Err(status)) => return AttachError::Broken(Box::new(status)),
        Err(_) => return AttachError::Silent,
    };
    loop {
        tokio::select! {
            report = reports.message() => match report {
                Ok(Some(report)) => {
                    answered();
                    if foreman.tell(Served(report)).await.is_err() {
                        return AttachError::Ending;
                    }
                }
                Ok(None) => return AttachError::Ended,
                Err(status) => return AttachError::Broken(Box::new(status)),
            },
            changed = intent.changed() => {
                let now = tell(intent.borrow_and_update().clone());
                if changed.is_err() {
                    return AttachError::Ending;
                }
                match timeout(ANSWER_MAX, orders.send(now)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return AttachError::Ended,
                    Err(_) => return AttachError::Silent,
                }
            }
        }
    }
}

/// From this machine, a worker that listens everywhere is reached on loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(at) if at.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], at.port()))
        }
        SocketAddr::V6(at) if at.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, at.port()))
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, sync::Arc};

    use proto::v1::{
        Assignment, ServedTask, ServingReport,
        serving_control_server::{ServingControl, ServingControlServer},
    };
    use tokio::sync::Mutex;
    use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
    use tonic::{Request, Response, Status, Streaming};

    use super::*;
    use crate::foreman::tests::{Begun, begin};

    /// A worker that serves what it is told and remembers who told it.
    #[derive(Clone, Default)]
    struct Worker {
        told: Arc<Mutex<Vec<Assignments>>>,
    }

    #[tonic::async_trait]
    impl ServingControl for Worker {
        type AttachStream = Pin<Box<dyn Stream<Item = Result<ServingReport, Status>> + Send>>;

        async fn attach(
            &self,
            request: Request<Streaming<Assignments>>,
        ) -> Result<Response<Self::AttachStream>, Status> {
            let told = self.told.clone();
            let reports = request.into_inner().then(move |message| {
                let told = told.clone();
                async move {
                    let message = message?;
                    let tasks = message.tasks.iter().map(|it| ServedTask {
                        task: it.task.clone(),
                        revision: it.revision,
                        ..ServedTask::default()
                    });
                    let report =
                        ServingReport { tasks: tasks.collect(), ..ServingReport::default() };
                    told.lock().await.push(message);
                    Ok(report)
                }
            });
            Ok(Response::new(Box::pin(reports)))
        }
    }

    async fn serve(listener: tokio::net::TcpListener, worker: Worker) {
        let server = tonic::transport::Server::builder()
            .add_service(ServingControlServer::new(worker))
            .serve_with_incoming(TcpListenerStream::new(listener));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn orders_go_down_reports_come_up_and_a_new_line_is_told_everything_again() {
        let worker = Worker::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _worker = runtime::spawn::named("worker", serve(listener, worker.clone()));

        let folder = tempfile::tempdir().unwrap();
        let Begun { foreman, .. } = begin(folder.path(), None);
        let (orders, intent) = watch::channel(None);
        let introduction = Introduction {
            token: "secret".to_owned(),
            scheduler: "http://127.0.0.1:1".to_owned(),
            device: "pi".to_owned(),
        };
        let (attached, mut is_attached) = watch::channel(false);
        let line = {
            let foreman = foreman.clone();
            runtime::spawn::named("line", async move {
                hold(address, &introduction, intent, &foreman, &attached).await;
            })
        };
        is_attached.wait_for(|&it| it).await.unwrap();
        {
            let told = worker.told.lock().await;
            assert_eq!(told[0].token, "secret");
            assert!(!told[0].has_orders, "nobody has said anything yet");
        }
        let assignment = Assignment { task: "t".to_owned(), revision: 7, ..Assignment::default() };
        orders.send_replace(Some(Intended { tasks: vec![assignment], routes: Vec::new() }));
        let serves = async || {
            let crate::foreman::Observation(report) =
                foreman.ask(crate::foreman::Observe).await.unwrap();
            report.serving.iter().any(|it| it.task == "t" && it.revision == 7)
        };
        let within = Duration::from_secs(20);
        let seen = async {
            while !serves().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(within, seen).await.unwrap();

        // The line breaks, and the worker is told everything again.
        line.abort();
        worker.told.lock().await.clear();
        let told = async {
            while worker.told.lock().await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let (attached, _) = watch::channel(false);
        let introduction = Introduction {
            token: "secret".to_owned(),
            scheduler: String::new(),
            device: "pi".to_owned(),
        };
        let intent = orders.subscribe();
        let line = hold(address, &introduction, intent, &foreman, &attached);
        tokio::select! {
            () = line => panic!("the worker does not hang"),
            told = tokio::time::timeout(within, told) => told.unwrap(),
        }
        let told = worker.told.lock().await;
        assert!(told[0].has_orders);
        assert_eq!(told[0].tasks[0].revision, 7);
    }

    #[test]
    fn a_worker_that_listens_everywhere_is_reached_on_loopback() {
        let of = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:8001"), "127.0.0.1:8001");
        assert_eq!(of("[::]:8001"), "[::1]:8001");
        assert_eq!(of("192.168.0.7:8001"), "192.168.0.7:8001");
    }
}
