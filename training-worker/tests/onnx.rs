//! Imported classifiers answer as onnxruntime does: files of several converters, twelve thousand rows
//! each, zeroes of both signs, denormals and the largest numbers among them.
//!
//! `onnx/make.py` makes the files and the answers; the rows are made here as there, from a seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::PathBuf, sync::Arc};

use models::{
    Ensemble, Family, Features, Member, Parts, Schema, Voting, Weighted, bundle,
    vote::first_largest,
};
use training_worker::{
    draw::Draw,
    onnx::{Lowered, OnnxError},
};

const WIDTH: usize = 6;
const PLAIN: usize = 10_000;
const EDGES: usize = 2_000;
/// Scores beyond this may be what an overflow left.
const ROOM: f32 = 1e36;
/// Zeroes, denormals, the smallest and the largest numbers of both signs, and a few plain ones.
const SPECIAL: [u32; 16] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x0080_0000,
    0x8080_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7149_f2ca,
    0xf149_f2ca,
    0x3f80_0000,
    0xbf80_0000,
    0x007f_ffff,
    0x4000_0000,
    0xc000_0000,
    0x33d6_bf95,
];

/// The rows of make.py.
fn rows() -> Features {
    let mut state = 29_u64;
    let values = (0..(PLAIN + EDGES) * WIDTH).map(|at| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if PLAIN * WIDTH <= at && z & 1 == 1 {
            return f32::from_bits(SPECIAL[usize::try_from(z >> 8 & 15).unwrap()]);
        }
        let [.., a, b, c] = (z >> 40).to_be_bytes();
        let whole = f32::from(a) * 65_536.0 + f32::from(b) * 256.0 + f32::from(c);
        whole / 2_097_152.0 - 4.0
    });
    Features::new(WIDTH, values.collect()).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

/// The names of the files whose names do (not) begin with `refused-`.
fn names(refused: bool) -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|it| it.unwrap().file_name());
    let files = files.filter_map(|it| it.to_str()?.strip_suffix(".onnx").map(str::to_owned));
    let mut names: Vec<String> = files.filter(|it| it.starts_with("refused-") == refused).collect();
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    names
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.onnx"))).unwrap()
}

fn alone(lowered: Lowered) -> Ensemble {
    let features = (0..WIDTH).map(|it| format!("f{it}")).collect();
    let classes = (0..lowered.classes).map(|it| format!("c{it}")).collect();
    let Lowered { family, preparation, model, .. } = lowered;
    let member = Member { family, preparation: 0, model: Arc::new(model) };
    Ensemble::new(Parts {
        schema: Schema::new(features, classes, None).unwrap(),
        preparations: vec![preparation],
        gate: None,
        members: vec![Weighted { weight: 1.0, member }],
        voting: Voting::default(),
        golden: Vec::new(),
    })
    .unwrap()
}

/// Whether two classes have as many votes of pairs as the one that has most.
fn tied(scores: &[f32]) -> bool {
    let votes = scores.iter().map(|it| it.round());
    let most = votes.clone().fold(f32::MIN, f32::max);
    1 < votes.filter(|&it| it == most).count()
}

fn scores(ensemble: &Ensemble, samples: &Features) -> Vec<f32> {
    ensemble.scores_of_members(samples).swap_remove(0)
}

