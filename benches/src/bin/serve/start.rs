//! From nothing to the first answer; what stays in memory; and a long time of the same.

use std::time::Duration;

use benches::folder::Fault;
use tokio::time::Instant;

use crate::{
    bench::{Bench, SEVEN_TASK, figure, start_load},
    load::{Pace, Plan, ROWS_MAX},
    process::{CLIENT, SERVER, free_address},
    spread::median,
    wire::{self, AsBytes, Method},
    worker::{Node, Start},
};

/// How long the first answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let start = Start { grpc: free_address()?, ..bench.start("start")? };
    let digest = start.keep(&bench.ensemble)?;
    {
        let worker = start.run()?;
        let mut node = Node::attach(&bench.runtime, &worker)?;
        node.serve(&bench.runtime, &bench.orders(digest, 1))?;
        worker.process.terminate(PATIENCE)?;
    }
    let rows = wire::rows(&bench.folder, ROWS_MAX, false, None)?;
    let request = Method::Infer.request(SEVEN_TASK, rows.width(), rows.row(0))?;
    let (mut times, mut fresh) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let began = Instant::now();
        let starting = start.clone();
        // Its own announcement is awaited beside, so that the first answer is not delayed by it.
        let worker = std::thread::spawn(move || starting.run().map_err(|fault| fault.to_string()));
        bench.runtime.block_on(first_answer(&start.grpc.to_string(), &request))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        let worker = worker.join().map_err(|_| "starting panicked")??;
        fresh.push(worker.process.rss_mib()?);
        worker.process.terminate(PATIENCE)?;
    }
    let worker = start.run()?;
    let plan = bench.plan(&start.grpc.to_string(), SEVEN_TASK, Pace::Closed(16), 3.0);
    bench.load("memory, 16 clients", &plan, CLIENT)?;
    let loaded = worker.process.rss_mib()?;
    println!("### Start and memory, seven members\n");
    println!(
        "From the start of the process to the first answer: {} ms (median of {}); memory then {} MiB, after load {} MiB.\n",
        figure(median(times.iter().copied())),
        times.len(),
        figure(median(fresh)),
        figure(loaded)
    );
    bench.report.summary.cold_start_ms = Some(median(times));
    bench.report.summary.rss_mib = Some(loaded);
    drop(worker);
    match bench.ask.soak_minutes {
        Some(minutes) => soak(bench, minutes),
        None => Ok(()),
    }
}

/// Tries again and again until there is an answer.
async fn first_answer(address: &str, request: &bytes::Bytes) -> Result<(), Fault> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(channel) = wire::endpoint(address)?.connect().await {
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await?;
            let asked = tonic::Request::new(request.clone());
            if client.unary(asked, Method::Infer.path(), AsBytes).await.is_ok() {
                return Ok(());
            }
        }
        if until < Instant::now() {
            return Err("no answer".into());
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Half the peak for many minutes: memory and descriptors stay as they are.
fn soak(bench: &mut Bench, minutes: f64) -> Result<(), Fault> {
    let (worker, _node) = bench.serving("soak", SERVER)?;
    let plan = bench.plan(&worker.presence.grpc.to_string(), SEVEN_TASK, Pace::Closed(4), 1.0);
    let peak = bench.peak("soak, the peak", &plan)?;
    let plan = Plan { pace: Pace::Open(peak * 0.5), seconds: minutes * 60.0, ..plan };
    let generator = start_load(&plan, CLIENT)?;
    // What it writes in the end is more than a pipe holds.
    let generator = std::thread::spawn(move || generator.wait_with_output());
    let began = Instant::now();
    let mut seen: Vec<(f64, f64)> = Vec::new();
    let mut descriptors = Vec::new();
    while !generator.is_finished() {
        std::thread::sleep(Duration::from_secs(1));
        seen.push((began.elapsed().as_secs_f64() / 3600.0, worker.process.rss_mib()?));
        descriptors.push(worker.process.descriptors()?);
    }
    let output = generator.join().map_err(|_| "the soak's waiting thread panicked")??;
    bench.found("soak", output)?;
    // The first tenth fills rings and pools; what counts is what comes after.
    let settled = &seen[seen.len() / 10..];
    let slope = slope(settled);
    let first = descriptors.get(descriptors.len() / 10).copied().unwrap_or(0);
    let last = descriptors.iter().rev().nth(1).copied().unwrap_or(0);
    let growth = i64::try_from(last)? - i64::try_from(first)?;
    println!(
        "### {minutes} minutes at half the peak\n\nMemory {:.1} MiB at first, {:.1} at the end, slope {slope:.2} MiB an hour; descriptors {first}, then {last}.\n",
        settled.first().map_or(0.0, |it| it.1),
        settled.last().map_or(0.0, |it| it.1),
    );
    let summary = &mut bench.report.summary;
    summary.soak_minutes = Some(minutes);
    summary.soak_rss_mib_per_hour = Some(slope);
    summary.soak_descriptors_growth = Some(growth);
    Ok(())
}

/// By least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let many = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), it| (x + it.0, y + it.1));
    let (x, y) = (x / many, y / many);
    let (up, across) = points.iter().fold((0.0, 0.0), |(up, across), it| {
        (up + (it.0 - x) * (it.1 - y), across + (it.0 - x).powi(2))
    });
    up / across
}
