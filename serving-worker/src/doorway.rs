//! The door that every gRPC call comes through: what is too much is refused when its first bytes have
//! said for whom it is, and what comes too slowly is not waited for.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Duration, Sleep};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
};

use crate::{
    answer::{Admitted, Desk},
    deadline,
    error::PredictError,
    intake::{BODY_WAIT, Intake, Room, unpacked_max},
    said::Said,
    streamed::Streamed,
    urgency::Urgency,
};

/// Calls that ask a task for answers: they are admitted, and how urgent one may be of which no more is
/// known.
const ANSWERS: [(&str, Urgency); 3] = [
    ("/sensemble.v1.Serving/Predict", Urgency::Usual),
    ("/sensemble.v1.Serving/PredictBatch", Urgency::Usual),
    // Its priority comes later in the message.
    ("/inference.GRPCInferenceService/ModelInfer", Urgency::High),
];
/// Other calls that ask for work: they are admitted, too.
const WORK: [&str; 2] = ["/sensemble.v1.Serving/Correct", "/sensemble.v1.Serving/Explain"];
/// Calls whose messages come when they come: their own services bound how many there are.
const STREAMS: [&str; 2] =
    ["/sensemble.v1.Serving/PredictStream", "/inference.GRPCInferenceService/ModelStreamInfer"];

/// A service behind the door.
#[derive(Clone, Debug)]
pub(crate) struct Doorway<S> {
    inner: S,
    desk: Arc<Desk>,
    intake: Intake,
    said: Arc<Said>,
}

impl<S> Doorway<S> {
    pub(crate) fn new(inner: S, desk: Arc<Desk>, intake: Intake) -> Self {
        Self { inner, desk, intake, said: Arc::default() }
    }
}

impl<S> Doorway<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    /// What the service behind it says to a call, or why it does not hear of it.
    pub(crate) fn answer(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<http::Response<Body>, Infallible> {
        let path = request.uri().path();
        if STREAMS.contains(&path) {
            let room = self.intake.none();
            let streamed = request.map(|body| Body::new(Streamed::new(body, room)));
            return Box::pin(self.inner.clone().call(streamed));
        }
        let answer = ANSWERS.iter().find(|(of, _)| *of == path).map(|&(_, urgency)| urgency);
        let work = answer.is_some() || WORK.contains(&path);
        let left = deadline::patience(request.headers());
        let held = Arc::new(Held { room: self.intake.none(), admitted: OnceLock::new() });
        let watch = |body| Watched {
            body,
            ahead: None,
            held: Arc::clone(&held),
            desk: work.then(|| Arc::clone(&self.desk)),
            answer: answer.map(|urgency| (urgency, left)),
            head: [0; HEAD_BYTES],
            read: 0,
            patience: None,
        };
        if answer.is_none() {
            let answer = self.inner.clone().call(request.map(|body| Body::new(watch(body))));
            return Box::pin(async move {
                // Held until it is answered, not only until it is decoded.
                let _until_answered = held;
                answer.await
            });
        }
        let (head, body) = request.into_parts();
        let mut watched = watch(body);
        let (mut inner, said) = (self.inner.clone(), Arc::clone(&self.said));
        Box::pin(async move {
            // What is refused by its first bytes has cost no more than those: the service would first
            // make room for all of it.
            match poll_fn(|context| watched.poll_ahead(context)).await {
                Ok(()) => {}
                Err(Refused::Task(error)) => return Ok(said.of(error)),
                Err(Refused::Call(status)) => return Ok(status.into_http()),
            }
            let _until_answered = held;
            inner.call(http::Request::from_parts(head, Body::new(watched))).await
        })
    }
}

/// Why a call is not read to its end.
enum Refused {
    /// Its task has too many, or all have.
    Task(PredictError),
    /// It is not what it should be.
    Call(Status),
}

impl From<PredictError> for Refused {
    fn from(error: PredictError) -> Self {
        Self::Task(error)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Task(error) => error.into(),
            Refused::Call(status) => status,
        }
    }
}

/// What a call takes of what there is a bound on.
struct Held {
    room: Room,
    admitted: OnceLock<Admitted>,
}

/// Before a message of gRPC: whether it is packed, and its length.
pub(crate) const HEAD_BYTES: usize = 5;

/// What it says.
pub(crate) struct Head {
    pub(crate) packed: bool,
    pub(crate) length: usize,
}

