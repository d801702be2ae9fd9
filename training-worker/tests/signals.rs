//! Features from `signals` are as good as published ones: the same plain classifiers on both, tested
//! on people that they have not seen.
//!
//! Where the shared data are absent the test says so, and made-up motion takes their place.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeMap, fs::File, path::Path};

use models::{Family, Features, Preparation, member::Buffers};
use signals::{Detail, Slide, Stretch as _, Window};
use training_worker::{
    draw::Draw,
    fit::{Lesson, Recipe, Stop, fit, standardise},
};

const SIX: [&str; 6] = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"];

/// Rows to learn from and rows to be tested on.
struct Parts {
    training: (Features, Vec<u16>),
    test: (Features, Vec<u16>),
}

impl Parts {
    /// Parts `rows` of features, class and "is a test".
    fn of(rows: impl Iterator<Item = (Vec<f32>, u16, bool)>) -> Self {
        let (mut width, mut parts) = (0, [(vec![], vec![]), (vec![], vec![])]);
        for (values, label, test) in rows {
            width = values.len();
            let part = &mut parts[usize::from(test)];
            part.0.extend(values);
            part.1.push(label);
        }
        let [training, test] =
            parts.map(|(values, labels)| (Features::new(width, values).unwrap(), labels));
        Self { training, test }
    }

    /// The share of the test rows that a family answers rightly.
    fn accuracy(&self, family: Family) -> f64 {
        let steps = vec![standardise(&self.training.0)];
        let preparation = Preparation { steps };
        let samples = preparation.features(&self.training.0).unwrap();
        let classes = usize::from(*self.training.1.iter().max().unwrap()) + 1;
        let (labels, stop) = (&self.training.1, Stop::default());
        let lesson = Lesson::new(&samples, labels, classes, &stop);
        let model = fit(&Recipe::of(family), &lesson).unwrap();
        let (mut scores, mut buffers) = (vec![0.0; classes], Buffers::default());
        let right = |(row, label): &(&[f32], &u16)| {
            model.vote(&preparation.apply(row), &mut scores, &mut buffers).0 == **label
        };
        let rows = self.test.0.rows().zip(&self.test.1);
        rows.filter(right).count() as f64 / self.test.1.len() as f64
    }
}

fn window() -> Window {
    Window::new(SIX.map(str::to_owned).to_vec(), 50.0, 2.56, 1.28, Detail::Full).unwrap()
}

fn table(path: &Path) -> csv::Reader<flate2::read::GzDecoder<File>> {
    csv::Reader::from_reader(flate2::read::GzDecoder::new(File::open(path).unwrap()))
}

/// The six activities of the published features, their windows by recording and first sample.
type Windows = BTreeMap<(String, usize), (u16, bool)>;

fn published(folder: &Path) -> (Parts, Windows) {
    let mut reader = table(&folder.join("hapt_features.csv.gz"));
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|it| it == name).unwrap();
    let (label, split) = (column("label"), column("split"));
    let (experiment, start) = (column("experiment"), column("start"));
    let mut windows = Windows::new();
    let mut rows = Vec::new();
    for record in reader.records().map(Result::unwrap) {
        let class: u16 = record[label].parse().unwrap();
        if (1..=6).contains(&class) {
            let values: Vec<f32> =
                record.iter().take(label).map(|cell| cell.parse().unwrap()).collect();
            let place = (record[experiment].to_owned(), record[start].parse().unwrap());
            windows.insert(place, (class - 1, &record[split] == "test"));
            rows.push((values, class - 1, &record[split] == "test"));
        }
    }
    (Parts::of(rows.into_iter()), windows)
}

/// The same windows with our features of the raw signals, which come as a stream.
fn ours(folder: &Path, windows: &Windows) -> Parts {
    let mut slide = Slide::new(window());
    let (mut experiment, mut at) = (String::new(), 0);
    let mut rows = Vec::new();
    for record in table(&folder.join("hapt_raw.csv.gz")).records().map(Result::unwrap) {
        if record[8] != experiment {
            record[8].clone_into(&mut experiment);
            slide.reset();
            at = 0;
        }
        let sample: Vec<f32> = record.iter().take(6).map(|cell| cell.parse().unwrap()).collect();
        at += 1;
        if let Some(features) = slide.push(&sample).unwrap() {
            let place = (experiment.clone(), at - slide.window().length());
            if let Some(&(class, test)) = windows.get(&place) {
                rows.push((features, class, test));
            }
        }
    }
    assert_eq!(rows.len(), windows.len(), "every published window is one of ours");
    Parts::of(rows.into_iter())
}

/// Three made-up motions: still, slow and fast swings, of twelve people who hold the device askew.
fn made_up() -> Parts {
    let mut draw = Draw::new(7);
    let window = window();
    let mut rows = Vec::new();
    for (person, class) in (0..12).flat_map(|person| [0, 1, 2].map(|class| (person, class))) {
        let tilt = draw.normal();
        let rate = [0.0, 1.5, 2.4][usize::from(class)] + 0.1 * draw.normal();
        let samples: Vec<f32> = (0_u16..128 * 8)
            .flat_map(|t| {
                let swing = (std::f64::consts::TAU * rate * f64::from(t) / 50.0).sin();
                let at = [tilt.cos(), tilt.sin(), swing, swing, 0.0, 0.0];
                #[expect(clippy::cast_possible_truncation, reason = "test data")]
                at.map(|x| (x + 0.3 * draw.normal()) as f32)
            })
            .collect();
        let features = window.batch(&Features::new(6, samples).unwrap()).unwrap();
        rows.extend(features.rows().map(|row| (row.to_vec(), class, person >= 9)));
    }
    Parts::of(rows.into_iter())
}

#[test]
fn plain_classifiers_know_people_by_our_features_as_by_the_published_ones() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/hapt"));
    if !folder.join("hapt_raw.csv.gz").is_file() {
        println!("hapt_raw.csv.gz is absent: tested on made-up motion");
        let accuracy = made_up().accuracy(Family::Ridge);
        assert!(0.95 < accuracy, "{accuracy}");
        return;
    }
    let (published, windows) = published(folder);
    let ours = ours(folder, &windows);
    for family in [Family::Ridge, Family::Forest] {
        let (theirs, ours) = (published.accuracy(family), ours.accuracy(family));
        println!("{family:?}: published features {theirs:.4}, ours {ours:.4}");
        assert!(theirs - 0.02 < ours, "{family:?}: published {theirs:.4}, ours {ours:.4}");
    }
}

#[test]
fn made_up_motion_is_told_apart() {
    let accuracy = made_up().accuracy(Family::Ridge);
    assert!(0.95 < accuracy, "{accuracy}");
}
