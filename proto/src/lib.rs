//! The words on the wire.
//!
//! [`v1`] is what our own `.proto` files say, [`inference`] the Open Inference Protocol and [`otlp`] what
//! collectors of traces are told, all generated at build time by protox (no `protoc` needed), but for the
//! two [`packed`] ones.
//! Messages are untrusted: [`parse`] turns them into domain types once, at the boundary.

pub mod packed;
pub mod parse;
pub mod trace;

/// The generated messages, clients and servers of package `sensemble.v1`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("sensemble.v1");

    pub use crate::packed::{PredictBatchRequest, PredictRequest};
}

/// The generated messages, clients and servers of package `inference`: the Open Inference Protocol,
/// version 2.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// The generated messages, client and server of the OpenTelemetry protocol, as far as traces need it.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod otlp {
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}

/// The compiled `.proto` files, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sensemble.bin"));

/// Largest message that any service of ours accepts or sends: 16 MiB.
///
/// Bundles and samples are larger and therefore travel in chunks of at most [`CHUNK_BYTES`].
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Largest payload of one chunk of a stream: 1 MiB.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Largest bundle that may be stored or fetched: 512 MiB.
pub const BUNDLE_BYTES_MAX: u64 = 512 << 20;
