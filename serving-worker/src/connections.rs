//! Connections: so many and no more, however many knock; and attended to less often while so much waits
//! already that what comes now would wait, too.
//!
//! To read from a socket costs much the same whether there is one request or twenty, and so does writing what is
//! said to them, which goes out together when they were read together: under a flood of which nine in ten are
//! refused, one request at a time is a large part of the work.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::floor::Floor;

/// After how long a connection is accepted again where the operating system gave none.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a connection is not looked at after a look, while it is crowded.
const APART: Duration = Duration::from_millis(2);
/// What one look takes in at most, while it is crowded.
const LOOK_BYTES: usize = 256 << 10;

/// A connection, and its place until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    floor: Arc<Floor>,
    /// What this look may still take in.
    left: usize,
    /// Until the next look; it runs only while it is crowded.
    look: Pause,
    _place: OwnedSemaphorePermit,
}

/// Connections that come to `listener`, at most `most` at a time. One too many is closed at once: its
/// client can try elsewhere, which it could not while it waited to be let in. `floor` says when it is
/// crowded.
pub(crate) fn incoming(
    listener: TcpListener,
    most: usize,
    floor: Arc<Floor>,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(most));
    futures_util::stream::unfold(
        (listener, places, floor),
        move |(listener, places, floor)| async move {
            let connection = loop {
                let stream = match listener.accept().await {
                    Ok((stream, _from)) => stream,
                    Err(error) => {
                        // Of files, most often: what is open must close before it helps to ask again.
                        tokio::time::sleep(AGAIN).await;
                        break Err(error);
                    }
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::debug!(most, "a connection too many was closed");
                    continue;
                };
                // Without it a small answer waits for the acknowledgement of the one before.
                break stream.set_nodelay(true).map(|()| Connection {
                    stream,
                    floor: Arc::clone(&floor),
                    left: LOOK_BYTES,
                    look: Pause::default(),
                    _place: place,
                });
            };
            Some((connection, (listener, places, floor)))
        },
    )
}

/// A time without something that would be done again and again.
#[derive(Debug, Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn begin(&mut self) {
        self.0 = Some(Box::pin(tokio::time::sleep(APART)));
    }

    fn runs(&self) -> bool {
        self.0.is_some()
    }

    /// Ready when none runs.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.0 {
            ready!(pause.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.look.runs() {
            ready!(self.look.poll_over(context));
            self.left = LOOK_BYTES;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        if (read.is_pending() || self.left == 0) && self.floor.is_crowded() {
            self.look.begin();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::urgency::Urgency;

    #[tokio::test]
    async fn one_too_many_is_closed_and_who_leaves_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = pin!(incoming(listener, 2, Arc::new(Floor::new(1))));
        let connect = || TcpStream::connect(address);
        let (_a, _b) = (connect().await.unwrap(), connect().await.unwrap());
        let first = incoming.next().await.unwrap().unwrap();
        let _second = incoming.next().await.unwrap().unwrap();

        let mut refused = connect().await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = incoming.next() => panic!("there is no place for it"),
            read = refused.read(&mut byte) => assert!(matches!(read, Ok(0) | Err(_))),
        }
        drop(first);
        let _d = connect().await.unwrap();
        let _third = incoming.next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_crowded_a_connection_is_looked_at_now_and_then() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let floor = Arc::new(Floor::new(1));
        let mut incoming = pin!(incoming(listener, 2, Arc::clone(&floor)));
        let mut server = incoming.next().await.unwrap().unwrap();
        let task: Arc<str> = Arc::from("kitchen");
        let mut crowd: Vec<_> =
            (0..40).map(|_| Box::pin(floor.turn(&task, Urgency::Usual))).collect();
        let mut bytes = [0; 8];

        // It is looked at, and nothing is there.
        assert!(server.read(&mut bytes).now_or_never().is_none());
        client.write_all(b"calm").await.unwrap();
        assert_eq!(server.read(&mut bytes).await.unwrap(), 4);

        let turns: Vec<_> = crowd.iter_mut().map(|it| it.now_or_never()).collect();
        assert!(floor.is_crowded());
        assert!(server.read(&mut bytes).now_or_never().is_none());
        client.write_all(b"crowd").await.unwrap();
        server.stream.readable().await.unwrap();
        let looked_at = Instant::now();
        assert!(server.read(&mut bytes).now_or_never().is_none(), "it was looked at just now");
        assert_eq!(server.read(&mut bytes).await.unwrap(), 5);
        assert!(APART <= looked_at.elapsed() + Duration::from_millis(1));
        drop(turns);
    }
}
