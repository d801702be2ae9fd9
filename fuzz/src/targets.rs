//! What reads bytes from outside.

use prost::Message as _;
use proto::{inference::ModelInferRequest, v1};

/// A reader of bytes.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Reads them; a short word for what became of them.
    pub read: fn(&[u8]) -> String,
    /// What is changed first.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What stands in the format.
    pub words: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "task", read: task, seeds: task_seeds, words: TASK_WORDS },
    Target { name: "orders", read: orders, seeds: orders_seeds, words: &[] },
    Target { name: "predict", read: predict, seeds: predict_seeds, words: &[] },
    Target { name: "bundle", read: bundle, seeds: bundle_seeds, words: &[] },
    Target {
        name: "bundle-sealed",
        read: |bytes| bundle(&crate::seal::sealed(bytes)),
        seeds: bundle_seeds,
        words: BUNDLE_WORDS,
    },
    Target { name: "http-tensors", read: http_tensors, seeds: http_seeds, words: HTTP_WORDS },
    Target { name: "grpc-tensors", read: grpc_tensors, seeds: grpc_seeds, words: &[] },
    Target { name: "mqtt", read: mqtt, seeds: mqtt_seeds, words: MQTT_WORDS },
    Target { name: "onnx", read: onnx, seeds: onnx_seeds, words: ONNX_WORDS },
];

/// What is said of an error: its text without the numbers and names in it, bounded.
fn word(error: &dyn std::fmt::Debug) -> String {
    format!("{error:?}").chars().filter(|it| it.is_ascii_alphabetic()).take(60).collect()
}

const TASK: &str = r#"
[task]
name = "kitchen-activity"
classes = ["idle", "blender", "tap"]
background = "idle"
[input]
kind = "window"
channels = [{ name = "acc_x", unit = "g" }, "acc_y", "acc_z"]
rate_hz = 50
length_s = 2.56
step_s = 1.28
[policy]
objective = "best-effort"
latency = { p99_ms = 20, site = "kitchen" }
accuracy = { min = 0.80, missed_events_max = 0.02 }
place = { on_site = true, require = { arch = "aarch64" }, replicas = 1 }
train = { budget_s = 300, families = "all", trials = 40, lazy = true }
adapt = { after_corrections = 25, on_drift = true, canary = [0.1, 0.5, 1.0] }
label = { auto_above = 0.97, review_between = [0.5, 0.97], questions_per_day = 20 }
"#;

const TASK_WORDS: &[&[u8]] = &[
    b"[input]\n",
    b"kind = \"features\"",
    b"features = [\"a\", \"b\"]",
    b"kind = \"audio\"",
    b"kind = \"image\"",
    b"width = 28",
    b"height = 28",
    b"detail = \"brief\"",
    b"1e308",
    b"-1",
    b"nan",
    b"inf",
    b"18446744073709551615",
    b"\"\"\"",
    b"recording = \"run\"",
    b"'",
    b"\n",
    b"[[",
];

fn task(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match scheduler::task_file::Task::parse(&text) {
        Ok(task) => format!("ok {}", task.input.kind()),
        Err(error) => word(&error),
    }
}

fn task_seeds() -> Vec<Vec<u8>> {
    let plain = "[task]\nname = \"a\"\nclasses = [\"x\", \"y\"]\n[input]\nkind = \"features\"\n\
                 features = [\"a\", \"b\"]\n[policy]\ntrain = { families = [\"ridge\"] }\n";
    vec![TASK.into(), plain.into()]
}

fn orders(bytes: &[u8]) -> String {
    match v1::Assignments::decode(bytes) {
        Ok(assignments) => serving_worker::fuzzing::orders(assignments),
        Err(_) => "no message".to_owned(),
    }
}

fn orders_seeds() -> Vec<Vec<u8>> {
    let assignment = |task: &str, input: &str| v1::Assignment {
        task: task.to_owned(),
        generation: 7,
        revision: 3,
        digest: vec![7; 32].into(),
        members: vec![0, 3, 63],
        gated: true,
        coverage_thousandths: 900,
        abstain_below_thousandths: 600,
        input: input.to_owned(),
        fallback: String::new(),
    };
    let window = r#"{"kind":"window","channels":["a","b"],"rate_hz":50,"length_s":2.56,"step_s":1.28,"detail":"full"}"#;
    let of = |tasks| v1::Assignments {
        token: "00112233".to_owned(),
        scheduler: "127.0.0.1:7400".to_owned(),
        device: "pi".to_owned(),
        has_orders: true,
        tasks,
        ..v1::Assignments::default()
    };
    vec![
        of(vec![assignment("kitchen", window)]).encode_to_vec(),
        of(vec![assignment("a", ""), assignment("b", "{}")]).encode_to_vec(),
    ]
}

