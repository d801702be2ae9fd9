//! What a connection does with calls that are answered, wait, panic, break off or are taken back.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_util::FutureExt as _;
use h2::client::SendRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::Notify,
};
use tonic::codegen::BoxFuture;

use super::*;

type Reply = BoxFuture<http::Response<Body>, Infallible>;

/// A service that is a function.
#[derive(Clone)]
struct By<F>(F);

impl<F: FnMut(http::Request<Body>) -> Reply> Service<http::Request<Body>> for By<F> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Reply {
        (self.0)(request)
    }
}

fn body(bytes: impl Into<Bytes>) -> Body {
    Body::new(axum::body::Body::from(bytes.into()))
}

/// Says what was said.
fn echo(request: http::Request<Body>) -> Reply {
    Box::pin(async move {
        let body = axum::body::Body::new(request.into_body());
        let all = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Ok(http::Response::new(super::tests::body(all)))
    })
}

/// What a client holds of a connection.
struct Client {
    http2: SendRequest<Bytes>,
}

impl Client {
    /// Attended to by `service`, and the task that does.
    async fn of<F>(service: F, ending: &Drain) -> (Self, tokio::task::JoinHandle<()>)
    where
        F: FnMut(http::Request<Body>) -> Reply + Clone + Send + 'static,
    {
        let (near, far) = duplex(64 << 10);
        let incoming = futures_util::stream::iter([Ok(far)])
            .chain(futures_util::stream::once(pending::<io::Result<DuplexStream>>()));
        let serving = serve(incoming, By(service), ending.clone());
        let serving = runtime::spawn::named("serving", serving);
        let (http2, connection) = h2::client::handshake(near).await.unwrap();
        runtime::spawn::named("client", async move {
            let _ended = connection.await;
        });
        (Self { http2: http2.ready().await.unwrap() }, serving)
    }

    /// What a call says to `bytes`, once the whole of it is there.
    async fn ask(
        &self,
        path: &str,
        bytes: Bytes,
    ) -> Result<(http::response::Parts, Bytes), h2::Error> {
        let request = http::Request::post(format!("http://here{path}")).body(()).unwrap();
        self.send(request, bytes).await
    }

    async fn send(
        &self,
        request: http::Request<()>,
        mut bytes: Bytes,
    ) -> Result<(http::response::Parts, Bytes), h2::Error> {
        let mut http2 = self.http2.clone().ready().await?;
        let (reply, mut to) = http2.send_request(request, false)?;
        while !bytes.is_empty() {
            to.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|context| to.poll_capacity(context)).await.unwrap()?;
            to.send_data(bytes.split_to(room), false)?;
        }
        to.send_data(Bytes::new(), true)?;
        let (head, mut from) = reply.await?.into_parts();
        let mut all = Vec::new();
        while let Some(data) = from.data().await {
            let data = data?;
            from.flow_control().release_capacity(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok((head, all.into()))
    }
}

#[tokio::test]
async fn what_is_longer_than_any_window_comes_and_goes_whole() {
    let (client, _serving) = Client::of(echo, &Drain::new()).await;
    let long = Bytes::from((0_u32..300_000).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    let asked = (0..4).map(|part| client.ask("/echo", long.slice(part..)));
    for (part, echoed) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        assert!(echoed.unwrap().1 == long[part..], "{part}");
    }
    assert_eq!(client.ask("/echo", Bytes::new()).await.unwrap().1, "");
}

#[tokio::test]
async fn a_call_that_waits_holds_up_no_other_and_ends_when_it_may() {
    let may = Arc::new(Notify::new());
    let waits = Arc::clone(&may);
    let service = move |request: http::Request<Body>| -> Reply {
        let may = Arc::clone(&waits);
        Box::pin(async move {
            if request.uri().path() == "/waits" {
                may.notified().await;
            }
            Ok(http::Response::new(body(request.uri().path().to_owned())))
        })
    };
    let (client, _serving) = Client::of(service, &Drain::new()).await;
    let mut waiting = Box::pin(client.ask("/waits", Bytes::new()));
    assert!((&mut waiting).now_or_never().is_none());
    for _ in 0..10 {
        assert_eq!(client.ask("/other", Bytes::new()).await.unwrap().1, "/other");
    }
    assert!((&mut waiting).now_or_never().is_none());
    may.notify_one();
    assert_eq!(waiting.await.unwrap().1, "/waits");
}

/// Counts those that were dropped.
struct Dropped(Arc<AtomicUsize>, Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        self.1.notify_one();
    }
}

