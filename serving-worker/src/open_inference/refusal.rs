//! Why a request of the protocol was not answered, and what its caller should send instead.

use tonic::{Code, Status};

use crate::error::PredictError;

/// Why an inference was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InferError {
    /// The request is not what the protocol, or the task, asks for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It was understood, and not answered.
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl From<InferError> for Status {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Request(error) => {
                Self::new(Code::InvalidArgument, runtime::Report(&error).to_string())
            }
            InferError::Predict(error) => error.into(),
        }
    }
}

/// Texts that one output may have: each takes some twenty times the room of a number.
pub(super) const TEXTS_MAX: usize = 1 << 16;

/// What is wrong with a request. Each says what to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Not one input.
    #[error("{count} inputs were sent; a task has one, `features`")]
    Inputs {
        /// How many.
        count: usize,
    },
    /// An input of another name.
    #[error("input {name:?} is not known; a task has one, `features`")]
    Input {
        /// Its name.
        name: String,
    },
    /// An output that there is not.
    #[error(
        "output {name:?} is not known; the outputs are `label`, `probabilities` and `prediction_id`"
    )]
    Output {
        /// Its name.
        name: String,
    },
    /// An output that was asked for twice.
    #[error("output {name:?} is asked for twice")]
    Twice {
        /// Its name.
        name: &'static str,
    },
    /// Values of a kind that is not taken.
    #[error(
        "datatype {datatype:?} is not taken; send FP32 (FP16, BF16, FP64, BOOL and integers are turned into it)"
    )]
    Datatype {
        /// What was said.
        datatype: String,
    },
    /// Halves among numbers.
    #[error(
        "FP16 and BF16 are sent in binary (`raw_input_contents`, `binary_data_size`); else send FP32"
    )]
    OnlyBinary,
    /// Not two dimensions.
    #[error("the shape of `features` is {shape}; it must be [samples, values of a sample]")]
    Shape {
        /// What was said.
        shape: String,
    },
    /// Another number of values than the shape takes.
    #[error("{actual} values do not fill the shape [{rows}, {width}]")]
    Values {
        /// How many there are.
        actual: usize,
        /// Samples.
        rows: usize,
        /// Values of each.
        width: usize,
    },
    /// Nested lists of another shape.
    #[error(
        "the lists of `data` are not of the shape [{rows}, {width}]; send so, or one flat list"
    )]
    Nested {
        /// Samples.
        rows: usize,
        /// Values of each.
        width: usize,
    },
    /// Something else than numbers.
    #[error("`data` holds something else than numbers")]
    NotNumbers,
    /// Another number of bytes than shape and datatype take.
    #[error("{actual} bytes are not the shape [{rows}, {width}] of {bytes}-byte values")]
    Bytes {
        /// How many there are.
        actual: usize,
        /// Samples.
        rows: usize,
        /// Values of each.
        width: usize,
        /// Bytes of a value.
        bytes: usize,
    },
    /// Raw contents of another number of inputs.
    #[error("{raw} raw contents were sent with {inputs} inputs; send one for each")]
    Raw {
        /// How many raw contents.
        raw: usize,
        /// How many inputs.
        inputs: usize,
    },
    /// Values in two places.
    #[error("the values of `features` were sent twice, in binary and as numbers; send them once")]
    Both,
    /// Values in no place.
    #[error("the values of `features` were not sent")]
    Neither,
    /// A whole number that would be changed.
    #[error(
        "{value} in row {row}, column {column} is not exact in FP32; send numbers of up to 16777216, \
         or FP32 or FP64, which are rounded"
    )]
    Inexact {
        /// The number.
        value: String,
        /// Its sample.
        row: usize,
        /// Its feature.
        column: usize,
    },
    /// A number that FP32 does not reach.
    #[error("{value:e} in row {row}, column {column} is beyond FP32, which ends at 3.4e38")]
    Beyond {
        /// The number.
        value: f64,
        /// Its sample.
        row: usize,
        /// Its feature.
        column: usize,
    },
    /// Classes of an output that has none, or none of them.
    #[error(
        "`classification` of {name:?} cannot be; it is how many classes of `probabilities` are wanted, 1 or more"
    )]
    Classification {
        /// The output.
        name: &'static str,
    },
    /// More texts than one answer may have.
    #[error(
        "{texts} classes are asked for over all samples; ask for at most {TEXTS_MAX}, or for `probabilities` as numbers"
    )]
    Texts {
        /// How many.
        texts: usize,
    },
    /// A parameter that would change what the answer means.
    #[error("parameter `{name}` is not done here; {instead}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// A `timeout`, a `priority` or a `classification` that is none.
    #[error(
        "`{name}` is {value}; it must be a whole number{}",
        match *name {
            "timeout" => " of microseconds",
            "priority" => ", 1 the most urgent",
            _ => "",
        }
    )]
    Whole {
        /// Which parameter.
        name: &'static str,
        /// What was said.
        value: String,
    },
    /// A `coverage` that is no number.
    #[error("`coverage` is {value}; it must be a number such as 0.9 (over gRPC a double)")]
    Coverage {
        /// What was said.
        value: String,
    },
    /// JSON that is not what the protocol says.
    #[error("the body is not a request of the protocol")]
    Json(#[source] serde_json::Error),
    /// A header that does not say where the JSON ends.
    #[error(
        "Inference-Header-Content-Length is {value:?}; it must be the bytes of the JSON at the \
         beginning of the body, which has {body}"
    )]
    HeaderLength {
        /// What was said.
        value: String,
        /// Bytes of the body.
        body: usize,
    },
    /// A binary part of another length than the inputs say.
    #[error("{actual} bytes follow the JSON; `binary_data_size` says {said}")]
    BinarySize {
        /// How many there are.
        actual: usize,
        /// How many were said.
        said: u64,
    },
}