fn predict(bytes: &[u8]) -> String {
    let checked = |width: usize, values: Vec<f32>| match models::Features::new(width, values) {
        Ok(features) => format!("{} rows", features.len().min(3)),
        Err(error) => word(&error),
    };
    let one = match v1::PredictRequest::decode(bytes) {
        Ok(request) => checked(request.features.len(), request.features),
        Err(_) => "no message".to_owned(),
    };
    let many = match v1::PredictBatchRequest::decode(bytes) {
        Ok(request) => checked(usize::try_from(request.width).unwrap_or(0), request.values),
        Err(_) => "no message".to_owned(),
    };
    let correct = match v1::CorrectRequest::decode(bytes) {
        Ok(request) => proto::parse::prediction_id(&request.prediction_id).is_ok().to_string(),
        Err(_) => "no message".to_owned(),
    };
    format!("{one}/{many}/{correct}")
}

fn predict_seeds() -> Vec<Vec<u8>> {
    let task = || "kitchen".to_owned();
    let values = vec![1.0, -2.0, 3.5, f32::MAX];
    vec![
        v1::PredictRequest { task: task(), features: values.clone(), coverage: Some(0.9) }
            .encode_to_vec(),
        v1::PredictBatchRequest { task: task(), width: 2, values, ..Default::default() }
            .encode_to_vec(),
        v1::CorrectRequest { prediction_id: vec![9; 16].into(), label: task() }.encode_to_vec(),
    ]
}

fn bundle(bytes: &[u8]) -> String {
    match models::bundle::decode(bytes) {
        Err(error) => word(&error),
        Ok(ensemble) => {
            // What was understood must answer, too.
            let row = vec![0.5; ensemble.schema().width()];
            let members = ensemble.members().len();
            let mut scratch = models::Scratch::default();
            let _either = ensemble.check_golden(&mut scratch);
            match ensemble.answer(&row, models::Subset::all(members), true, &mut scratch) {
                Ok(answer) => format!("ok {members} {:?}", answer.stage),
                Err(error) => word(&error),
            }
        }
    }
}

/// What stands in the names of arrays.
const BUNDLE_WORDS: &[&[u8]] = &[
    b"\"F32\"",
    b"\"U64\"",
    b"\"U32\"",
    b"\"U16\"",
    b"\"U8\"",
    b"\"shape\":[0]",
    b"\"shape\":[1]",
    b"m0.",
    b"m1.",
    b"gate.",
    b"p0.s0.",
    b"l0.weights",
    b"\x00\x00\xc0\x7f",
    b"\x00\x00\x80\x7f",
    b"\x00\x00\x80\xff",
    b"\xff\xff\x7f\x7f",
];

fn bundle_seeds() -> Vec<Vec<u8>> {
    const GOLDEN: [&[u8]; 28] = [
        include_bytes!("../../models/golden/v1-boosted.bundle"),
        include_bytes!("../../models/golden/v1-forest.bundle"),
        include_bytes!("../../models/golden/v1-gated.bundle"),
        include_bytes!("../../models/golden/v1-knn.bundle"),
        include_bytes!("../../models/golden/v1-linear-svm.bundle"),
        include_bytes!("../../models/golden/v1-mlp.bundle"),
        include_bytes!("../../models/golden/v1-near.bundle"),
        include_bytes!("../../models/golden/v1-rbf-svm.bundle"),
        include_bytes!("../../models/golden/v1-ridge.bundle"),
        include_bytes!("../../models/golden/v1-selected.bundle"),
        include_bytes!("../../models/golden/v2-measured.bundle"),
        include_bytes!("../../models/golden/v2-soft.bundle"),
        include_bytes!("../../models/golden/v3-knn.bundle"),
        include_bytes!("../../models/golden/v3-near.bundle"),
        include_bytes!("../../models/golden/v3-rbf-svm.bundle"),
        include_bytes!("../../models/golden/v3-soft.bundle"),
        include_bytes!("../../models/golden/v4-compact.bundle"),
        include_bytes!("../../models/golden/v4-plain.bundle"),
        include_bytes!("../../models/golden/v4-sets.bundle"),
        include_bytes!("../../models/golden/v4-soft.bundle"),
        include_bytes!("../../models/golden/v5-compact.bundle"),
        include_bytes!("../../models/golden/v5-rbf-svm.bundle"),
        include_bytes!("../../models/golden/v5-soft.bundle"),
        include_bytes!("../../models/golden/v5-whole.bundle"),
        include_bytes!("../../models/golden/v6-half.bundle"),
        include_bytes!("../../models/golden/v6-whole.bundle"),
        include_bytes!("../../models/golden/v7-pooled.bundle"),
        include_bytes!("../../models/golden/v7-whole.bundle"),
    ];
    let fits = |it: &&[u8]| it.len() <= crate::INPUT_BYTES_MAX;
    GOLDEN.iter().copied().filter(fits).map(<[u8]>::to_vec).collect()
}

