//! Whether a service of ours answers, and how long a round trip to it takes.

use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Why a service does not answer.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// No connection to be had.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// It was reached, and said that it does not serve, or nothing that makes sense.
    #[error("it does not serve")]
    Refused(#[source] Box<tonic::Status>),
    /// It was reached and is not ready.
    #[error("it is not ready yet")]
    NotReady,
    /// It did not answer in time.
    #[error("no answer within {waited:?}")]
    Silent {
        /// How long it was given.
        waited: Duration,
    },
}

/// A connection that is kept, to ask again and again.
#[derive(Clone, Debug)]
pub struct Health {
    client: HealthClient<Channel>,
}

impl Health {
    /// For the service at `endpoint` (`http://host:port`); connects when it is first asked.
    ///
    /// # Errors
    ///
    /// [`HealthError::Connect`] for an endpoint that is none.
    pub fn of(endpoint: &str, connect_max: Duration) -> Result<Self, HealthError> {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|source| HealthError::Connect { address: endpoint.to_owned(), source })?
            .connect_timeout(connect_max)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self { client: HealthClient::new(channel) })
    }

    /// Asks once, and says how long the answer took.
    ///
    /// # Errors
    ///
    /// Every variant of [`HealthError`].
    pub async fn ask(&mut self, wait_max: Duration) -> Result<Duration, HealthError> {
        let asked = Instant::now();
        let answer = self.client.check(HealthCheckRequest { service: String::new() });
        let reply = tokio::time::timeout(wait_max, answer)
            .await
            .map_err(|_| HealthError::Silent { waited: wait_max })?
            .map_err(|status| HealthError::Refused(Box::new(status)))?;
        if reply.into_inner().status() == ServingStatus::Serving {
            Ok(asked.elapsed())
        } else {
            Err(HealthError::NotReady)
        }
    }
}
