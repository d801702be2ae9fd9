//! Clients that stop reading, that send a byte a second, that send a gigabyte: nobody else notices.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use benches::folder::Fault;
use bytes::Bytes;
use proto::v1::{self, serving_client::ServingClient};
use tonic::{Request, client::Grpc};

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, row, start_load},
    load::{Pace, Plan},
    process::{CLIENT, SERVER},
    wire::{self, AsBytes, Method},
};

/// Streams whose answers nobody reads.
const DEAF: usize = 32;
/// Connections that send a byte a second.
const SLOW: usize = 64;
/// What the polite client asks a second.
const POLITE: f64 = 500.0;
const GIB: usize = 1 << 30;
/// From one huge message to the next.
const HUGE_APART: Duration = Duration::from_millis(5);

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let (worker, _node) = bench.serving("rude", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let seconds = bench.seconds(10.0, 4.0);
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(POLITE), seconds);
    println!("### A polite client ({POLITE} answers/s) beside rude ones\n");
    head(&["", "p50 µs", "p99 µs", "p99 in most windows", "failed", "server MiB"]);
    let calm = bench.load("polite, alone", &plan, CLIENT)?;
    let mut worst: f64 = 0.0;
    let line = |name: &str, it: &crate::load::Found, mib: f64| {
        row(&[
            name.to_owned(),
            figure(it.latency.p50),
            figure(it.latency.p99),
            figure(it.typical.p99),
            (it.failed + it.shed + it.late).to_string(),
            format!("{mib:.0}"),
        ]);
    };
    line("alone", &calm, worker.process.rss_mib()?);
    for kind in [Rude::Deaf, Rude::Slow, Rude::Huge] {
        let generator = start_load(&Plan { warm_s: 1.0, ..plan.clone() }, CLIENT)?;
        let enough = Arc::new(AtomicBool::new(false));
        let being_rude = kind.start(bench, &address, &enough)?;
        let found = bench.loaded(&format!("polite, beside {}", kind.name()), generator)?;
        enough.store(true, Relaxed);
        for rude in being_rude {
            rude.join().map_err(|_| "a rude client panicked")?;
        }
        line(&format!("beside {}", kind.name()), &found, worker.process.rss_mib()?);
        worst = worst.max(found.typical.p99 / calm.typical.p99);
        if found.failed + found.shed + found.late != 0 {
            bench.skip(format!("{} made others fail: {:?}", kind.name(), found.first_error));
        }
    }
    println!();
    bench.report.summary.rude_p99_ratio = Some(worst);
    Ok(())
}

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
            Self::Slow => vec![std::thread::spawn(move || slow(&address, &enough))],
            Self::Huge => vec![thread(async move || huge(&address, &enough).await)],
        })
    }
}

/// A thread with a runtime of its own.
fn thread(work: impl AsyncFnOnce() -> Result<(), Fault> + Send + 'static) -> Thread {
    std::thread::spawn(move || {
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
fn slow(address: &str, enough: &AtomicBool) {
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let connect = |_| TcpStream::connect(address).ok();
    let mut lines: Vec<TcpStream> = (0..SLOW).filter_map(connect).collect();
    for byte in hello {
        for line in &mut lines {
            // It may have been cut off, which is the server's right.
            let _cut_off = line.write_all(&[*byte]);
        }
        for _ in 0..50 {
            if enough.load(Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Messages far above the limit.
async fn huge(address: &str, enough: &AtomicBool) -> Result<(), Fault> {
    let zeros = Bytes::from(vec![0; GIB]);
    while !enough.load(Relaxed) {
        let channel = wire::endpoint(address)?.connect().await?;
        let mut client = Grpc::new(channel);
        client.ready().await?;
        let sent = client.unary(Request::new(zeros.clone()), Method::Predict.path(), AsBytes);
        if sent.await.is_ok() {
            return Err("a message of 1 GiB was answered".into());
        }
        // The polite client has the same core, and it is the server that is looked at.
        tokio::time::sleep(HUGE_APART).await;
    }
    Ok(())
}