#[tokio::test]
async fn work_that_its_caller_takes_back_is_dropped() {
    let (count, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (asked, asking) = (Arc::new(Notify::new()), Arc::clone(&told));
    let (of, begun) = (Arc::clone(&count), Arc::clone(&asked));
    let service = move |_| -> Reply {
        let dropped = Dropped(Arc::clone(&of), Arc::clone(&asking));
        begun.notify_one();
        Box::pin(async move {
            let _until = dropped;
            pending().await
        })
    };
    let (client, _serving) = Client::of(service, &Drain::new()).await;
    let waiting = async { client.ask("/", Bytes::new()).await.map(drop) };
    tokio::select! {
        _ = waiting => panic!("nobody answers"),
        () = asked.notified() => {}
    }
    told.notified().await;
    assert_eq!(count.load(Relaxed), 1);
}

#[tokio::test]
async fn a_call_that_panics_takes_no_other_with_it() {
    let service = |request: http::Request<Body>| -> Reply {
        match request.uri().path() {
            "/at-once" => panic!("as it should"),
            "/tried" => Box::pin(async { panic!("as it should") }),
            "/later" => Box::pin(async {
                tokio::task::yield_now().await;
                panic!("as it should")
            }),
            _ => echo(request),
        }
    };
    let (client, _serving) = Client::of(service, &Drain::new()).await;
    for bad in ["/at-once", "/tried", "/later"] {
        let (broken, fine) =
            tokio::join!(client.ask(bad, Bytes::new()), client.ask("/echo", "fine".into()));
        assert!(broken.unwrap_err().is_reset(), "{bad}");
        assert_eq!(fine.unwrap().1, "fine", "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_no_longer_is_told_so() {
    let (client, _serving) = Client::of(|_| Box::pin(pending()), &Drain::new()).await;
    let since = Instant::now();
    let request = http::Request::post("http://here/").header("grpc-timeout", "70m");
    let (head, _) = client.send(request.body(()).unwrap(), Bytes::new()).await.unwrap();
    assert_eq!(head.headers["grpc-status"], "4");
    let waited = since.elapsed();
    assert!((70..72).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn what_was_begun_is_answered_before_the_end_and_nothing_after_it() {
    let (may, begun, ending) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Drain::new());
    let (waits, begins) = (Arc::clone(&may), Arc::clone(&begun));
    let service = move |request: http::Request<Body>| -> Reply {
        let (may, begun) = (Arc::clone(&waits), Arc::clone(&begins));
        Box::pin(async move {
            begun.notify_one();
            may.notified().await;
            echo(request).await
        })
    };
    let (client, serving) = Client::of(service, &ending).await;
    let ends = async {
        begun.notified().await;
        ending.ask();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        may.notify_one();
    };
    let (answer, ()) = tokio::join!(client.ask("/", "begun".into()), ends);
    assert_eq!(answer.unwrap().1, "begun");
    serving.await.unwrap();
    assert!(client.ask("/", "late".into()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_that_it_lives_is_cut_off_and_who_does_is_not() {
    let (mut near, far) = duplex(1 << 10);
    let since = Instant::now();
    let silent = futures_util::stream::iter([Ok(far)]);
    let silent = serve(silent, By(|_| -> Reply { Box::pin(pending()) }), Drain::new());
    let (client, _serving) = Client::of(echo, &Drain::new()).await;
    // The beginning of HTTP/2 with no settings, and nothing more.
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    silent.await;
    let lived = since.elapsed();
    assert!(
        (2 * SILENCE_MAX..2 * SILENCE_MAX + Duration::from_secs(1)).contains(&lived),
        "{lived:?}"
    );
    let mut said = Vec::new();
    near.read_to_end(&mut said).await.unwrap();
    assert_eq!(client.ask("/", "still here".into()).await.unwrap().1, "still here");
}

#[tokio::test(start_paused = true)]
async fn who_never_says_hello_is_not_waited_for() {
    let (_near, far) = duplex(1 << 10);
    let since = Instant::now();
    let service = By(|_| -> Reply { Box::pin(pending()) });
    serve(futures_util::stream::iter([Ok(far)]), service, Drain::new()).await;
    assert!(SILENCE_MAX <= since.elapsed());
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_reset() {
    let service = |_| -> Reply {
        let bytes = [Ok(Bytes::from("half")), Err(tonic::Status::internal("as it should"))];
        let body = axum::body::Body::from_stream(futures_util::stream::iter(bytes));
        Box::pin(ready(Ok(http::Response::new(Body::new(body)))))
    };
    let (client, _serving) = Client::of(service, &Drain::new()).await;
    assert!(client.ask("/", Bytes::new()).await.unwrap_err().is_reset());
}
