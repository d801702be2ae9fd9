//! Where the time of a request went, across processes: spans, sent to a collector (OTLP over gRPC).
//!
//! ```text
//! request ─▶ tracer ── which of them? ─▶ traced      (ids, and when it began)
//!               │                           │ what it took, measured while it was answered
//!               │ bounded; full is counted  ▼
//!               └────────▶ exporter ─▶ spans ─▶ collector
//! ```
//!
//! A request that is not sampled costs a branch. Of one that is, only what was measured anyway is put
//! into a queue; spans are made of it afterwards, on the exporter's side. docs/decisions/0027.

pub mod exporter;
pub mod ids;
pub mod sampler;
pub mod settings;
pub mod span;
pub mod tracer;

pub use exporter::{Counts, Exporter};
pub use ids::Ids;
pub use proto::otlp::{Span, span::SpanKind};
pub use sampler::Sampler;
pub use settings::{Settings, SettingsError};
pub use span::Attributes;
pub use tracer::{Process, Traced, Tracer};
