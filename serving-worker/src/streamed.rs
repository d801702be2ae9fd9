//! The body of a call that is a stream: bounded in how much of its messages lies in memory, and in how long one of them
//! may take to come. Between messages it may be silent for days.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;
use tonic::{Status, body::Body};

use crate::{
    doorway::{HEAD_BYTES, Head},
    intake::{BODY_WAIT, Room, unpacked_max},
};

pub(crate) struct Streamed {
    body: Body,
    /// The share of the longest message that has begun, until the stream ends: whoever decodes it keeps its buffers as
    /// long as they once had to be.
    room: Room,
    /// What has come of its head: the others are not looked at.
    head: [u8; HEAD_BYTES],
    read: usize,
    /// What is still to come behind the head.
    left: usize,
    /// Runs while the rest of a message is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Streamed {
    pub(crate) fn new(body: Body, room: Room) -> Self {
        Self { body, room, head: [0; HEAD_BYTES], read: 0, left: 0, patience: None }
    }

    /// Follows the messages through `data`, and makes room for each when its head is there.
    fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
        loop {
            if self.read < HEAD_BYTES {
                let Some((&byte, rest)) = data.split_first() else { return Ok(()) };
                self.head[self.read] = byte;
                self.read += 1;
                data = rest;
                if self.read < HEAD_BYTES {
                    continue;
                }
                let Head { packed, length } = self.head.into();
                // What is longer than a message may be is refused by who decodes it, before any of it is kept.
                if length <= proto::MESSAGE_BYTES_MAX {
                    let unpacked = if packed { unpacked_max(length) } else { 0 };
                    self.room.grow_to(length.saturating_add(unpacked))?;
                }
                self.left = length;
            }
            let of_this = self.left.min(data.len());
            self.left -= of_this;
            data = &data[of_this..];
            if self.left != 0 {
                return Ok(());
            }
            self.read = 0;
            self.patience = None;
        }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            if self.read == 0 {
                // Nothing is due.
                return Poll::Pending;
            }
            let wait = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_WAIT)));
            ready!(wait.as_mut().poll(context));
            let text =
                format!("the rest of a message did not come within {} s", BODY_WAIT.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(text))));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.take(data)?;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body as _;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;
    use crate::intake::Intake;

    fn message(flag: u8, length: usize) -> Vec<u8> {
        let head = u32::try_from(length).unwrap().to_be_bytes();
        [&[flag], &head[..], &vec![7; length]].concat()
    }

    /// A stream, and where its bytes are put.
    fn stream(intake: &Intake) -> (Streamed, mpsc::Sender<Result<Bytes, std::io::Error>>) {
        let (bytes, body) = mpsc::channel(8);
        let body = axum::body::Body::from_stream(ReceiverStream::new(body));
        (Streamed::new(Body::new(body), intake.none()), bytes)
    }

    async fn frame(stream: &mut Streamed) -> Result<Bytes, Code> {
        let frame = poll_fn(|context| Pin::new(&mut *stream).poll_frame(context)).await.unwrap();
        frame.map(|it| it.into_data().unwrap()).map_err(|status| status.code())
    }

    /// Streams had no share of the room for large messages: 256 of them could hold 16 MiB each. Then they gave it back
    /// behind each message, and tonic's buffers, which last as long as the stream, could hold as much.
    #[tokio::test]
    async fn a_stream_has_the_share_of_its_longest_message_until_it_ends() {
        let intake = Intake::default();
        let large = Bytes::from(message(0, proto::MESSAGE_BYTES_MAX));
        let mut held = Vec::new();
        for _ in 0..4 {
            let (mut stream, bytes) = stream(&intake);
            bytes.send(Ok(large.slice(..HEAD_BYTES))).await.unwrap();
            assert_eq!(frame(&mut stream).await.unwrap().len(), HEAD_BYTES);
            held.push((stream, bytes));
        }
        let (mut fifth, bytes) = stream(&intake);
        bytes.send(Ok(message(0, 9).into())).await.unwrap();
        assert_eq!(frame(&mut fifth).await.unwrap().len(), 14, "a small one needs none");
        bytes.send(Ok(large.slice(..HEAD_BYTES))).await.unwrap();
        assert_eq!(frame(&mut fifth).await, Err(Code::ResourceExhausted));

        // Decoded, answered, and followed by small ones: the buffers are as long as before.
        let (first, bytes) = &mut held[0];
        for rest in [large.slice(HEAD_BYTES..), message(0, 9).into()] {
            bytes.send(Ok(rest)).await.unwrap();
            frame(first).await.unwrap();
        }
        let (mut sixth, more) = stream(&intake);
        more.send(Ok(large.slice(..HEAD_BYTES))).await.unwrap();
        assert_eq!(frame(&mut sixth).await, Err(Code::ResourceExhausted));
        held.pop();
        let (mut seventh, more) = stream(&intake);
        more.send(Ok(large.slice(..HEAD_BYTES))).await.unwrap();
        assert_eq!(frame(&mut seventh).await.unwrap().len(), HEAD_BYTES);
    }

    #[tokio::test]
    async fn messages_are_followed_wherever_they_are_cut_and_packed_ones_take_what_they_may_become()
    {
        let intake = Intake::default();
        let packed = 24 << 10;
        let bytes: Vec<u8> =
            [message(0, 0), message(0, 3), message(1, packed), message(0, 40)].concat();
        for cut in [1, 2, 4, 5, 6, 7, 4096, bytes.len()] {
            let (mut stream, _open) = stream(&intake);
            for piece in bytes[..bytes.len() - 41].chunks(cut) {
                stream.take(piece).unwrap();
            }
            assert_eq!((stream.read, stream.left), (4, 0), "cut at {cut}");
            stream.take(&bytes[bytes.len() - 41..]).unwrap();
            assert_eq!((stream.read, stream.left), (0, 0));
            // What 24 KiB may become is as long as a message may be.
            let others: Vec<Room> = (0..3).map(|_| intake.none()).collect();
            let full = others.iter().map(|it| it.grow_to(proto::MESSAGE_BYTES_MAX).is_ok());
            assert_eq!(full.collect::<Vec<_>>(), [true, true, false], "cut at {cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_not_waited_for_and_silence_between_them_is() {
        let intake = Intake::default();
        let (mut stream, bytes) = stream(&intake);
        let day = std::time::Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, frame(&mut stream)).await.is_err(), "nothing is due");
        bytes.send(Ok(message(0, 3).into())).await.unwrap();
        frame(&mut stream).await.unwrap();
        assert!(tokio::time::timeout(day, frame(&mut stream)).await.is_err());
        bytes.send(Ok(Bytes::from_static(&[0]))).await.unwrap();
        frame(&mut stream).await.unwrap();
        assert_eq!(frame(&mut stream).await, Err(Code::DeadlineExceeded));
    }
}
