//! A worker that is told to stop finishes what it has begun, and whoever asks another meanwhile never
//! goes without an answer.

mod loopback;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use loopback::{Worker, ensemble, lay, order_of, sample};
use proto::v1::serving_client::ServingClient;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

const DRAINS: usize = 200;
const APPS: usize = 4;

fn counts(answered: &[AtomicUsize; APPS]) -> Vec<usize> {
    answered.iter().map(|it| it.load(Relaxed)).collect()
}

fn connect(worker: &Worker) -> ServingClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", worker.presence.grpc));
    ServingClient::new(endpoint.expect("an address").connect_lazy())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_drains_under_load_fail_nobody_who_tries_once_more() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut workers = Vec::new();
    for dir in &dirs {
        let digest = lay(dir.path(), &ensemble("-1", 1));
        let worker = Worker::start(dir.path()).await;
        worker.node("").await.serve(order_of("kitchen", 1, &digest)).await;
        workers.push(Some(worker));
    }
    let first = workers.iter().flatten().map(connect).collect::<Vec<_>>();
    let (clients, known) = watch::channel(first);
    let (stop, stopped) = watch::channel(false);
    let answered: Arc<[AtomicUsize; APPS]> = Arc::default();
    let mut apps = Vec::new();
    for app in 0..APPS {
        let (known, stopped) = (known.clone(), stopped.clone());
        let answered = Arc::clone(&answered);
        apps.push(runtime::spawn::named("app", async move {
            let mut at = app;
            while !*stopped.borrow() {
                at += 1;
                // One of the two, then the other: as a client with two addresses does.
                let client = |at: usize| known.borrow()[at % 2].clone();
                if client(at).predict(sample()).await.is_err() {
                    let other = client(at + 1).predict(sample()).await;
                    other.expect("one more try is enough");
                }
                answered[app].fetch_add(1, Relaxed);
            }
        }));
    }
    for drain in 0..DRAINS {
        let at = drain % 2;
        let worker = workers[at].take().expect("it was started again");
        assert_eq!(worker.stop().await, runtime::Exit::Drained);
        let worker = Worker::start(dirs[at].path()).await;
        // It serves what it served, from its own disk, before it is told of.
        clients.send_modify(|clients| clients[at] = connect(&worker));
        workers[at] = Some(worker);
        // Every app is done with whatever it began before: nobody meets two drains in one request.
        let before = counts(&answered);
        loopback::until("answers to go on", || async {
            let now = counts(&answered);
            now.iter().zip(&before).all(|(now, before)| before + 2 <= *now).then_some(())
        })
        .await;
    }
    stop.send(true).unwrap();
    for app in apps {
        app.await.expect("no request failed twice");
    }
    assert!(DRAINS * APPS < counts(&answered).iter().sum::<usize>());
    for worker in workers.into_iter().flatten() {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_its_grace_a_worker_says_that_it_leaves_and_still_answers() {
    let dir = tempfile::tempdir().unwrap();
    let digest = lay(dir.path(), &ensemble("-1", 1));
    let grace = Duration::from_secs(2);
    let config = serving_worker::Config { grace, ..loopback::config(dir.path()) };
    let worker = Arc::new(Worker::start_with(config).await);
    worker.node("").await.serve(order_of("kitchen", 1, &digest)).await;
    assert_eq!(worker.get(worker.presence.http, "/readyz").await.0, 200);
    worker.ask_to_stop();
    loopback::until("it to say so", || async {
        let (status, text) = worker.get(worker.presence.http, "/readyz").await;
        (status == 503 && text == "told to stop\n").then_some(())
    })
    .await;
    let mut late = worker.app().await;
    late.predict(sample()).await.expect("who comes in the grace is answered");
    let worker = Arc::into_inner(worker).expect("nobody else holds it");
    assert_eq!(worker.ended().await, runtime::Exit::Drained);
    assert!(late.predict(sample()).await.is_err(), "then it is gone");
}
