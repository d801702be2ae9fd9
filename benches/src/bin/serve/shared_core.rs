//! Server and generator on one core, a closed loop, beside the servers of others in the same run.

use benches::folder::Fault;

use crate::{
    bench::{Bench, SEVEN_TASK, THREE_TASK, figure, head, row},
    latency::empty,
    load::{Found, Pace, Plan},
    peers::{SEVEN, Server, TASK, THREE},
    process::SERVER,
};

/// One line: with one client and with eight.
struct Line {
    one: Found,
    eight: Found,
}

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    println!("### Server and clients together on one core, closed loop\n");
    head(&["", "1 client: answers/s", "p50 ms", "p99 ms", "8 clients: answers/s", "p99 ms"]);
    let (floor, address) = empty()?;
    let plan = bench.plan(&address, SEVEN_TASK, Pace::Closed(1), 1.0);
    measure(bench, "tonic, empty answer", &plan)?;
    drop(floor);

    let (worker, node) = bench.serving("shared-core", SERVER)?;
    let address = worker.presence.grpc.to_string();
    let plan = bench.plan(&address, SEVEN_TASK, Pace::Closed(1), 1.0);
    let seven = measure(bench, "Sensemble, seven members", &plan)?;
    let plan = bench.plan(&address, THREE_TASK, Pace::Closed(1), 1.0);
    let three = measure(bench, "Sensemble, three fast members", &plan)?;
    drop((worker, node));

    let mut best: Option<f64> = None;
    for server in [Server::Seldon, Server::Kserve, Server::Sklearn, Server::Onnx, Server::Mix] {
        let Some(line) = peer(bench, server, &SEVEN, "seven members") else { continue };
        best = Some(line.one.per_s().max(best.unwrap_or(0.0)));
        if server == Server::Seldon {
            let summary = &mut bench.report.summary;
            summary.rps_vs_mlserver_7 = Some(seven.one.per_s() / line.one.per_s());
            summary.p99_vs_mlserver_7 = Some(seven.one.latency.p99 / line.one.latency.p99);
        }
    }
    bench.report.summary.rps_vs_best_python_7 = best.map(|best| seven.one.per_s() / best);
    for server in [Server::Seldon, Server::Onnx] {
        let Some(line) = peer(bench, server, &THREE, "three fast members") else { continue };
        let ratio = Some(three.one.per_s() / line.one.per_s());
        if server == Server::Seldon {
            bench.report.summary.rps_vs_mlserver_3 = ratio;
        } else {
            bench.report.summary.rps_vs_onnx_3 = ratio;
        }
    }
    println!();
    Ok(())
}

fn measure(bench: &mut Bench, name: &str, plan: &Plan) -> Result<Line, Fault> {
    let plan = Plan { warm_s: 1.0, seconds: bench.seconds(8.0, 2.0), ..plan.clone() };
    let mut of = |clients: usize| {
        let plan = Plan { pace: Pace::Closed(clients), ..plan.clone() };
        let found = bench.load(&format!("one core, {name}, {clients} clients"), &plan, SERVER)?;
        match &found.first_error {
            Some(error) => Err(Fault::from(format!("{name}: {error}"))),
            None => Ok(found),
        }
    };
    let line = Line { one: of(1)?, eight: of(8)? };
    row(&[
        name.to_owned(),
        figure(line.one.per_s()),
        figure(line.one.latency.p50 / 1e3),
        figure(line.one.latency.p99 / 1e3),
        figure(line.eight.per_s()),
        figure(line.eight.latency.p99 / 1e3),
    ]);
    Ok(line)
}

/// A server of others; what is missing is said and left out.
fn peer(bench: &mut Bench, server: Server, members: &[&str], which: &str) -> Option<Line> {
    let peers = bench.peers.clone()?;
    let name = format!("{}, {which}", server.title());
    let found = peers.start(server, members, SERVER).and_then(|(process, address)| {
        let plan = bench.plan(&address.to_string(), TASK, Pace::Closed(1), 1.0);
        let line = measure(bench, &name, &Plan { scaled: true, ..plan });
        drop(process);
        line
    });
    found.map_err(|fault| bench.skip(format!("{name}: {fault}"))).ok()
}
