//! What others see: the gRPC services, with their limits, on one port.

mod admin;
mod bundles;
mod calls;
mod corrections;
mod fleet;
mod import;
mod members;
mod metrics;
mod training;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use kameo::actor::ActorRef;
use proto::{MESSAGE_BYTES_MAX, v1};
use runtime::Drain;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, service::Routes, transport::Server};
use traces::Tracer;

use calls::Calls;

use crate::{
    Limits,
    controller::Controller,
    registry::{Registry, Vault},
};

/// Requests of one connection that are worked on at a time; more wait.
const REQUESTS_PER_CONNECTION_MAX: usize = 64;
/// Streams of one connection: leases, journals and trainings that are followed.
const STREAMS_MAX: u32 = 256;
/// A connection that does not answer a ping within this is gone.
const PING: Duration = Duration::from_secs(10);
/// Imports and bundles that are taken at a time: each may hold much memory.
const UPLOADS_MAX: usize = 4;

/// What the services are made of.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) vault: Vault,
    pub(crate) registry: ActorRef<Registry>,
    pub(crate) controller: ActorRef<Controller>,
    pub(crate) orders_changed: tokio::sync::watch::Sender<u64>,
    pub(crate) nudge: Arc<tokio::sync::Notify>,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    /// Where traces are sent, if anywhere.
    pub(crate) tracer: Option<Arc<Tracer>>,
    calls: Calls,
    sessions: Arc<AtomicU64>,
    uploads: Arc<Semaphore>,
}

impl Services {
    pub(crate) fn new(
        desk: crate::controller::Desk,
        controller: ActorRef<Controller>,
        tracer: Option<Arc<Tracer>>,
        drain: Drain,
    ) -> Self {
        Self {
            vault: desk.vault,
            registry: desk.registry,
            controller,
            orders_changed: desk.orders_changed,
            nudge: desk.nudge,
            limits: desk.limits,
            drain,
            tracer,
            calls: Calls::default(),
            sessions: Arc::new(AtomicU64::new(1)),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        }
    }

    /// A permit to send something large.
    fn upload(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Status> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| {
            crate::error::try_again(
                tonic::Code::ResourceExhausted,
                format!("{UPLOADS_MAX} uploads are under way; try again in a second"),
            )
        })
    }

    /// Answers on `listener` until the drain is asked for and what was begun is finished.
    ///
    /// # Errors
    ///
    /// When reflection cannot be built or the listener fails.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<v1::admin_server::AdminServer<Self>>().await;
        health.set_serving::<v1::fleet_server::FleetServer<Self>>().await;
        health.set_serving::<v1::training_server::TrainingServer<Self>>().await;
        health.set_serving::<v1::bundles_server::BundlesServer<Self>>().await;
        health.set_serving::<v1::corrections_server::CorrectionsServer<Self>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let (drain, calls) = (self.drain.clone(), self.calls.clone());
        let at_most = MESSAGE_BYTES_MAX;
        let admin = v1::admin_server::AdminServer::new(self.clone())
            .max_decoding_message_size(at_most)
            .max_encoding_message_size(at_most);
        let fleet = v1::fleet_server::FleetServer::new(self.clone())
            .max_decoding_message_size(at_most)
            .max_encoding_message_size(at_most);
        let training = v1::training_server::TrainingServer::new(self.clone())
            .max_decoding_message_size(at_most)
            .max_encoding_message_size(at_most);
        let bundles = v1::bundles_server::BundlesServer::new(self.clone())
            .max_decoding_message_size(at_most)
            .max_encoding_message_size(at_most);
        let corrections = v1::corrections_server::CorrectionsServer::new(self.clone())
            .max_decoding_message_size(at_most)
            .max_encoding_message_size(at_most);
        let routes = Routes::new(health_service)
            .add_service(reflection)
            .add_service(calls.of(admin))
            .add_service(calls.of(fleet))
            .add_service(calls.of(training))
            .add_service(calls.of(bundles))
            .add_service(calls.of(corrections));
        let routes = routes.into_axum_router().merge(metrics::route(self));
        Server::builder()
            // For `/metrics`.
            .accept_http1(true)
            .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING))
            .tcp_nodelay(true)
            .add_routes(routes.into())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                drain.wait().await;
            })
            .await?;
        Ok(())
    }
}

/// What a stream of answers says.
pub(crate) type Answers<T> = tokio_stream::wrappers::ReceiverStream<Result<T, Status>>;
