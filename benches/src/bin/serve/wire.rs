//! Requests as bytes, made before anything is timed: the generator spends nothing on encoding, and all
//! servers of one protocol get the same bytes.

use std::str::FromStr;

use benches::{
    folder::{Fault, Folder},
    sets::Scale,
};
use bytes::{Buf as _, BufMut as _, Bytes};
use models::Features;
use prost::Message as _;
use proto::{
    inference::{ModelInferRequest, model_infer_request::InferInputTensor},
    v1,
};
use serde::{Deserialize, Serialize};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// What the one input is called, by us and by the servers that we start for comparison.
const INPUT: &str = "features";

/// Which method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    /// `ModelInfer` of the Open Inference Protocol, raw: every server here speaks it.
    Infer,
    /// Our own `Predict`, whose answer names its revision.
    Predict,
    /// Our own `PredictBatch`.
    Batch,
}

impl Method {
    pub(crate) fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Infer => "/inference.GRPCInferenceService/ModelInfer",
            Self::Predict => "/sensemble.v1.Serving/Predict",
            Self::Batch => "/sensemble.v1.Serving/PredictBatch",
        })
    }

    /// A request of `rows`, row-major.
    pub(crate) fn request(self, task: &str, width: usize, rows: &[f32]) -> Result<Bytes, Fault> {
        let (task, values) = (task.to_owned(), rows.to_vec());
        Ok(match self {
            Self::Predict => {
                v1::PredictRequest { task, features: values, coverage: None }.encode_to_vec()
            }
            Self::Batch => {
                let width = u32::try_from(width)?;
                v1::PredictBatchRequest { task, width, values, ..Default::default() }
                    .encode_to_vec()
            }
            Self::Infer => {
                let shape = vec![i64::try_from(values.len() / width)?, i64::try_from(width)?];
                let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ModelInferRequest {
                    model_name: task,
                    inputs: vec![InferInputTensor {
                        name: INPUT.to_owned(),
                        datatype: "FP32".to_owned(),
                        shape,
                        ..InferInputTensor::default()
                    }],
                    raw_input_contents: vec![raw.into()],
                    ..ModelInferRequest::default()
                }
                .encode_to_vec()
            }
        }
        .into())
    }
}

/// Test rows of a data set, at most `rows_max` of them from all over it; scaled as the peers want them
/// if `scaled`; with this share of background where one is named.
pub(crate) fn rows(
    folder: &Folder,
    rows_max: usize,
    scaled: bool,
    background: Option<f64>,
) -> Result<Features, Fault> {
    let tests = folder.samples("test")?;
    let chosen: Vec<usize> = match background {
        None => (0..tests.len()).step_by(tests.len().div_ceil(rows_max).max(1)).collect(),
        Some(share) => mixed(folder, rows_max, share)?,
    };
    let tests = tests.select(&chosen);
    let meta = folder.meta()?;
    let columns = match (scaled, meta.scale) {
        (false, _) | (true, Scale::None) => return Ok(tests),
        (true, Scale::Standard) => standard(&folder.samples("train")?),
        (true, Scale::Unit) => unit(&folder.samples("train")?),
    };
    let scale = |(&value, &(middle, half)): (&f32, &(f64, f64))| {
        let scaled = (f64::from(value) - middle) / if half == 0.0 { 1.0 } else { half };
        #[expect(clippy::cast_possible_truncation, reason = "samples are single precision")]
        let scaled = scaled as f32;
        scaled
    };
    let values = tests.rows().flat_map(|row| row.iter().zip(&columns).map(scale));
    Ok(Features::new(meta.width, values.collect())?)
}

/// Of each column the middle and half the width of what it takes.
fn unit(rows: &Features) -> Vec<(f64, f64)> {
    let mut bounds = vec![(f64::INFINITY, f64::NEG_INFINITY); rows.width()];
    for row in rows.rows() {
        for (bound, &value) in bounds.iter_mut().zip(row) {
            *bound = (bound.0.min(value.into()), bound.1.max(value.into()));
        }
    }
    bounds.into_iter().map(|(low, high)| ((low + high) / 2.0, (high - low) / 2.0)).collect()
}

/// Of each column the mean and the deviation.
fn standard(rows: &Features) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); rows.width()];
    for row in rows.rows() {
        for (sum, &value) in sums.iter_mut().zip(row) {
            let value = f64::from(value);
            *sum = (sum.0 + value, sum.1 + value * value);
        }
    }
    let many = rows.len() as f64;
    let of = |(sum, squares): (f64, f64)| {
        let mean = sum / many;
        (mean, (squares / many - mean * mean).max(0.0).sqrt())
    };
    sums.into_iter().map(of).collect()
}

/// Rows of both kinds in turn, so that at any time background has its share.
fn mixed(folder: &Folder, rows_max: usize, share: f64) -> Result<Vec<usize>, Fault> {
    let background = folder.meta()?.background.ok_or("this data set has no background class")?;
    let labels = folder.labels("test")?;
    let (quiet, events): (Vec<usize>, Vec<usize>) =
        (0..labels.len()).partition(|&row| labels[row] == background);
    if quiet.is_empty() || events.is_empty() {
        return Err("the test rows are all of one kind".into());
    }
    let (mut quiet, mut events) = (quiet.iter().cycle(), events.iter().cycle());
    let mut due = 0.0;
    let rows = (0..rows_max).filter_map(|_| {
        due += share;
        if 1.0 <= due {
            due -= 1.0;
            quiet.next().copied()
        } else {
            events.next().copied()
        }
    });
    Ok(rows.collect())
}

/// Messages stay the bytes that they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let all = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(all)))
    }
}

/// `127.0.0.1:8001` as something to connect to.
pub(crate) fn endpoint(address: &str) -> Result<tonic::transport::Endpoint, Fault> {
    let endpoint = tonic::transport::Endpoint::from_str(&format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true))
}
