//! Two stages beside one: HAPT with its pauses as the background.

use std::{fs, sync::Arc};

use benches::{
    folder::{Fault, Folder},
    sets::Which,
};
use models::{Ensemble, bundle};
use training_worker::{
    fit::Stop,
    material::Material,
    plan::{self, Size},
    workbench::{Terms, Workbench},
};

use crate::{
    bench::{Bench, figure, head, ours, row, word},
    kernels::Gated,
    load::{Pace, Plan},
    process::{CLIENT, SERVER},
    spread::median,
    worker::{Node, Order},
};

/// Shares of background that are looked at.
pub(crate) const SHARES: [f64; 4] = [0.0, 0.5, 0.7, 0.9];
/// The one that the project promises something for.
const PROMISED: f64 = 0.7;
const SEED: u64 = 1;
/// What a policy asks of the gate when it says nothing else.
const MISSED_EVENTS_MAX: f64 = 0.02;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Fault> {
    let which = Which::Hapt;
    let set = which.load(&bench.ask.data, bench.ask.quick)?;
    let folder = Folder(bench.ask.work.join(which.name()));
    folder.write(&set)?;
    drop(set);
    let ensemble = trained(&folder)?;
    if ensemble.gate().is_none() {
        return Err("the training ships no gate".into());
    }
    let path = bench.ask.work.join("gated.bundle");
    fs::write(&path, bundle::encode(&ensemble))?;
    let gated: Option<Vec<Gated>> = ours(SERVER, &["gated", word(&path)?, word(&folder.0)?])?;
    bench.report.gated = gated.ok_or("the bundle has no gate")?;

    let start = bench.start("stages")?;
    let digest = start.keep(&ensemble)?;
    let worker = start.run()?;
    let mut node = Node::attach(&bench.runtime, &worker)?;
    let members: Vec<u32> = (0..).take(ensemble.members().len()).collect();
    let order = |task: &str, gated: bool| Order {
        task: task.to_owned(),
        revision: 1,
        digest,
        members: members.clone(),
        gated,
    };
    node.serve(&bench.runtime, &[order("gated", true), order("vote", false)])?;
    let address = worker.presence.grpc.to_string();
    let seconds = bench.seconds(3.0, 1.0);
    let server_us = |bench: &mut Bench, task: &str, share: f64| {
        let plan = bench.plan(&address, task, Pace::Closed(4), seconds);
        let plan = Plan { folder: folder.0.clone(), background: Some(share), warm_s: 0.0, ..plan };
        let before = worker.process.cpu_s()?;
        let found =
            bench.load(&format!("two stages, {task}, {share} background"), &plan, CLIENT)?;
        Ok::<_, Fault>((worker.process.cpu_s()? - before) / found.answered as f64 * 1e6)
    };

    println!("### Two stages, HAPT with 13 classes ({} members)\n", members.len());
    head(&[
        "background",
        "kernels: gate and vote ÷ vote alone",
        "÷ vote that asks every member",
        "whole server: processor µs an answer, with ÷ without the gate",
        "events that the gate ends",
    ]);
    for at in 0..bench.report.gated.len() {
        let Gated { background, ratio, ratio_to_full, missed } = bench.report.gated[at];
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            with.push(server_us(bench, "gated", background)?);
            without.push(server_us(bench, "vote", background)?);
        }
        let (with, without) = (median(with), median(without));
        row(&[
            format!("{:.0} %", background * 100.0),
            format!("{ratio:.2}"),
            format!("{ratio_to_full:.2}"),
            format!("{} ÷ {} = {:.2}", figure(with), figure(without), with / without),
            format!("{missed:.4}"),
        ]);
        if background == PROMISED {
            bench.report.summary.two_stage_ratio_70 = Some(ratio);
            bench.report.summary.two_stage_ratio_70_to_full_vote = Some(ratio_to_full);
            bench.report.summary.two_stage_server_ratio_70 = Some(with / without);
        }
    }
    println!();
    Ok(())
}

/// What a job ships that has no time to search.
fn trained(folder: &Folder) -> Result<Ensemble, Fault> {
    let (schema, table) = (folder.schema()?, folder.table()?);
    let material = Arc::new(Material::new(schema, table, SEED)?);
    let samples = &material.lessons.samples;
    let classes = material.schema.classes().len();
    let size = Size { rows: samples.len(), width: samples.width(), classes };
    let recipes = plan::order(&[], size);
    let terms =
        Terms { seed: SEED, threads: 2, missed_events_max: MISSED_EVENTS_MAX, coverage: None };
    let mut workbench = Workbench::new(material, terms);
    let stop = Stop::default();
    let began = tokio::time::Instant::now();
    for (at, recipe) in recipes.iter().enumerate() {
        workbench.add(recipe, &stop, &|| began.elapsed().as_secs_f64())?;
        if 0 < at {
            workbench.add_gates(&stop)?;
        }
    }
    Ok(workbench.assemble()?.ensemble)
}
