//! Fits each family on a data set of the yardsticks, on one thread, and says what it took.
//!
//! ```text
//! cargo run --release -p training-worker --example families [mnist|hapt6|gas] [DATA] [FAMILY…]
//! ```
//!
//! `DATA` is the folder with `mnist/`, `hapt/` and `gas_drift/`, `../shared/data` by default. Seconds are
//! those of the processor, so that a busy machine does not show; memory is the peak above what the rows
//! take. "prepare" is everything that is done to the rows before the fit, as the workbench does it.
#![expect(clippy::print_stdout, reason = "it is for people to read")]

use std::{collections::BTreeMap, error::Error, fs::File, io::Read, path::Path, sync::Arc};

use models::{
    Ensemble, Family, Features, Member, Model, Parts, Preparation, Schema, Voting, Weighted,
};
use training_worker::{
    draw::Draw,
    fit::{Lesson, Stop, fit, prepare},
    plan::{Size, recipe},
};

type Failure = Box<dyn Error>;

/// Rows to learn from and rows to be asked.
struct Set {
    taught: (Features, Vec<u16>),
    asked: (Features, Vec<u16>),
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "hapt6".to_owned());
    let data = arguments.next().unwrap_or_else(|| "../shared/data".to_owned());
    let mut families: Vec<Family> = arguments.filter_map(|name| Family::parse(&name)).collect();
    if families.is_empty() {
        families = Family::ALL.to_vec();
    }
    let set = match which.as_str() {
        "mnist" => mnist(&Path::new(&data).join("mnist"), 42_000)?,
        "mnist-quick" => mnist(&Path::new(&data).join("mnist"), 6_000)?,
        "gas" => gas(Path::new(&data))?,
        _ => hapt(Path::new(&data))?,
    };
    let (samples, labels) = &set.taught;
    let classes = usize::from(labels.iter().copied().max().unwrap_or(0)) + 1;
    println!("{which}: {} × {}, {} asked", samples.len(), samples.width(), set.asked.1.len());
    let mut sum = 0.0;
    for family in families {
        sum += measure(family, &set, classes)?;
    }
    println!("sum of prepare and fit {sum:.2} s");
    Ok(())
}

fn measure(family: Family, set: &Set, classes: usize) -> Result<f64, Failure> {
    let (samples, labels) = &set.taught;
    let recipe = recipe(family, Size { rows: samples.len(), width: samples.width(), classes });
    let before = forget_peak()?;
    let began = cpu_seconds()?;
    let (preparation, prepared) = prepare(recipe.preparing(), samples, (labels, classes))?;
    let ready = cpu_seconds()?;
    let stop = Stop::default();
    let lesson = Lesson::new(prepared.as_ref().unwrap_or(samples), labels, classes, &stop);
    let model = fit(&recipe, &lesson)?;
    let done = cpu_seconds()?;
    let peak = status("VmHWM")?;
    drop(prepared);
    let (right, micros) = ask(family, preparation, &model, set)?;
    println!(
        "{:10} prepare {:6.3} s, fit {:7.3} s, accuracy {right:.4}, peak {:4} MB above {:4} MB, {:6} kB, one sample {micros:.1} µs",
        family.name(),
        ready - began,
        done - ready,
        (peak - before) / 1024,
        before / 1024,
        model.bytes() / 1024,
    );
    Ok(done - began)
}

/// The share of rows answered rightly, and the microseconds of an answer asked alone.
#[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
fn ask(
    family: Family,
    preparation: Preparation,
    model: &Model,
    set: &Set,
) -> Result<(f64, f64), Failure> {
    let (samples, labels) = &set.asked;
    let classes = usize::from(set.taught.1.iter().copied().max().unwrap_or(0)) + 1;
    let names = (0..samples.width()).map(|it| format!("f{it}")).collect();
    let schema = Schema::new(names, (0..classes).map(|it| format!("c{it}")).collect(), None)?;
    let member = Member { family, preparation: 0, model: Arc::new(model.clone()) };
    let members = vec![Weighted { weight: 1.0, member }];
    let ensemble = Ensemble::new(Parts {
        schema,
        preparations: vec![preparation],
        gate: None,
        members,
        voting: Voting::default(),
        golden: Vec::new(),
    })?;
    let votes = ensemble.member_votes(samples).swap_remove(0);
    let right = votes.iter().zip(labels).filter(|(vote, label)| vote.0 == **label).count();
    let alone = samples.len().min(300);
    let began = cpu_seconds()?;
    for row in 0..alone {
        std::hint::black_box(ensemble.member_votes(&samples.select(&[row])));
    }
    let micros = (cpu_seconds()? - began) * 1e6 / alone as f64;
    Ok((right as f64 / labels.len() as f64, micros))
}

