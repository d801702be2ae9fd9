//! The gRPC service that apps and users talk to.

use std::sync::Arc;

use proto::{v1, v1::serving_server::Serving};
use runtime::Drain;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    answer::Desk,
    correction::Corrections,
    deadline,
    error::{CorrectError, PredictError},
};

/// Streams of samples at the same time, over all connections.
const STREAMS_MAX: usize = 256;
/// Answers of a stream that may wait for a slow reader.
const STREAM_QUEUE: usize = 16;

/// Turns messages into calls and errors into statuses; nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    desk: Arc<Desk>,
    corrections: Arc<Corrections>,
    streams: Arc<Semaphore>,
    drain: Drain,
}

impl Grpc {
    pub(crate) fn new(desk: Arc<Desk>, corrections: Arc<Corrections>, drain: Drain) -> Self {
        Self { desk, corrections, streams: Arc::new(Semaphore::new(STREAMS_MAX)), drain }
    }
}

fn busy(in_flight: usize) -> PredictError {
    PredictError::Busy { in_flight }
}

#[tonic::async_trait]
impl Serving for Grpc {
    async fn predict(
        &self,
        request: Request<v1::PredictRequest>,
    ) -> Result<Response<v1::PredictReply>, Status> {
        let since = Instant::now();
        let _admitted = self.desk.admit().map_err(busy)?;
        let deadline = deadline::of_call(request.metadata(), since);
        Ok(Response::new(self.desk.predict(request.into_inner(), since, deadline).await?))
    }

    async fn predict_batch(
        &self,
        request: Request<v1::PredictBatchRequest>,
    ) -> Result<Response<v1::PredictBatchReply>, Status> {
        let since = Instant::now();
        let _admitted = self.desk.admit().map_err(busy)?;
        let deadline = deadline::of_call(request.metadata(), since);
        Ok(Response::new(self.desk.predict_batch(request.into_inner(), since, deadline).await?))
    }

    type PredictStreamStream = ReceiverStream<Result<v1::PredictReply, Status>>;

    async fn predict_stream(
        &self,
        request: Request<Streaming<v1::PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let streams = Arc::clone(&self.streams);
        let permit = streams.try_acquire_owned().map_err(|_| busy(STREAMS_MAX))?;
        let mut samples = request.into_inner();
        let (answers, stream) = mpsc::channel(STREAM_QUEUE);
        let Self { desk, drain, .. } = self.clone();
        runtime::spawn::named("predict stream", async move {
            let _until_the_stream_ends = permit;
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
                let answer = match desk.admit_in_turn().await {
                    Ok(_admitted) => desk.predict(sample, Instant::now(), None).await,
                    Err(in_flight) => Err(busy(in_flight)),
                };
                let last = answer.is_err();
                if answers.send(answer.map_err(Status::from)).await.is_err() || last {
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
        let _admitted = self.desk.admit().map_err(|in_flight| CorrectError::Busy { in_flight })?;
        Ok(Response::new(self.corrections.correct(request.into_inner()).await?))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeReply>, Status> {
        Ok(Response::new(v1::DescribeReply { tasks: self.desk.served().report() }))
    }
}
