//! The data sets, each parted into training and test rows as its own page says.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::Path,
};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use signals::{Clip, Sound, SoundDetail};
use training_worker::draw::Draw;

/// Decides every random choice of rows.
const SEED: u64 = 1;

/// Rows of one part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Row-major.
    pub values: Vec<f32>,
    /// One for each row.
    pub labels: Vec<u16>,
    /// Who or when each row is from; empty when rows have nothing to do with each other.
    pub groups: Vec<String>,
}

/// What the peers do to rows before they learn; ours prepare them on their own.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Nothing.
    None,
    /// To [-1, 1] by the training part.
    Unit,
    /// To mean 0 and deviation 1 by the training part.
    Standard,
}

/// What both sides are told about a data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// As it is named on the command line.
    pub name: String,
    /// For people.
    pub title: String,
    /// Values of a row.
    pub width: usize,
    /// How many classes there are.
    pub classes: usize,
    /// The class that is no event.
    pub background: Option<u16>,
    /// What the peers do first.
    pub scale: Scale,
    /// Passes of their MLP.
    pub mlp_epochs: usize,
}

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Set {
    /// About it.
    pub meta: Meta,
    /// What teaches.
    pub train: Part,
    /// What asks.
    pub test: Part,
}

/// Which data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Motion: the six activities of HAPT.
    HaptSix,
    /// Motion: all of HAPT, its pauses as the background.
    Hapt,
    /// Digits.
    Mnist,
    /// Gases, measured months later.
    GasDrift,
    /// An office, empty or not.
    Occupancy,
    /// How many people are in a room.
    Room,
    /// Sounds.
    Esc10,
    /// Made here, for a clone without data.
    Synthetic,
}

impl Which {
    /// Those that are data of others, in the order in which they are measured.
    pub const REAL: [Self; 7] = [
        Self::HaptSix,
        Self::Mnist,
        Self::GasDrift,
        Self::Occupancy,
        Self::Room,
        Self::Esc10,
        Self::Hapt,
    ];

    /// As it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::HaptSix => "hapt6",
            Self::Hapt => "hapt13",
            Self::Mnist => "mnist",
            Self::GasDrift => "gas",
            Self::Occupancy => "occupancy",
            Self::Room => "room",
            Self::Esc10 => "esc10",
            Self::Synthetic => "synthetic",
        }
    }

    /// Reads it, with fewer rows if `quick`.
    ///
    /// # Errors
    ///
    /// The reason, in words, when its files cannot be read.
    pub fn load(self, data: &Path, quick: bool) -> Result<Set, String> {
        match self {
            Self::HaptSix => hapt(self, data, true),
            Self::Hapt => hapt(self, data, false),
            Self::Mnist => mnist(self, data, if quick { 6_000 } else { 60_000 }),
            Self::GasDrift => gas_drift(self, data),
            Self::Occupancy => occupancy(self, data),
            Self::Room => room(self, data),
            Self::Esc10 => Ok(esc10(self, data, &FOLDS[..1])?.swap_remove(0)),
            Self::Synthetic => Ok(synthetic(self)),
        }
    }

    /// Reads it, parted as often as its own page asks: once, but the sounds by each of their five folds
    /// unless `quick`. The first parting is what [`load`](Self::load) gives.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn partings(self, data: &Path, quick: bool) -> Result<Vec<Set>, String> {
        if self == Self::Esc10 && !quick {
            return esc10(self, data, &FOLDS);
        }
        Ok(vec![self.load(data, quick)?])
    }
}

fn meta(which: Which, title: impl Into<String>, width: usize, classes: usize) -> Meta {
    Meta {
        name: which.name().to_owned(),
        title: title.into(),
        width,
        classes,
        background: None,
        scale: Scale::Standard,
        // The library's own number: small data need many passes.
        mlp_epochs: 200,
    }
}

fn hapt(which: Which, data: &Path, six: bool) -> Result<Set, String> {
    let sheet = Sheet::read(&data.join("hapt/hapt_features.csv.gz"))?;
    let kept = |row: &usize| !six || (1..=6).contains(&sheet.labels[*row]);
    let part = |split: &str| {
        let rows = sheet.rows("split", |cell| cell == split).into_iter().filter(kept);
        let mut part = sheet.part(&rows.collect::<Vec<usize>>(), Some("subject"));
        part.labels.iter_mut().for_each(|label| *label -= u16::from(six));
        part
    };
    let (title, classes) = if six { ("HAPT, six activities", 6) } else { ("HAPT, 13 classes", 13) };
    Ok(Set {
        meta: Meta {
            background: (!six).then_some(0),
            scale: Scale::Unit,
            mlp_epochs: 20,
            ..meta(which, title, sheet.width, classes)
        },
        train: part("train"),
        test: part("test"),
    })
}

