//! Trains on the real data sets with the code of a job, and says what became of their test part.
//!
//! ```text
//! cargo run --release -p training-worker --example accuracy [SET] [DATA] [FAMILY…]
//! ```
//!
//! `SET` is `hapt13`, `hapt6`, `room`, `occupancy`, `gas`, `mnist`, or `mnist6000` with a seventh of
//! the rows. `DATA` is the folder with `hapt/` and the others, `../shared/data` by default. Only rows of
//! the training part are shown to the workbench, which parts them itself.
#![expect(clippy::print_stdout, reason = "it is for people to read")]

use std::{collections::BTreeMap, error::Error, fs::File, io::Read as _, path::Path, sync::Arc};

use models::{ClassId, Confusion, Family, Features, Schema, Speed, Subset};
use proto::v1::SampleChunk;
use tokio::time::Instant;
use training_worker::{
    draw::Draw,
    fit::Stop,
    material::Material,
    plan::{self, Size},
    table::Table,
    workbench::{Terms, Workbench},
};

/// A file: features, then `label`, then columns about the row.
struct Sheet {
    names: Vec<String>,
    values: Vec<f32>,
    labels: Vec<u16>,
    about: BTreeMap<String, Vec<String>>,
}

fn read(path: &Path) -> Result<Sheet, Box<dyn Error>> {
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(File::open(path)?));
    let headers = reader.headers()?.clone();
    let width = headers.iter().position(|name| name == "label").ok_or("no column label")?;
    let names = headers.iter().take(width).map(String::from).collect();
    let mut sheet = Sheet { names, values: vec![], labels: vec![], about: BTreeMap::new() };
    for record in reader.records() {
        let record = record?;
        for (at, cell) in record.iter().enumerate() {
            if at < width {
                sheet.values.push(cell.parse()?);
            } else if at == width {
                sheet.labels.push(cell.parse()?);
            } else {
                sheet.about.entry(headers[at].to_owned()).or_default().push(cell.to_owned());
            }
        }
    }
    Ok(sheet)
}

/// A data set: which rows are for training, in which groups, and what the background is.
struct Set {
    names: Vec<String>,
    samples: Features,
    labels: Vec<u16>,
    groups: Vec<String>,
    test: Vec<bool>,
    background: Option<ClassId>,
}

fn hapt(data: &Path, six: bool) -> Result<Set, Box<dyn Error>> {
    let sheet = read(&data.join("hapt/hapt_features.csv.gz"))?;
    let samples = Features::new(sheet.names.len(), sheet.values)?;
    let rows: Vec<usize> = (0..sheet.labels.len())
        .filter(|&row| !six || (1..=6).contains(&sheet.labels[row]))
        .collect();
    Ok(Set {
        names: sheet.names,
        samples: samples.select(&rows),
        labels: rows.iter().map(|&row| sheet.labels[row] - u16::from(six)).collect(),
        groups: rows.iter().map(|&row| sheet.about["subject"][row].clone()).collect(),
        test: rows.iter().map(|&row| sheet.about["split"][row] == "test").collect(),
        background: (!six).then_some(ClassId(0)),
    })
}

fn room(data: &Path) -> Result<Set, Box<dyn Error>> {
    let sheet = read(&data.join("room_occupancy/room_occupancy.csv.gz"))?;
    let training = ["2017-12-22", "2017-12-24", "2017-12-25"];
    let test = sheet.about["day"].iter().map(|day| !training.contains(&day.as_str())).collect();
    Ok(Set {
        samples: Features::new(sheet.names.len(), sheet.values)?,
        names: sheet.names,
        labels: sheet.labels,
        groups: vec![],
        test,
        background: Some(ClassId(0)),
    })
}

fn occupancy(data: &Path) -> Result<Set, Box<dyn Error>> {
    let sheet = read(&data.join("occupancy/occupancy.csv.gz"))?;
    Ok(Set {
        samples: Features::new(sheet.names.len(), sheet.values)?,
        names: sheet.names,
        labels: sheet.labels,
        groups: vec![],
        test: sheet.about["split"].iter().map(|split| split != "train").collect(),
        background: Some(ClassId(0)),
    })
}

