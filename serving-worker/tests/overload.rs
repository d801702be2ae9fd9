//! More is asked than can be answered: what is refused is refused early and with a reason, and who
//! asks for little notices nothing of who asks for much.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

mod loopback;

use std::time::Duration;

use loopback::{SLOW_WIDTH, Worker, ensemble, lay, order_of, sample, slow_ensemble};
use proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn slow_sample(task: &str) -> v1::PredictRequest {
    v1::PredictRequest { task: task.to_owned(), features: vec![0.25; SLOW_WIDTH], coverage: None }
}

/// A worker with a quick task, `kitchen`, and a slow one, `slow`.
async fn start(dir: &std::path::Path) -> Worker {
    let quick = lay(dir, &ensemble("-1", 1));
    let slow = lay(dir, &slow_ensemble(4, 30_000));
    let worker = Worker::start(dir).await;
    let mut node = worker.node("").await;
    node.order(vec![order_of("kitchen", 1, &quick), order_of("slow", 4, &slow)]).await;
    node.until("both tasks", |it| it.tasks.iter().filter(|it| it.revision == 1).count() == 2).await;
    worker
}

fn retry_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_for_one_task_is_refused_with_the_time_it_takes_and_another_task_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    let mut flood = Vec::new();
    for _ in 0..4 {
        let app = worker.app().await;
        for _ in 0..200 {
            let mut app = app.clone();
            flood.push(runtime::spawn::named("flood", async move {
                app.predict(slow_sample("slow")).await.map(|_| ())
            }));
        }
    }
    // While it lasts, the quick task is answered as if nobody else asked.
    let mut app = worker.app().await;
    let mut quick = 0;
    while flood.iter().any(|it| !it.is_finished()) {
        let reply = app.predict(sample()).await.expect("the quick task is never refused");
        assert_eq!(reply.into_inner().revision, 1);
        quick += 1;
    }
    assert!(10 < quick, "{quick} answers while the flood lasted");

    let (mut answered, mut refused) = (0, 0);
    for it in flood {
        match it.await.unwrap() {
            Ok(()) => answered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                let retry = retry_of(&status).expect("when to come back");
                assert!((Duration::from_millis(1)..=Duration::from_secs(10)).contains(&retry));
                refused += 1;
            }
        }
    }
    assert!(0 < answered && 0 < refused, "{answered} answered, {refused} refused");
    // What was refused left nothing behind: all places are free again.
    let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
    assert!(metrics.contains("sensemble_requests_in_flight 0"), "{metrics}");
    assert!(metrics.contains("sensemble_task_requests_in_flight{task=\"slow\"} 0"), "{metrics}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_gave_up_take_no_turn() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    let app = worker.app().await;
    let mut gone = Vec::new();
    for _ in 0..150 {
        let mut app = app.clone();
        let call = async move { app.predict(slow_sample("slow")).await.is_ok() };
        gone.push(runtime::spawn::named("gone", call));
    }
    loopback::until("requests to wait", || async {
        let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
        let none = metrics.contains("task_requests_in_flight{task=\"slow\"} 0");
        (!none).then_some(())
    })
    .await;
    gone.iter().for_each(|it| it.abort());
    loopback::until("their places to be free", || async {
        let metrics = worker.get(worker.presence.metrics, "/metrics").await.1;
        metrics.contains("sensemble_requests_in_flight 0").then_some(())
    })
    .await;
    let mut app = app;
    app.predict(slow_sample("slow")).await.expect("there is room again");
    worker.stop().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A call of Predict over HTTP/2 by hand, its message not yet sent.
fn call_by_hand(stream: u32) -> Vec<u8> {
    let mut headers = vec![0x83, 0x86]; // POST, http
    for (name, value) in [
        (":path", "/sensemble.v1.Serving/Predict"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.push(0); // a literal without indexing
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).unwrap());
            headers.extend(text.as_bytes());
        }
    }
    frame(1, 4, stream, &headers)
}

/// Opens a connection of HTTP/2 by hand.
async fn by_hand(worker: &Worker) -> TcpStream {
    let mut stream = TcpStream::connect(worker.presence.grpc).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_gigabyte_is_refused_when_it_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    let mut stream = by_hand(&worker).await;
    stream.write_all(&call_by_hand(1)).await.unwrap();
    // Not compressed, and a gigabyte long, it says; then nothing comes.
    let mut head = vec![0];
    head.extend((1_u32 << 30).to_be_bytes());
    stream.write_all(&frame(0, 0, 1, &head)).await.unwrap();
    let refused = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("it is answered, not cut off");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            // The headers of the answer on the stream of the call.
            if head[3] == 1 && head[8] == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("an answer at once");
    let mut app = worker.app().await;
    app.predict(sample()).await.expect("nobody else notices");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_a_byte_now_and_then_or_never_read_take_nothing_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path()).await;
    // As many calls begun and not finished as a connection may have, on several connections; and
    // requests over HTTP that do not come to the end of their headers.
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = by_hand(&worker).await;
        for call in 0..100 {
            stream.write_all(&call_by_hand(1 + 2 * call)).await.unwrap();
            stream.write_all(&frame(0, 0, 1 + 2 * call, &[0])).await.unwrap();
        }
        slow.push(stream);
        let mut page = TcpStream::connect(worker.presence.http).await.unwrap();
        page.write_all(b"POST /v2/models/kitchen/infer HTTP/1.1\r\nHost: ").await.unwrap();
        slow.push(page);
    }
    let mut app = worker.app().await;
    let begun = Instant::now();
    for _ in 0..200 {
        app.predict(sample()).await.expect("nobody else notices");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A stream whose answers nobody reads holds its own place, and no other.
    let endless = tokio_stream::iter(std::iter::repeat_with(sample));
    let unread = app.predict_stream(endless).await.unwrap();
    for _ in 0..200 {
        app.predict(sample()).await.expect("nobody else notices");
    }
    drop(unread);
    worker.stop().await;
}
