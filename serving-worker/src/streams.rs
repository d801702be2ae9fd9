//! Calls that are streams: one message after the other, each answered before the next is read.

use std::{sync::Arc, time::Duration};

use runtime::Drain;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::error::PredictError;

/// Streams at the same time, over all connections and services.
const STREAMS_MAX: usize = 256;
/// Answers of a stream that may wait for a slow reader.
const QUEUE: usize = 16;
/// How long a stream waits for who does not read its answers.
const READ_MAX: Duration = Duration::from_secs(30);
/// As many streams as may be, which end when their apps say so: when is not known.
const RETRY: Duration = Duration::from_secs(1);
/// Messages of a stream that are told of to the collector: a stream may go on for days.
pub(crate) const TRACED_MAX: u32 = 100;

/// What a stream answers.
pub(crate) type Answers<R> = ReceiverStream<Result<R, Status>>;

/// The places of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    drain: Drain,
}

impl Streams {
    pub(crate) fn new(drain: Drain) -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS_MAX)), drain }
    }

    /// Gives each of `messages` to `answer`, with how many were before it, until they end, a drain begins, an answer
    /// is an error, or nobody reads.
    ///
    /// # Errors
    ///
    /// [`PredictError::Busy`] when there are as many streams as may be.
    pub(crate) fn serve<M, R, F>(
        &self,
        mut messages: Streaming<M>,
        mut answer: impl FnMut(M, u32) -> F + Send + 'static,
    ) -> Result<Answers<R>, PredictError>
    where
        M: Send + 'static,
        R: Send + 'static,
        F: Future<Output = Result<R, Status>> + Send,
    {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PredictError::Busy { in_flight: STREAMS_MAX, retry: RETRY })?;
        let (answers, stream) = mpsc::channel(QUEUE);
        let drain = self.drain.clone();
        runtime::spawn::named("stream", async move {
            let _until_the_stream_ends = place;
            let mut before = 0_u32;
            loop {
                let message = tokio::select! {
                    // What was read is answered; then a drain ends the stream.
                    () = drain.wait() => return,
                    message = messages.message() => match message {
                        Ok(Some(message)) => message,
                        Ok(None) => return,
                        Err(status) => {
                            let _gone = answers.send_timeout(Err(status), READ_MAX).await;
                            return;
                        }
                    },
                };
                let answer = answer(message, before).await;
                before = before.saturating_add(1);
                let last = answer.is_err();
                // Who does not read for so long holds a place that another could have.
                let sent = answers.send_timeout(answer, READ_MAX).await;
                if sent.is_err() || last {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use tonic::{
        body::Body,
        codec::{DecodeBuf, Decoder},
    };

    use super::*;

    /// Reads messages of which nothing matters.
    struct Anything;

    impl Decoder for Anything {
        type Item = ();
        type Error = Status;

        fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
            bytes.advance(bytes.remaining());
            Ok(Some(()))
        }
    }

    /// A stream that broke while its queue was full waited for its reader for ever, and kept its place.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_breaks_gives_its_place_back_though_nobody_reads() {
        let streams = Streams::new(Drain::default());
        // As many answers as the queue takes, and a message that is longer than any.
        let small = [0_u8, 0, 0, 0, 1, 7].repeat(QUEUE);
        let bytes = [&*small, &[0, 255, 255, 255, 255]].concat();
        let body = Body::new(axum::body::Body::from(bytes));
        let messages = Streaming::new_request(Anything, body, None, Some(9));
        let unread = streams.serve(messages, |(), _| async { Ok(()) }).unwrap();
        let free = || streams.places.available_permits();
        assert_eq!(free(), STREAMS_MAX - 1);
        tokio::time::sleep(READ_MAX / 2).await;
        assert_eq!(free(), STREAMS_MAX - 1, "its reader may still come");
        tokio::time::sleep(READ_MAX).await;
        assert_eq!(free(), STREAMS_MAX);
        drop(unread);
    }
}