const HTTP_WORDS: &[&[u8]] = &[
    b"\"binary_data_size\": 12",
    b"\"data\": [[1, 2], [3]]",
    b"FP64",
    b"INT8",
    b"BYTES",
    b"[]",
    b"{",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"1e400",
    b"null",
    b"\"shape\": [0, 3]",
    b"\"outputs\": [{\"name\": \"label\"}]",
    b"\"parameters\": {\"timeout\": 7}",
    b"\"\\u0000\"",
];

/// The first two bytes say where the JSON ends.
fn http_tensors(bytes: &[u8]) -> String {
    let Some(([low, high], body)) = bytes.split_first_chunk::<2>() else { return String::new() };
    let header = u16::from_le_bytes([*low, *high]);
    let header = (header != 0).then(|| header.to_string());
    serving_worker::fuzzing::http_tensors(header.as_deref().map(str::as_bytes), body)
}

fn http_seeds() -> Vec<Vec<u8>> {
    let plain = br#"{"id": "1", "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}], "outputs": [{"name": "label", "parameters": {"binary_data": true}}]}"#;
    let binary = br#"{"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}], "parameters": {"timeout": 10000}}"#;
    let length = u16::try_from(binary.len()).unwrap_or(0).to_le_bytes();
    let values = [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat();
    vec![[&[0, 0], &plain[..]].concat(), [&length[..], &binary[..], &values].concat()]
}

fn grpc_tensors(bytes: &[u8]) -> String {
    match ModelInferRequest::decode(bytes) {
        Ok(request) => serving_worker::fuzzing::grpc_tensors(request),
        Err(_) => "no message".to_owned(),
    }
}

fn grpc_seeds() -> Vec<Vec<u8>> {
    use proto::inference::{InferTensorContents, model_infer_request::InferInputTensor};
    let input = |contents| InferInputTensor {
        name: "features".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 3],
        contents,
        ..InferInputTensor::default()
    };
    let of = |input, raw: Vec<Vec<u8>>| ModelInferRequest {
        model_name: "kitchen".to_owned(),
        id: "7".to_owned(),
        inputs: vec![input],
        raw_input_contents: raw.into_iter().map(Into::into).collect(),
        ..ModelInferRequest::default()
    };
    let fp32_contents = vec![1.0, 2.0, 3.0];
    let typed = InferTensorContents { fp32_contents, ..InferTensorContents::default() };
    vec![
        of(input(Some(typed)), Vec::new()).encode_to_vec(),
        of(input(None), vec![vec![0; 12]]).encode_to_vec(),
    ]
}

const MQTT_WORDS: &[&[u8]] = &[
    b"{\"features\": [1, 2], \"id\": \"a\"}",
    b"\"channels\": {\"a\": [1, 2], \"b\": [3, 4]}",
    b"\"stream\": \"left\"",
    b"\"prediction_id\": \"00\"",
    b"\"label\": \"tap\"",
    b"1e400",
    b"null",
    b"/sample",
    b"/correction",
    b"/button/right",
    b"%2f",
    b"\0",
    b"sensemble/home/",
];

/// A topic, a line feed, and a message.
fn mqtt(bytes: &[u8]) -> String {
    let at = bytes.iter().position(|it| *it == b'\n').unwrap_or(bytes.len());
    let (topic, payload) = bytes.split_at(at);
    serving_worker::fuzzing::mqtt(topic, payload.get(1..).unwrap_or_default())
}

