//! What traces cost: three workers, one told of no collector, one whose collector nobody asks to be told
//! of anything, one that tells of every request.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use benches::folder::Fault;
use proto::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    bench::{Bench, SEVEN_TASK, figure, head, row},
    load::{Pace, Plan},
    process::{CLIENT, free_address},
    spread::median,
    worker::{Start, Told},
};

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let (heard, address) = (Heard::default(), free_address()?);
    let collector =
        Server::builder().add_service(TraceServiceServer::new(heard.clone())).serve(address);
    let collector = bench.runtime.spawn(collector);

    let kinds = [
        ("no collector", None),
        ("nobody asks for it", Some("")),
        ("every request", Some("always_on")),
    ];
    let mut workers = Vec::new();
    for (at, (_, sampler)) in kinds.iter().enumerate() {
        let told = sampler.map(|sampler| Told { collector: address, sampler });
        let start = Start { told, ..bench.start(&format!("traced-{at}"))? };
        workers.push(bench.serving_from(&start)?);
    }
    let (rounds, seconds) = if bench.ask.quick { (3, 1.0) } else { (7, 2.0) };
    let mut found: [Vec<[f64; 4]>; 3] = Default::default();
    // In turn, so that what else the machine does burdens all of them.
    for round in 0..rounds {
        for (at, (name, _)) in kinds.iter().enumerate() {
            let (worker, _node) = &workers[at];
            let plan =
                bench.plan(&worker.presence.grpc.to_string(), SEVEN_TASK, Pace::Closed(1), seconds);
            // Nothing that is not counted.
            let plan = Plan { warm_s: 0.0, ..plan };
            let (cpu, spans) = (worker.process.cpu_s()?, heard.0.load(Relaxed));
            let load = bench.load(&format!("traced: {name}, {round}"), &plan, CLIENT)?;
            let cpu = workers[at].0.process.cpu_s()? - cpu;
            let answers = load.answered as f64;
            let spans = (heard.0.load(Relaxed) - spans) as f64 / answers;
            found[at].push([load.latency.p50, load.latency.p99, cpu * 1e6 / answers, spans]);
        }
    }
    collector.abort();

    println!("### Traces, one client, seven members\n");
    println!("Medians of {rounds} rounds in turn. The collector shares the generator's core.\n");
    head(&[
        "told of",
        "p50 µs",
        "p99 µs",
        "processor µs of the worker an answer",
        "spans an answer",
    ]);
    let of = |at: usize, column: usize| median(found[at].iter().map(|it| it[column]));
    for (at, (name, _)) in kinds.iter().enumerate() {
        let cells = (0..4).map(|column| figure(of(at, column)));
        row(&[(*name).to_owned()].into_iter().chain(cells).collect::<Vec<String>>());
    }
    println!();
    let summary = &mut bench.report.summary;
    summary.unsampled_cpu_ratio = Some(of(1, 2) / of(0, 2));
    summary.traced_cpu_ratio = Some(of(2, 2) / of(0, 2));
    summary.traced_p50_ratio = Some(of(2, 0) / of(0, 0));
    Ok(())
}

/// A collector that counts.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.get_ref().resource_spans.iter().flat_map(|it| &it.scope_spans);
        let spans: usize = scopes.map(|it| it.spans.len()).sum();
        self.0.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
