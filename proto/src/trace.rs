//! Which trace a request belongs to, as it stands in a header: W3C Trace Context.

use std::fmt::{self, Display, Write as _};

/// The header of a [`Context`].
pub const PARENT: &str = "traceparent";
/// The header of what other systems say of the same trace; passed on as it came.
pub const STATE: &str = "tracestate";
/// Longest `tracestate` that is passed on: as long as a system has to be able to.
pub const STATE_BYTES_MAX: usize = 512;
/// How long the header of a [`Context`] is in the one version that there is.
const HEADER_BYTES: usize = 55;

/// A trace: whatever one request of an app has caused, in all processes. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A stretch of time within a trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// The place in a trace that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that has caused the request.
    pub span: SpanId,
    /// Whether its caller records the trace.
    pub sampled: bool,
}

impl TraceId {
    /// `None` for zeros, which are no id.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// `None` for zeros, which are no id.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl Context {
    /// What a header says; `None` when it is none. That is no error: whoever is asked begins a trace of
    /// their own, or none.
    ///
    /// Of a version after the first, what the first one has is read, as W3C asks for.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (head, rest) = header.split_at_checked(HEADER_BYTES)?;
        let &[v1, v0, b'-', ref rest_of_head @ ..] = head else { return None };
        let version = digit(v1)? << 4 | digit(v0)?;
        let longer = rest.first().is_some_and(|&next| version != 0 && next == b'-');
        if version == 0xff || !(rest.is_empty() || longer) {
            return None;
        }
        let (trace, rest) = rest_of_head.split_at_checked(32)?;
        let (span, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let &[f1, f0] = flags.strip_prefix(b"-")? else { return None };
        let flags = digit(f1)? << 4 | digit(f0)?;
        Some(Self {
            trace: TraceId::new(digits(trace)?)?,
            span: SpanId::new(digits(span)?)?,
            sampled: flags & 1 == 1,
        })
    }

    /// The header, 55 characters of ASCII.
    #[must_use]
    pub fn header(&self) -> String {
        let Self { trace, span, sampled } = self;
        let mut header = String::with_capacity(HEADER_BYTES);
        write!(header, "00-{trace}-{span}-{:02x}", u8::from(*sampled))
            .expect("writing to a string does not fail");
        header
    }
}

/// One hexadecimal digit, a small one: large ones are none here.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_what_was_read_from_it() {
        let context = Context::parse(HEADER.as_bytes()).unwrap();
        assert!(context.sampled);
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert_eq!(context.header(), HEADER);
        let silent = Context { sampled: false, ..context };
        assert_eq!(Context::parse(silent.header().as_bytes()), Some(silent));
        // Flags that are not known yet are not handed on.
        let flags = HEADER.replace("-01", "-fd");
        assert_eq!(Context::parse(flags.as_bytes()).unwrap().header(), HEADER);
    }

    #[test]
    fn what_is_no_header_is_none_and_a_later_version_is_read() {
        let later = ["01", "cc", "fe"].map(|version| format!("{version}{}", &HEADER[2..]));
        for header in later {
            assert!(Context::parse(header.as_bytes()).is_some(), "{header}");
            assert!(Context::parse(format!("{header}-more").as_bytes()).is_some());
            assert!(Context::parse(format!("{header}more").as_bytes()).is_none());
        }
        let zeros = |of: &str| HEADER.replace(of, &"0".repeat(of.len()));
        let wrong = [
            String::new(),
            "garbage".to_owned(),
            format!("{HEADER}-more"),
            format!("{HEADER} "),
            HEADER[..54].to_owned(),
            HEADER.to_uppercase(),
            HEADER.replace("00-4", "ff-4"),
            HEADER.replace("00-4", "0g-4"),
            HEADER.replace('-', "_"),
            HEADER.replace("-01", "-0x"),
            zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            zeros("00f067aa0ba902b7"),
        ];
        for header in wrong {
            assert_eq!(Context::parse(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn no_byte_can_be_changed_into_something_that_panics() {
        for at in 0..HEADER.len() {
            for byte in 0..=u8::MAX {
                let mut header = HEADER.as_bytes().to_vec();
                header[at] = byte;
                if let Some(context) = Context::parse(&header) {
                    assert_eq!(Context::parse(context.header().as_bytes()), Some(context));
                }
                let _short = Context::parse(&header[..at]);
            }
        }
    }
}
