//! The link to the scheduler: every call is tried again until it is answered or refused for good.
//!
//! A scheduler may be away for minutes; a job that has computed for an hour does not end for that.

use std::time::Duration;

use models::bundle;
use prost::bytes::Bytes;
use proto::{
    BUNDLE_BYTES_MAX, CHUNK_BYTES, MESSAGE_BYTES_MAX,
    parse::{self, ParseError},
    v1::{
        self, BeginRequest, BundleChunk, GetBundleRequest, ProgressRequest, PublishReply,
        PublishRequest, SamplesRequest, TrainingJob, bundles_client::BundlesClient,
        training_client::TrainingClient,
    },
};
use runtime::{Drain, backoff::Backoff};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::table::{Table, TableError};

/// How long the scheduler may be away before a job is given up: whoever started it has another
/// opinion by then.
const AWAY_MAX: Duration = Duration::from_secs(3600);
/// How long one call, or one message of a stream, may take.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long saying how far we are may take; the next word is a second away.
const PROGRESS_MAX: Duration = Duration::from_secs(5);

/// Why the scheduler did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address cannot be used.
    #[error("the scheduler's address cannot be used")]
    Address(#[source] ParseError),
    /// A later attempt at the same job has begun, or the job has ended.
    #[error("the job goes on without this attempt")]
    Replaced,
    /// Told to stop while waiting.
    #[error("told to stop")]
    Drained,
    /// An answer that trying again would not change.
    #[error("the scheduler refused: {}", .0.message())]
    Refused(Status),
    /// Away for longer than anyone waits.
    #[error("the scheduler did not answer for {} s: {}", AWAY_MAX.as_secs(), .0.message())]
    Away(Status),
    /// Samples that are none.
    #[error("the samples cannot be used")]
    Samples(#[source] TableError),
    /// A bundle that is not what its digest says, or too large.
    #[error("a bundle cannot be used: {reason}")]
    Bundle {
        /// What is wrong with it.
        reason: String,
    },
}

/// Who speaks: a job and the attempt at it.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    /// The job.
    pub(crate) job: String,
    /// Fences an earlier run.
    pub(crate) attempt: u64,
    /// Where it runs.
    pub(crate) device: String,
}

/// A connection that is made when it is needed.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    training: TrainingClient<Channel>,
    bundles: BundlesClient<Channel>,
    speaker: Speaker,
    drain: Drain,
}

