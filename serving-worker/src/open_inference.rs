//! The Open Inference Protocol, version 2, over gRPC and HTTP: for clients that are there already.
//!
//! A model is a task, its version a revision. One input, `features`; three outputs, `label`,
//! `probabilities` and `prediction_id` (docs/decisions/0014-open-inference-outputs.md), and where it is
//! asked for by name a fourth, `set` (docs/decisions/0026-sets-and-i-do-not-know.md). Both transports only translate: what answers is the [`Desk`](crate::answer::Desk), as for our own `Predict`.
//!
//! ```text
//! grpc ─▶ request ─┐                      ┌─▶ outputs ─▶ grpc
//!                  ├─▶ desk ─▶ answers ───┤
//! http ─▶ body ────┘   (tensor)           └─▶ outputs ─▶ reply ─▶ http
//! ```

pub(crate) mod grpc;
pub(crate) mod http;

mod body;
mod reply;

mod about;
mod infer;
mod outputs;
mod refusal;
mod request;
mod tensor;

/// The one input of every model.
const INPUT: &str = "features";
/// What we say we are, where a client asks for a platform or a backend.
const PLATFORM: &str = "sensemble";

/// Doors for the fuzzer.
pub(crate) mod fuzzing {
    use proto::inference::ModelInferRequest;

    use super::{body, refusal::RequestError, request};

    fn word(error: &RequestError) -> String {
        format!("{error:?}").chars().filter(|it| it.is_ascii_alphabetic()).take(60).collect()
    }

    pub(crate) fn http(header: Option<&[u8]>, bytes: &[u8]) -> String {
        match body::parse("kitchen".to_owned(), String::new(), header, bytes) {
            Ok((asked, binary)) => {
                let checked = models::Features::new(asked.width, asked.values).is_ok();
                let binary = binary.iter().filter(|it| **it).count();
                format!("ok {checked} {} {binary}", asked.outputs.len())
            }
            Err(error) => word(&error),
        }
    }

    pub(crate) fn grpc(message: ModelInferRequest) -> String {
        match request::parse(message) {
            Ok((asked, raw)) => {
                let checked = models::Features::new(asked.width, asked.values).is_ok();
                format!("ok {checked} {raw} {}", asked.outputs.len())
            }
            Err(error) => word(&error),
        }
    }
}
