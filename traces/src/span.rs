//! Spans, as they are written.

use proto::{
    otlp::{
        AnyValue, KeyValue, Span, SpanStatus, any_value::Value, span::SpanKind,
        span_status::StatusCode,
    },
    trace::SpanId,
};
use tokio::time::Instant;

use crate::tracer::Traced;

/// Longest text of an attribute or a status, in bytes: what others say is cut.
const TEXT_BYTES_MAX: usize = 256;

/// The span of a traced request itself.
#[must_use]
pub fn of(traced: &Traced, name: impl Into<String>, kind: SpanKind, ended: Instant) -> Span {
    let Traced { context, parent, began, .. } = *traced;
    Span {
        span_id: context.span.bytes().to_vec().into(),
        parent_span_id: parent.map(|it| it.bytes().to_vec().into()).unwrap_or_default(),
        ..within(traced, context.span, name, (began, ended))
    }
    .with_kind(kind)
}

/// A part of a traced request, from when until when it took place.
#[must_use]
pub fn within(
    traced: &Traced,
    id: SpanId,
    name: impl Into<String>,
    (began, ended): (Instant, Instant),
) -> Span {
    let Traced { context, .. } = traced;
    let start = traced.ns(began);
    Span {
        trace_id: context.trace.bytes().to_vec().into(),
        span_id: id.bytes().to_vec().into(),
        parent_span_id: context.span.bytes().to_vec().into(),
        name: name.into(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: traced.ns(ended).max(start),
        flags: 1,
        ..Span::default()
    }
}

/// What is said of a span beside its times.
pub trait Attributes: Sized {
    /// Of another kind than a part of a request.
    #[must_use]
    fn with_kind(self, kind: SpanKind) -> Self;

    /// With an attribute.
    #[must_use]
    fn with(self, key: &str, value: impl Into<Said>) -> Self;

    /// It failed, for this reason.
    #[must_use]
    fn failed(self, reason: &str) -> Self;
}

/// The value of an attribute.
#[derive(Debug)]
pub struct Said(Value);

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self(Value::StringValue(cut(text)))
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<bool> for Said {
    fn from(value: bool) -> Self {
        Self(Value::BoolValue(value))
    }
}

impl From<u64> for Said {
    fn from(value: u64) -> Self {
        Self(Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<i64> for Said {
    fn from(value: i64) -> Self {
        Self(Value::IntValue(value))
    }
}

impl Attributes for Span {
    fn with_kind(mut self, kind: SpanKind) -> Self {
        self.set_kind(kind);
        self
    }

    fn with(mut self, key: &str, value: impl Into<Said>) -> Self {
        self.attributes.push(attribute(key, value));
        self
    }

    fn failed(mut self, reason: &str) -> Self {
        self.status = Some(SpanStatus { message: cut(reason), code: StatusCode::Error.into() });
        self
    }
}

/// An attribute of a span or a process.
pub(crate) fn attribute(key: &str, value: impl Into<Said>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value.into().0) }) }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_cut() {
        let span = Span::default().with("a", "ä".repeat(1_000)).failed(&"x".repeat(1_000));
        let Some(Value::StringValue(text)) = span.attributes[0].value.clone().unwrap().value else {
            panic!("it is text")
        };
        assert_eq!(text.len(), TEXT_BYTES_MAX);
        assert_eq!(span.status.unwrap().message.len(), TEXT_BYTES_MAX);
    }
}
