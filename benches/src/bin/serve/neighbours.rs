//! What one task feels of the others: while they are loaded, while they are slow, when they are many.

use std::time::Duration;

use benches::{fitted::only, folder::Fault};
use models::{Ensemble, Family};
use tokio::time::Instant;

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, row, start_load},
    load::{Found, Pace, Plan},
    process::{CLIENT, SERVER},
    wire::Method,
    worker::{Node, Order, Start},
};

/// What the task that is watched is asked a second.
const WATCHED: f64 = 1_000.0;
/// Rows of a request of the slow neighbour: milliseconds, where the watched one takes microseconds.
const SLOW_ROWS: usize = 500;
/// Tasks on one worker.
const MANY: u32 = 100;
/// The three members that answer soonest.
const LIGHT: [Family; 3] = [Family::Ridge, Family::LinearSvm, Family::Mlp];

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    println!("### Neighbours\n\nA task of three members, {WATCHED} answers/s, an open loop.\n");
    head(&["", "p50 µs", "p99 µs", "p99 in most windows", "not answered", "server MiB"]);
    loading(bench)?;
    slow(bench)?;
    many(bench)?;
    println!();
    Ok(())
}

fn line(name: &str, it: &Found, mib: f64) {
    row(&[
        name.to_owned(),
        figure(it.latency.p50),
        figure(it.latency.p99),
        figure(it.typical.p99),
        (it.sent - it.answered).to_string(),
        format!("{mib:.0}"),
    ]);
}

/// Other tasks come, one after the other, each with a bundle that nobody has decoded before.
fn loading(bench: &mut Bench) -> Result<(), Fault> {
    // One in each window in which percentiles are taken, at the least.
    let seconds = 4.0;
    let others = 20;
    let start = bench.start("loading")?;
    let digest = start.keep(&bench.ensemble)?;
    let digests = distinct(&start, &bench.ensemble, others)?;
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    let mut orders = bench.orders(digest, 1);
    node.serve(&bench.runtime, &orders)?;
    let address = worker.presence.grpc.to_string();
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(WATCHED), seconds);
    let before = bench.load("watched, alone", &plan, CLIENT)?;
    line("alone", &before, worker.process.rss_mib()?);

    let generator = start_load(&plan, CLIENT)?;
    let mut due = Instant::now() + Duration::from_secs_f64(plan.warm_s);
    for (at, &digest) in digests.iter().enumerate() {
        due += Duration::from_secs_f64(seconds / digests.len() as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let task = format!("other {at}");
        orders.push(Order { task, digest, ..orders[0].clone() });
        node.serve(&bench.runtime, &orders)?;
    }
    let while_loading = bench.loaded("watched, while others are loaded", generator)?;
    let name = format!("while {others} others of seven members are loaded");
    line(&name, &while_loading, worker.process.rss_mib()?);
    let ratio = while_loading.typical.p99 / before.typical.p99;
    bench.report.summary.loading_p99_ratio = Some(ratio);
    Ok(())
}

/// One neighbour whose every request takes long, asked all the time.
fn slow(bench: &mut Bench) -> Result<(), Fault> {
    let (worker, _node) = bench.serving("slow", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let seconds = bench.seconds(10.0, 4.0);
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(WATCHED), seconds);
    let alone = bench.load("watched, alone again", &plan, CLIENT)?;
    line("alone again", &alone, worker.process.rss_mib()?);
    let slow = Plan {
        method: Method::Batch,
        rows: SLOW_ROWS,
        seconds: seconds + 1.0,
        behind: true,
        ..bench.plan(&address, SEVEN_TASK, Pace::Closed(2), seconds)
    };
    let neighbour = start_load(&slow, CLIENT)?;
    let found = bench.load("watched, beside a slow one", &plan, CLIENT);
    let neighbour = bench.loaded("the slow one", neighbour)?;
    let found = found?;
    let name = format!(
        "beside one that is asked {SLOW_ROWS} rows at a time ({} ms each)",
        figure(neighbour.latency.p50 / 1e3)
    );
    line(&name, &found, worker.process.rss_mib()?);
    bench.report.summary.slow_neighbour_p99_ratio = Some(found.typical.p99 / alone.typical.p99);
    Ok(())
}

/// A hundred tasks, each with a bundle of its own, asked in turn.
fn many(bench: &mut Bench) -> Result<(), Fault> {
    let start = bench.start("many")?;
    let digests = distinct(&start, &only(&bench.ensemble, &LIGHT)?, MANY)?;
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    let orders = digests.iter().enumerate().map(|(at, &digest)| Order {
        task: format!("task {at}"),
        revision: 1,
        digest,
        members: vec![0, 1, 2],
        gated: false,
    });
    let orders: Vec<Order> = orders.collect();
    node.serve(&bench.runtime, &orders)?;
    let address = worker.presence.grpc.to_string();
    let plan = Plan {
        tasks: orders.into_iter().map(|order| order.task).collect(),
        ..bench.plan(&address, "", Pace::Open(WATCHED), bench.seconds(5.0, 2.0))
    };
    let found = bench.load("a hundred tasks in turn", &plan, CLIENT)?;
    let mib = worker.process.rss_mib()?;
    line(&format!("{MANY} such tasks, asked in turn"), &found, mib);
    let summary = &mut bench.report.summary;
    summary.tasks_100_rss_mib = Some(mib);
    summary.tasks_100_p99_us = Some(found.latency.p99);
    Ok(())
}

/// So many bundles that differ a little, where the worker will find them.
fn distinct(start: &Start, ensemble: &Ensemble, many: u32) -> Result<Vec<[u8; 32]>, Fault> {
    let mut digests = Vec::new();
    for at in 0_u16..u16::try_from(many)? {
        let mut parts = ensemble.clone().into_parts();
        parts.members[0].weight += f32::from(at) * 1e-3;
        digests.push(start.keep(&Ensemble::new(parts)?)?);
    }
    Ok(digests)
}
