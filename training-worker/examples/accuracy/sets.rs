//! Data sets, whole or in the parts that a test asks for.

use std::{collections::BTreeMap, error::Error, fs, fs::File, io::Read as _, path::Path};

use models::{ClassId, Features};
use signals::{Clip, Sound, SoundDetail};
use training_worker::draw::Draw;

pub(crate) type Failure = Box<dyn Error>;

/// A file: features, then `label`, then columns about the row.
pub(crate) struct Sheet {
    pub(crate) names: Vec<String>,
    pub(crate) samples: Features,
    pub(crate) labels: Vec<u16>,
    pub(crate) about: BTreeMap<String, Vec<String>>,
}

impl Sheet {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(File::open(path)?));
        let headers = reader.headers()?.clone();
        let width = headers.iter().position(|name| name == "label").ok_or("no column label")?;
        let names: Vec<String> = headers.iter().take(width).map(String::from).collect();
        let (mut values, mut labels) = (vec![], vec![]);
        let mut about = BTreeMap::<String, Vec<String>>::new();
        for record in reader.records() {
            let record = record?;
            for (at, cell) in record.iter().enumerate() {
                if at < width {
                    values.push(cell.parse()?);
                } else if at == width {
                    labels.push(cell.parse()?);
                } else {
                    about.entry(headers[at].to_owned()).or_default().push(cell.to_owned());
                }
            }
        }
        Ok(Self { samples: Features::new(width, values)?, names, labels, about })
    }

    /// The rows for which `column` says what is `wanted`.
    pub(crate) fn rows(&self, column: &str, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        (0..self.labels.len()).filter(|&row| wanted(&self.about[column][row])).collect()
    }

    /// A set of some of the rows, in this order.
    pub(crate) fn set(&self, name: String, training: &[usize], test: &[usize]) -> Set {
        let rows: Vec<usize> = training.iter().chain(test).copied().collect();
        Set {
            name,
            names: self.names.clone(),
            samples: self.samples.select(&rows),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            groups: vec![],
            test: (0..rows.len()).map(|at| training.len() <= at).collect(),
            background: None,
        }
    }
}

/// A data set: which rows are for training, in which groups, and what the background is.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) names: Vec<String>,
    pub(crate) samples: Features,
    pub(crate) labels: Vec<u16>,
    pub(crate) groups: Vec<String>,
    pub(crate) test: Vec<bool>,
    pub(crate) background: Option<ClassId>,
}

impl Set {
    /// The rows that teach, or those that ask.
    pub(crate) fn rows(&self, test: bool) -> Vec<usize> {
        (0..self.test.len()).filter(|&row| self.test[row] == test).collect()
    }
}

/// The set of this name as its own page parts it.
pub(crate) fn set(which: &str, data: &Path) -> Result<Set, Failure> {
    match which {
        "room" => {
            let sheet = room(data)?;
            let training = ["2017-12-22", "2017-12-24", "2017-12-25"];
            Ok(by(&sheet, which, "day", |day| training.contains(&day)))
        }
        "occupancy" => Ok(by(&occupancy(data)?, which, "split", |split| split == "train")),
        "gas" => Ok(batches(&gas(data)?, "1", "2")),
        "esc10" => Ok(asked(&sounds(data)?, "5")),
        "mnist" => digits(data, 0..60_000, 1),
        "mnist6000" => digits(data, 0..8_571, 1),
        "hapt6" => Ok(people(&hapt(data, true)?, which, |_, split| split == "test")),
        _ => {
            let mut set = people(&hapt(data, false)?, which, |_, split| split == "test");
            set.background = Some(ClassId(0));
            Ok(set)
        }
    }
}

