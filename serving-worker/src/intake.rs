//! Bodies of HTTP requests: bounded in size, in time, and in how much of them lies in memory at once.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::refused::Refused;

/// Longest body, as a gRPC message.
const BODY_BYTES_MAX: usize = proto::MESSAGE_BYTES_MAX;
/// Bodies up to this are let in without a share of [`LARGE_KIB`]: a sample, not a table.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// What all larger bodies together may take: four of the longest.
const LARGE_KIB: usize = 4 * (BODY_BYTES_MAX >> 10);
/// How long a body may take to come: a client that sends a byte a second is not waited for.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// When to try again what found no room.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Reads bodies as long as there is room for them.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    large_kib: Arc<Semaphore>,
    wait: Duration,
}

/// A body, and its share of the room until it is dropped.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Read {
    /// Whether it is read through in next to no time.
    pub(crate) fn is_small(&self) -> bool {
        self.bytes.len() <= SMALL_BYTES_MAX
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self { large_kib: Arc::new(Semaphore::new(LARGE_KIB)), wait: BODY_WAIT }
    }
}

impl Intake {
    /// The whole body.
    ///
    /// # Errors
    ///
    /// 413 when it is too long, 415 when it is compressed, 429 when there is no room for it, 408 when
    /// it takes too long to come, 400 when it breaks off.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Read, Refused> {
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let text = "a compressed body is not read; send it as it is";
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        // A body of unknown length may become as long as any.
        let length = length.and_then(|it| it.parse().ok()).unwrap_or(BODY_BYTES_MAX);
        let too_long = || {
            let text =
                format!("the body is longer than {BODY_BYTES_MAX} bytes; send fewer samples");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        if BODY_BYTES_MAX < length {
            return Err(too_long());
        }
        let room = if length <= SMALL_BYTES_MAX { None } else { Some(self.room(length)?) };
        let read = timeout(self.wait, axum::body::to_bytes(body, length)).await;
        let bytes = read
            .map_err(|_| {
                let text = format!("the body did not come within {} s", self.wait.as_secs());
                Refused::new(StatusCode::REQUEST_TIMEOUT, text)
            })?
            .map_err(|error| {
                // The length that was said is kept by the transport: only an unsaid one is exceeded.
                let limit = std::error::Error::source(&error)
                    .is_some_and(|it| it.to_string().contains("length limit"));
                if limit {
                    too_long()
                } else {
                    Refused::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))
                }
            })?;
        Ok(Read { bytes, _room: room })
    }

    fn room(&self, length: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let kib = u32::try_from(length.div_ceil(1 << 10)).expect("at most BODY_BYTES_MAX");
        Arc::clone(&self.large_kib).try_acquire_many_owned(kib).map_err(|_| {
            let text = "there is no room for a body of this length now";
            Refused::new(StatusCode::TOO_MANY_REQUESTS, text).after(FULL_RETRY)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(length: usize) -> HeaderMap {
        [(header::CONTENT_LENGTH, HeaderValue::from(length))].into_iter().collect()
    }

    #[tokio::test]
    async fn large_bodies_share_their_room_and_small_ones_need_none() {
        let intake = Intake::default();
        let body = || Body::from(vec![0; BODY_BYTES_MAX]);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(intake.read(&headers(BODY_BYTES_MAX), body()).await.unwrap());
        }
        let text = |refused| format!("{refused:?}");
        let full = intake.read(&headers(BODY_BYTES_MAX), body()).await.unwrap_err();
        assert!(text(full).contains("429"));
        assert_eq!(intake.read(&headers(3), Body::from("abc")).await.unwrap().bytes, "abc");
        held.pop();
        let unsaid = intake.read(&HeaderMap::new(), Body::from("abc")).await.unwrap();
        assert_eq!(unsaid.bytes, "abc");
    }

    #[tokio::test]
    async fn what_is_too_long_too_slow_or_compressed_is_refused() {
        let intake = Intake { wait: Duration::from_millis(10), ..Intake::default() };
        let text = |refused| format!("{refused:?}");
        let said = intake.read(&headers(BODY_BYTES_MAX + 1), Body::empty()).await.unwrap_err();
        assert!(text(said).contains("413"));
        let unsaid = Body::from(vec![0; BODY_BYTES_MAX + 1]);
        let unsaid = intake.read(&HeaderMap::new(), unsaid).await.unwrap_err();
        assert!(text(unsaid).contains("413"));
        let never = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
        let slow = intake.read(&headers(3), never).await.unwrap_err();
        assert!(text(slow).contains("408"));
        let mut zipped = headers(3);
        zipped.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let zipped = intake.read(&zipped, Body::from("abc")).await.unwrap_err();
        assert!(text(zipped).contains("415"));
    }
}
