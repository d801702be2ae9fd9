//! Revisions swapped under load: no answer fails, none is half of two revisions.

use std::{fs, path::PathBuf, time::Duration};

use benches::folder::Fault;
use models::{Ensemble, Family, Subset};
use tokio::time::Instant;

use crate::{
    bench::{Bench, SEVEN_TASK, figure, head, row, start_load},
    load::{Found, Pace, Plan, ROWS_MAX},
    process::CLIENT,
    wire::{self, Method},
    worker::{Node, Order},
};

/// How often a revision is swapped in.
const EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let (even, odd) = (bench.ensemble.clone(), other(&bench.ensemble)?);
    let expected = [expected(bench, "even", &even)?, expected(bench, "odd", &odd)?];
    let start = bench.start("swap")?;
    let digests = [start.keep(&even)?, start.keep(&odd)?];
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    let members: Vec<u32> = (0..).take(even.members().len()).collect();
    let order = |revision: u64| Order {
        task: SEVEN_TASK.to_owned(),
        revision,
        digest: digests[usize::from(revision % 2 == 1)],
        members: members.clone(),
        gated: false,
    };
    node.serve(&bench.runtime, &[order(2)])?;
    let plan = Plan {
        method: Method::Predict,
        expected: Some(expected),
        ..bench.plan(&worker.presence.grpc.to_string(), SEVEN_TASK, Pace::Closed(1), 1.0)
    };
    let even_peak = bench.peak("swap, the peak of the even revision", &plan)?;
    node.serve(&bench.runtime, &[order(3)])?;
    // They do not cost the same; what is asked is no more than the dearer one answers.
    let peak = even_peak.min(bench.peak("swap, the peak of the odd revision", &plan)?);
    let seconds = bench.seconds(20.0, 4.0);
    let plan = Plan { pace: Pace::Open(peak * 0.7), seconds, ..plan };
    let steady_odd = bench.load("steady, odd revision", &plan, CLIENT)?;
    node.serve(&bench.runtime, &[order(4)])?;
    let steady = bench.load("steady, even revision", &plan, CLIENT)?;

    let swaps: u32 = if bench.ask.quick { 100 } else { 500 };
    let plan = Plan { seconds: (EVERY * swaps).as_secs_f64() + 1.0, ..plan };
    let generator = start_load(&plan, CLIENT)?;
    let mut due = Instant::now() + Duration::from_secs_f64(plan.warm_s);
    for revision in (5..).take(usize::try_from(swaps)?) {
        due += EVERY;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        node.serve(&bench.runtime, &[order(revision)])?;
    }
    let swapping = bench.loaded("swapping", generator)?;

    println!("### {swaps} swaps at 70 % of the peak, {} ms apart\n", EVERY.as_millis());
    head(&["", "answers", "p50 µs", "p99 µs", "p99 in most windows", "failed", "mixed"]);
    let failed = |it: &Found| it.failed + it.shed + it.late + it.held_back;
    for (name, it) in
        [("even revision", &steady), ("odd revision", &steady_odd), ("swapping", &swapping)]
    {
        row(&[
            name.to_owned(),
            it.answered.to_string(),
            figure(it.latency.p50),
            figure(it.latency.p99),
            figure(it.typical.p99),
            failed(it).to_string(),
            it.mixed.to_string(),
        ]);
    }
    println!();
    let summary = &mut bench.report.summary;
    summary.swaps = Some(swaps.into());
    let before = steady.typical.p99.max(steady_odd.typical.p99);
    summary.swap_p99_ratio = Some(swapping.typical.p99 / before);
    summary.swap_failed = Some(failed(&swapping));
    summary.swap_mixed = Some(swapping.mixed + steady.mixed + steady_odd.mixed);
    Ok(())
}

/// The same members, but the neighbours outvote all others: another class on many rows.
fn other(ensemble: &Ensemble) -> Result<Ensemble, Fault> {
    let mut parts = ensemble.clone().into_parts();
    for weighted in &mut parts.members {
        weighted.weight = if weighted.member.family == Family::Knn { 9.0 } else { 1.0 };
    }
    Ok(Ensemble::new(parts)?)
}

/// The class of each row that the generator asks about, in a file.
fn expected(bench: &Bench, name: &str, ensemble: &Ensemble) -> Result<PathBuf, Fault> {
    let rows = wire::rows(&bench.folder, ROWS_MAX, false, None)?;
    let classes = ensemble.predict(&rows, Subset::all(ensemble.members().len()), false)?;
    let path = bench.ask.work.join(format!("expected-{name}.u16"));
    let bytes: Vec<u8> = classes.iter().flat_map(|class| class.0.to_le_bytes()).collect();
    fs::write(&path, bytes)?;
    Ok(path)
}