impl From<[u8; HEAD_BYTES]> for Head {
    fn from([packed, length @ ..]: [u8; HEAD_BYTES]) -> Self {
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        Self { packed: packed != 0, length }
    }
}

/// The body of a call with one message: bounded in time, and in how much of all of them lies in
/// memory.
///
/// The call is admitted when its message is there and before it is decoded: a client that sends one
/// byte a second does not hold a place that another could have.
struct Watched {
    body: Body,
    /// What was read before anybody asked for it.
    ahead: Option<Frame<Bytes>>,
    held: Arc<Held>,
    /// Who admits it; `None` when it asks for no work, and once it is admitted.
    desk: Option<Arc<Desk>>,
    /// How urgent it may be and how long its caller waits, where a task is asked; `None` once its first
    /// bytes have come.
    answer: Option<(Urgency, Option<Duration>)>,
    head: [u8; HEAD_BYTES],
    read: usize,
    /// Runs while something is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    /// Waits for the first bytes, and whether the call is refused because of what they say.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.ahead = ready!(self.poll_read(context)).transpose()?;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refused>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let wait = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_WAIT)));
            ready!(wait.as_mut().poll(context));
            let text = format!("the message did not come within {} s", BODY_WAIT.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(text).into())));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.take(data)
        {
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Refused::Call)))
    }

    /// Counts `data`, refuses the call when its task has too many, and admits it when the whole of its
    /// message has come.
    fn take(&mut self, data: &[u8]) -> Result<(), Refused> {
        if let (Some((urgency, left)), Some(desk)) = (self.answer.take(), &self.desk)
            && let Some(task) = addressee(data)
        {
            desk.foresee(task, urgency, left)?;
        }
        for (to, from) in self.head.iter_mut().skip(self.read).zip(data) {
            *to = *from;
        }
        self.read = self.read.saturating_add(data.len());
        self.held.room.grow_to(self.read)?;
        let Head { packed, length } = self.head.into();
        let whole = HEAD_BYTES <= self.read && length <= self.read - HEAD_BYTES;
        if whole && packed {
            self.held.room.grow_to(self.read.saturating_add(unpacked_max(length)))?;
        }
        if let Some(desk) = self.desk.take_if(|_| whole) {
            // Set once: the desk is taken.
            let _first = self.held.admitted.set(desk.admit()?);
        }
        Ok(())
    }
}

