//! The door that every gRPC call comes through: what is too much is refused before a byte of it is
//! decoded, and what comes too slowly is not waited for.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use crate::{
    answer::{Admitted, Desk},
    intake::{BODY_WAIT, Intake, Room},
};

/// Calls that ask for work: they are admitted.
const WORK: [&str; 5] = [
    "/sensemble.v1.Serving/Predict",
    "/sensemble.v1.Serving/PredictBatch",
    "/sensemble.v1.Serving/Correct",
    "/sensemble.v1.Serving/Explain",
    "/inference.GRPCInferenceService/ModelInfer",
];
/// Calls whose messages come when they come: their own services bound them.
const STREAMS: [&str; 1] = ["/sensemble.v1.Serving/PredictStream"];

/// A service behind the door.
#[derive(Clone, Debug)]
pub(crate) struct Doorway<S> {
    inner: S,
    desk: Arc<Desk>,
    intake: Intake,
}

impl<S> Doorway<S> {
    pub(crate) fn new(inner: S, desk: Arc<Desk>, intake: Intake) -> Self {
        Self { inner, desk, intake }
    }
}

impl<S: NamedService> NamedService for Doorway<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Doorway<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if STREAMS.contains(&path) {
            return Box::pin(self.inner.call(request));
        }
        let work = WORK.contains(&path);
        let held = Arc::new(Held { room: self.intake.none(), admitted: OnceLock::new() });
        let watch = |body| {
            Body::new(Watched {
                body,
                held: Arc::clone(&held),
                desk: work.then(|| Arc::clone(&self.desk)),
                head: [0; HEAD_BYTES],
                read: 0,
                patience: None,
            })
        };
        let answer = self.inner.call(request.map(watch));
        Box::pin(async move {
            // Held until it is answered, not only until it is decoded.
            let _until_answered = held;
            answer.await
        })
    }
}

/// What a call takes of what there is a bound on.
struct Held {
    room: Room,
    admitted: OnceLock<Admitted>,
}

/// Before a message of gRPC: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// The body of a call with one message: bounded in time, and in how much of all of them lies in
/// memory.
///
/// The call is admitted when its message is there and before it is decoded: a client that sends one
/// byte a second does not hold a place that another could have.
struct Watched {
    body: Body,
    held: Arc<Held>,
    /// Who admits it; `None` when it asks for no work, and once it is admitted.
    desk: Option<Arc<Desk>>,
    head: [u8; HEAD_BYTES],
    read: usize,
    /// Runs while something is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Counts `data`, and admits the call when the whole of its message has come.
    fn take(&mut self, data: &[u8]) -> Result<(), Status> {
        for (to, from) in self.head.iter_mut().skip(self.read).zip(data) {
            *to = *from;
        }
        self.read = self.read.saturating_add(data.len());
        self.held.room.grow_to(self.read)?;
        let [_compressed, length @ ..] = self.head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let whole = HEAD_BYTES <= self.read && length <= self.read - HEAD_BYTES;
        if let Some(desk) = self.desk.take_if(|_| whole) {
            // Set once: the desk is taken.
            let _first = self.held.admitted.set(desk.admit()?);
        }
        Ok(())
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let wait = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_WAIT)));
            ready!(wait.as_mut().poll(context));
            let text = format!("the message did not come within {} s", BODY_WAIT.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(text))));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.take(data)
        {
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