/// Other partings of the same rows, on none of which the promised test rows are asked after the promised
/// training rows taught: what rules are compared on.
pub(crate) fn splits(which: &str, data: &Path) -> Result<Vec<Set>, Failure> {
    match which {
        "gas" => {
            let sheet = gas(data)?;
            let pairs = [
                ("2", "3"),
                ("3", "4"),
                ("4", "5"),
                ("5", "6"),
                ("6", "8"),
                ("8", "9"),
                ("3", "5"),
                ("4", "6"),
                ("6", "9"),
                ("4", "3"),
                ("5", "4"),
                ("6", "5"),
                ("8", "6"),
                ("9", "8"),
            ];
            Ok(pairs.into_iter().map(|(before, after)| batches(&sheet, before, after)).collect())
        }
        "esc10" => {
            let sheet = sounds(data)?;
            Ok(["1", "2", "3", "4"].map(|fold| asked(&sheet, fold)).into())
        }
        "room" => {
            let sheet = room(data)?;
            let days: [(&[&str], &[&str]); 3] = [
                (&["2017-12-23", "2017-12-26"], &["2017-12-22", "2017-12-24"]),
                (&["2017-12-23", "2018-01-10", "2018-01-11"], &["2017-12-22", "2017-12-25"]),
                (&["2017-12-25", "2018-01-10", "2018-01-11"], &["2017-12-22"]),
            ];
            let parted = days.into_iter().map(|(training, test)| {
                let rows = |days: &[&str]| sheet.rows("day", |day| days.contains(&day));
                sheet.set(format!("room {}", training.join("+")), &rows(training), &rows(test))
            });
            Ok(parted.collect())
        }
        "occupancy" => {
            let sheet = occupancy(data)?;
            let of = |split: &str| sheet.rows("split", |it| it == split);
            let (early, late): (Vec<usize>, Vec<usize>) = of("train")
                .into_iter()
                .partition(|&row| *sheet.about["time"][row] < *"2015-02-07T12");
            let parted = [
                ("test2 to train", of("test2"), of("train")),
                ("test1 to train", of("test1"), of("train")),
                ("early to late", early.clone(), late.clone()),
                ("late to early", late, early),
            ];
            let sets = parted.into_iter();
            Ok(sets.map(|(name, a, b)| sheet.set(format!("occupancy {name}"), &a, &b)).collect())
        }
        "mnist" => {
            (2..5).map(|part: usize| digits(data, part * 6_000..(part + 1) * 6_000, 7)).collect()
        }
        "hapt6" | "hapt13" => {
            let sheet = hapt(data, which == "hapt6")?;
            // The people of the promised test part are not asked here.
            let known: Vec<usize> = sheet.rows("split", |split| split == "train");
            let mut all: Vec<&String> =
                known.iter().map(|&row| &sheet.about["subject"][row]).collect();
            all.sort_unstable();
            all.dedup();
            let parted = (0..3).map(|third| {
                let test = |row: &usize| {
                    all.binary_search(&&sheet.about["subject"][*row])
                        .is_ok_and(|at| at % 3 == third)
                };
                let (test, training): (Vec<usize>, Vec<usize>) =
                    known.iter().copied().partition(test);
                let mut set = sheet.set(format!("{which} third {third}"), &training, &test);
                let rows = training.iter().chain(&test);
                set.groups = rows.map(|&row| sheet.about["subject"][row].clone()).collect();
                set
            });
            Ok(parted.collect())
        }
        _ => Err(format!("no other partings of {which} are known").into()),
    }
}

fn by(sheet: &Sheet, name: &str, column: &str, training: impl Fn(&str) -> bool) -> Set {
    let test = sheet.rows(column, |cell| !training(cell));
    let training = sheet.rows(column, training);
    let mut set = sheet.set(name.to_owned(), &training, &test);
    set.background = Some(ClassId(0));
    set
}

fn hapt(data: &Path, six: bool) -> Result<Sheet, Failure> {
    let sheet = Sheet::read(&data.join("hapt/hapt_features.csv.gz"))?;
    if !six {
        return Ok(sheet);
    }
    let rows: Vec<usize> =
        (0..sheet.labels.len()).filter(|&row| (1..=6).contains(&sheet.labels[row])).collect();
    let column = |(name, cells): (&String, &Vec<String>)| {
        (name.clone(), rows.iter().map(|&row| cells[row].clone()).collect())
    };
    Ok(Sheet {
        samples: sheet.samples.select(&rows),
        labels: rows.iter().map(|&row| sheet.labels[row] - 1).collect(),
        about: sheet.about.iter().map(column).collect(),
        names: sheet.names,
    })
}

fn people(sheet: &Sheet, name: &str, test: impl Fn(&str, &str) -> bool) -> Set {
    let about = |column: &str, row: usize| sheet.about[column][row].clone();
    let all = 0..sheet.labels.len();
    let (test, training): (Vec<usize>, Vec<usize>) =
        all.partition(|&row| test(&about("subject", row), &about("split", row)));
    let mut set = sheet.set(name.to_owned(), &training, &test);
    set.groups = training.iter().chain(&test).map(|&row| about("subject", row)).collect();
    set
}