impl Link {
    /// A link to the scheduler at `address`, not connected yet.
    ///
    /// # Errors
    ///
    /// [`LinkError::Address`] for what is no `host:port`.
    pub(crate) fn new(address: &str, speaker: Speaker, drain: Drain) -> Result<Self, LinkError> {
        let uri = parse::endpoint(address).map_err(LinkError::Address)?;
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|_| LinkError::Address(ParseError::Address { text: address.to_owned() }))?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .tcp_nodelay(true);
        let channel = endpoint.connect_lazy();
        Ok(Self {
            training: TrainingClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            bundles: BundlesClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            speaker,
            drain,
        })
    }

    /// What is to be trained.
    ///
    /// # Errors
    ///
    /// A [`LinkError`], [`LinkError::Replaced`] for an attempt that is no longer wanted.
    pub(crate) async fn begin(&self) -> Result<TrainingJob, LinkError> {
        let Speaker { job, attempt, device } = self.speaker.clone();
        let request = BeginRequest { job, attempt, device };
        self.persist("begin", || {
            let (mut client, request) = (self.training.clone(), request.clone());
            async move { Ok(in_time(client.begin(request)).await?.into_inner()) }
        })
        .await
    }

    /// Every sample and correction, into a new table each time it is tried.
    ///
    /// # Errors
    ///
    /// A [`LinkError`]; [`LinkError::Samples`] for samples that are none.
    pub(crate) async fn samples(&self, width: usize, classes: usize) -> Result<Table, LinkError> {
        let Speaker { job, attempt, .. } = self.speaker.clone();
        let request = SamplesRequest { job, attempt };
        let table = self.persist("samples", || {
            let (mut client, request) = (self.training.clone(), request.clone());
            async move {
                let mut stream = in_time(client.samples(request)).await?.into_inner();
                let mut table = Table::new(width, classes);
                while let Some(chunk) = in_time(stream.message()).await? {
                    if let Err(error) = table.take(&chunk) {
                        return Ok(Err(error));
                    }
                }
                Ok(Ok(table))
            }
        });
        table.await?.map_err(LinkError::Samples)
    }

    /// Stores a bundle under its digest, which is given back.
    ///
    /// # Errors
    ///
    /// A [`LinkError`].
    pub(crate) async fn put_bundle(&self, bytes: Vec<u8>) -> Result<[u8; 32], LinkError> {
        let digest = bundle::digest(&bytes);
        let bytes = Bytes::from(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if BUNDLE_BYTES_MAX < length {
            let reason = format!("it takes {length} bytes, more than {BUNDLE_BYTES_MAX}");
            return Err(LinkError::Bundle { reason });
        }
        let chunks: Vec<BundleChunk> = (0..bytes.len())
            .step_by(CHUNK_BYTES)
            .map(|from| BundleChunk {
                digest: if from == 0 { Bytes::copy_from_slice(&digest) } else { Bytes::new() },
                length: if from == 0 { length } else { 0 },
                data: bytes.slice(from..bytes.len().min(from + CHUNK_BYTES)),
            })
            .collect();
        self.persist("put bundle", || {
            let (mut client, chunks) = (self.bundles.clone(), chunks.clone());
            async move {
                in_time(client.put_bundle(tokio_stream::iter(chunks))).await?;
                Ok(())
            }
        })
        .await?;
        Ok(digest)
    }

    /// The bytes of a bundle, which are what its digest says.
    ///
    /// # Errors
    ///
    /// A [`LinkError`]; [`LinkError::Bundle`] for other bytes than were asked for.
    pub(crate) async fn get_bundle(&self, digest: [u8; 32]) -> Result<Vec<u8>, LinkError> {
        let request = GetBundleRequest { digest: Bytes::copy_from_slice(&digest) };
        let bytes = self.persist("get bundle", || {
            let (mut client, request) = (self.bundles.clone(), request.clone());
            async move {
                let mut stream = in_time(client.get_bundle(request)).await?.into_inner();
                let mut bytes = Vec::new();
                while let Some(chunk) = in_time(stream.message()).await? {
                    bytes.extend_from_slice(&chunk.data);
                    if BUNDLE_BYTES_MAX < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
                        return Ok(None);
                    }
                }
                Ok(Some(bytes))
            }
        });
        match bytes.await? {
            Some(bytes) if bundle::digest(&bytes) == digest => Ok(bytes),
            Some(_) => Err(LinkError::Bundle { reason: "its digest is another".to_owned() }),
            None => Err(LinkError::Bundle { reason: "it is too large".to_owned() }),
        }
    }

    /// Offers a bundle as the next revision. The job and attempt are filled in.
    ///
    /// # Errors
    ///
    /// A [`LinkError`].
    pub(crate) async fn publish(&self, offer: PublishRequest) -> Result<PublishReply, LinkError> {
        let Speaker { job, attempt, .. } = self.speaker.clone();
        let request = PublishRequest { job, attempt, ..offer };
        self.persist("publish", || {
            let (mut client, request) = (self.training.clone(), request.clone());
            async move { Ok(in_time(client.publish(request)).await?.into_inner()) }
        })
        .await
    }

    /// Says how far it is, once; gives whether to stop. `None` when nobody answered: the next word
    /// follows soon.
    pub(crate) async fn progress(&self, word: ProgressRequest) -> Option<bool> {
        let Speaker { job, attempt, .. } = self.speaker.clone();
        let request = ProgressRequest { job, attempt, ..word };
        let mut client = self.training.clone();
        match tokio::time::timeout(PROGRESS_MAX, client.progress(request)).await {
            Ok(Ok(reply)) => Some(reply.into_inner().stop),
            Ok(Err(status)) if status.code() == Code::Aborted => Some(true),
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), "the scheduler did not hear of progress");
                None
            }
            Err(_) => None,
        }
    }

    /// Says why the job ends without a bundle. Tried again for a moment only: who does not hear it
    /// learns from the end of this process.
    pub(crate) async fn fault(&self, fault: String, seconds: f64) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for _ in 0..5 {
            let fault = fault.clone();
            let word = ProgressRequest {
                step: "failed".to_owned(),
                fault,
                seconds,
                ..v1::ProgressRequest::default()
            };
            if self.progress(word).await.is_some() {
                return;
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Tries `call` until it is answered, refused for good, or nobody has answered for too long.
    async fn persist<T, F: Future<Output = Result<T, Status>>>(
        &self,
        what: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T, LinkError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let began = tokio::time::Instant::now();
        loop {
            let answer = tokio::select! {
                answer = call() => answer,
                () = self.drain.wait() => return Err(LinkError::Drained),
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match fate(status.code()) {
                Fate::Replaced => return Err(LinkError::Replaced),
                Fate::Refused => return Err(LinkError::Refused(status)),
                Fate::Again if AWAY_MAX < began.elapsed() => return Err(LinkError::Away(status)),
                Fate::Again => {
                    let wait = backoff.wait();
                    tracing::debug!(what, code = ?status.code(), ?wait, "asking again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.drain.wait() => return Err(LinkError::Drained),
                    }
                }
            }
        }
    }
}

/// What to do about a refusal.
enum Fate {
    Replaced,
    Refused,
    Again,
}

fn fate(code: Code) -> Fate {
    match code {
        Code::Aborted => Fate::Replaced,
        // Transport errors come as Unknown or Cancelled when a scheduler dies in mid-answer.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Unknown
        | Code::Cancelled => Fate::Again,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Fate::Refused,
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
