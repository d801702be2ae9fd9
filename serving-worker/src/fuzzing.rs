//! Doors for the fuzzer to what reads bytes from outside: each says in a word what became of them.
//!
//! Not for anybody else: what they open is the crate's own.

use proto::{inference::ModelInferRequest, v1};

use crate::{mqtt, open_inference, orders};

fn word(error: &dyn std::fmt::Debug) -> String {
    format!("{error:?}").chars().filter(|it| it.is_ascii_alphabetic()).take(60).collect()
}

/// Orders of a node.
#[must_use]
pub fn orders(assignments: v1::Assignments) -> String {
    match orders::parse(assignments.tasks) {
        Ok(orders) => {
            let windows = orders.iter().filter(|it| mqtt::fuzzing::has_window(&it.input)).count();
            format!("ok {} {windows}", orders.len().min(5))
        }
        Err(error) => word(&error),
    }
}

/// A body of the Open Inference Protocol.
#[must_use]
pub fn http_tensors(header: Option<&[u8]>, body: &[u8]) -> String {
    open_inference::fuzzing::http(header, body)
}

/// A message of the Open Inference Protocol.
#[must_use]
pub fn grpc_tensors(message: ModelInferRequest) -> String {
    open_inference::fuzzing::grpc(message)
}

/// A message of a sensor.
#[must_use]
pub fn mqtt(topic: &[u8], payload: &[u8]) -> String {
    mqtt::fuzzing::message(topic, payload)
}
