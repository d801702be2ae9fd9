//! A whole training, as a job does it: member after member, each revision a bundle; then what the
//! last one is made of, on test rows that the training never saw.

use std::{fs, path::PathBuf, sync::Arc};

use benches::folder::{Fault, Folder};
use models::{ClassId, Confusion, Ensemble, Family, Features, Share, Subset, Voting, bundle};
use tokio::time::Instant;
use training_worker::{
    fit::Stop,
    material::{Checks, Material},
    plan::{self, Size},
    search::{Next, Search},
    workbench::{Assembled, Terms, Workbench},
};

use crate::{
    alone::time,
    early::early,
    figures::{
        BEST_EFFORT, BEST_SINGLE, Choice, Count, EQUAL_WEIGHTS, First, LOW_LATENCY, Member, Point,
        Training,
    },
    gauge::{cpu_s, memory_mib},
    stages,
};

const SEED: u64 = 1;
/// What a policy asks of the gate when it says nothing else.
const MISSED_EVENTS_MAX: f64 = 0.02;
/// Times that the first revision is made.
const FIRST_RUNS: usize = 3;
/// Test rows of each point of the curve; the last revision is asked about all.
const CURVE_ROWS: usize = 3_400;
/// Rows that a job asks every member about at the end.
const HELD_OUT_ROWS: usize = 1_000;

fn terms(threads: usize) -> Terms {
    Terms { seed: SEED, threads, missed_events_max: MISSED_EVENTS_MAX, coverage: None }
}