/// Of `of` random rows of the 60 000, seven tenths teach: the sizes of the paper.
fn mnist(which: Which, data: &Path, of: usize) -> Result<Set, String> {
    let read = |name: &str| {
        let path = data.join("mnist").join(name);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(bytes)
    };
    let (images, labels) =
        (read("train-images-idx3-ubyte.gz")?, read("train-labels-idx1-ubyte.gz")?);
    let width = 28 * 28;
    let (images, labels) = images
        .get(16..)
        .zip(labels.get(8..))
        .filter(|(images, labels)| images.len() == labels.len() * width)
        .ok_or("the files of mnist/ are not images and their labels")?;
    let mut rows: Vec<usize> = (0..labels.len()).collect();
    Draw::new(SEED).shuffle(&mut rows);
    rows.truncate(of);
    let (train, test) = rows.split_at(rows.len() * 7 / 10);
    let part = |rows: &[usize]| {
        let pixels = rows.iter().flat_map(|&row| &images[row * width..][..width]);
        Part {
            values: pixels.map(|&pixel| f32::from(pixel) / 255.0).collect(),
            labels: rows.iter().map(|&row| u16::from(labels[row])).collect(),
            groups: vec![],
        }
    };
    let title = format!("MNIST {} / {}", train.len(), test.len());
    Ok(Set {
        meta: Meta { scale: Scale::None, mlp_epochs: 10, ..meta(which, title, width, 10) },
        train: part(train),
        test: part(test),
    })
}

/// Trained in the first two months, asked in the next.
fn gas_drift(which: Which, data: &Path) -> Result<Set, String> {
    let sheet = Sheet::read(&data.join("gas_drift/gas_drift.csv.gz"))?;
    let part = |batch: &str| {
        let mut rows = sheet.rows("batch", |cell| cell == batch);
        // They come in long runs of one gas.
        Draw::new(SEED).shuffle(&mut rows);
        let mut part = sheet.part(&rows, None);
        part.labels.iter_mut().for_each(|label| *label -= 1);
        part
    };
    let meta = meta(which, "gas drift, batch 1 to 2", sheet.width, 6);
    Ok(Set { meta, train: part("1"), test: part("2") })
}

fn occupancy(which: Which, data: &Path) -> Result<Set, String> {
    let sheet = Sheet::read(&data.join("occupancy/occupancy.csv.gz"))?;
    let part =
        |train: bool| sheet.part(&sheet.rows("split", |cell| (cell == "train") == train), None);
    let meta = Meta { background: Some(0), ..meta(which, "occupancy, by period", sheet.width, 2) };
    Ok(Set { meta, train: part(true), test: part(false) })
}

fn room(which: Which, data: &Path) -> Result<Set, String> {
    let sheet = Sheet::read(&data.join("room_occupancy/room_occupancy.csv.gz"))?;
    let training = ["2017-12-22", "2017-12-24", "2017-12-25"];
    let part =
        |train: bool| sheet.part(&sheet.rows("day", |day| training.contains(&day) == train), None);
    let meta =
        Meta { background: Some(0), ..meta(which, "room occupancy, by day", sheet.width, 4) };
    Ok(Set { meta, train: part(true), test: part(false) })
}

/// The folds of the sounds, in the order in which they are asked.
const FOLDS: [&str; 5] = ["5", "1", "2", "3", "4"];

fn esc10(which: Which, data: &Path, asked: &[&str]) -> Result<Vec<Set>, String> {
    let sheet = sounds(&data.join("esc10")).map_err(|error| format!("esc10/: {error}"))?;
    Ok(asked.iter().map(|fold| by_fold(which, &sheet, fold)).collect())
}

/// Sounds of one fold ask, those of the others teach: other recordings.
fn by_fold(which: Which, sheet: &Sheet, asked: &str) -> Set {
    let part = |asks: bool| {
        let rows = sheet.rows("fold", |fold| (fold == asked) == asks);
        sheet.part(&rows, Some("group"))
    };
    let title = format!("ESC-10, fold {asked}");
    let meta = Meta { background: Some(0), ..meta(which, title, sheet.width, 11) };
    Set { meta, train: part(false), test: part(true) }
}