/// Seconds that this thread has computed.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = stat.split(' ').next().ok_or("no run time")?.parse()?;
    Ok(nanoseconds * 1e-9)
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// Begins to watch for the peak anew; gives what is taken now, in KiB.
fn forget_peak() -> Result<u64, Failure> {
    std::fs::write("/proc/self/clear_refs", "5")?;
    status("VmRSS")
}

/// MNIST: so many random rows of the training part, tested on the test part, as shares of 255.
fn mnist(folder: &Path, rows: usize) -> Result<Set, Failure> {
    let part = |name: &str| -> Result<(Features, Vec<u16>), Failure> {
        let unpack = |file: String| -> Result<Vec<u8>, Failure> {
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(File::open(folder.join(file))?).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let pixels = unpack(format!("{name}-images-idx3-ubyte.gz"))?;
        let labels = unpack(format!("{name}-labels-idx1-ubyte.gz"))?;
        let pixels = pixels.get(16..).ok_or("no images")?;
        let values = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        let labels = labels.get(8..).ok_or("no labels")?;
        Ok((Features::new(784, values)?, labels.iter().copied().map(u16::from).collect()))
    };
    let (samples, labels) = part("train")?;
    let mut order: Vec<usize> = (0..samples.len()).collect();
    Draw::new(1).choose(&mut order, rows);
    order.truncate(rows);
    let taught = (samples.select(&order), order.iter().map(|&row| labels[row]).collect());
    Ok(Set { taught, asked: part("t10k")? })
}

/// HAPT's six activities without transitions, by subject.
fn hapt(data: &Path) -> Result<Set, Failure> {
    let sheet = read(&data.join("hapt/hapt_features.csv.gz"))?;
    let part = |split: &str| -> (Features, Vec<u16>) {
        let rows: Vec<usize> = (0..sheet.labels.len())
            .filter(|&row| (1..=6).contains(&sheet.labels[row]))
            .filter(|&row| sheet.about["split"][row] == split)
            .collect();
        let labels = rows.iter().map(|&row| sheet.labels[row] - 1).collect();
        (sheet.samples.select(&rows), labels)
    };
    Ok(Set { taught: part("train"), asked: part("test") })
}

/// Gas drift: the first batch teaches, the second asks.
fn gas(data: &Path) -> Result<Set, Failure> {
    let sheet = read(&data.join("gas_drift/gas_drift.csv.gz"))?;
    let part = |batch: &str| -> (Features, Vec<u16>) {
        let rows: Vec<usize> =
            (0..sheet.labels.len()).filter(|&row| sheet.about["batch"][row] == batch).collect();
        let labels = rows.iter().map(|&row| sheet.labels[row] - 1).collect();
        (sheet.samples.select(&rows), labels)
    };
    Ok(Set { taught: part("1"), asked: part("2") })
}

/// A file: features, then `label`, then columns about the row.
struct Sheet {
    samples: Features,
    labels: Vec<u16>,
    about: BTreeMap<String, Vec<String>>,
}

fn read(path: &Path) -> Result<Sheet, Failure> {
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(File::open(path)?));
    let headers = reader.headers()?.clone();
    let width = headers.iter().position(|name| name == "label").ok_or("no column label")?;
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    let mut about = BTreeMap::<String, Vec<String>>::new();
    for record in reader.records() {
        for (at, cell) in record?.iter().enumerate() {
            if at < width {
                values.push(cell.parse()?);
            } else if at == width {
                labels.push(cell.parse()?);
            } else {
                about.entry(headers[at].to_owned()).or_default().push(cell.to_owned());
            }
        }
    }
    Ok(Sheet { samples: Features::new(width, values)?, labels, about })
}
