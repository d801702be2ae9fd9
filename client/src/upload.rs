//! Samples on their way up: chunks of bounded size, and an upload that is whole or not at all.

use std::{future::Future, pin::pin, task::Poll};

use futures_util::{
    Stream, StreamExt as _,
    future::{Either, select},
    stream::{BoxStream, poll_fn},
};
use proto::v1;
use tokio::sync::mpsc;
use tonic::{Response, Status};

use crate::error::ClientError;

/// Chunks that wait for the network at most.
const CHUNKS_WAITING_MAX: usize = 2;

/// Why samples were not imported. Nothing of them was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError<E> {
    /// The samples could not be read.
    #[error("the samples could not be read")]
    Source(#[source] E),
    /// The scheduler refused them, or the connection was lost.
    #[error(transparent)]
    Client(ClientError),
}

/// One labelled row.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// In the order of the task's features.
    pub values: &'a [f32],
    /// Position of the class in the task's classes.
    pub label: u32,
    /// Subject, day or device; `None` when the task has no groups.
    pub group: Option<&'a str>,
}

/// Collects rows into chunks of at most [`proto::CHUNK_BYTES`] (one row, where a row is larger).
#[derive(Debug)]
pub struct Chunker {
    task: String,
    width: u32,
    values: Vec<u8>,
    labels: Vec<u32>,
    groups: Vec<String>,
    bytes: usize,
}

impl Chunker {
    /// Chunks for `task`, whose samples have `width` values.
    #[must_use]
    pub fn new(task: &str, width: u32) -> Self {
        Self {
            task: task.to_owned(),
            width,
            values: Vec::new(),
            labels: Vec::new(),
            groups: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row; gives a full chunk when the row did not fit into it any more.
    pub fn push(&mut self, sample: Sample<'_>) -> Option<v1::ImportChunk> {
        // Labels are varints of at most 5 bytes, groups carry a tag and a length.
        let group_bytes = sample.group.map_or(0, |group| group.len() + 6);
        let row_bytes = size_of_val(sample.values) + 5 + group_bytes;
        let head_bytes = self.task.len() + 64;
        let full = proto::CHUNK_BYTES < head_bytes + self.bytes + row_bytes;
        let chunk = if full { self.take() } else { None };

        self.values.extend(sample.values.iter().flat_map(|value| value.to_le_bytes()));
        self.labels.push(sample.label);
        self.groups.extend(sample.group.map(str::to_owned));
        self.bytes += row_bytes;
        chunk
    }

    /// The rows that are left; `None` when there are none.
    pub fn take(&mut self) -> Option<v1::ImportChunk> {
        if self.labels.is_empty() {
            return None;
        }
        self.bytes = 0;
        Some(v1::ImportChunk {
            task: self.task.clone(),
            width: self.width,
            values: std::mem::take(&mut self.values).into(),
            labels: std::mem::take(&mut self.labels),
            groups: std::mem::take(&mut self.groups),
        })
    }
}

/// Sends `chunks` through `call` and waits for its answer. When `chunks` yields an error the call
/// is dropped while its stream is still open, so that the server sees a broken stream and never a
/// finished one.
pub(crate) async fn upload<C, E, T, F>(
    chunks: impl Stream<Item = Result<C, E>> + Send + 'static,
    call: impl FnOnce(BoxStream<'static, C>) -> F,
) -> Result<T, ImportError<E>>
where
    C: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<Response<T>, Status>>,
{
    // `None` says that everything was sent.
    let (sender, mut receiver) = mpsc::channel::<Option<C>>(CHUNKS_WAITING_MAX);
    let open_until_said = poll_fn(move |context| match receiver.poll_recv(context) {
        Poll::Ready(Some(Some(chunk))) => Poll::Ready(Some(chunk)),
        Poll::Ready(Some(None)) => Poll::Ready(None),
        // A sender that is gone without a word has failed: never look finished.
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    });
    let answer = pin!(call(open_until_said.boxed()));

    let pump = pin!(async move {
        let mut chunks = pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            if sender.send(Some(chunk?)).await.is_err() {
                // The server has answered before it saw everything: the answer says why.
                return Ok(());
            }
        }
        // As above: nobody listens when the server has answered.
        let _answered = sender.send(None).await;
        Ok(())
    });

    let refused = |status: Status| ImportError::Client(status.into());
    match select(answer, pump).await {
        Either::Left((answer, _pump)) => answer.map(Response::into_inner).map_err(refused),
        Either::Right((Ok(()), answer)) => answer.await.map(Response::into_inner).map_err(refused),
        Either::Right((Err(error), _answer)) => Err(ImportError::Source(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server makes of a stream: how many chunks came before its end.
    async fn count(mut stream: BoxStream<'static, u32>) -> Result<Response<usize>, Status> {
        let mut chunks = 0;
        while stream.next().await.is_some() {
            chunks += 1;
        }
        Ok(Response::new(chunks))
    }

    #[tokio::test]
    async fn a_whole_stream_is_answered() {
        let chunks = futures_util::stream::iter((0..10).map(Ok::<u32, String>));
        assert_eq!(upload(chunks, count).await.unwrap(), 10);
    }

    #[tokio::test]
    async fn a_broken_stream_never_looks_finished() {
        let chunks = futures_util::stream::iter([Ok(1), Ok(2), Err("line 7 is ragged")]);
        // The server would answer if it ever saw the end.
        let error = upload(chunks, count).await.unwrap_err();
        assert!(matches!(error, ImportError::Source("line 7 is ragged")), "{error:?}");
    }

    #[tokio::test]
    async fn an_early_refusal_ends_the_upload() {
        let endless = futures_util::stream::iter((0..).map(Ok::<u32, String>));
        let error = upload(endless, |stream| async move {
            drop(stream);
            Err::<Response<()>, _>(Status::invalid_argument("width"))
        })
        .await
        .unwrap_err();
        assert!(matches!(error, ImportError::Client(_)), "{error:?}");
    }

    #[test]
    fn every_row_is_in_exactly_one_chunk_of_bounded_size() {
        use prost::Message as _;
        let width = 1_000_u32;
        let values: Vec<f32> =
            (0..width).map(|value| f32::from(u16::try_from(value).unwrap())).collect();
        let mut chunker = Chunker::new("kitchen", width);
        let mut chunks = Vec::new();
        for label in 0..1_000_u32 {
            let sample = Sample { values: &values, label, group: Some("subject-1") };
            chunks.extend(chunker.push(sample));
        }
        chunks.extend(chunker.take());
        assert_eq!(chunker.take(), None);

        assert!(chunks.len() > 3);
        for chunk in &chunks {
            assert!(chunk.encoded_len() <= proto::CHUNK_BYTES, "{} bytes", chunk.encoded_len());
            assert_eq!(chunk.values.len(), chunk.labels.len() * values.len() * 4);
            assert_eq!(chunk.groups.len(), chunk.labels.len());
        }
        let labels: Vec<u32> = chunks.iter().flat_map(|chunk| chunk.labels.clone()).collect();
        assert_eq!(labels, (0..1_000).collect::<Vec<u32>>());
    }
}
