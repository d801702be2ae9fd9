//! One client: what an answer takes beside an empty one and the kernels; then near the peak, in an open
//! loop.

use benches::folder::Fault;

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, ours, row, subset, word},
    kernels::Kernels,
    load::{Found, Pace},
    peers::{SEVEN, THREE},
    process::{CLIENT, Process, SERVER, free_address, pinned, until_it_listens},
    spread::median,
};

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let (floor, floor_address) = empty()?;
    let (worker, _node) = bench.serving("latency", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let floor_plan = bench.plan(&floor_address, SEVEN_TASK, Pace::Closed(1), 1.0);
    let seven_plan = bench.plan(&address, SEVEN_TASK, Pace::Closed(1), 1.0);
    let three_plan = bench.plan(&address, THREE_TASK, Pace::Closed(1), 1.0);

    let bundle = bench.bundle.clone();
    let kernels = |bench: &Bench, names: &[&str]| {
        let words = [word(&bundle)?, word(&bench.folder.0)?, &subset(names).0.to_string()];
        ours::<Kernels>(SERVER, &["kernels", words[0], words[1], words[2]])
    };
    // In turn, so that what else the machine does burdens all of them.
    let (rounds, seconds) = if bench.ask.quick { (3, 1.0) } else { (7, 2.0) };
    let mut found: [Vec<Found>; 3] = Default::default();
    let mut alone: [Vec<Kernels>; 2] = Default::default();
    for round in 0..rounds {
        let plans = [
            ("empty", &floor_plan),
            ("seven members", &seven_plan),
            ("three members", &three_plan),
        ];
        for (at, (name, plan)) in plans.into_iter().enumerate() {
            let plan = crate::load::Plan { seconds, ..plan.clone() };
            found[at].push(bench.load(&format!("{name}, one client, {round}"), &plan, CLIENT)?);
        }
        for (at, names) in [&SEVEN[..], &THREE[..]].into_iter().enumerate() {
            alone[at].push(kernels(bench, names)?);
        }
    }
    for (name, kernels) in ["seven members", "three members"].into_iter().zip(&alone) {
        bench.report.kernels.insert(name.to_owned(), kernels[kernels.len() / 2]);
    }

    let p50 = |at: usize| median(found[at].iter().map(|it| it.latency.p50));
    let p99 = |at: usize| median(found[at].iter().map(|it| it.latency.p99));
    let kernel = |at: usize| {
        let of = |each: &dyn Fn(&Kernels) -> f64| median(alone[at].iter().map(each));
        (of(&|it| it.served.p50), of(&|it| it.served.p99), of(&|it| it.to_the_end.p50))
    };
    println!("### One client, server and client on a core each\n");
    println!("Medians of {rounds} rounds in turn, microseconds.\n");
    head(&[
        "",
        "p50",
        "p99",
        "kernels p50 / p99",
        "ratio to empty + kernels, p50 / p99",
        "answers/s",
    ]);
    let shown = |micros: f64| figure(micros);
    let rate = |at: usize| figure(median(found[at].iter().map(Found::per_s)));
    row(&[
        "empty tonic answer".to_owned(),
        shown(p50(0)),
        shown(p99(0)),
        String::new(),
        String::new(),
        rate(0),
    ]);
    let mut ratios = Vec::new();
    for (at, name) in [(1, "seven members"), (2, "three members")] {
        let (k50, k99, whole) = kernel(at - 1);
        let ratio = (p50(at) / (p50(0) + k50), p99(at) / (p99(0) + k99));
        row(&[
            format!("{name} (every one asked: {} µs)", shown(whole)),
            shown(p50(at)),
            shown(p99(at)),
            format!("{} / {}", shown(k50), shown(k99)),
            format!("{:.2} / {:.2}", ratio.0, ratio.1),
            rate(at),
        ]);
        ratios.push(ratio);
    }
    println!();
    let summary = &mut bench.report.summary;
    summary.overhead_p50_ratio = Some(ratios[0].0);
    summary.overhead_p99_ratio = Some(ratios[0].1);
    summary.overhead_p50_ratio_3 = Some(ratios[1].0);
    summary.overhead_p99_ratio_3 = Some(ratios[1].1);

    println!("### Sixteen clients, and an open loop at 70 % of what they reach\n");
    head(&[
        "",
        "answers/s of 16 clients",
        "at 70 %: p50 µs",
        "p99 µs",
        "p50 and p99 in most windows",
        "their ratio",
    ]);
    for (name, plan) in
        [("empty", &floor_plan), ("seven members", &seven_plan), ("three members", &three_plan)]
    {
        let peak = bench.peak(&format!("{name}, 16 clients"), plan)?;
        let seconds = bench.seconds(10.0, 2.0);
        let plan = crate::load::Plan { pace: Pace::Open(peak * 0.7), seconds, ..plan.clone() };
        let open = bench.load(&format!("{name}, open loop at 70 %"), &plan, CLIENT)?;
        let ratio = open.typical.p99 / open.typical.p50;
        row(&[
            name.to_owned(),
            figure(peak),
            figure(open.latency.p50),
            figure(open.latency.p99),
            format!("{} and {}", figure(open.typical.p50), figure(open.typical.p99)),
            format!("{ratio:.1}"),
        ]);
        if name == "seven members" {
            bench.report.summary.open_p99_over_p50 = Some(ratio);
        }
    }
    println!();
    bench.report.summary.rss_mib = Some(worker.process.rss_mib()?);
    drop(floor);
    Ok(())
}

/// The empty server on the server's core, and its address.
pub(crate) fn empty() -> Result<(Process, String), Fault> {
    let address = free_address()?;
    let mut command = pinned(SERVER, &std::env::current_exe()?);
    let mut floor = Process::start(command.args(["empty", &address.to_string()]))?;
    until_it_listens(address, &mut floor, std::time::Duration::from_secs(10))?;
    Ok((floor, address.to_string()))
}
