//! Revisions swapped under load: no answer fails, none is half of two revisions.

use std::{fs, path::PathBuf, time::Duration};

use benches::folder::Fault;
use models::{Ensemble, Family, Subset};
use tokio::time::Instant;

use crate::{
    bench::{Bench, SEVEN_TASK, head, row, start_load},
    load::{Found, Pace, Plan, ROWS_MAX, Rounds},
    process::CLIENT,
    spread::median,
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
    let mut revisions = 2..;
    let mut next = || revisions.next().expect("there is always another number");
    let plan = Plan {
        method: Method::Predict,
        expected: Some(expected),
        ..bench.plan(&worker.presence.grpc.to_string(), SEVEN_TASK, Pace::Closed(1), 1.0)
    };
    let seconds = bench.seconds(4.0, 1.5);
    let swaps: u32 = if bench.ask.quick { 20 } else { 100 };
    let mut steady = [Rounds::default(), Rounds::default()];
    let mut swapping = Rounds::default();
    for round in 0..ROUNDS {
        // They do not cost the same; what is asked is no more than the dearer one answers.
        let mut peak = f64::INFINITY;
        for name in ["even", "odd"] {
            node.serve(&bench.runtime, &[order(next())])?;
            let name = format!("swap, the peak of the {name} revision, {round}");
            peak = peak.min(bench.peak(&name, &plan)?);
        }
        let plan = Plan { pace: Pace::Open(peak * 0.7), seconds, ..plan.clone() };
        for (name, steady) in ["even", "odd"].into_iter().zip(&mut steady) {
            node.serve(&bench.runtime, &[order(next())])?;
            let name = format!("steady, {name} revision, {round}");
            steady.0.push(bench.load(&name, &plan, CLIENT)?);
        }
        let plan = Plan { seconds: (EVERY * swaps).as_secs_f64() + 0.5, ..plan };
        let generator = start_load(&plan, CLIENT)?;
        let mut due = Instant::now() + Duration::from_secs_f64(plan.warm_s);
        for _ in 0..swaps {
            due += EVERY;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            node.serve(&bench.runtime, &[order(next())])?;
        }
        swapping.0.push(bench.loaded(&format!("swapping, {round}"), generator)?);
    }

    let [even, odd] = &steady;
    let swaps = u64::from(swaps) * u64::try_from(ROUNDS)?;
    println!("### {swaps} swaps at 70 % of the peak, {} ms apart\n", EVERY.as_millis());
    println!("Medians of {ROUNDS} rounds in turn, each at 70 % of what it reached itself.\n");
    head(&["", "answers", "p50 µs", "p99 µs", "p99 in most windows", "failed", "mixed"]);
    for (name, it) in [("even revision", even), ("odd revision", odd), ("swapping", &swapping)] {
        let [p50, p99, typical] = it.shown();
        let count = |of: fn(&Found) -> u64| it.sum(of).to_string();
        let (answers, failed) = (count(|it| it.answered), count(Found::unanswered));
        row(&[name.to_owned(), answers, p50, p99, typical, failed, count(|it| it.mixed)]);
    }
    println!();
    let summary = &mut bench.report.summary;
    summary.swaps = Some(swaps);
    // Beside the dearer of both in the same round.
    let ratios = even.0.iter().zip(&odd.0).zip(&swapping.0).map(|((even, odd), swapping)| {
        swapping.typical.p99 / even.typical.p99.max(odd.typical.p99)
    });
    summary.swap_p99_ratio = Some(median(ratios));
    summary.swap_failed = Some(swapping.sum(Found::unanswered));
    summary.swap_mixed = Some([even, odd, &swapping].map(|it| it.sum(|it| it.mixed)).iter().sum());
    Ok(())
}

/// How often everything is measured again.
const ROUNDS: usize = 5;

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
