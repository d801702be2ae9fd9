//! Clients that stop reading, that send a byte a second, that send a gigabyte: nobody else notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use benches::folder::Fault;
use bytes::Bytes;
use proto::v1::{self, serving_client::ServingClient};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::codegen::http;

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, row, start_load},
    load::{Found, Pace, Plan, Rounds},
    process::{CLIENT, SERVER, step_back},
    wire::{self, Method},
};

/// Streams whose answers nobody reads.
const DEAF: usize = 32;
/// Connections that send a byte a second.
const SLOW: usize = 64;
/// What the polite client asks a second.
const POLITE: f64 = 500.0;
const GIB: u32 = 1 << 30;
/// … which is sent in such pieces, one buffer again and again.
const PIECE: usize = 16 << 10;
/// From one huge message to the next.
const HUGE_APART: Duration = Duration::from_millis(5);

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let (worker, _node) = bench.serving("rude", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(POLITE), bench.seconds(4.0, 1.5));
    let mut calm = Rounds::default();
    let mut beside = KINDS.map(|_| (Rounds::default(), 0.0_f64));
    for round in 0..ROUNDS {
        let found = bench.load(&format!("polite, alone, {round}"), &plan, CLIENT)?;
        calm.0.push(found);
        for (kind, (rounds, mib)) in KINDS.into_iter().zip(&mut beside) {
            let generator = start_load(&Plan { warm_s: 1.0, ..plan.clone() }, CLIENT)?;
            let enough = Arc::new(AtomicBool::new(false));
            let being_rude = kind.start(bench, &address, &enough)?;
            let name = format!("polite, beside {}, {round}", kind.name());
            let found = bench.loaded(&name, generator)?;
            *mib = mib.max(worker.process.rss_mib()?);
            enough.store(true, Relaxed);
            for rude in being_rude {
                rude.join().map_err(|_| "a rude client panicked")?;
            }
            if found.unanswered() != 0 {
                bench.skip(format!("{} made others fail: {:?}", kind.name(), found.first_error));
            }
            rounds.0.push(found);
        }
    }

    println!("### A polite client ({POLITE} answers/s) beside rude ones\n");
    println!("Medians of {ROUNDS} rounds in turn.\n");
    head(&[
        "",
        "p50 µs",
        "p99 µs",
        "p99 in most windows",
        "÷ alone",
        "not answered",
        "server MiB, at most",
    ]);
    let line = |name: &str, it: &Rounds, mib: String| {
        let [p50, p99, typical] = it.shown();
        let ratio = figure(it.p99_beside(&calm));
        row(&[
            name.to_owned(),
            p50,
            p99,
            typical,
            ratio,
            it.sum(Found::unanswered).to_string(),
            mib,
        ]);
    };
    line("alone", &calm, String::new());
    for (kind, (rounds, mib)) in KINDS.into_iter().zip(&beside) {
        line(&format!("beside {}", kind.name()), rounds, format!("{mib:.0}"));
    }
    println!();
    let worst = beside.iter().map(|(rounds, _)| rounds.p99_beside(&calm)).fold(0.0, f64::max);
    bench.report.summary.rude_p99_ratio = Some(worst);
    Ok(())
}

/// How often each is measured.
const ROUNDS: usize = 5;
const KINDS: [Rude; 3] = [Rude::Deaf, Rude::Slow, Rude::Huge];

#[derive(Clone, Copy, Debug)]
enum Rude {
    Deaf,
    Slow,
    Huge,
}

type Thread = std::thread::JoinHandle<()>;

