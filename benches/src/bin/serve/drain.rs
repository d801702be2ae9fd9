//! Serving workers told to stop under load, one after the other: an app that tries once more, at another
//! worker, notices nothing.

use std::time::Duration;

use benches::folder::Fault;

use crate::{
    bench::{Bench, SEVEN_TASK, figure, head, row, start_load},
    load::{Pace, Plan},
    process::{CLIENT, free_address},
    worker::{Node, Start},
};

/// How long a worker may take to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than any number of drains takes.
const LONG_S: f64 = 600.0;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let drains: usize = if bench.ask.quick { 20 } else { 200 };
    let mut starts = Vec::new();
    let mut workers = Vec::new();
    for name in ["drain-a", "drain-b"] {
        let start = Start { grpc: free_address()?, ..bench.start(name)? };
        let digest = start.keep(&bench.ensemble)?;
        let worker = start.run()?;
        let mut node = Node::attach(&bench.runtime, &worker)?;
        node.serve(&bench.runtime, &bench.orders(digest, 1))?;
        starts.push(start);
        workers.push(Some(worker));
    }
    let addresses: Vec<String> = starts.iter().map(|it| it.grpc.to_string()).collect();
    let plan = Plan { addresses, ..bench.plan("", SEVEN_TASK, Pace::Closed(8), LONG_S) };
    // It is told to stop by the end of its input, when all drains are done.
    let generator = start_load(&Plan { until_told: true, ..plan }, CLIENT)?;
    std::thread::sleep(Duration::from_secs(1));
    let (mut ends, mut back) = (Vec::new(), Vec::new());
    for drain in 0..drains {
        let at = drain % 2;
        let worker = workers[at].take().ok_or("a worker is missing")?;
        let began = tokio::time::Instant::now();
        worker.process.terminate(PATIENCE)?;
        ends.push(began.elapsed().as_secs_f64() * 1e3);
        let began = tokio::time::Instant::now();
        workers[at] = Some(starts[at].run()?);
        back.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let found = bench.loaded("drains", generator)?;
    println!("### {drains} workers told to stop under load, eight clients, one retry\n");
    head(&[
        "answers",
        "at the second try",
        "failed",
        "p99 ms",
        "until it has ended, ms (median)",
        "until it answers again, ms (median)",
    ]);
    row(&[
        found.answered.to_string(),
        found.retried.to_string(),
        (found.failed + found.shed + found.late).to_string(),
        figure(found.latency.p99 / 1e3),
        figure(crate::spread::median(ends)),
        figure(crate::spread::median(back)),
    ]);
    if let Some(error) = &found.first_error {
        println!("\nThe first error: {error}");
    }
    println!();
    let summary = &mut bench.report.summary;
    summary.drains = Some(drains as u64);
    summary.drain_failed = Some(found.failed + found.shed + found.late);
    Ok(())
}
