//! The gRPC service that apps and users talk to.

use std::sync::Arc;

use proto::{v1, v1::serving_server::Serving};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    answer::{Desk, Terms},
    correction::Corrections,
    deadline,
    explanation::Explanations,
    relay::Escort,
    streams::{Answers, Streams, TRACED_MAX},
    traced::{Call, Opened, SERVING},
};

/// Turns messages into calls and errors into statuses; nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    desk: Arc<Desk>,
    corrections: Arc<Corrections>,
    explanations: Arc<Explanations>,
    streams: Streams,
}

impl Grpc {
    pub(crate) fn new(
        desk: Arc<Desk>,
        corrections: Arc<Corrections>,
        explanations: Explanations,
        streams: Streams,
    ) -> Self {
        Self { desk, corrections, explanations: Arc::new(explanations), streams }
    }
}

#[tonic::async_trait]
impl Serving for Grpc {
    async fn predict(
        &self,
        request: Request<v1::PredictRequest>,
    ) -> Result<Response<v1::PredictReply>, Status> {
        let since = Instant::now();
        let terms = Terms::new(since, deadline::of_call(request.metadata(), since));
        let escort = Escort::of(request.metadata());
        let (escort, opened) = self.desk.open(escort, Call::Grpc(SERVING, "Predict"), since);
        let answered = self.desk.predict(request.into_inner(), terms, &escort).await;
        Ok(Response::new(opened.grpc(answered.map_err(Status::from))?))
    }

    async fn predict_batch(
        &self,
        request: Request<v1::PredictBatchRequest>,
    ) -> Result<Response<v1::PredictBatchReply>, Status> {
        let since = Instant::now();
        let terms = Terms::new(since, deadline::of_call(request.metadata(), since));
        let escort = Escort::of(request.metadata());
        let (escort, opened) = self.desk.open(escort, Call::Grpc(SERVING, "PredictBatch"), since);
        let answered = self.desk.predict_batch(request.into_inner(), terms, &escort).await;
        Ok(Response::new(opened.grpc(answered.map_err(Status::from))?))
    }

    type PredictStreamStream = Answers<v1::PredictReply>;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let escort = Escort::of(request.metadata());
        let desk = Arc::clone(&self.desk);
        let answers = self.streams.serve(request.into_inner(), move |sample, before| {
            let since = Instant::now();
            let (desk, escort) = (Arc::clone(&desk), escort.clone());
            async move {
                let terms = Terms::of_stream(since);
                let (escort, opened) = if before < TRACED_MAX {
                    desk.open(escort, Call::Grpc(SERVING, "PredictStream"), since)
                } else {
                    (escort, Opened::nothing())
                };
                let answered = desk.predict(sample, terms, &escort).await;
                opened.grpc(answered.map_err(Status::from))
            }
        })?;
        Ok(Response::new(answers))
    }

    async fn correct(
        &self,
        request: Request<v1::CorrectRequest>,
    ) -> Result<Response<v1::CorrectReply>, Status> {
        let (since, escort) = (Instant::now(), Escort::of(request.metadata()));
        let (escort, opened) = self.desk.open(escort, Call::Grpc(SERVING, "Correct"), since);
        let (relay, request) = (&self.desk.relay, request.into_inner());
        let taken = self.corrections.correct_anywhere(request, relay, &escort).await;
        Ok(Response::new(opened.grpc(taken.map_err(Status::from))?))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let (since, escort) = (Instant::now(), Escort::of(request.metadata()));
        let (escort, opened) = self.desk.open(escort, Call::Grpc(SERVING, "Explain"), since);
        let (relay, request) = (&self.desk.relay, request.into_inner());
        let explained = self.explanations.explain_anywhere(request, relay, &escort).await;
        Ok(Response::new(opened.grpc(explained.map_err(Status::from))?))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeReply>, Status> {
        Ok(Response::new(v1::DescribeReply { tasks: self.desk.served().report() }))
    }
}
