//! One call, from its headers to the end of its reply.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, body::Body, codegen::http};

use super::{Answering, Answers};
use crate::deadline;

/// A call that is being answered; polled until it is ready, or dropped: then its caller hears of it.
pub(super) struct Exchange<F> {
    respond: SendResponse<Bytes>,
    state: State<F>,
    /// How long its caller waits for the beginning of the reply, and since when it does.
    patience: Option<(Instant, Duration)>,
}

enum State<F> {
    /// The service has not said anything yet.
    Asked(F),
    /// What it says is sent on.
    Replying { body: Body, stream: SendStream<Bytes>, waiting: Bytes },
}

/// Why a call ends without the end of its reply.
enum Cut {
    /// Its caller takes it back, or has gone.
    Gone,
    /// The connection does not take what the service says.
    Refused(h2::Error),
}

impl From<h2::Error> for Cut {
    fn from(error: h2::Error) -> Self {
        Self::Refused(error)
    }
}

impl<F: Answering> Exchange<F> {
    /// Asks `service`, and answers nothing yet.
    pub(super) fn begin<S: Answers<Future = F>>(
        service: &mut S,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let patience = deadline::patience(request.headers()).map(|left| (Instant::now(), left));
        let request = request.map(|stream| Body::new(Incoming { stream, data: true }));
        let state = State::Asked(service.call(request));
        Self { respond, state, patience }
    }

    /// What was not ready at once is waited for by itself, for as long as its caller waits.
    pub(super) fn become_a_task(mut self) {
        let late = self.patience.and_then(|(since, left)| since.checked_add(left));
        let mut late: Option<Pin<Box<Sleep>>> = late.map(|late| Box::pin(sleep_until(late)));
        runtime::spawn::call(std::future::poll_fn(move |context| {
            let answered = Pin::new(&mut self).poll(context);
            if answered.is_pending()
                && let State::Asked(_) = self.state
                && let Some(wait) = &mut late
            {
                ready!(wait.as_mut().poll(context));
                let late = Status::deadline_exceeded("the time that its caller gave it is over");
                // Whoever has gone does not hear it.
                let _gone = self.respond.send_response(parted(late.into_http()).0, true);
                return Poll::Ready(());
            }
            answered
        }));
    }

    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            match &mut self.state {
                State::Asked(answer) => {
                    let Poll::Ready(Ok(reply)) = Pin::new(answer).poll(context) else {
                        return self.respond.poll_reset(context).map(|_| Err(Cut::Gone));
                    };
                    let (head, body) = parted(reply);
                    let end = body.is_end_stream();
                    let stream = self.respond.send_response(head, end)?;
                    if end {
                        return Poll::Ready(Ok(()));
                    }
                    self.state = State::Replying { body, stream, waiting: Bytes::new() };
                }
                State::Replying { body, stream, waiting } => {
                    ready!(poll_send(stream, waiting, context))?;
                    let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
                        return stream.poll_reset(context).map(|_| Err(Cut::Gone));
                    };
                    match frame.map(|frame| frame.map(Frame::into_data)) {
                        Some(Ok(Ok(data))) => *waiting = data,
                        Some(Ok(Err(frame))) => {
                            // A frame is data or trailers.
                            let trailers = frame.into_trailers().unwrap_or_default();
                            stream.send_trailers(trailers)?;
                            return Poll::Ready(Ok(()));
                        }
                        Some(Err(status)) => {
                            tracing::debug!(%status, "a reply broke off");
                            stream.send_reset(h2::Reason::INTERNAL_ERROR);
                            return Poll::Ready(Ok(()));
                        }
                        None => {
                            stream.send_data(Bytes::new(), true)?;
                            return Poll::Ready(Ok(()));
                        }
                    }
                }
            }
        }
    }
}

/// Sends what is `waiting` once the caller takes any of it: how much at a time, `h2` sees to.
fn poll_send(
    stream: &mut SendStream<Bytes>,
    waiting: &mut Bytes,
    context: &mut Context<'_>,
) -> Poll<Result<(), Cut>> {
    if waiting.is_empty() {
        return Poll::Ready(Ok(()));
    }
    stream.reserve_capacity(1);
    let mut room = stream.capacity();
    while room == 0 {
        if stream.poll_reset(context)?.is_ready() {
            return Poll::Ready(Err(Cut::Gone));
        }
        let Some(more) = ready!(stream.poll_capacity(context)) else {
            return Poll::Ready(Err(Cut::Gone));
        };
        room = more?;
    }
    stream.send_data(std::mem::take(waiting), false)?;
    Poll::Ready(Ok(()))
}

/// The head of a reply and its body.
fn parted(reply: http::Response<Body>) -> (http::Response<()>, Body) {
    let (head, body) = reply.into_parts();
    (http::Response::from_parts(head, ()), body)
}

impl<F: Answering> Future for Exchange<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.poll_sent(context)) {
            Ok(()) | Err(Cut::Gone) => {}
            Err(Cut::Refused(error)) => {
                tracing::debug!(%error, "a reply could not be sent");
                self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        }
        Poll::Ready(())
    }
}

/// What a caller sends.
struct Incoming {
    stream: RecvStream,
    /// Data come first, then trailers.
    data: bool,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.data {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // Fails only where the stream has ended, which is heard at the next frame.
                    let _ended = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