#[test]
fn imported_classifiers_answer_as_onnxruntime_does() {
    let samples = rows();
    let mut failed = Vec::new();
    for name in names(false) {
        let lowered = Lowered::read(&file(&name), WIDTH)
            .unwrap_or_else(|it| panic!("{name}: {}", runtime::Report(&it)));
        let (classes, link, lowered_family) = (lowered.classes, lowered.link, lowered.family);
        let answers = fs::read(folder().join(format!("{name}.answers"))).unwrap();
        let (labels, expected) = answers.split_at(PLAIN + EDGES);
        let ensemble = alone(lowered);
        let found = scores(&ensemble, &samples);
        let machines = lowered_family == Family::RbfSvm;
        let (mut asked, mut level, mut other) = (0, 0, Vec::new());
        let rows = found.chunks_exact(classes).zip(labels).enumerate();
        for (row, (scores, &label)) in rows {
            // Where sums leave the range of f32 on their way, their order decides what is left.
            if label == 255 || scores.iter().any(|it| it.abs() > ROOM || it.is_nan()) {
                continue;
            }
            asked += 1;
            if first_largest(scores).index() == usize::from(label) {
                continue;
            }
            // LIBSVM gives a tie of votes to the first class, a member of ours to the surer one.
            if machines && tied(scores) {
                level += 1;
            } else {
                other.push((row, label, scores.to_vec()));
            }
        }
        let expected: Vec<f32> =
            expected.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
        let mut apart = 0.0_f32;
        for (scores, expected) in found.chunks_exact(classes).zip(expected.chunks_exact(classes)) {
            for (found, expected) in link.probabilities(scores).iter().flatten().zip(expected) {
                apart = apart.max((found - expected).abs());
            }
        }
        println!(
            "{name}: {asked} rows, {} other, {level} level, probabilities differ by {apart:.1e}",
            other.len()
        );
        if !other.is_empty() || 1e-5 < apart || asked < 11_000 || asked < 50 * level {
            failed.push(format!("{name}: {asked}, {level}, {apart}, {:?}", other.first()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn what_no_member_can_hold_is_refused_by_name() {
    let said = [
        ("refused-bayes", "(Reshape) makes something other than rows"),
        ("refused-elu", "operator Elu of the node \"/elu/Elu\""),
        ("refused-linear-pairs", "export LinearSVC"),
        ("refused-neighbours", "kNN"),
        ("refused-polynomial", "kernel POLY"),
        ("refused-tanh", "operator Tanh"),
    ];
    for name in names(true) {
        let error = Lowered::read(&file(&name), WIDTH).unwrap_err();
        let text = runtime::Report(&error).to_string();
        let word =
            said.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("{name}: {text}")).1;
        assert!(text.contains(word), "{name}: {text}");
    }
}

#[test]
fn another_width_is_refused_before_anything_else() {
    let error = Lowered::read(&file("logistic"), WIDTH + 1).unwrap_err();
    assert_eq!(error, OnnxError::Width { expected: WIDTH + 1, actual: WIDTH });
}

#[test]
fn classes_in_another_order_are_the_same_classes() {
    let samples = rows();
    for name in names(false) {
        let lowered = Lowered::read(&file(&name), WIDTH).unwrap();
        let classes = lowered.classes;
        let order: Vec<usize> = (0..classes).map(|it| (it + 1) % classes).rev().collect();
        let moved = scores(&alone(lowered.clone().in_order(&order)), &samples);
        let plain = scores(&alone(lowered), &samples);
        for (row, (plain, moved)) in
            plain.chunks_exact(classes).zip(moved.chunks_exact(classes)).enumerate()
        {
            for (moved, &was) in moved.iter().zip(&order) {
                let scale = plain.iter().fold(1.0_f32, |most, it| most.max(it.abs()));
                let close = (moved - plain[was]).abs() <= 1e-5 * scale;
                let close = close || moved.to_bits() == plain[was].to_bits();
                assert!(close, "{name}, row {row}: {plain:?} {moved} {order:?}");
            }
        }
    }
}

#[test]
fn a_member_survives_its_bundle() {
    for name in names(false) {
        let ensemble = alone(Lowered::read(&file(&name), WIDTH).unwrap());
        assert_eq!(bundle::decode(&bundle::encode(&ensemble)).unwrap(), ensemble, "{name}");
    }
}

/// Each file with each of its prefixes and with bytes changed: an error or a member, never a panic.
#[test]
fn broken_files_are_answered() {
    let mut draw = Draw::new(29);
    for name in names(false).into_iter().chain(names(true)) {
        let whole = file(&name);
        for end in (0..whole.len()).step_by(whole.len() / 60 + 1) {
            let _any_answer_will_do = Lowered::read(&whole[..end], WIDTH);
        }
        for _ in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                let at = draw.below(bytes.len());
                bytes[at] ^= 1 << draw.below(8);
            }
            if let Ok(lowered) = Lowered::read(&bytes, WIDTH) {
                let samples = Features::new(WIDTH, vec![0.5; WIDTH]).unwrap();
                let _answers = scores(&alone(lowered), &samples);
            }
        }
    }
}
