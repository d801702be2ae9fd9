//! Calls of gRPC, from connections to the service that answers them, over HTTP/2 as `h2` speaks it.
//!
//! What usually stands between makes a task of each call, refused ones too, which wakes the task of its connection
//! when it has something to say. Here a call is tried at once, where it was read, and what is not ready then
//! becomes a task. What was read together is answered together: one write.

mod exchange;
mod pulse;

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use h2::{
    RecvStream,
    server::{Builder, Connection as Http2, SendResponse},
};
use runtime::{Drain, Report};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{
    body::Body,
    codegen::{Service, http},
};

use self::{exchange::Exchange, pulse::Pulse};

/// Requests and streams of one connection at the same time: as many as may be in flight at all.
pub(crate) const STREAMS_MAX: u32 = 256;
/// What a client may send of one call before it is read.
const CALL_BYTES: u32 = 256 << 10;
/// … and of all calls of a connection.
const CONNECTION_BYTES: u32 = 2 * CALL_BYTES;
/// The headers of a call.
pub(crate) const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A client that says nothing for so long is asked whether it lives, and cut off when it does not
/// answer within the same time.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long the calls that were read together are tried one after the other: then the others become
/// tasks, which other cores may take.
const TRIED_MAX: Duration = Duration::from_micros(100);

/// Attends to connections until `ending`, and then until the last of their calls is answered.
pub(crate) async fn serve<C, S>(
    incoming: impl Stream<Item = io::Result<C>>,
    service: S,
    ending: Drain,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    // Each connection holds one end: the other hears when all are gone.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    let mut incoming = pin!(incoming);
    loop {
        let connection = tokio::select! {
            () = ending.wait() => break,
            connection = incoming.next() => connection,
        };
        match connection {
            Some(Ok(connection)) => {
                let (service, ending, open) = (service.clone(), ending.clone(), open.clone());
                runtime::spawn::named("connection", async move {
                    let _until_closed = open;
                    if let Err(error) = attend(connection, service, ending).await {
                        tracing::debug!(error = %Report(&error), "a connection ended badly");
                    }
                });
            }
            Some(Err(error)) => tracing::debug!(%error, "a connection was not accepted"),
            None => break,
        }
    }
    drop(open);
    // Nothing is ever sent.
    let _none = all_closed.recv().await;
}

/// A service that answers every call, at any time.
pub(crate) trait Answers:
    Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Answering,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Answering,
        > + Clone
        + Send
        + 'static
{
}

/// An answer on its way, which may be moved.
pub(crate) trait Answering:
    Future<Output = Result<http::Response<Body>, Infallible>> + Unpin + Send + 'static
{
}

impl<F> Answering for F where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Unpin + Send + 'static
{
}

/// Everything that comes over one connection.
async fn attend<C, S>(connection: C, service: S, ending: Drain) -> Result<(), h2::Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Answers,
{
    let mut terms = Builder::new();
    terms
        .max_concurrent_streams(STREAMS_MAX)
        // An app under a deadline takes back what comes too late; under overload that is most of it.
        .max_pending_accept_reset_streams(usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX))
        .initial_window_size(CALL_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX);
    let greeting = timeout(SILENCE_MAX, terms.handshake::<_, Bytes>(connection));
    let mut http2 = tokio::select! {
        greeted = greeting => match greeted {
            Ok(greeted) => greeted?,
            Err(_silent) => return Ok(()),
        },
        // Whoever has not said what it wants yet asks elsewhere.
        () = ending.wait() => return Ok(()),
    };
    let mut pulse = Pulse::of(http2.ping_pong());
    let mut ended = pin!(ending.wait());
    let mut leaving = false;
    let mut line = Line { http2, service, read: Vec::new() };
    std::future::poll_fn(|context| {
        if !leaving && ended.as_mut().poll(context).is_ready() {
            leaving = true;
            line.http2.graceful_shutdown();
        }
        if pulse.poll_lost(context).is_ready() {
            line.http2.abrupt_shutdown(h2::Reason::NO_ERROR);
        }
        line.poll(context)
    })
    .await
}

/// A connection, and the calls that were read from it and not tried yet.
struct Line<C, S> {
    http2: Http2<C, Bytes>,
    service: S,
    read: Vec<(http::Request<RecvStream>, SendResponse<Bytes>)>,
}

impl<C, S> Line<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: Answers,
{
    /// Takes in what has come and sends what is ready, until the connection ends.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // Also writes what is there to be written.
            while let Poll::Ready(call) = pin!(self.http2.accept()).poll(context) {
                let Some(call) = call else { return Poll::Ready(Ok(())) };
                self.read.push(call?);
            }
            if self.read.is_empty() {
                return Poll::Pending;
            }
            let begun = Instant::now();
            for (request, respond) in self.read.drain(..) {
                let service = &mut self.service;
                let attempt = AssertUnwindSafe(|| {
                    let mut exchange = Exchange::begin(service, request, respond);
                    let late = TRIED_MAX < begun.elapsed();
                    if late || Pin::new(&mut exchange).poll(context).is_pending() {
                        exchange.become_a_task();
                    }
                });
                // One call that panics takes no other of its connection with it. It was said by the hook
                // of the process, and its caller hears that it was cancelled, since it is dropped.
                let _said = catch_unwind(attempt);
            }
        }
    }
}

#[cfg(test)]
mod tests;
