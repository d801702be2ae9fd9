//! Trains on the features that `signals` makes of raw motion, sounds and images, with the code of a job,
//! and says what became of rows that it has not seen.
//!
//! ```text
//! cargo run --release -p training-worker --example raw [esc10|hapt|mnist] [DATA] [DETAIL]
//! ```
//!
//! HAPT: windows of the raw signals of six activities, tested on nine people of thirty.
//! ESC-10: five folds by recording, eleven classes of which the first is background. MNIST: 6 000
//! training and 2 000 test images, to compare pixels with lines.
#![expect(clippy::print_stdout, reason = "it is for people to read")]

use std::{error::Error, fs::File, io::Read as _, path::Path, sync::Arc};

use models::{ClassId, Confusion, Family, Features, Schema, Subset};
use proto::v1::SampleChunk;
use signals::{Clip, Detail, Image, ImageDetail, Slide, Sound, SoundDetail, Stretch as _, Window};
use tokio::time::Instant;
use training_worker::{
    fit::Stop,
    material::Material,
    plan::{self, Size},
    table::Table,
    workbench::{Terms, Workbench},
};

/// A data set: the fold in which each row is tested.
struct Set {
    names: Vec<String>,
    samples: Features,
    labels: Vec<u16>,
    groups: Vec<String>,
    folds: Vec<u16>,
    background: Option<ClassId>,
}

fn esc10(data: &Path, detail: &str) -> Result<Set, Box<dyn Error>> {
    let detail = SoundDetail::parse(detail).unwrap_or_default();
    let sound = Sound::new(16_000.0, 5.0, 5.0, detail)?;
    let (mut values, mut labels, mut groups, mut folds) = (vec![], vec![], vec![], vec![]);
    let mut reader = csv::Reader::from_path(data.join("esc10/clips.csv"))?;
    for record in reader.records() {
        let record = record?;
        let name = Path::new(&record[0]).file_name().ok_or("a clip has a name")?;
        let clip = Clip::decode(&std::fs::read(data.join("esc10/clips").join(name))?)?;
        for row in sound.rows(&clip.at_16_khz()?)? {
            values.extend(row);
            labels.push(record[1].parse()?);
            folds.push(record[3].parse()?);
            groups.push(record[4].to_owned());
        }
    }
    let names = sound.feature_names();
    let samples = Features::new(names.len(), values)?;
    Ok(Set { names, samples, labels, groups, folds, background: Some(ClassId(0)) })
}

/// Windows whose most frequent activity is one of the six.
fn hapt(data: &Path) -> Result<Set, Box<dyn Error>> {
    let channels = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"].map(str::to_owned);
    let mut slide = Slide::new(Window::new(channels.to_vec(), 50.0, 2.56, 1.28, Detail::Full)?);
    let (mut values, mut labels, mut groups, mut folds) = (vec![], vec![], vec![], vec![]);
    let file = File::open(data.join("hapt/hapt_raw.csv.gz"))?;
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let (mut experiment, mut last) = (String::new(), std::collections::VecDeque::new());
    for record in reader.records() {
        let record = record?;
        if record[8] != experiment {
            record[8].clone_into(&mut experiment);
            slide.reset();
            last.clear();
        }
        let sample = record.iter().take(6).map(str::parse).collect::<Result<Vec<f32>, _>>()?;
        last.push_back(record[6].parse::<u16>()?);
        if let Some(features) = slide.push(&sample)? {
            let label = last
                .iter()
                .copied()
                .max_by_key(|it| last.iter().filter(|other| *other == it).count());
            let label = label.unwrap_or(0);
            if (1..=6).contains(&label) {
                values.extend(features);
                labels.push(label - 1);
                groups.push(record[7].to_owned());
                folds.push(u16::from(&record[9] == "test"));
            }
        }
        if last.len() == slide.window().length() {
            last.pop_front();
        }
    }
    let names = slide.window().feature_names();
    let samples = Features::new(names.len(), values)?;
    Ok(Set { names, samples, labels, groups, folds, background: None })
}