fn sounds(folder: &Path) -> Result<Sheet, Box<dyn std::error::Error>> {
    let sound = Sound::new(16_000.0, 5.0, 5.0, SoundDetail::Compact)?;
    let mut sheet = Sheet { width: 0, values: vec![], labels: vec![], about: BTreeMap::new() };
    let mut clips = csv::Reader::from_path(folder.join("clips.csv"))?;
    let headers = clips.headers()?.clone();
    let column = |name: &str| {
        headers.iter().position(|it| it == name).ok_or_else(|| format!("no column {name}"))
    };
    let (file, label) = (column("file")?, column("label")?);
    let about = [("fold", column("fold")?), ("group", column("group")?)];
    for clip in clips.records() {
        let clip = clip?;
        let samples = Clip::decode(&fs::read(folder.join(&clip[file]))?)?.at_16_khz()?;
        for row in sound.rows(&samples)? {
            sheet.width = row.len();
            sheet.values.extend(row);
            sheet.labels.push(clip[label].parse()?);
            for (name, at) in about {
                sheet.about.entry(name.to_owned()).or_default().push(clip[at].to_owned());
            }
        }
    }
    Ok(sheet)
}

/// Clouds that overlap, one of them the background, of people who differ.
fn synthetic(which: Which) -> Set {
    let (width, classes) = (16, 4);
    let mut draw = Draw::new(SEED);
    let centres: Vec<f64> = (0..width * classes).map(|_| draw.normal()).collect();
    let mut part = |people: std::ops::Range<usize>| {
        let mut part = Part::default();
        for person in people {
            let habit: Vec<f64> = (0..width).map(|_| 0.3 * draw.normal()).collect();
            for class in (0_u16..).take(classes).cycle().take(200) {
                let centre = &centres[usize::from(class) * width..][..width];
                let values = centre.iter().zip(&habit).map(|(c, h)| c + h + draw.normal());
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "samples are single precision"
                )]
                part.values.extend(values.map(|value| value as f32));
                part.labels.push(class);
                part.groups.push(format!("person {person}"));
            }
        }
        part
    };
    let meta = Meta { background: Some(0), ..meta(which, "synthetic, by person", width, classes) };
    Set { meta, train: part(0..12), test: part(12..18) }
}

/// A file: features, then `label`, then columns about the row.
struct Sheet {
    width: usize,
    values: Vec<f32>,
    labels: Vec<u16>,
    about: BTreeMap<String, Vec<String>>,
}

impl Sheet {
    fn read(path: &Path) -> Result<Self, String> {
        Self::parsed(path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parsed(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(path)?));
        let headers = reader.headers()?.clone();
        let width = headers.iter().position(|name| name == "label").ok_or("no column label")?;
        let mut sheet = Self { width, values: vec![], labels: vec![], about: BTreeMap::new() };
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record)? {
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

    /// The rows whose `column` is wanted.
    fn rows(&self, column: &str, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        let cells = self.about.get(column).map_or(&[][..], Vec::as_slice);
        cells.iter().enumerate().filter(|(_, cell)| wanted(cell)).map(|(row, _)| row).collect()
    }

    fn part(&self, rows: &[usize], group: Option<&str>) -> Part {
        let groups = group.and_then(|column| self.about.get(column));
        Part {
            values: rows
                .iter()
                .flat_map(|&row| &self.values[row * self.width..][..self.width])
                .copied()
                .collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            groups: groups
                .map(|groups| rows.iter().map(|&row| groups[row].clone()).collect())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fold_asks_once_what_the_others_taught() {
        let folds = ["1", "2", "3", "4", "5", "5", "2"].map(str::to_owned).to_vec();
        let sheet = Sheet {
            width: 1,
            values: (0..7_u8).map(f32::from).collect(),
            labels: vec![0; 7],
            about: BTreeMap::from([
                ("fold".to_owned(), folds.clone()),
                ("group".to_owned(), folds),
            ]),
        };
        let mut asked = Vec::new();
        for fold in FOLDS {
            let Set { train, test, .. } = by_fold(Which::Esc10, &sheet, fold);
            assert!(test.groups.iter().all(|it| it == fold));
            assert!(!train.groups.iter().any(|it| it == fold));
            assert_eq!(train.values.len() + test.values.len(), sheet.values.len());
            asked.extend(test.values);
        }
        asked.sort_by(f32::total_cmp);
        assert_eq!(asked, sheet.values);
    }
}
