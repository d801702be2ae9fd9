//! Ten times more than can be answered, and what is left of the promise meanwhile and afterwards.

use benches::folder::Fault;

use crate::{
    bench::{Bench, DEAR_TASK, figure, head, row, start_load},
    load::{Pace, Plan},
    process::CLIENT,
    wire::Method,
    worker::{Node, Order},
};

/// Rows of a request, each for the two dearest members, both of which must be asked: so that answering
/// costs much more than asking, and a generator on one core can ask ten times too much.
const ROWS: usize = 8;
/// How long an app waits.
const DEADLINE_MS: u64 = 500;
/// Times the peak.
const TOO_MUCH: f64 = 10.0;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let start = bench.start("overload")?;
    let mut orders = bench.orders(start.keep(&bench.ensemble)?, 1);
    orders.push(Order {
        task: DEAR_TASK.to_owned(),
        digest: start.keep(&bench.dear)?,
        members: vec![0, 1],
        ..orders[0].clone()
    });
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    node.serve(&bench.runtime, &orders)?;
    let address = worker.presence.grpc.to_string();
    let plan = Plan {
        method: Method::Batch,
        rows: ROWS,
        deadline_ms: Some(DEADLINE_MS),
        ..bench.plan(&address, DEAR_TASK, Pace::Closed(16), 1.0)
    };
    let peak = bench.peak("overload, the peak", &plan)?;
    let calm_plan = Plan { pace: Pace::Open(peak * 0.3), seconds: 3.0, ..plan.clone() };
    let calm = bench.load("overload, before", &calm_plan, CLIENT)?;
    // What a busy worker takes is not yet growth.
    let before_mib = worker.process.rss_mib()?;

    let seconds = bench.seconds(60.0, 10.0);
    let plan_of_flood = Plan { pace: Pace::Open(peak * TOO_MUCH), seconds, ..plan.clone() };
    let generator = start_load(&plan_of_flood, CLIENT)?;
    // What it writes in the end may be more than a pipe holds.
    let generator = std::thread::spawn(move || generator.wait_with_output());
    let mut highest = before_mib;
    while !generator.is_finished() {
        highest = highest.max(worker.process.rss_mib()?);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = generator.join().map_err(|_| "the thread that waits panicked")??;
    let flood = bench.found("overload, ten times the peak", output)?;
    let after_plan = Plan { warm_s: 0.0, seconds: 5.0, ..calm_plan };
    let after = bench.load("overload, after", &after_plan, CLIENT)?;
    // The first tenth of a second from which on even the worst answer is as the worst before, or nearly.
    let good = 3.0 * calm.latency.max;
    let last_bad = after.tenths.iter().rposition(|&(_, worst)| good < worst);
    let recovery = last_bad.map_or(0.0, |at| (at + 1) as f64 / 10.0);

    println!("### Ten times the peak for {seconds:.0} s\n");
    println!(
        "Requests of {ROWS} rows for two dear members with a deadline of {DEADLINE_MS} ms; the peak is {} requests a second.\n",
        figure(peak)
    );
    head(&["", "sent/s", "answered/s", "refused", "late", "failed", "p50 ms", "p99 ms"]);
    for (name, it) in [("30 % before", &calm), ("ten times", &flood), ("30 % right after", &after)]
    {
        row(&[
            name.to_owned(),
            figure(it.sent as f64 / it.seconds),
            figure(it.per_s()),
            it.shed.to_string(),
            it.late.to_string(),
            (it.failed + it.held_back).to_string(),
            figure(it.latency.p50 / 1e3),
            figure(it.latency.p99 / 1e3),
        ]);
    }
    println!(
        "\nMemory of the server: {before_mib:.0} MiB before, {highest:.0} at its highest, {:.0} after. All is as before after {recovery:.1} s.\n",
        worker.process.rss_mib()?
    );
    let summary = &mut bench.report.summary;
    summary.overload_goodput = Some(flood.per_s() / peak);
    summary.overload_rss_growth = Some(highest / before_mib - 1.0);
    summary.overload_recovery_s = Some(recovery);
    Ok(())
}
