//! What a training costs, and what it costs again after ten corrections, with what the first one kept.

use std::{path::Path, sync::Arc};

use models::{ClassId, Confusion, Subset, bundle};
use proto::v1::SampleChunk;
use training_worker::{
    fit::Stop,
    material::Material,
    plan::{self, Size},
    steps::Steps,
    table::Table,
    workbench::{Terms, Workbench},
};

use crate::{
    course::{schema, table},
    lazy::cpu_seconds,
    sets::{Failure, Set, set},
};

/// Rows of the test part that a user is asked about, from its beginning; the others say how good it is.
const ASKED_PART: usize = 4;

/// Prints a line for each training: without corrections, again, and after each further `count` of them; and at
/// last what is computed without any kept step, which has to be the same bundle.
pub(crate) fn follow(which: &str, data: &Path, count: usize, times: usize) -> Result<(), Failure> {
    let set = set(which, data)?;
    let kept = std::env::temp_dir().join(format!("steps-{}", std::process::id()));
    let tests = set.rows(true);
    let (asked, tests) = tests.split_at(tests.len() / ASKED_PART);
    let mut said: Vec<usize> = Vec::new();
    let first = train(&set, &said, tests, Some(&kept))?;
    println!("first        {first}");
    println!("again        {}", train(&set, &said, tests, Some(&kept))?);
    let mut last = first;
    for _ in 0..times {
        let wrong = asked.iter().filter(|row| !said.contains(row)).copied();
        let wrong: Vec<usize> = wrong.filter(|&row| last.wrong(&set, row)).take(count).collect();
        said.extend(wrong);
        last = train(&set, &said, tests, Some(&kept))?;
        println!("{:3} corrected {last}", said.len());
    }
    let anew = train(&set, &said, tests, None)?;
    println!("nothing kept {anew}");
    println!("the same bundle: {}", anew.bytes == last.bytes);
    let bytes: u64 = std::fs::read_dir(&kept)?
        .map(|it| Ok(it?.metadata()?.len()))
        .sum::<Result<u64, std::io::Error>>()?;
    println!("kept: {} files, {} kB", std::fs::read_dir(&kept)?.count(), bytes / 1024);
    Ok(std::fs::remove_dir_all(kept)?)
}

struct Trained {
    ensemble: models::Ensemble,
    bytes: Vec<u8>,
    right: f64,
    corrected: f64,
    steps: String,
    seconds: f64,
}

impl Trained {
    fn wrong(&self, set: &Set, row: usize) -> bool {
        let all = Subset::all(self.ensemble.members().len());
        let given = self.ensemble.predict(&set.samples.select(&[row]), all, false);
        given.is_ok_and(|given| given[0] != ClassId(set.labels[row]))
    }
}

impl std::fmt::Display for Trained {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { right, corrected, steps, seconds, .. } = self;
        write!(
            to,
            "{seconds:6.2} s of processor, {steps}; test {right:.4}, of what was corrected {corrected:.2}"
        )
    }
}

fn train(
    set: &Set,
    said: &[usize],
    tests: &[usize],
    kept: Option<&Path>,
) -> Result<Trained, Failure> {
    let schema = schema(set)?;
    let mut table = table(set)?;
    take(&mut table, set, said)?;
    let began = cpu_seconds()?;
    let material = Arc::new(Material::new(schema, table, 1)?);
    let size = Size {
        rows: material.settled_rows,
        width: set.samples.width(),
        classes: material.schema.classes().len(),
    };
    let terms = Terms { seed: 1, threads: 1, missed_events_max: 0.02, coverage: None };
    let mut bench = Workbench::new(material, terms).with_steps(Steps::within(kept));
    let clock = || cpu_seconds().unwrap_or(f64::NAN);
    for recipe in plan::order(&[], size) {
        bench.add(&recipe, &Stop::default(), &clock)?;
    }
    bench.add_gates(&Stop::default())?;
    let steps = bench.tally().told();
    let ensemble = bench.assemble()?.ensemble;
    let bytes = bundle::encode(&ensemble);
    let seconds = cpu_seconds()? - began;
    let all = Subset::all(ensemble.members().len());
    let right = |rows: &[usize]| -> Result<f64, Failure> {
        let truth: Vec<ClassId> = rows.iter().map(|&row| ClassId(set.labels[row])).collect();
        let given = ensemble.predict(&set.samples.select(rows), all, false)?;
        Ok(Confusion::of(size.classes, &truth, &given).accuracy().value())
    };
    let (right, corrected) = (right(tests)?, right(said)?);
    Ok(Trained { ensemble, bytes, right, corrected, steps, seconds })
}

/// Corrections of these rows, in this order.
fn take(table: &mut Table, set: &Set, said: &[usize]) -> Result<(), Failure> {
    Ok(table.take(&SampleChunk {
        width: u32::try_from(set.samples.width())?,
        values: proto::parse::pack(set.samples.select(said).values()),
        labels: said.iter().map(|&row| u32::from(set.labels[row])).collect(),
        corrections: true,
        keys: said.iter().map(|row| row.to_le_bytes().to_vec().into()).collect(),
        ..SampleChunk::default()
    })?)
}