fn idx(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn mnist(data: &Path, detail: &str) -> Result<Set, Box<dyn Error>> {
    let image = Image::new(28, 28, ImageDetail::parse(detail).unwrap_or_default())?;
    let (images, classes) = (
        idx(&data.join("mnist/train-images-idx3-ubyte.gz"))?,
        idx(&data.join("mnist/train-labels-idx1-ubyte.gz"))?,
    );
    let (mut values, mut labels, mut folds) = (vec![], vec![], vec![]);
    for (at, pixels) in images[16..].chunks(784).enumerate().take(8_000) {
        values.extend(image.features(pixels)?);
        labels.push(u16::from(classes[8 + at]));
        folds.push(u16::from(at >= 6_000));
    }
    let names = image.feature_names();
    let samples = Features::new(names.len(), values)?;
    Ok(Set { names, samples, labels, groups: vec![], folds, background: None })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "esc10".to_owned());
    let data = arguments.next().unwrap_or_else(|| "../shared/data".to_owned());
    let detail = arguments.next().unwrap_or_default();
    let began = Instant::now();
    let set = match which.as_str() {
        "hapt" => hapt(Path::new(&data))?,
        "mnist" => mnist(Path::new(&data), &detail)?,
        _ => esc10(Path::new(&data), &detail)?,
    };
    let tested: Vec<u16> = if which == "esc10" { (1..=5).collect() } else { vec![1] };
    println!(
        "{which}: {} rows of {} features, read and computed in {:.2} s",
        set.labels.len(),
        set.names.len(),
        began.elapsed().as_secs_f64()
    );
    let mut sums = [0.0; 2];
    for fold in &tested {
        let (vote, balanced) = one(&set, *fold)?;
        sums = [sums[0] + vote, sums[1] + balanced];
    }
    #[expect(clippy::cast_precision_loss, reason = "five folds")]
    let count = tested.len() as f64;
    println!(
        "mean over {count} folds: vote {:.4}, balanced {:.4}",
        sums[0] / count,
        sums[1] / count
    );
    Ok(())
}

/// Trains on all folds but one; accuracy and balanced accuracy on that one.
fn one(set: &Set, fold: u16) -> Result<(f64, f64), Box<dyn Error>> {
    let classes = usize::from(set.labels.iter().copied().max().unwrap_or(0)) + 1;
    let names = (0..classes).map(|class| format!("class {class}")).collect();
    let schema = Schema::new(set.names.clone(), names, set.background)?;
    let rows = |test: bool| -> Vec<usize> {
        (0..set.folds.len()).filter(|&row| (set.folds[row] == fold) == test).collect()
    };
    let mut table = Table::new(set.samples.width(), classes);
    for rows in rows(false).chunks(500) {
        table.take(&SampleChunk {
            width: u32::try_from(set.samples.width())?,
            values: proto::parse::pack(set.samples.select(rows).values()),
            labels: rows.iter().map(|&row| u32::from(set.labels[row])).collect(),
            groups: rows.iter().filter_map(|&row| set.groups.get(row).cloned()).collect(),
            ..SampleChunk::default()
        })?;
    }
    let material = Arc::new(Material::new(schema, table, 1)?);
    let size = Size { rows: material.lessons.labels.len(), width: set.samples.width(), classes };
    let tests = rows(true);
    let truth: Vec<ClassId> = tests.iter().map(|&row| ClassId(set.labels[row])).collect();
    let tests = set.samples.select(&tests);
    let stop = Stop::default();
    let mut bench = Workbench::new(
        material,
        Terms { seed: 1, threads: 1, missed_events_max: 0.02, coverage: None },
    );
    let families: Vec<Family> = Family::ALL.to_vec();
    for recipe in plan::order(&families, size) {
        bench.add(&recipe, &stop, &|| 0.0)?;
    }
    let assembled = bench.assemble()?;
    let score = |subset: Subset| -> Result<Confusion, models::ShapeError> {
        let given = assembled.ensemble.predict(&tests, subset, false)?;
        Ok(Confusion::of(classes, &truth, &given))
    };
    let mut line = format!("fold {fold}:");
    for (at, member) in assembled.members.iter().enumerate() {
        let alone = score(Subset(1 << at))?.accuracy().value();
        line += &format!(" {} {alone:.3}", member.family.name());
    }
    let vote = score(Subset::all(assembled.ensemble.members().len()))?;
    println!(
        "{line} | vote {:.4}, balanced {:.4}",
        vote.accuracy().value(),
        vote.balanced_accuracy()
    );
    Ok((vote.accuracy().value(), vote.balanced_accuracy()))
}
