//! Bodies of requests: bounded in size, in time, and in how much of them lies in memory at once, packed or unpacked.

use std::{
    io::{self, Read as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::refused::Refused;

/// Longest body, as a gRPC message.
const BODY_BYTES_MAX: usize = proto::MESSAGE_BYTES_MAX;
/// Bodies up to this are let in without a share of [`LARGE_KIB`]: a sample, not a table.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// What all larger bodies together may take: four of the longest.
const LARGE_KIB: usize = 4 * (BODY_BYTES_MAX >> 10);
/// By how much the share of a body grows at a time.
const STEP_KIB: usize = 256;
/// How long a body may take to come: a client that sends a byte a second is not waited for.
pub(crate) const BODY_WAIT: Duration = Duration::from_secs(10);
/// How many times as long DEFLATE can become, at most (zlib's *technical details*).
const UNPACKED_TIMES_MAX: usize = 1_032;
/// When to try again what found no room.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// How long what was packed in so many bytes can become before it is too long.
pub(crate) fn unpacked_max(bytes: usize) -> usize {
    bytes.saturating_mul(UNPACKED_TIMES_MAX).min(BODY_BYTES_MAX)
}

/// How a body over HTTP is packed.
#[derive(Clone, Copy, Debug)]
enum Packing {
    Gzip,
    /// What HTTP calls so: DEFLATE as zlib writes it.
    Deflate,
}

impl Packing {
    /// # Errors
    ///
    /// 415 for any other.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Refused> {
        let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
        match &*encoding.as_bytes().to_ascii_lowercase() {
            b"identity" => Ok(None),
            b"gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            _ => {
                let text = "a body may be packed with gzip or deflate, once; else send it as it is";
                Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
            }
        }
    }

    /// What was packed; `None` when it is longer than a body may be.
    fn unpack(self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut unpacked = Vec::new();
        let more = u64::try_from(BODY_BYTES_MAX + 1).unwrap_or(u64::MAX);
        match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(more).read_to_end(&mut unpacked)?,
            Self::Deflate => ZlibDecoder::new(bytes).take(more).read_to_end(&mut unpacked)?,
        };
        Ok((unpacked.len() <= BODY_BYTES_MAX).then_some(unpacked))
    }
}

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

/// The share of a body that is as large as what has come of it.
#[derive(Debug)]
pub(crate) struct Room {
    large_kib: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Room {
    /// Makes the share large enough for so many bytes; a small body needs none.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` with when to try again, while the other large bodies leave no room.
    pub(crate) fn grow_to(&self, bytes: usize) -> Result<(), Status> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        // In steps, so that a body of many pieces does not ask for each of them.
        let kib = bytes.div_ceil(STEP_KIB << 10) * STEP_KIB;
        let more = u32::try_from(kib.saturating_sub(has)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let Ok(more) = Arc::clone(&self.large_kib).try_acquire_many_owned(more) else {
            let text = "too many large messages are being read; send fewer samples, or later";
            let details = ErrorDetails::with_retry_info(Some(FULL_RETRY));
            return Err(Status::with_error_details(Code::ResourceExhausted, text, details));
        };
        match &mut *held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
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
    /// 413 when it is too long, 415 when it is packed in another way than gzip or deflate, 429 when there is no room
    /// for it, 408 when it takes too long to come, 400 when it breaks off or is not packed as it says.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Read, Refused> {
        let packing = Packing::of(headers)?;
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
        // What is packed is there twice, as it came and as it was.
        let takes = if packing.is_some() { length + unpacked_max(length) } else { length };
        let room = if takes <= SMALL_BYTES_MAX { None } else { Some(self.room(takes)?) };
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
        let Some(packing) = packing else { return Ok(Read { bytes, _room: room }) };
        // A few bytes may be long work.
        let unpacked = tokio::task::spawn_blocking(move || packing.unpack(&bytes)).await;
        let broken = |error: &dyn std::fmt::Display| {
            Refused::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not packed as it says: {error}"),
            )
        };
        let unpacked = unpacked.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
        Ok(Read { bytes: unpacked.ok_or_else(too_long)?.into(), _room: room })
    }