fn mqtt_seeds() -> Vec<Vec<u8>> {
    let raw = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
    vec![
        b"sensemble/home/kitchen/sample\n{\"features\": [1, 2.5], \"id\": 7}".to_vec(),
        b"sensemble/home/kitchen/sample/left\n{\"channels\": {\"a\": [1, 2], \"b\": [3, 4]}}"
            .to_vec(),
        b"sensemble/home/kitchen/correction\n{\"prediction_id\": \"00\", \"label\": \"tap\"}"
            .to_vec(),
        b"sensemble/home/kitchen/button/class\ntap".to_vec(),
        [&b"sensemble/home/kitchen/sample\n"[..], &raw].concat(),
    ]
}

const ONNX_WORDS: &[&[u8]] = &[
    b"Gemm",
    b"MatMul",
    b"Relu",
    b"Softmax",
    b"ZipMap",
    b"BatchNormalization",
    b"TreeEnsembleClassifier",
    b"SVMClassifier",
    b"LinearClassifier",
    b"BRANCH_LT",
    b"LEAF",
    b"ai.onnx.ml",
    b"\x0a\x00",
    b"\x42\x00",
    b"\xff\xff\xff\xff\x0f",
];

fn onnx(bytes: &[u8]) -> String {
    use training_worker::onnx::Lowered;
    const WIDTH: usize = 6;
    match Lowered::read(bytes, WIDTH) {
        Err(error) => word(&error),
        Ok(lowered) => {
            // What was understood must answer, too, and in any order of its classes.
            let order: Vec<usize> = (0..lowered.classes).rev().collect();
            let lowered = lowered.in_order(&order);
            let samples = lowered.preparation.apply(&[0.5; WIDTH]);
            let mut scores = vec![0.0; lowered.classes];
            lowered.model.scores(&samples, &mut scores, &mut models::Buffers::default());
            format!("ok {} {:?}", lowered.family.name(), lowered.link)
        }
    }
}

fn onnx_seeds() -> Vec<Vec<u8>> {
    const FILES: [&[u8]; 7] = [
        include_bytes!("../../training-worker/tests/onnx/logistic.onnx"),
        include_bytes!("../../training-worker/tests/onnx/svc-pca.onnx"),
        include_bytes!("../../training-worker/tests/onnx/forest-binary.onnx"),
        include_bytes!("../../training-worker/tests/onnx/boosting.onnx"),
        include_bytes!("../../training-worker/tests/onnx/mlp-binary.onnx"),
        include_bytes!("../../training-worker/tests/onnx/torch-mlp.onnx"),
        include_bytes!("../../training-worker/tests/onnx/torch-norm.onnx"),
    ];
    let fits = |it: &&[u8]| it.len() <= crate::INPUT_BYTES_MAX;
    FILES.iter().copied().filter(fits).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        panic::{AssertUnwindSafe, catch_unwind},
    };

    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::mutation;

    #[test]
    fn every_target_understands_what_it_is_shown_first() {
        for target in &TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            for seed in seeds {
                let said = (target.read)(&seed);
                let understood = match target.name {
                    "predict" => said.contains("rows") || said.contains("true"),
                    _ => said.starts_with("ok"),
                };
                assert!(understood, "{}: {said}", target.name);
            }
        }
    }

    /// What libFuzzer does for minutes where there is a C++ compiler, for a second and everywhere. An input that is
    /// answered in a way not seen before joins those that are changed further.
    #[test]
    fn no_reader_panics_at_what_was_changed() {
        const SEED: u64 = 1;
        const INPUTS: usize = 4_000;
        for target in &TARGETS {
            let mut random = StdRng::seed_from_u64(SEED);
            let (mut inputs, mut seen) = ((target.seeds)(), BTreeSet::new());
            for number in 0..INPUTS {
                let one = random.random_range(0..inputs.len());
                let other = random.random_range(0..inputs.len());
                let input =
                    mutation::changed(&mut random, &inputs[one], &inputs[other], target.words);
                // Readers are functions of bytes: nothing of theirs is left behind by a panic.
                match catch_unwind(AssertUnwindSafe(|| (target.read)(&input))) {
                    Ok(word) if seen.insert(word.clone()) => inputs.push(input),
                    Ok(_) => {}
                    Err(_) => panic!("{}, seed {SEED}, input {number}: {input:?}", target.name),
                }
            }
        }
    }
}
