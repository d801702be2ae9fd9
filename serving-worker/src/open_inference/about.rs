//! What the protocol tells of a worker and of its tasks, from the set that is served.

use std::sync::atomic::Ordering::Relaxed;

use models::Stage;
use proto::inference::{
    DataType, InferStatistics, ModelConfig, ModelInput, ModelMetadataResponse, ModelOutput,
    ModelParameter, ModelStatistics, ServerMetadataResponse, StatisticDuration,
    model_metadata_response::TensorMetadata, repository_index_response::ModelIndex,
};

use super::{
    INPUT, PLATFORM,
    outputs::{Output, signed},
};
use crate::{
    reply::rows_max,
    served::{Served, ServedSet},
};

/// Parts of Triton's protocol that are spoken beside the plain one.
const EXTENSIONS: [&str; 5] = [
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
    "binary_tensor_data",
];

pub(super) fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: PLATFORM.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub(super) fn metadata(served: &Served) -> ModelMetadataResponse {
    let classes = served.schema().classes().len();
    let output = |output: Output| TensorMetadata {
        name: output.name().to_owned(),
        datatype: output.datatype().to_owned(),
        shape: [vec![-1], output.dimensions(classes)].concat(),
    };
    ModelMetadataResponse {
        name: served.wanted.task.clone(),
        versions: vec![served.wanted.revision.to_string()],
        platform: PLATFORM.to_owned(),
        inputs: vec![TensorMetadata {
            name: INPUT.to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![-1, signed(served.schema().width())],
        }],
        outputs: outputs(served).map(output).collect(),
    }
}

/// What a client may ask for without saying more: a set only where the policy says of which coverage.
fn outputs(served: &Served) -> impl Iterator<Item = Output> {
    let sets = served.level.is_some();
    Output::ALL.into_iter().filter(move |&it| sets || it != Output::Set)
}

pub(super) fn config(served: &Served) -> ModelConfig {
    let schema = served.schema();
    let output = |output: Output| ModelOutput {
        name: output.name().to_owned(),
        data_type: match output {
            Output::Label | Output::PredictionId | Output::Best(_) => DataType::TypeString.into(),
            Output::Probabilities => DataType::TypeFp32.into(),
            Output::Set => DataType::TypeBool.into(),
        },
        dims: output.dimensions(schema.classes().len()),
    };
    let listed = |names: &[String]| serde_json::json!(names).to_string();
    let parameters = [
        ("classes", listed(schema.classes())),
        ("features", listed(schema.features())),
        ("members", served.members.to_string()),
    ];
    let parameter =
        |(name, string_value): (&str, String)| (name.to_owned(), ModelParameter { string_value });
    ModelConfig {
        name: served.wanted.task.clone(),
        platform: PLATFORM.to_owned(),
        backend: PLATFORM.to_owned(),
        max_batch_size: i32::try_from(rows_max(served, served.level.is_some())).unwrap_or(i32::MAX),
        input: vec![ModelInput {
            name: INPUT.to_owned(),
            data_type: DataType::TypeFp32.into(),
            dims: vec![signed(schema.width())],
        }],
        output: outputs(served).map(output).collect(),
        parameters: parameters.map(parameter).into(),
    }
}

/// Counts and times of a task since the worker started. Those of failures were not measured.
pub(super) fn statistics(served: &Served) -> ModelStatistics {
    let meter = &served.meter;
    let requests = meter.requests();
    let (count, queue_ns) = (requests.count.load(Relaxed), requests.queue_ns.load(Relaxed));
    let compute_ns = requests.compute_ns.load(Relaxed);
    let of = |count, ns| Some(StatisticDuration { count, ns });
    ModelStatistics {
        name: served.wanted.task.clone(),
        version: served.wanted.revision.to_string(),
        last_inference: requests.last_ms.load(Relaxed),
        inference_count: [Stage::Gate, Stage::Vote].map(|it| meter.totals(it).count()).iter().sum(),
        execution_count: count,
        inference_stats: Some(InferStatistics {
            success: of(count, queue_ns.saturating_add(compute_ns)),
            fail: of(meter.failures(), 0),
            queue: of(count, queue_ns),
            compute_input: of(count, 0),
            compute_infer: of(count, compute_ns),
            compute_output: of(count, 0),
        }),
    }
}

/// Everything that was ordered, and how it stands.
pub(super) fn index(set: &ServedSet, ready_only: bool) -> Vec<ModelIndex> {
    let served = set.tasks.values().map(|served| ModelIndex {
        name: served.wanted.task.clone(),
        version: served.wanted.revision.to_string(),
        state: "READY".to_owned(),
        reason: String::new(),
    });
    let missing = set.missing.iter().filter(|(task, _)| !set.tasks.contains_key(*task));
    let missing = missing.filter(|_| !ready_only).map(|(task, (wanted, fault))| ModelIndex {
        name: task.clone(),
        version: wanted.revision.to_string(),
        state: if fault.is_empty() { "LOADING" } else { "UNAVAILABLE" }.to_owned(),
        reason: fault.clone(),
    });
    served.chain(missing).collect()
}

/// Why models are not loaded or unloaded by who asks for answers.
pub(super) const NOT_HERE: &str = "the scheduler decides what is served here: see `sensemble task apply`, \
     `placement list` and `model rollback`";
