//! What one task feels of the others: while they are loaded, while they are slow, when they are many.

use std::time::Duration;

use benches::{fitted::only, folder::Fault};
use models::{Ensemble, Family};
use tokio::time::Instant;

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, row, start_load},
    load::{Pace, Plan, Rounds},
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
    println!("### Neighbours\n\nA task of three members, {WATCHED} answers/s, an open loop.");
    println!("Medians of {ROUNDS} rounds in turn with those alone, but for the hundred.\n");
    head(&["", "p50 µs", "p99 µs", "p99 in most windows", "÷ alone", "not answered", "server MiB"]);
    loading(bench)?;
    slow(bench)?;
    many(bench)?;
    println!();
    Ok(())
}

/// How often each is measured, in turn with the same alone.
const ROUNDS: u32 = 5;

fn line(name: &str, it: &Rounds, alone: Option<&Rounds>, mib: f64) {
    let [p50, p99, typical] = it.shown();
    let ratio = alone.map_or_else(String::new, |alone| figure(it.p99_beside(alone)));
    let lost = it.sum(|it| it.sent - it.answered).to_string();
    row(&[name.to_owned(), p50, p99, typical, ratio, lost, format!("{mib:.0}")]);
}

/// Other tasks come, one after the other, each with a bundle that nobody has decoded before.
fn loading(bench: &mut Bench) -> Result<(), Fault> {
    // One in each window in which percentiles are taken, at the least.
    let (seconds, others) = if bench.ask.quick { (1.0, 5) } else { (2.0, 10) };
    let start = bench.start("loading")?;
    let digest = start.keep(&bench.ensemble)?;
    let digests = distinct(&start, &bench.ensemble, ROUNDS * others)?;
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    let mut orders = bench.orders(digest, 1);
    node.serve(&bench.runtime, &orders)?;
    let address = worker.presence.grpc.to_string();
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(WATCHED), seconds);
    let calm_mib = worker.process.rss_mib()?;
    let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
    for (round, digests) in digests.chunks(usize::try_from(others)?).enumerate() {
        alone.0.push(bench.load(&format!("watched, alone, {round}"), &plan, CLIENT)?);
        let generator = start_load(&plan, CLIENT)?;
        let mut due = Instant::now() + Duration::from_secs_f64(plan.warm_s);
        for (at, &digest) in digests.iter().enumerate() {
            due += Duration::from_secs_f64(seconds / digests.len() as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let task = format!("other {at} of {round}");
            orders.push(Order { task, digest, ..orders[0].clone() });
            node.serve(&bench.runtime, &orders)?;
        }
        let name = format!("watched, while others are loaded, {round}");
        beside.0.push(bench.loaded(&name, generator)?);
    }
    line("alone", &alone, None, calm_mib);
    let name = format!("while {} others of seven members are loaded", digests.len());
    line(&name, &beside, Some(&alone), worker.process.rss_mib()?);
    bench.report.summary.loading_p99_ratio = Some(beside.p99_beside(&alone));
    Ok(())
}

/// One neighbour whose every request takes long, asked all the time.
fn slow(bench: &mut Bench) -> Result<(), Fault> {
    let (worker, _node) = bench.serving("slow", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let seconds = bench.seconds(3.0, 1.0);
    let plan = bench.plan(&address, THREE_TASK, Pace::Open(WATCHED), seconds);
    let calm_mib = worker.process.rss_mib()?;
    let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
    let mut neighbours = Rounds::default();
    let slow = Plan {
        method: Method::Batch,
        rows: SLOW_ROWS,
        seconds: seconds + 1.0,
        behind: true,
        ..bench.plan(&address, SEVEN_TASK, Pace::Closed(2), seconds)
    };
    for round in 0..ROUNDS {
        alone.0.push(bench.load(&format!("watched, alone again, {round}"), &plan, CLIENT)?);
        let neighbour = start_load(&slow, CLIENT)?;
        let found = bench.load(&format!("watched, beside a slow one, {round}"), &plan, CLIENT);
        neighbours.0.push(bench.loaded(&format!("the slow one, {round}"), neighbour)?);
        beside.0.push(found?);
    }
    line("alone again", &alone, None, calm_mib);
    let name = format!(
        "beside one that is asked {SLOW_ROWS} rows at a time ({} ms each)",
        figure(neighbours.median(|it| it.latency.p50) / 1e3)
    );
    line(&name, &beside, Some(&alone), worker.process.rss_mib()?);
    bench.report.summary.slow_neighbour_p99_ratio = Some(beside.p99_beside(&alone));
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
    let summary = &mut bench.report.summary;
    summary.tasks_100_rss_mib = Some(mib);
    summary.tasks_100_p99_us = Some(found.latency.p99);
    line(&format!("{MANY} such tasks, asked in turn"), &Rounds(vec![found]), None, mib);
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
