//! Trains on the real data sets as a job does, and says how accurate each family and the vote are.
use std::collections::BTreeMap;
use std::time::Instant;

use models::member::Buffers;
use models::*;
use training_worker::fit::*;

struct Table {
    names: Vec<String>,
    width: usize,
    values: Vec<f32>,
    labels: Vec<u16>,
    extra: BTreeMap<String, Vec<String>>,
}

fn read(path: &str) -> Table {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let headers = reader.headers().unwrap().clone();
    let width = headers.iter().position(|it| it == "label").unwrap();
    let mut t = Table {
        names: headers.iter().take(width).map(String::from).collect(),
        width,
        values: vec![],
        labels: vec![],
        extra: BTreeMap::new(),
    };
    for record in reader.records() {
        let record = record.unwrap();
        for (at, cell) in record.iter().enumerate() {
            if at < width {
                t.values.push(cell.parse().unwrap());
            } else if at == width {
                t.labels.push(cell.parse().unwrap());
            } else {
                t.extra.entry(headers[at].to_string()).or_default().push(cell.to_string());
            }
        }
    }
    t
}

fn main() {
    let which = std::env::args().nth(1).unwrap();
    let only: Vec<String> = std::env::args().skip(2).collect();
    let base = std::env::var("DATA").unwrap_or("../shared/data".into());
    let (table, test, group): (Table, Vec<bool>, Vec<u32>) = match which.as_str() {
        "room" => {
            let t = read(&format!("{base}/room_occupancy/room_occupancy.csv.gz"));
            let test = t.extra["day"]
                .iter()
                .map(|d| !["2017-12-22", "2017-12-24", "2017-12-25"].contains(&d.as_str()))
                .collect();
            (t, test, vec![])
        }
        _ => {
            let mut t = read(&format!("{base}/hapt/hapt_features.csv.gz"));
            if which == "hapt6" {
                let keep: Vec<usize> =
                    (0..t.labels.len()).filter(|&i| (1..=6).contains(&t.labels[i])).collect();
                t.values = keep
                    .iter()
                    .flat_map(|&i| t.values[i * t.width..(i + 1) * t.width].to_vec())
                    .collect();
                t.labels = keep.iter().map(|&i| t.labels[i] - 1).collect();
                for v in t.extra.values_mut() {
                    *v = keep.iter().map(|&i| v[i].clone()).collect();
                }
            }
            let test = t.extra["split"].iter().map(|d| d == "test").collect();
            let g = t.extra["subject"].iter().map(|d| d.parse().unwrap()).collect();
            (t, test, g)
        }
    };
    let classes = usize::from(*table.labels.iter().max().unwrap()) + 1;
    let all = Features::new(table.width, table.values).unwrap();
    let train: Vec<usize> = (0..test.len()).filter(|&i| !test[i]).collect();
    let tests: Vec<usize> = (0..test.len()).filter(|&i| test[i]).collect();
    let tl: Vec<u16> = train.iter().map(|&i| table.labels[i]).collect();
    let tg: Vec<u32> =
        if group.is_empty() { vec![] } else { train.iter().map(|&i| group[i]).collect() };
    let split = training_worker::split::split(&tl, &tg, classes, 1).unwrap();
    println!(
        "{} {} {} {:?}",
        split.training.len(),
        split.validation.len(),
        split.held_out.len(),
        split.kind
    );
    let mut fit_rows: Vec<usize> = split.training.iter().map(|&i| train[i]).collect();
    if std::env::var("ALL").is_ok() {
        fit_rows = train.clone();
    }
    if std::env::var("TV").is_ok() {
        fit_rows.extend(split.validation.iter().map(|&i| train[i]));
        fit_rows.sort();
    }
    let valid: Vec<usize> = split.validation.iter().map(|&i| train[i]).collect();
    let x = all.select(&fit_rows);
    let y: Vec<u16> = fit_rows.iter().map(|&i| table.labels[i]).collect();
    let t0 = Instant::now();
    let standard = Preparation { steps: vec![standardise(&x)] };
    let xs = standard.features(&x).unwrap();
    println!("standardise {:.2}", t0.elapsed().as_secs_f64());
    let t0 = Instant::now();
    let mut projected = standard.clone();
    projected.steps.push(principal_components(&xs, 48).unwrap());
    let xp = projected.features(&x).unwrap();
    println!("project {:.2}", t0.elapsed().as_secs_f64());
    let stop = Stop::default();
    let mut votes = vec![];
    let _ = table.names;
    for family in Family::ALL {
        if !only.is_empty() && !only.iter().any(|o| o == family.name()) {
            continue;
        }
        let recipe = Recipe::of(family);
        let (p, rows) = match recipe.preparing() {
            Preparing::Nothing => (Preparation::default(), &x),
            Preparing::Standardised => (standard.clone(), &xs),
            Preparing::Projected => (projected.clone(), &xp),
        };
        let t0 = Instant::now();
        let model = fit(
            &recipe,
            &Lesson { samples: rows, labels: &y, classes, seed: 1, threads: 1, stop: &stop },
        )
        .unwrap();
        let fit_s = t0.elapsed().as_secs_f64();
        let mut scores = vec![0.0; classes];
        let mut buffers = Buffers::default();
        let mut acc = |rows: &[usize]| -> (f64, Vec<u16>) {
            let v: Vec<u16> = rows
                .iter()
                .map(|&i| model.vote(&p.apply(all.row(i)), &mut scores, &mut buffers).0)
                .collect();
            (
                v.iter().zip(rows).filter(|(v, i)| **v == table.labels[**i]).count() as f64
                    / rows.len() as f64,
                v,
            )
        };
        let t0 = Instant::now();
        let (at, v) = acc(&tests);
        let us = t0.elapsed().as_secs_f64() * 1e6 / tests.len() as f64;
        let (av, _) = acc(&valid);
        println!(
            "{:11} fit {fit_s:6.2}s  val {av:.4}  test {at:.4}  {us:.1} us  {} kB",
            family.name(),
            model.bytes() / 1024
        );
        votes.push((av, v));
    }
    let mut right = 0;
    let mut missed = 0;
    let mut events = 0;
    for (k, &i) in tests.iter().enumerate() {
        let mut tally = vec![0.0_f64; classes];
        for (a, v) in &votes {
            tally[usize::from(v[k])] += (a / (1.0 - a)).ln();
        }
        let best = (0..classes).rev().max_by(|&a, &b| tally[a].total_cmp(&tally[b])).unwrap();
        if best == usize::from(table.labels[i]) {
            right += 1;
        }
        if table.labels[i] != 0 {
            events += 1;
            if best == 0 {
                missed += 1;
            }
        }
    }
    println!(
        "vote {:.4} missed {:.4}",
        right as f64 / tests.len() as f64,
        missed as f64 / events as f64
    );
}