impl Rude {
    fn name(self) -> &'static str {
        match self {
            Self::Deaf => "32 streams whose answers nobody reads",
            Self::Slow => "64 connections that send a byte a second",
            Self::Huge => "messages of 1 GiB, one after the other",
        }
    }

    fn start(
        self,
        bench: &Bench,
        address: &str,
        enough: &Arc<AtomicBool>,
    ) -> Result<Vec<Thread>, Fault> {
        let (address, enough) = (address.to_owned(), Arc::clone(enough));
        Ok(match self {
            Self::Deaf => {
                let rows = wire::rows(&bench.folder, 200, false, None)?;
                let rows: Vec<Vec<f32>> = rows.rows().map(<[f32]>::to_vec).collect();
                vec![thread(async move || deaf(&address, rows, &enough).await)]
            }
            Self::Slow => vec![thread(async move || slow(&address, &enough).await)],
            Self::Huge => vec![thread(async move || huge(&address, &enough).await)],
        })
    }
}

/// A thread with a runtime of its own, behind the polite client: both have the same core, and it is the server
/// that is looked at.
fn thread(work: impl AsyncFnOnce() -> Result<(), Fault> + Send + 'static) -> Thread {
    std::thread::spawn(move || {
        step_back().expect("any thread may be less preferred");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be had");
        let local = tokio::task::LocalSet::new();
        if let Err(fault) = runtime.block_on(local.run_until(work())) {
            eprintln!("a rude client was shown the door: {fault}");
        }
    })
}

/// Asks and asks and never reads what comes.
async fn deaf(address: &str, rows: Vec<Vec<f32>>, enough: &AtomicBool) -> Result<(), Fault> {
    let mut streams = Vec::new();
    for _ in 0..DEAF {
        let channel = wire::endpoint(address)?.connect().await?;
        let rows = rows.clone();
        let samples = tokio_stream::iter((0..).map(move |at: usize| v1::PredictRequest {
            task: SEVEN_TASK.to_owned(),
            features: rows[at % rows.len()].clone(),
            coverage: None,
        }));
        let reply = ServingClient::new(channel).predict_stream(samples).await?;
        // Kept, so that the stream stays open; never polled.
        streams.push(reply.into_inner());
    }
    while !enough.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The beginning of HTTP/2 and a request, a byte a second, on many connections.
async fn slow(address: &str, enough: &AtomicBool) -> Result<(), Fault> {
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut lines = Vec::new();
    for _ in 0..SLOW {
        lines.push(TcpStream::connect(address).await?);
    }
    for byte in hello {
        for line in &mut lines {
            // It may have been cut off, which is the server's right.
            let _cut_off = line.write_all(&[*byte]).await;
        }
        for _ in 0..50 {
            if enough.load(Relaxed) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Messages far above the limit. Their pieces are one buffer, so that sending them costs no more than it must.
async fn huge(address: &str, enough: &AtomicBool) -> Result<(), Fault> {
    while !enough.load(Relaxed) {
        let line = TcpStream::connect(address).await?;
        let (http2, connection) = h2::client::handshake(line).await?;
        let connection = tokio::task::spawn_local(async move {
            // The server may close it, which is its right.
            let _closed = connection.await;
        });
        let request = http::Request::post(format!("http://{address}{}", Method::Predict.path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (reply, message) = http2.ready().await?.send_request(request, false)?;
        // Ends when the server takes no more.
        let _refused = send(message).await;
        let refused = match reply.await {
            Ok(reply) => reply.headers().get("grpc-status").is_some_and(|status| status != "0"),
            Err(_reset) => true,
        };
        if !refused {
            return Err("a message of 1 GiB was not refused".into());
        }
        connection.abort();
        tokio::time::sleep(HUGE_APART).await;
    }
    Ok(())
}

async fn send(mut message: h2::SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut prefix = vec![0];
    prefix.extend(GIB.to_be_bytes());
    message.send_data(prefix.into(), false)?;
    let piece = Bytes::from(vec![0; PIECE]);
    let mut left = GIB as usize;
    while 0 < left {
        message.reserve_capacity(piece.len().min(left));
        let Some(room) = std::future::poll_fn(|context| message.poll_capacity(context)).await
        else {
            return Ok(());
        };
        let piece = piece.slice(..room?.min(piece.len()).min(left));
        left -= piece.len();
        message.send_data(piece, left == 0)?;
    }
    Ok(())
}