/// Batch 1 teaches, batch 2 asks, in a random order each.
fn gas(data: &Path) -> Result<Set, Box<dyn Error>> {
    let sheet = read(&data.join("gas_drift/gas_drift.csv.gz"))?;
    let samples = Features::new(sheet.names.len(), sheet.values)?;
    let batch = &sheet.about["batch"];
    let mut rows: Vec<usize> =
        (0..batch.len()).filter(|&row| batch[row] == "1" || batch[row] == "2").collect();
    Draw::new(1).shuffle(&mut rows);
    Ok(Set {
        samples: samples.select(&rows),
        names: sheet.names,
        labels: rows.iter().map(|&row| sheet.labels[row] - 1).collect(),
        groups: vec![],
        test: rows.iter().map(|&row| batch[row] == "2").collect(),
        background: None,
    })
}

/// Seven rows of ten of the 60 000 teach, in a random order.
fn mnist(data: &Path, rows: usize) -> Result<Set, Box<dyn Error>> {
    let unpack = |name: &str, head: usize| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut bytes = Vec::new();
        let file = File::open(data.join("mnist").join(name))?;
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(head))
    };
    const WIDTH: usize = 784;
    let pixels = unpack("train-images-idx3-ubyte.gz", 16)?;
    let labels = unpack("train-labels-idx1-ubyte.gz", 8)?;
    let mut order: Vec<usize> = (0..labels.len()).collect();
    Draw::new(1).shuffle(&mut order);
    order.truncate(rows);
    let values = order.iter().flat_map(|&row| &pixels[row * WIDTH..][..WIDTH]);
    Ok(Set {
        names: (0..WIDTH).map(|pixel| format!("pixel {pixel}")).collect(),
        samples: Features::new(WIDTH, values.map(|&pixel| f32::from(pixel) / 255.0).collect())?,
        labels: order.iter().map(|&row| u16::from(labels[row])).collect(),
        groups: vec![],
        test: (0..order.len()).map(|at| order.len() * 7 / 10 <= at).collect(),
        background: None,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "hapt13".to_owned());
    let data = arguments.next().unwrap_or_else(|| "../shared/data".to_owned());
    let families: Vec<Family> = arguments.filter_map(|name| Family::parse(&name)).collect();
    let set = match which.as_str() {
        "room" => room(Path::new(&data))?,
        "hapt6" => hapt(Path::new(&data), true)?,
        "occupancy" => occupancy(Path::new(&data))?,
        "gas" => gas(Path::new(&data))?,
        "mnist" => mnist(Path::new(&data), 60_000)?,
        "mnist6000" => mnist(Path::new(&data), 8_571)?,
        _ => hapt(Path::new(&data), false)?,
    };
    let classes = usize::from(set.labels.iter().copied().max().unwrap_or(0)) + 1;
    let names = (0..classes).map(|class| format!("class {class}")).collect();
    let schema = Schema::new(set.names.clone(), names, set.background)?;

    let rows = |test: bool| -> Vec<usize> {
        (0..set.test.len()).filter(|&row| set.test[row] == test).collect()
    };
    let mut table = Table::new(set.samples.width(), classes);
    for rows in rows(false).chunks(1000) {
        table.take(&SampleChunk {
            width: u32::try_from(set.samples.width())?,
            values: proto::parse::pack(set.samples.select(rows).values()),
            labels: rows.iter().map(|&row| u32::from(set.labels[row])).collect(),
            groups: rows.iter().filter_map(|&row| set.groups.get(row).cloned()).collect(),
            ..SampleChunk::default()
        })?;
    }
    let began = Instant::now();
    let material = Arc::new(Material::new(schema, table, 1)?);
    let (training, kind) = (material.lessons.labels.len(), material.kind);
    let (validation, held_out) = (material.truth().len(), material.held_out.truth.len());
    println!(
        "{which}: {training} training, {validation} validation, {held_out} held out, by {}",
        kind.name()
    );

    let tests = rows(true);
    let truth: Vec<ClassId> = tests.iter().map(|&row| ClassId(set.labels[row])).collect();
    let tests = set.samples.select(&tests);
    let size = Size { rows: training, width: set.samples.width(), classes };
    let stop = Stop::default();
    let terms = Terms { seed: 1, threads: 1, missed_events_max: 0.02 };
    let mut bench = Workbench::new(material, terms);
    let (mut first, mut measuring) = (None, 0.0);
    let recipes = plan::order(&families, size);
    let count = recipes.len();
    for (at, recipe) in recipes.into_iter().enumerate() {
        let clock = || began.elapsed().as_secs_f64();
        bench.add(&recipe, &stop, &clock)?;
        if 0 < at {
            bench.add_gates(&stop)?;
        }
        let assembled = bench.assemble()?;
        let bytes = models::bundle::encode(&assembled.ensemble).len();
        let stands = began.elapsed().as_secs_f64() - measuring;
        first.get_or_insert(stands);

        // What follows is about the test part, which the workbench never sees.
        let asked = Instant::now();
        let all = Subset::all(assembled.ensemble.members().len());
        let score = |subset: Subset, gated: bool| -> Result<Confusion, models::ShapeError> {
            let given = assembled.ensemble.predict(&tests, subset, gated)?;
            Ok(Confusion::of(classes, &truth, &given))
        };
        let vote = score(all, false)?;
        let family = recipe.family();
        let mut everyone = assembled.members.iter().chain(&assembled.left_out);
        let last = everyone.find(|it| it.family == family).ok_or("it stands")?;
        println!(
            "{stands:6.2} s  {:10} fit {:5.2} s (plan {:5.2}), validation {:.4} | {} vote: chosen {:.4}, held out {:.4}, test {:.4} balanced {:.4} missed {:.4} | {} kB",
            family.name(),
            last.fit_seconds,
            plan::seconds(&recipe, size),
            last.accuracy,
            assembled.ensemble.voting().rule.name(),
            assembled.expected,
            assembled.held_out.accuracy().value(),
            vote.accuracy().value(),
            vote.balanced_accuracy(),
            vote.missed_events(set.background).value(),
            bytes / 1024,
        );
        if let Some(gate) = assembled.gate {
            let gated = score(all, true)?;
            println!(
                "          gate {}: stops {:.3} of validation, misses {:.4}; vote behind it: test {:.4} missed {:.4}",
                assembled.ensemble.gate().map_or("", |gate| gate.member.family.name()),
                gate.stopped.value(),
                gate.missed.value(),
                gated.accuracy().value(),
                gated.missed_events(set.background).value(),
            );
        }
        if at + 1 == count {
            for (index, member) in assembled.members.iter().enumerate() {
                let alone = score(Subset(1 << index), false)?.accuracy();
                println!(
                    "          {:10} weight {:.4}, {:8.2} us, validation {:.4}, test {:.4}",
                    member.family.name(),
                    member.weight,
                    Speed::USUAL.micros(member.work),
                    member.accuracy,
                    alone.value(),
                );
            }
            for member in &assembled.left_out {
                let (family, accuracy) = (member.family.name(), member.accuracy);
                println!("          {family:10} left out, validation {accuracy:.4}");
            }
            let interval = vote.accuracy().interval();
            let (mut asked, mut same) = (0.0, 0_u32);
            let full = assembled.ensemble.asking(all)?.to_the_end();
            let mut scratch = assembled.ensemble.scratch();
            let (mut sure, mut wrong) = (0.0_f64, 0.0);
            for (row, truth) in tests.rows().zip(&truth) {
                let early = assembled.ensemble.answer(row, all, false, &mut scratch)?;
                let full =
                    assembled.ensemble.answer_timed(row, &full, false, &mut scratch, |_| ())?;
                same += u32::from(early.class == full.class);
                asked += Speed::USUAL.micros(assembled.ensemble.work(early.votes.asked()));
                sure += f64::from(early.confidence);
                wrong += f64::from(u8::from(early.class != *truth));
            }
            let rows = f64::from(u32::try_from(truth.len())?);
            let work = rows * Speed::USUAL.micros(assembled.ensemble.work(all));
            println!(
                "          vote on test {:.4} to {:.4}; early end: same class in {same} of {} rows, {:.3} of the work; mean confidence {:.4}, right {:.4}",
                interval.low,
                interval.high,
                truth.len(),
                asked / work,
                sure / rows,
                1.0 - wrong / rows,
            );
            let mut frontier = assembled.frontier.clone();
            frontier.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
            for measure in frontier.iter().take(8) {
                let test = score(measure.subset, measure.gated)?;
                let families: Vec<&str> = measure
                    .subset
                    .members()
                    .map(|member| assembled.members[member].family.name())
                    .collect();
                println!(
                    "          {} {}: validation {:.4} ± {:.4} balanced {:.4}, test {:.4} missed {:.4}",
                    families.join("+"),
                    if measure.gated { "gated" } else { "" },
                    measure.accuracy,
                    measure.standard_error,
                    measure.balanced_accuracy,
                    test.accuracy().value(),
                    test.missed_events(set.background).value(),
                );
            }
        }
        measuring += asked.elapsed().as_secs_f64();
    }
    let total = began.elapsed().as_secs_f64() - measuring;
    let first = first.unwrap_or(total);
    println!("first bundle after {first:.2} s of {total:.2} s: {:.1} %", 100.0 * first / total);
    Ok(())
}