/// For whom a message is, which its first bytes say where its fields come in their order: the first
/// field of a request for answers is a string, the task.
///
/// `None` where they say something else, or not all of it: then it is decoded to know. Whoever writes
/// the field twice is weighed by the first and answered by the last, which decoding finds.
fn addressee(data: &[u8]) -> Option<&str> {
    // The key of field 1 with a length, and a length of one byte.
    let [b'\0', _, _, _, _, 0x0a, length @ 0..=0x7f, rest @ ..] = data else { return None };
    std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(ahead)));
        }
        let frame = ready!(self.poll_read(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Status::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let rest = self.body.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper() {
            whole.set_upper(upper.saturating_add(ahead));
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use proto::{inference, v1};

    use super::*;
    use crate::{admission::IN_FLIGHT_MAX, meter::Meter};

    fn framed(message: &impl prost::Message) -> Vec<u8> {
        let body = message.encode_to_vec();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0], &length[..], &body].concat()
    }

    #[test]
    fn the_first_bytes_say_for_whom_it_is_or_nothing() {
        let task = || "kitchen".to_owned();
        let one = v1::PredictRequest { task: task(), features: vec![1.0; 9], coverage: None };
        let many = v1::PredictBatchRequest { task: task(), width: 3, ..Default::default() };
        let open = inference::ModelInferRequest { model_name: task(), ..Default::default() };
        for bytes in [framed(&one), framed(&many), framed(&open)] {
            assert_eq!(addressee(&bytes), Some("kitchen"));
            for cut in 0..14 {
                assert_eq!(addressee(&bytes[..cut]), None, "cut at {cut}");
            }
        }
        let nobody = v1::PredictRequest { task: String::new(), ..one.clone() };
        assert_eq!(addressee(&framed(&nobody)), None);
        let long = v1::PredictRequest { task: "k".repeat(200), ..one };
        assert_eq!(addressee(&framed(&long)), None);
        assert_eq!(addressee(&[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe]), None, "no text");
    }

    #[tokio::test]
    async fn a_task_that_has_too_many_is_refused_by_the_first_bytes_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let served = Arc::new(crate::served::tests::served(&[models::Family::Ridge], false));
        let desk = Arc::new(crate::answer::tests::desk(dir.path(), Some(Arc::clone(&served))));
        let begin = |task: &str| {
            let task = task.to_owned();
            let bytes = framed(&v1::PredictRequest {
                task,
                features: vec![1.0; 900],
                ..Default::default()
            });
            let room = Intake::default().none();
            let mut watched = Watched {
                body: Body::empty(),
                ahead: None,
                held: Arc::new(Held { room, admitted: OnceLock::new() }),
                desk: Some(Arc::clone(&desk)),
                answer: Some((Urgency::Usual, None)),
                head: [0; HEAD_BYTES],
                read: 0,
                patience: None,
            };
            watched.take(&bytes[..40])
        };
        assert!(begin("kitchen").is_ok());
        let crowd: Vec<_> =
            (0..IN_FLIGHT_MAX * 4).map(|_| Meter::enter(&served.meter, 1)).collect();
        let refused = Status::from(begin("kitchen").unwrap_err());
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(begin("cellar").is_ok(), "it may be served elsewhere");
        drop(crowd);
        assert!(begin("kitchen").is_ok());
    }

    #[tokio::test]
    async fn a_packed_message_takes_what_it_may_become_before_it_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let desk = Arc::new(crate::answer::tests::desk(dir.path(), None));
        let length = 24_usize << 10;
        let head = u32::try_from(length).unwrap().to_be_bytes();
        // How many of the longest fit beside it.
        let beside = |flag: u8| {
            let intake = Intake::default();
            let held = Arc::new(Held { room: intake.none(), admitted: OnceLock::new() });
            let mut watched = Watched {
                body: Body::empty(),
                ahead: None,
                held,
                desk: Some(Arc::clone(&desk)),
                answer: None,
                head: [0; HEAD_BYTES],
                read: 0,
                patience: None,
            };
            watched
                .take(&[&[flag], &head[..], &vec![7; length]].concat())
                .unwrap_or_else(|_| panic!("there is room"));
            let others: Vec<Room> = (0..4).map(|_| intake.none()).collect();
            others.iter().filter(|it| it.grow_to(proto::MESSAGE_BYTES_MAX).is_ok()).count()
        };
        assert_eq!([0, 1].map(beside), [3, 2]);
    }

    /// Answers with what it was asked, and counts how often.
    #[derive(Clone, Default)]
    struct Echo(Arc<AtomicUsize>);

    impl Service<http::Request<Body>> for Echo {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<http::Response<Body>, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            self.0.fetch_add(1, Relaxed);
            Box::pin(async move { Ok(http::Response::new(request.into_body())) })
        }
    }

    #[tokio::test]
    async fn what_its_first_bytes_refuse_never_reaches_the_service_and_what_passes_does_whole() {
        let dir = tempfile::tempdir().unwrap();
        let served = Arc::new(crate::served::tests::served(&[models::Family::Ridge], false));
        let desk = Arc::new(crate::answer::tests::desk(dir.path(), Some(Arc::clone(&served))));
        let echo = Echo::default();
        let door = Doorway::new(echo.clone(), desk, Intake::default());
        let message = framed(&v1::PredictRequest {
            task: "kitchen".to_owned(),
            features: vec![1.5; 900],
            ..Default::default()
        });
        let ask = async || {
            let body = Body::new(axum::body::Body::from(message.clone()));
            let request = http::Request::post("/sensemble.v1.Serving/Predict").body(body).unwrap();
            door.answer(request).await.unwrap()
        };

        let passed = ask().await.into_body();
        assert_eq!(passed.size_hint().exact(), u64::try_from(message.len()).ok());
        assert!(!passed.is_end_stream());
        let whole = axum::body::to_bytes(axum::body::Body::new(passed), usize::MAX).await.unwrap();
        assert_eq!((&whole[..], echo.0.load(Relaxed)), (&message[..], 1));

        let crowd: Vec<_> =
            (0..IN_FLIGHT_MAX * 4).map(|_| Meter::enter(&served.meter, 1)).collect();
        let refused = ask().await;
        assert_eq!(refused.headers()["grpc-status"], "8");
        assert!(
            refused.headers().contains_key("grpc-status-details-bin"),
            "says when to try again"
        );
        assert_eq!(echo.0.load(Relaxed), 1);
        drop(crowd);
        ask().await;
        assert_eq!(echo.0.load(Relaxed), 2);
    }
}
