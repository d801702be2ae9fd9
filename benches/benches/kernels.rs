//! One answer of each family, alone on one thread; and reading a bundle.
//!
//! Made-up models of two shapes: that of the HAPT features (561 values, six classes, 8 324 rows) and
//! that of a table of a few sensors. The values are random, the work is not.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use models::{
    Family, Features, Subset, bundle, golden,
    synthetic::{self, Shape},
};

const SHAPES: [(&str, Shape); 2] = [("hapt", Shape::HAPT), ("sensors", Shape::SENSORS)];

/// What one sample costs: preparation, scores, vote.
fn one_answer(criterion: &mut Criterion) {
    for (name, shape) in SHAPES {
        let mut group = criterion.benchmark_group(format!("answer/{name}"));
        let rows = synthetic::rows(shape.width, 64, 5);
        let rows = &rows[..64];
        for family in Family::PAPER {
            let ensemble = synthetic::ensemble(&[family], shape, false, 1);
            let mut scratch = ensemble.scratch();
            let mut next = rows.iter().cycle();
            group.bench_function(family.name(), |bencher| {
                bencher.iter(|| {
                    let row = black_box(next.next().expect("an endless iterator"));
                    ensemble.answer(row, Subset(1), false, &mut scratch).expect("a sample")
                });
            });
        }
        let ensemble = synthetic::ensemble(&Family::PAPER, shape, true, 1);
        let asking = ensemble.asking(Subset::all(7)).expect("all there are").to_the_end();
        let mut scratch = ensemble.scratch();
        let mut next = rows.iter().cycle();
        group.bench_function("seven-to-the-end", |bencher| {
            bencher.iter(|| {
                let row = black_box(next.next().expect("an endless iterator"));
                ensemble.answer_timed(row, &asking, false, &mut scratch, |_| ()).expect("a sample")
            });
        });
        for (name, gated) in [("seven", false), ("gate-and-seven", true)] {
            let mut scratch = ensemble.scratch();
            let mut next = rows.iter().cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let row = black_box(next.next().expect("an endless iterator"));
                    ensemble.answer(row, Subset::all(7), gated, &mut scratch).expect("a sample")
                });
            });
        }
        group.finish();
    }
}

/// What validation costs: every member's vote on many samples. And what requests would cost that are answered
/// together: by the row, beside `answer/hapt`.
fn many_votes(criterion: &mut Criterion) {
    let shape = Shape::HAPT;
    let mut group = criterion.benchmark_group("votes/hapt");
    group.sample_size(10);
    let rows = synthetic::rows(shape.width, 64, 5);
    let samples = Features::new(shape.width, rows[..64].concat()).expect("finite whole rows");
    group.throughput(Throughput::Elements(64));
    for family in Family::PAPER {
        let ensemble = synthetic::ensemble(&[family], shape, false, 1);
        group.bench_function(family.name(), |bencher| {
            bencher.iter(|| ensemble.member_votes(black_box(&samples)));
        });
    }
    let ensemble = synthetic::ensemble(&Family::PAPER, shape, false, 1);
    group.bench_function("seven", |bencher| {
        bencher.iter(|| ensemble.member_votes(black_box(&samples)));
    });
    group.finish();
}

/// What a swap costs before the first answer.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(10);
    for (name, shape) in SHAPES {
        let bytes = bundle::encode(&synthetic::ensemble(&Family::PAPER, shape, true, 1));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| bundle::decode(black_box(&bytes)).expect("what was just written"));
        });
    }
    group.finish();
}

/// What a worker asks before it swaps: as many golden rows as the ensemble affords, of everybody.
fn golden_rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("golden");
    group.sample_size(10);
    for (name, shape) in SHAPES {
        let ensemble = synthetic::compacted(synthetic::ensemble(&Family::PAPER, shape, true, 1));
        let rows = synthetic::rows(shape.width, golden::ROWS_MAX, 5);
        let few = rows[..golden::affordable(&ensemble)].iter().map(Vec::as_slice);
        let ensemble = ensemble.with_golden(few).expect("few samples of the shape");
        let mut scratch = ensemble.scratch();
        group.bench_function(format!("{name}/{}", ensemble.golden().len()), |bencher| {
            bencher.iter(|| ensemble.check_golden(black_box(&mut scratch)).expect("the same"));
        });
    }
    group.finish();
}

criterion_group!(benches, one_answer, many_votes, decode, golden_rows);
criterion_main!(benches);
