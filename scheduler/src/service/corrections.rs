//! Corrections from the outboxes of serving workers.

use bytes::Bytes;
use proto::{
    trace::Context,
    v1::{self, corrections_server::Corrections},
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use traces::{Attributes as _, SpanKind, Traced, span};

use super::Services;
use crate::{error::asked, registry::Submit};

/// Corrections of one request.
const CORRECTIONS_MAX: usize = 10_000;
/// Of these, those that the collector hears of.
const TRACED_MAX: usize = 256;

#[tonic::async_trait]
impl Corrections for Services {
    async fn submit(
        &self,
        request: Request<v1::SubmitCorrections>,
    ) -> Result<Response<v1::SubmitCorrectionsReply>, Status> {
        let since = Instant::now();
        let v1::SubmitCorrections { device, corrections } = request.into_inner();
        if CORRECTIONS_MAX < corrections.len() {
            return Err(Status::invalid_argument(format!(
                "{} corrections; send at most {CORRECTIONS_MAX} at once",
                corrections.len()
            )));
        }
        let device = device.chars().take(64).collect();
        let traced = self.traced(&corrections, since);
        // The reply is made after the commit: what is acknowledged survives a power cut.
        let reply = asked(self.registry.ask(Submit { device, corrections }).await)?;
        self.nudge.notify_one();
        self.tell(traced, &reply);
        Ok(Response::new(reply))
    }
}

impl Services {
    /// Those corrections whose traces are recorded.
    fn traced(&self, corrections: &[v1::Correction], since: Instant) -> Vec<(Traced, Bytes)> {
        let Some(tracer) = &self.tracer else { return Vec::new() };
        let traced = corrections.iter().filter_map(|it| {
            let from = Context::parse(it.traceparent.as_bytes())?;
            let traced = tracer.begin(Some(from), since).filter(|traced| traced.recorded)?;
            Some((traced, it.prediction_id.clone()))
        });
        traced.take(TRACED_MAX).collect()
    }

    /// Tells the collector of them: what an app said has arrived.
    fn tell(&self, traced: Vec<(Traced, Bytes)>, reply: &v1::SubmitCorrectionsReply) {
        let Some(tracer) = self.tracer.as_ref().filter(|_| !traced.is_empty()) else { return };
        let (ended, refused) = (Instant::now(), reply.refused.clone());
        let count = u64::try_from(traced.len()).unwrap_or(u64::MAX);
        tracer.say(count, move |_| {
            let spans = traced.iter().map(|(traced, id)| {
                let name = "sensemble.v1.Corrections/Submit";
                let span = span::of(traced, name, SpanKind::Server, ended)
                    .with("rpc.system", "grpc")
                    .with("rpc.service", "sensemble.v1.Corrections")
                    .with("rpc.method", "Submit")
                    .with("rpc.grpc.status_code", 0_i64)
                    .with("sensemble.prediction_id", runtime::secret::hex(id));
                match refused.iter().find(|it| it.prediction_id == *id) {
                    Some(refused) => span.with("sensemble.refused", refused.reason.as_str()),
                    None => span,
                }
            });
            spans.collect()
        });
    }
}