/// How long it takes from rows in memory to the first encoded bundle.
pub(crate) fn first(folder: &Folder, threads: usize) -> Result<First, Fault> {
    let mut runs = Vec::new();
    for _ in 0..FIRST_RUNS {
        let (schema, table) = (folder.schema()?, folder.table()?);
        let held_out = held_out(folder)?;
        let (began, cpu) = (Instant::now(), cpu_s());
        let material = Arc::new(Material::measured_by(held_out, schema, table, SEED)?);
        let recipes = plan::order(&[], size(&material));
        let mut bench = Workbench::new(material, terms(threads));
        let first = recipes.first().ok_or("no family was planned")?;
        bench.add(first, &Stop::default(), &|| began.elapsed().as_secs_f64())?;
        let bytes = bundle::encode(&bench.assemble()?.ensemble);
        runs.push((began.elapsed().as_secs_f64(), cpu_s() - cpu));
        drop(bytes);
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (wall_s, cpu_s) = runs[runs.len() / 2];
    Ok(First { wall_s, cpu_s, runs: runs.len() as u64 })
}

/// Test rows that stand for those a job holds out: every training row teaches, as with the peers.
fn held_out(folder: &Folder) -> Result<Checks, Fault> {
    let (samples, truth) = (folder.samples("test")?, folder.truth("test")?);
    let every = samples.len().div_ceil(HELD_OUT_ROWS).max(1);
    let rows: Vec<usize> = (0..samples.len()).step_by(every).collect();
    let truth = rows.iter().map(|&row| truth[row]).collect();
    Ok(Checks { samples: samples.select(&rows), truth, groups: Vec::new() })
}

fn size(material: &Material) -> Size {
    let samples = &material.lessons.samples;
    let classes = material.schema.classes().len();
    Size { rows: samples.len(), width: samples.width(), classes }
}

/// A revision that was written down before anyone asked it about test rows.
struct Revision {
    seconds: f64,
    cpu_s: f64,
    family: String,
    path: PathBuf,
}

/// Trains until every family stands and `trials` were made, or `seconds` have passed.
pub(crate) fn training(
    folder: &Folder,
    threads: usize,
    seconds: f64,
    trials: usize,
) -> Result<Training, Fault> {
    let (schema, table) = (folder.schema()?, folder.table()?);
    let background = schema.background();
    let held_out = held_out(folder)?;
    let (began, cpu) = (Instant::now(), cpu_s());
    let material = Arc::new(Material::measured_by(held_out, schema, table, SEED)?);
    let (rows, parted_by) = (material.lessons.labels.len(), material.kind.name());
    let recipes = plan::order(&[], size(&material));
    let mut bench = Workbench::new(material, terms(threads));
    let (stop, mut revisions, mut last) = (Stop::default(), Vec::new(), None);
    for (at, recipe) in recipes.iter().enumerate() {
        if 0 < at && seconds < began.elapsed().as_secs_f64() {
            break;
        }
        bench.add(recipe, &stop, &|| began.elapsed().as_secs_f64())?;
        if 0 < at {
            bench.add_gates(&stop)?;
        }
        let assembled = bench.assemble()?;
        let path = folder.ours().join(format!("revision-{at}"));
        fs::write(&path, bundle::encode(&assembled.ensemble))?;
        revisions.push(Revision {
            seconds: began.elapsed().as_secs_f64(),
            cpu_s: cpu_s() - cpu,
            family: recipe.family().name().to_owned(),
            path,
        });
        last = Some(assembled);
    }
    let mut search = Search::new(&[], size(bench.material()), trials, SEED);
    while began.elapsed().as_secs_f64() < seconds {
        match search.step() {
            Next::Done => break,
            Next::Try(trial) => {
                search.tell(trial.number, bench.trial(&trial.recipe, trial.rung, &stop).ok());
            }
            Next::Adopt(recipe) => {
                if bench.improve(&recipe, &stop, &|| began.elapsed().as_secs_f64())? {
                    let assembled = bench.assemble()?;
                    let path = folder.ours().join(format!("revision-{}", revisions.len()));
                    fs::write(&path, bundle::encode(&assembled.ensemble))?;
                    revisions.push(Revision {
                        seconds: began.elapsed().as_secs_f64(),
                        cpu_s: cpu_s() - cpu,
                        family: recipe.family().name().to_owned(),
                        path,
                    });
                    last = Some(assembled);
                }
            }
        }
    }
    let (wall_s, cpu_s) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let peak_mib = memory_mib("VmHWM")?;
    drop(bench);

    let assembled = last.ok_or("no family was planned")?;
    let (tests, truth) = (folder.samples("test")?, folder.truth("test")?);
    let points = revisions.into_iter().map(|revision| point(revision, &tests, &truth));
    let points = points.collect::<Result<Vec<Point>, Fault>>()?;
    let left_out = assembled.left_out.iter().map(|it| it.family.name().to_owned()).collect();
    let (members, choices) = choices(folder, &assembled, &tests, &truth)?;
    let stages = stages::of(&assembled, &tests, &truth)?;
    let all = Subset::all(assembled.ensemble.members().len());
    let early = early(&assembled.ensemble, &tests, all)?;
    Ok(Training {
        rows: rows as u64,
        threads: threads as u64,
        parted_by: parted_by.to_owned(),
        wall_s,
        cpu_s,
        peak_mib,
        points,
        members,
        left_out,
        rule: assembled.ensemble.voting().rule.name().to_owned(),
        choices,
        kb: bundle::encode(&assembled.ensemble).len() as f64 / 1024.0,
        early,
        stages,
        background: background.is_some(),
    })
}

fn point(revision: Revision, tests: &Features, truth: &[ClassId]) -> Result<Point, Fault> {
    let ensemble = bundle::decode(&fs::read(&revision.path)?)?;
    fs::remove_file(&revision.path)?;
    let every = tests.len().div_ceil(CURVE_ROWS);
    let rows: Vec<usize> = (0..tests.len()).step_by(every).collect();
    let truth: Vec<ClassId> = rows.iter().map(|&row| truth[row]).collect();
    let tests = tests.select(&rows);
    let all = Subset::all(ensemble.members().len());
    Ok(Point {
        seconds: revision.seconds,
        cpu_s: revision.cpu_s,
        family: revision.family,
        members: ensemble.members().len() as u64,
        right: right(&ensemble, all, &tests, &truth)?,
    })
}

/// What a vote of `subset` makes of test rows.
fn right(
    ensemble: &Ensemble,
    subset: Subset,
    tests: &Features,
    truth: &[ClassId],
) -> Result<Count, Fault> {
    let given = ensemble.predict(tests, subset, false)?;
    let Share { hits, of } =
        Confusion::of(ensemble.schema().classes().len(), truth, &given).accuracy();
    Ok(Count { hits, of })
}

/// The members alone, and the lines of Table 4.
fn choices(
    folder: &Folder,
    assembled: &Assembled,
    tests: &Features,
    truth: &[ClassId],
) -> Result<(Vec<Member>, Vec<Choice>), Fault> {
    let ensemble = &assembled.ensemble;
    let members = (0..).zip(&assembled.members).map(|(at, measure)| {
        let alone = Subset(1 << at);
        Ok(Member {
            family: measure.family.name().to_owned(),
            weight: f64::from(measure.weight),
            validation: measure.accuracy,
            right: right(ensemble, alone, tests, truth)?,
            one_us: time(ensemble, tests, alone),
            kb: measure.bytes as f64 / 1024.0,
        })
    });
    let members = members.collect::<Result<Vec<Member>, Fault>>()?;

    let all = Subset::all(members.len());
    let mut quickest: Vec<usize> = (0..members.len()).collect();
    quickest.sort_by(|&a, &b| members[a].one_us.median.total_cmp(&members[b].one_us.median));
    let three = Subset(quickest.iter().take(3).fold(0, |bits, &member| bits | 1 << member));
    let best = best_single(folder, assembled)?;

    let mut parts = ensemble.clone().into_parts();
    parts.members.iter_mut().for_each(|weighted| weighted.weight = 1.0);
    let equal = Ensemble::new(parts)?;
    let choice = |name: &str, ensemble: &Ensemble, subset: Subset| {
        Ok(Choice {
            name: name.to_owned(),
            members: subset.members().map(|member| members[member].family.clone()).collect(),
            right: right(ensemble, subset, tests, truth)?,
            one_us: time(ensemble, tests, subset),
        })
    };
    let lines = [
        choice(LOW_LATENCY, ensemble, three),
        choice(BEST_EFFORT, ensemble, all),
        choice(EQUAL_WEIGHTS, &equal, all),
    ];
    let mut choices = lines.into_iter().collect::<Result<Vec<Choice>, Fault>>()?;
    let (family, alone) = best;
    let single = Choice {
        name: BEST_SINGLE.to_owned(),
        members: vec![family.name().to_owned()],
        right: right(&alone, Subset(1), tests, truth)?,
        one_us: time(&alone, tests, Subset(1)),
    };
    choices.insert(0, single);
    Ok((members, choices))
}

/// The member that was best among the rows that choose, by itself. One that does not ship is taken
/// from where it was fitted alone, on the same rows.
fn best_single(folder: &Folder, assembled: &Assembled) -> Result<(Family, Ensemble), Fault> {
    let shipped = assembled.members.iter().enumerate().map(|(at, it)| (Some(at), it));
    let left_out = assembled.left_out.iter().map(|it| (None, it));
    let known = left_out.filter(|(_, it)| folder.ours().join(it.family.name()).exists());
    let (at, best) = shipped
        .chain(known)
        .max_by(|a, b| a.1.accuracy.total_cmp(&b.1.accuracy))
        .ok_or("no member stands")?;
    let alone = match at {
        None => bundle::decode(&fs::read(folder.ours().join(best.family.name()))?)?,
        Some(at) => {
            let mut parts = assembled.ensemble.clone().into_parts();
            parts.members = vec![parts.members.swap_remove(at)];
            parts.voting = Voting::default();
            // They say what all members together vote.
            parts.golden = Vec::new();
            Ensemble::new(parts)?
        }
    };
    Ok((best.family, alone))
}
