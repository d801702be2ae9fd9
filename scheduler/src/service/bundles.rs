//! Bundles, found by their content.

use std::{sync::Arc, time::Duration};

use proto::{
    BUNDLE_BYTES_MAX, CHUNK_BYTES,
    v1::{self, bundles_server::Bundles},
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Services};
use crate::error::{bundle_error, malformed};

/// A bundle of which nothing comes for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Chunks that wait for a slow receiver.
const CHUNKS_WAITING: usize = 4;

#[tonic::async_trait]
impl Bundles for Services {
    async fn put_bundle(
        &self,
        request: Request<Streaming<v1::BundleChunk>>,
    ) -> Result<Response<v1::PutBundleReply>, Status> {
        let _permit = self.upload()?;
        let mut chunks = request.into_inner();
        let first = chunks
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("a bundle has at least one chunk"))?;
        let digest = proto::parse::digest(&first.digest).map_err(|error| malformed(&error))?;
        let length = first.length;
        if BUNDLE_BYTES_MAX < length {
            return Err(Status::invalid_argument(format!(
                "a bundle of {length} bytes; at most {BUNDLE_BYTES_MAX} are taken"
            )));
        }
        // Grows with what comes, not with what is announced.
        let mut bytes: Vec<u8> = Vec::new();
        let mut next = Some(first);
        while let Some(chunk) = next {
            let so_far = u64::try_from(bytes.len() + chunk.data.len()).unwrap_or(u64::MAX);
            if length < so_far {
                return Err(Status::invalid_argument(format!(
                    "more bytes than the {length} that were announced"
                )));
            }
            bytes.extend_from_slice(&chunk.data);
            next = tokio::time::timeout(SILENCE_MAX, chunks.message()).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "nothing came for {} s; put the bundle again",
                    SILENCE_MAX.as_secs()
                ))
            })??;
        }
        if u64::try_from(bytes.len()) != Ok(length) {
            return Err(Status::invalid_argument(format!(
                "{} bytes instead of the {length} that were announced",
                bytes.len()
            )));
        }
        let bundles = Arc::clone(&self.vault.bundles);
        let put = tokio::task::spawn_blocking(move || {
            let found = store::blobs::digest(&bytes);
            if found != digest {
                return Err(Status::invalid_argument(format!(
                    "the bytes have the digest {}, not the announced {}",
                    runtime::secret::hex(&found),
                    runtime::secret::hex(&digest)
                )));
            }
            let existed = bundles.contains(&digest);
            bundles.put(&bytes).map_err(|error| bundle_error(&error))?;
            Ok(existed)
        });
        let existed =
            put.await.map_err(|_| Status::internal("the bundle could not be written"))??;
        Ok(Response::new(v1::PutBundleReply { existed }))
    }

    type GetBundleStream = Answers<v1::BundleChunk>;

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<Self::GetBundleStream>, Status> {
        let digest = proto::parse::digest(&request.into_inner().digest)
            .map_err(|error| malformed(&error))?;
        let bundles = Arc::clone(&self.vault.bundles);
        let bytes = tokio::task::spawn_blocking(move || bundles.get(&digest))
            .await
            .map_err(|_| Status::internal("the bundle could not be read"))?
            .map_err(|error| bundle_error(&error))?;
        let bytes = prost::bytes::Bytes::from(bytes);
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        runtime::spawn::named("bundle", async move {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let mut at = 0;
            // An empty bundle cannot be: the digest of nothing was never put.
            while at < bytes.len() {
                let end = (at + CHUNK_BYTES).min(bytes.len());
                let chunk = v1::BundleChunk {
                    digest: digest.to_vec().into(),
                    length,
                    data: bytes.slice(at..end),
                };
                if sender.send(Ok(chunk)).await.is_err() {
                    return;
                }
                at = end;
            }
        });
        Ok(Response::new(Answers::new(receiver)))
    }
}
