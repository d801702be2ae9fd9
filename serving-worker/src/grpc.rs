//! The gRPC service that apps and users talk to.

use std::{sync::Arc, time::Duration};

use proto::{v1, v1::serving_server::Serving};
use runtime::Drain;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    answer::{Desk, Terms},
    correction::Corrections,
    deadline,
    error::PredictError,
    explanation::Explanations,
    relay::Escort,
    traced::{Call, Opened, SERVING},
};

/// Streams of samples at the same time, over all connections.
const STREAMS_MAX: usize = 256;
/// Answers of a stream that may wait for a slow reader.
const STREAM_QUEUE: usize = 16;
/// Samples of a stream that are told of to the collector: a stream may go on for days.
const STREAM_TRACED_MAX: usize = 100;

/// Turns messages into calls and errors into statuses; nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    desk: Arc<Desk>,
    corrections: Arc<Corrections>,
    explanations: Arc<Explanations>,
    streams: Arc<Semaphore>,
    drain: Drain,
}

impl Grpc {
    pub(crate) fn new(
        desk: Arc<Desk>,
        corrections: Arc<Corrections>,
        explanations: Explanations,
        drain: Drain,
    ) -> Self {
        let explanations = Arc::new(explanations);
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self { desk, corrections, explanations, streams, drain }
    }
}

/// How long a stream waits for who does not read its answers.
const READ_MAX: Duration = Duration::from_secs(30);
/// As many streams as may be, which end when their apps say so: when is not known.
const STREAM_RETRY: Duration = Duration::from_secs(1);

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

    type PredictStreamStream = ReceiverStream<Result<v1::PredictReply, Status>>;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let streams = Arc::clone(&self.streams);
        let permit = streams
            .try_acquire_owned()
            .map_err(|_| PredictError::Busy { in_flight: STREAMS_MAX, retry: STREAM_RETRY })?;
        let escort = Escort::of(request.metadata());
        let mut samples = request.into_inner();
        let (answers, stream) = mpsc::channel(STREAM_QUEUE);
        let Self { desk, drain, .. } = self.clone();
        runtime::spawn::named("predict stream", async move {
            let _until_the_stream_ends = permit;
            let mut traced = 0;
            loop {
                let sample = tokio::select! {
                    // What was read is answered; then a drain ends the stream.
                    () = drain.wait() => return,
                    sample = samples.message() => match sample {
                        Ok(Some(sample)) => sample,
                        Ok(None) => return,
                        Err(status) => {
                            let _gone = answers.send(Err(status)).await;
                            return;
                        }
                    },
                };
                let since = Instant::now();
                let terms = Terms::of_stream(since);
                let escort = escort.clone();
                let (escort, opened) = if traced < STREAM_TRACED_MAX {
                    traced += 1;
                    desk.open(escort, Call::Grpc(SERVING, "PredictStream"), since)
                } else {
                    (escort, Opened::nothing())
                };
                let answered = desk.predict(sample, terms, &escort).await;
                let answer = opened.grpc(answered.map_err(Status::from));
                let last = answer.is_err();
                // Who does not read for so long holds a place that another could have.
                let sent = answers.send_timeout(answer, READ_MAX).await;
                if sent.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
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