fn room(data: &Path) -> Result<Sheet, Failure> {
    Sheet::read(&data.join("room_occupancy/room_occupancy.csv.gz"))
}

fn occupancy(data: &Path) -> Result<Sheet, Failure> {
    Sheet::read(&data.join("occupancy/occupancy.csv.gz"))
}

fn gas(data: &Path) -> Result<Sheet, Failure> {
    let mut sheet = Sheet::read(&data.join("gas_drift/gas_drift.csv.gz"))?;
    sheet.labels.iter_mut().for_each(|label| *label -= 1);
    Ok(sheet)
}

/// One batch teaches, another asks, in a random order each: they come in long runs of one gas.
fn batches(sheet: &Sheet, before: &str, after: &str) -> Set {
    let rows = |batch: &str| {
        let mut rows = sheet.rows("batch", |cell| cell == batch);
        Draw::new(1).shuffle(&mut rows);
        rows
    };
    sheet.set(format!("gas {before} to {after}"), &rows(before), &rows(after))
}

/// Of some of the 60 000 in a random order, seven of ten teach.
fn digits(data: &Path, of: std::ops::Range<usize>, seed: u64) -> Result<Set, Failure> {
    let unpack = |name: &str, head: usize| -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let file = File::open(data.join("mnist").join(name))?;
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(head))
    };
    const WIDTH: usize = 784;
    let pixels = unpack("train-images-idx3-ubyte.gz", 16)?;
    let labels = unpack("train-labels-idx1-ubyte.gz", 8)?;
    let mut order: Vec<usize> = (0..labels.len()).collect();
    Draw::new(seed).shuffle(&mut order);
    let name = format!("mnist {} of seed {seed}", of.start);
    let order = &order[of];
    let values = order.iter().flat_map(|&row| &pixels[row * WIDTH..][..WIDTH]);
    Ok(Set {
        name,
        names: (0..WIDTH).map(|pixel| format!("pixel {pixel}")).collect(),
        samples: Features::new(WIDTH, values.map(|&pixel| f32::from(pixel) / 255.0).collect())?,
        labels: order.iter().map(|&row| u16::from(labels[row])).collect(),
        groups: vec![],
        test: (0..order.len()).map(|at| order.len() * 7 / 10 <= at).collect(),
        background: None,
    })
}

/// Features of all sounds.
fn sounds(data: &Path) -> Result<Sheet, Failure> {
    let folder = data.join("esc10");
    let sound = Sound::new(16_000.0, 5.0, 5.0, SoundDetail::Compact)?;
    let (mut width, mut values, mut labels) = (0, vec![], vec![]);
    let mut about = BTreeMap::<String, Vec<String>>::new();
    let mut clips = csv::Reader::from_path(folder.join("clips.csv"))?;
    let headers = clips.headers()?.clone();
    let column = |name: &str| headers.iter().position(|it| it == name).ok_or("a column is missing");
    let (file, label, fold, group) =
        (column("file")?, column("label")?, column("fold")?, column("group")?);
    for clip in clips.records() {
        let clip = clip?;
        let samples = Clip::decode(&fs::read(folder.join(&clip[file]))?)?.at_16_khz()?;
        for row in sound.rows(&samples)? {
            width = row.len();
            values.extend(row);
            labels.push(clip[label].parse()?);
            about.entry("fold".to_owned()).or_default().push(clip[fold].to_owned());
            about.entry("group".to_owned()).or_default().push(clip[group].to_owned());
        }
    }
    let names = (0..width).map(|at| format!("value {at}")).collect();
    Ok(Sheet { names, samples: Features::new(width, values)?, labels, about })
}

/// One fold of the sounds asks after all others taught.
fn asked(sheet: &Sheet, fold: &str) -> Set {
    let test = sheet.rows("fold", |it| it == fold);
    let training = sheet.rows("fold", |it| it != fold);
    let mut set = sheet.set(format!("esc10 fold {fold}"), &training, &test);
    let rows = training.iter().chain(&test);
    set.groups = rows.map(|&row| sheet.about["group"][row].clone()).collect();
    set
}