    /// A share of nothing yet, for a body whose length nobody says.
    pub(crate) fn none(&self) -> Room {
        Room { large_kib: Arc::clone(&self.large_kib), held: Mutex::default() }
    }

    fn room(&self, length: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let kib = u32::try_from(length.div_ceil(1 << 10)).expect("at most twice BODY_BYTES_MAX");
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

    #[test]
    fn a_share_grows_with_its_body_and_is_given_back() {
        let intake = Intake::default();
        let full = |room: &Room| room.grow_to(BODY_BYTES_MAX).map_err(|status| status.code());
        let rooms: Vec<Room> = (0..4).map(|_| intake.none()).collect();
        for room in &rooms {
            for bytes in [1, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1, 1 << 20] {
                room.grow_to(bytes).unwrap();
            }
            assert_eq!(full(room), Ok(()), "four of the longest fit");
        }
        let late = intake.none();
        late.grow_to(SMALL_BYTES_MAX).expect("a small one needs no share");
        assert_eq!(full(&late), Err(Code::ResourceExhausted));
        drop(rooms);
        assert_eq!(full(&late), Ok(()));
    }

    #[tokio::test]
    async fn what_is_too_long_or_too_slow_is_refused() {
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
    }

    fn packed_as(encoding: &'static str, length: usize) -> HeaderMap {
        let mut headers = headers(length);
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        headers
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::best());
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }

    async fn said(intake: &Intake, encoding: &'static str, body: Vec<u8>) -> Result<Bytes, String> {
        let read = intake.read(&packed_as(encoding, body.len()), Body::from(body)).await;
        read.map(|it| it.bytes).map_err(|refused| format!("{refused:?}"))
    }

    #[tokio::test]
    async fn what_is_packed_is_unpacked_and_anything_else_is_refused() {
        let intake = Intake::default();
        let text = b"samples, many samples, all samples".repeat(40);
        let mut zlib = Vec::new();
        let level = flate2::Compression::fast();
        flate2::read::ZlibEncoder::new(&*text, level).read_to_end(&mut zlib).unwrap();
        for (encoding, body) in [
            ("gzip", gzip(&text)),
            ("GZIP", [gzip(&text[..100]), gzip(&text[100..])].concat()),
            ("deflate", zlib.clone()),
            ("identity", text.clone()),
        ] {
            assert_eq!(said(&intake, encoding, body).await.unwrap(), text, "{encoding}");
        }
        for (encoding, body, code) in [
            ("br", text.clone(), "415"),
            ("gzip, gzip", gzip(&gzip(&text)), "415"),
            ("gzip", zlib.clone(), "400"),
            ("deflate", gzip(&text), "400"),
            ("gzip", gzip(&text)[..40].to_vec(), "400"),
            ("gzip", Vec::new(), "400"),
        ] {
            let refused = said(&intake, encoding, body).await.unwrap_err();
            assert!(refused.contains(code), "{encoding}: {refused}");
        }
        assert_eq!(intake.large_kib.available_permits(), LARGE_KIB, "every share is given back");
    }

    /// A few kilobytes that become hundreds of megabytes.
    #[tokio::test]
    async fn what_unpacks_to_more_than_a_body_may_be_is_refused_in_the_room_of_one() {
        let intake = Intake::default();
        let bomb = gzip(&vec![0; BODY_BYTES_MAX + 1]);
        assert!(bomb.len() <= 20 << 10 && BODY_BYTES_MAX <= bomb.len() * UNPACKED_TIMES_MAX);
        assert!(said(&intake, "gzip", bomb.clone()).await.unwrap_err().contains("413"));
        let whole = gzip(&vec![0; BODY_BYTES_MAX]);
        let length = whole.len();
        let mut held = Vec::new();
        loop {
            let read = intake.read(&packed_as("gzip", length), Body::from(whole.clone())).await;
            match read {
                Ok(read) => held.push(read),
                Err(refused) => break assert!(format!("{refused:?}").contains("429")),
            }
        }
        assert_eq!(held.len(), 3, "each has its share before it is unpacked");
    }
}
