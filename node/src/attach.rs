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

use crate::foreman::{Foreman, Served};

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
pub(crate) type Intent = watch::Receiver<Option<Vec<proto::v1::Assignment>>>;

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
    let tell = |tasks: Option<Vec<proto::v1::Assignment>>| Assignments {
        token: introduction.token.clone(),
        scheduler: introduction.scheduler.clone(),
        device: introduction.device.clone(),
        has_orders: tasks.is_some(),
        tasks: tasks.unwrap_or_default(),
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
