//! What an app says to a serving worker.

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use proto::{
    trace::{self, Context},
    v1::{self, serving_client::ServingClient},
};
use tonic::{
    Request,
    codegen::Bytes,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::{address::Address, again::again, error::ClientError};

/// A connection to a serving worker.
#[derive(Clone, Debug)]
pub struct Predictor {
    client: ServingClient<Channel>,
    trace: Option<MetadataValue<Ascii>>,
}

impl Predictor {
    /// Connects to the serving worker at `address` (`host:port` or `http://host:port`).
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`] and [`ClientError::Unreachable`].
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        let channel = address.parse::<Address>()?.connect().await?;
        Ok(Self::new(channel))
    }

    /// Speaks over a connection that stands already.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        let client = ServingClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        Self { client, trace: None }
    }

    /// The same connection for what belongs to a trace: whoever answers hears that it comes from there
    /// (W3C Trace Context), and records it if `context` is sampled.
    #[must_use]
    pub fn in_trace(self, context: Context) -> Self {
        // A header of digits and dashes is always one.
        Self { trace: MetadataValue::try_from(context.header()).ok(), ..self }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(trace) = &self.trace {
            request.metadata_mut().insert(trace::PARENT, trace.clone());
        }
        request
    }

    /// One sample, one answer. `features` stand in the order of the task's features.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`]: `INVALID_ARGUMENT` for a sample of another width or with a value
    /// that is not finite, `NOT_FOUND` for a task that is not served there, `RESOURCE_EXHAUSTED`
    /// when the worker is full. `OUT_OF_RANGE`, without asking, for more than a message may hold.
    pub async fn predict(
        &self,
        task: &str,
        features: Vec<f32>,
    ) -> Result<v1::PredictReply, ClientError> {
        fits(&features)?;
        again(|| {
            let mut client = self.client.clone();
            let request = v1::PredictRequest {
                task: task.to_owned(),
                features: features.clone(),
                coverage: None,
            };
            let request = self.request(request);
            async move { client.predict(request).await }
        })
        .await
    }

    /// Many samples, `values` row-major in rows of `width`; answers in the same order, all of one
    /// revision. At most [`proto::MESSAGE_BYTES_MAX`] in one call.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict`]; [`ClientError::Nonsense`] when the number of answers is not the
    /// number of samples.
    pub async fn predict_batch(
        &self,
        task: &str,
        width: u32,
        values: Vec<f32>,
    ) -> Result<Vec<v1::PredictReply>, ClientError> {
        self.predict_sets(task, width, values, None).await
    }

    /// [`Predictor::predict_batch`], and beside each answer the set of classes that holds the true one
    /// as often as `coverage` says; `None`: as the policy of the task says.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict_batch`]; `INVALID_ARGUMENT` for a coverage that the revision cannot
    /// promise.
    pub async fn predict_sets(
        &self,
        task: &str,
        width: u32,
        values: Vec<f32>,
        coverage: Option<f64>,
    ) -> Result<Vec<v1::PredictReply>, ClientError> {
        fits(&values)?;
        let values_asked = values.len();
        let reply = again(|| {
            let mut client = self.client.clone();
            let (task, values) = (task.to_owned(), values.clone());
            let request = v1::PredictBatchRequest { task, width, values, revision: 0, coverage };
            let request = self.request(request);
            async move { client.predict_batch(request).await }
        })
        .await?;
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        if reply.answers.len().checked_mul(width) != Some(values_asked) {
            return Err(ClientError::Nonsense { what: "not one answer for each sample" });
        }
        Ok(reply.answers)
    }

    /// A stream of samples of any tasks; answers come in the order of the samples.
    ///
    /// # Errors
    ///
    /// As [`Predictor::predict`], for the stream as a whole.
    pub async fn predict_stream(
        &self,
        requests: impl Stream<Item = v1::PredictRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<v1::PredictReply, ClientError>>, ClientError> {
        let answers =
            self.client.clone().predict_stream(self.request(requests)).await?.into_inner();
        Ok(answers.map(|answer| answer.map_err(ClientError::from)).boxed())
    }

    /// Says what the answer `prediction_id` should have been. Once this returns, the correction is
    /// on the worker's disk. Saying it again does no harm; the newest label counts.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`]: `NOT_FOUND` for an answer that this worker did not give or has
    /// forgotten, `INVALID_ARGUMENT` for a label that is no class of the task.
    pub async fn correct(
        &self,
        prediction_id: Bytes,
        label: &str,
    ) -> Result<v1::CorrectReply, ClientError> {
        again(|| {
            let mut client = self.client.clone();
            let request = v1::CorrectRequest {
                prediction_id: prediction_id.clone(),
                label: label.to_owned(),
            };
            let request = self.request(request);
            async move { client.correct(request).await }
        })
        .await
    }

    /// How the answer `prediction_id` came about; with `replay`, also computed again.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`]: `NOT_FOUND` for an answer that this worker did not give or has
    /// forgotten, `RESOURCE_EXHAUSTED` while it replays another.
    pub async fn explain(
        &self,
        prediction_id: Bytes,
        replay: bool,
    ) -> Result<v1::ExplainReply, ClientError> {
        again(|| {
            let mut client = self.client.clone();
            let request = v1::ExplainRequest { prediction_id: prediction_id.clone(), replay };
            let request = self.request(request);
            async move { client.explain(request).await }
        })
        .await
    }

    /// What is served there now.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when the worker could not say.
    pub async fn describe(&self) -> Result<Vec<v1::ServedTask>, ClientError> {
        let reply = again(|| {
            let mut client = self.client.clone();
            let request = self.request(v1::DescribeRequest {});
            async move { client.describe(request).await }
        })
        .await?;
        Ok(reply.tasks)
    }
}

/// Room for what a message holds beside its values: names and lengths.
const ENVELOPE_BYTES: usize = 4096;

/// Whether `values` fit in one message. Half a message on the wire would break the connection for
/// everybody who shares it, and say less.
fn fits(values: &[f32]) -> Result<(), ClientError> {
    let most = (proto::MESSAGE_BYTES_MAX - ENVELOPE_BYTES) / size_of::<f32>();
    if values.len() <= most {
        return Ok(());
    }
    let found = values.len();
    Err(tonic::Status::out_of_range(format!(
        "{found} values are too many for one message: send at most {most} at a time"
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test]
    async fn what_fits_in_no_message_is_not_sent() {
        // Nobody listens there: an answer means that nobody was asked.
        let predictor = Predictor::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        let values = vec![0.0; proto::MESSAGE_BYTES_MAX / 4 + 1];
        let one = predictor.predict("task", values.clone()).await.unwrap_err();
        let many = predictor.predict_batch("task", 1, values).await.unwrap_err();
        assert_eq!([one.code(), many.code()], [tonic::Code::OutOfRange; 2]);
        assert!(one.to_string().contains("at most 4193280 at a time"), "{one}");
    }
}
