//! Corrections from the outboxes of serving workers.

use proto::v1::{self, corrections_server::Corrections};
use tonic::{Request, Response, Status};

use super::Services;
use crate::{error::asked, registry::Submit};

/// Corrections of one request.
const CORRECTIONS_MAX: usize = 10_000;

#[tonic::async_trait]
impl Corrections for Services {
    async fn submit(
        &self,
        request: Request<v1::SubmitCorrections>,
    ) -> Result<Response<v1::SubmitCorrectionsReply>, Status> {
        let v1::SubmitCorrections { device, corrections } = request.into_inner();
        if CORRECTIONS_MAX < corrections.len() {
            return Err(Status::invalid_argument(format!(
                "{} corrections; send at most {CORRECTIONS_MAX} at once",
                corrections.len()
            )));
        }
        let device = device.chars().take(64).collect();
        // The reply is made after the commit: what is acknowledged survives a power cut.
        let reply = asked(self.registry.ask(Submit { device, corrections }).await)?;
        self.nudge.notify_one();
        Ok(Response::new(reply))
    }
}
