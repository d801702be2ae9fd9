//! Answers of the protocol over HTTP: JSON, and behind it the values that were wanted in binary.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use proto::inference::{
    DataType, ModelConfig, ModelMetadataResponse, ModelStatistics, ServerMetadataResponse,
    StatisticDuration, model_metadata_response::TensorMetadata,
    repository_index_response::ModelIndex,
};
use serde_json::{Value, json};

use super::{
    outputs::{Classes, Haste, Values, abstained, shape},
    request::Asked,
};
use crate::answer::Answered;

/// Where the JSON of a body ends.
pub(super) const HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// The answer to `asked`; `binary` says it for each of its outputs.
pub(super) fn inferred(asked: &Asked, answered: &Answered, binary: &[bool]) -> Response {
    let classes = Classes::from(answered);
    let mut behind = Vec::new();
    let outputs: Vec<Value> = asked
        .outputs
        .iter()
        .zip(binary)
        .map(|(&output, &binary)| {
            let values = output.values(&answered.answers, classes);
            let mut tensor = json!({
                "name": output.name(),
                "datatype": output.datatype(),
                "shape": shape(output, answered.answers.len(), classes.count),
            });
            if binary {
                let raw = values.raw();
                tensor["parameters"] = json!({ "binary_data_size": raw.len() });
                behind.extend_from_slice(&raw);
            } else {
                tensor["data"] = match values {
                    Values::Numbers(numbers) => json!(numbers),
                    Values::Flags(flags) => json!(flags),
                    Values::Texts(texts) => {
                        texts.iter().map(|it| String::from_utf8_lossy(it)).collect()
                    }
                };
            }
            tensor
        })
        .collect();
    let mut message = json!({
        "model_name": answered.task,
        "model_version": answered.revision.to_string(),
        "outputs": outputs,
    });
    if let Some(Haste { voted, members }) = Haste::of(&answered.answers) {
        message["parameters"] = json!({ "cut_short": true, "voted": voted, "members": members });
    }
    if let Some(count) = abstained(&answered.answers) {
        message["parameters"]["abstained"] = json!(count);
    }
    if !asked.id.is_empty() {
        message["id"] = json!(asked.id);
    }
    if !binary.contains(&true) {
        return Json(message).into_response();
    }
    let mut body = message.to_string().into_bytes();
    let length = HeaderValue::from(body.len());
    body.append(&mut behind);
    let kind = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, kind), (HEADER_LENGTH, length)], body).into_response()
}

pub(super) fn server(server: &ServerMetadataResponse) -> Value {
    let ServerMetadataResponse { name, version, extensions } = server;
    json!({ "name": name, "version": version, "extensions": extensions })
}

pub(super) fn metadata(metadata: &ModelMetadataResponse) -> Value {
    let tensors = |tensors: &[TensorMetadata]| -> Value {
        let tensor = |TensorMetadata { name, datatype, shape }: &TensorMetadata| json!({ "name": name, "datatype": datatype, "shape": shape });
        tensors.iter().map(tensor).collect()
    };
    let ModelMetadataResponse { name, versions, platform, inputs, outputs } = metadata;
    json!({
        "name": name,
        "versions": versions,
        "platform": platform,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
    })
}

pub(super) fn config(config: &ModelConfig) -> Value {
    let kind = |kind: i32| DataType::try_from(kind).unwrap_or_default().as_str_name();
    let tensor = |name: &str, data_type: i32, dims: &[i64]| json!({ "name": name, "data_type": kind(data_type), "dims": dims });
    let inputs = config.input.iter().map(|it| tensor(&it.name, it.data_type, &it.dims));
    let outputs = config.output.iter().map(|it| tensor(&it.name, it.data_type, &it.dims));
    let parameters = config
        .parameters
        .iter()
        .map(|(name, it)| (name.clone(), json!({ "string_value": it.string_value })));
    json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "max_batch_size": config.max_batch_size,
        "input": inputs.collect::<Value>(),
        "output": outputs.collect::<Value>(),
        "parameters": parameters.collect::<Value>(),
    })
}

pub(super) fn statistics(all: &[ModelStatistics]) -> Value {
    let time = |it: Option<StatisticDuration>| {
        let StatisticDuration { count, ns } = it.unwrap_or_default();
        json!({ "count": count, "ns": ns })
    };
    let of = |it: &ModelStatistics| {
        let times = it.inference_stats.unwrap_or_default();
        json!({
            "name": it.name,
            "version": it.version,
            "last_inference": it.last_inference,
            "inference_count": it.inference_count,
            "execution_count": it.execution_count,
            "inference_stats": {
                "success": time(times.success),
                "fail": time(times.fail),
                "queue": time(times.queue),
                "compute_input": time(times.compute_input),
                "compute_infer": time(times.compute_infer),
                "compute_output": time(times.compute_output),
            },
            "batch_stats": [],
        })
    };
    json!({ "model_stats": all.iter().map(of).collect::<Value>() })
}

pub(super) fn index(models: &[ModelIndex]) -> Value {
    let model = |ModelIndex { name, version, state, reason }: &ModelIndex| json!({ "name": name, "version": version, "state": state, "reason": reason });
    models.iter().map(model).collect()
}
