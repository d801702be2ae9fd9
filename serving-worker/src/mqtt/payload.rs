//! What stands in a message: samples as JSON or as raw little-endian `f32`, and corrections.
//!
//! ```text
//! {"features": [0.1, 2.5], "id": "mine"}               one sample of a task's features
//! {"channels": {"acc_x": [..], "acc_y": [..]}, "id"}   raw samples, by the names of the channels
//! {"channels": {...}, "stream": "left arm"}            … that go on where the last message ended
//! 0a d7 23 3c …                                        the same values, row after row
//! ```
//!
//! JSON begins with `{` and is text to its end. Anything else, and whatever says that it is
//! `application/octet-stream`, is raw.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// Longest message that is taken.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Longest reason that is sent back: it may quote the message.
const REASON_CHARS_MAX: usize = 200;
/// Longest id or stream that is echoed.
const ID_BYTES_MAX: usize = 200;

/// Why a message is not understood. The text goes back to whoever sent it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PayloadError {
    /// Too long.
    #[error(
        "the message has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} are taken: send fewer samples at a time"
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Nothing in it.
    #[error(
        "the message is empty: send {{\"features\": [...]}}, {{\"channels\": {{...}}}} or little-endian f32"
    )]
    Empty,
    /// JSON that is none, or of another shape.
    #[error("the message is not understood: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
    /// Neither or both of what a sample can be.
    #[error("write either \"features\" or \"channels\"")]
    Either,
    /// Raw bytes that are no values.
    #[error("the message has {bytes} bytes, which is not a whole number of f32 (4 bytes each)")]
    Ragged {
        /// How many.
        bytes: usize,
    },
    /// An id without end.
    #[error("{what:?} is longer than {ID_BYTES_MAX} bytes")]
    Id {
        /// `id` or `stream`.
        what: &'static str,
    },
    /// Channels of different lengths.
    #[error("channel {channel:?} has {found} values, where the first one has {expected}")]
    Channel {
        /// Which one.
        channel: String,
        /// Its values.
        found: usize,
        /// Those of the first one.
        expected: usize,
    },
    /// A channel that the task does not have, or one that it has and the message has not.
    #[error("channel {channel:?} is {fault}; the channels are {channels}")]
    Channels {
        /// Which one.
        channel: String,
        /// What is the matter with it.
        fault: &'static str,
        /// Those of the task.
        channels: String,
    },
}

/// A message with values.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// What its sender calls it; echoed.
    pub id: Option<serde_json::Value>,
    /// The sensor whose samples go on, where it is named.
    pub stream: Option<String>,
    /// The values.
    pub content: Content,
}

/// The values of a message.
#[derive(Debug, PartialEq)]
pub enum Content {
    /// Features, by their order.
    Features(Vec<f32>),
    /// Raw samples, by the names of their channels.
    Channels(BTreeMap<String, Vec<f32>>),
    /// Values, row after row, of whatever the task takes.
    Raw(Vec<f32>),
}

/// A message with a true label.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Correction {
    /// 32 hexadecimal digits.
    pub prediction_id: String,
    /// A class of the task.
    pub label: String,
}

#[derive(serde::Deserialize)]
struct Written {
    #[serde(default)]
    features: Option<Series>,
    #[serde(default)]
    channels: Option<BTreeMap<String, Series>>,
    #[serde(default)]
    id: Option<serde_json::Value>,
    #[serde(default)]
    stream: Option<String>,
}

/// A number or a list of them.
struct Series(Vec<f32>);

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Series;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Series, E> {
                #[expect(clippy::cast_possible_truncation, reason = "rounded as JSON numbers are")]
                Ok(Series(vec![value as f32]))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Series, E> {
                #[expect(clippy::cast_precision_loss, reason = "rounded as JSON numbers are")]
                Ok(Series(vec![value as f32]))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Series, E> {
                #[expect(clippy::cast_precision_loss, reason = "rounded as JSON numbers are")]
                Ok(Series(vec![value as f32]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Series, A::Error> {
                // The message is bounded, and a value takes two bytes of it: so is this.
                let mut values = Vec::new();
                while let Some(value) = list.next_element::<f32>()? {
                    values.push(value);
                }
                Ok(Series(values))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}

/// Whether `bytes` are meant as JSON.
fn is_json(bytes: &[u8], content_type: Option<&str>) -> bool {
    let text = || std::str::from_utf8(bytes).ok();
    content_type != Some("application/octet-stream")
        && bytes.first() == Some(&b'{')
        && text().is_some_and(|it| !it.contains(|c: char| c.is_control() && !c.is_whitespace()))
}

fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let reason = error.to_string().chars().take(REASON_CHARS_MAX).collect();
        PayloadError::Json { reason }
    })
}

fn bounded(bytes: &[u8]) -> Result<(), PayloadError> {
    if bytes.is_empty() {
        return Err(PayloadError::Empty);
    }
    if PAYLOAD_BYTES_MAX < bytes.len() {
        return Err(PayloadError::TooLong { bytes: bytes.len() });
    }
    Ok(())
}

/// Reads a message with values. Whether they are finite and as many as the task wants is checked
/// where all samples are checked.
///
/// # Errors
///
/// [`PayloadError`], in words for its sender.
pub fn sample(bytes: &[u8], content_type: Option<&str>) -> Result<Sample, PayloadError> {
    bounded(bytes)?;
    if !is_json(bytes, content_type) {
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(PayloadError::Ragged { bytes: bytes.len() });
        }
        let values = values.iter().map(|it| f32::from_le_bytes(*it)).collect();
        return Ok(Sample { id: None, stream: None, content: Content::Raw(values) });
    }
    let Written { features, channels, id, stream } = read(bytes)?;
    if id.as_ref().is_some_and(|id| ID_BYTES_MAX < id.to_string().len()) {
        return Err(PayloadError::Id { what: "id" });
    }
    if stream.as_ref().is_some_and(|stream| ID_BYTES_MAX < stream.len()) {
        return Err(PayloadError::Id { what: "stream" });
    }
    let content = match (features, channels) {
        (Some(Series(features)), None) => Content::Features(features),
        (None, Some(channels)) => {
            Content::Channels(channels.into_iter().map(|(name, it)| (name, it.0)).collect())
        }
        (None, None) | (Some(_), Some(_)) => return Err(PayloadError::Either),
    };
    Ok(Sample { id, stream, content })
}

/// Reads a message with a true label.
///
/// # Errors
///
/// [`PayloadError`], in words for its sender.
pub fn correction(bytes: &[u8]) -> Result<Correction, PayloadError> {
    bounded(bytes)?;
    read(bytes)
}

/// The channels of a message as samples, row after row, in the order of the task's `names`.
///
/// # Errors
///
/// [`PayloadError::Channels`] unless exactly these channels are there, [`PayloadError::Channel`]
/// unless all are equally long.
pub fn rows(
    mut channels: BTreeMap<String, Vec<f32>>,
    names: &[String],
) -> Result<Vec<f32>, PayloadError> {
    let wrong = |channel: &str, fault| PayloadError::Channels {
        channel: crate::answer::shortened(channel),
        fault,
        channels: crate::answer::names(names.iter()),
    };
    let mut series = Vec::with_capacity(names.len());
    for name in names {
        series.push(channels.remove(name).ok_or_else(|| wrong(name, "missing"))?);
    }
    if let Some(name) = channels.keys().next() {
        return Err(wrong(name, "not one of the task"));
    }
    let expected = series.first().map_or(0, Vec::len);
    if let Some(at) = series.iter().position(|it| it.len() != expected) {
        let found = series[at].len();
        return Err(PayloadError::Channel { channel: names[at].clone(), found, expected });
    }
    Ok((0..expected).flat_map(|row| series.iter().map(move |it| it[row])).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        sample(bytes, None).unwrap_err().to_string()
    }

    #[test]
    fn json_and_raw_values_are_told_apart() {
        let json = sample(br#"{"features": [1, 2.5, -3], "id": 7, "more": null}"#, None).unwrap();
        assert_eq!(json.content, Content::Features(vec![1.0, 2.5, -3.0]));
        assert_eq!(json.id, Some(7.into()));
        let values = [1.0_f32, -2.0];
        let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        assert_eq!(sample(&raw, None).unwrap().content, Content::Raw(values.to_vec()));
        // A value may begin with the byte of a brace.
        let brace = [f32::from_le_bytes([b'{', 0, 0, 64])];
        let raw: Vec<u8> = brace.iter().flat_map(|it| it.to_le_bytes()).collect();
        assert_eq!(sample(&raw, None).unwrap().content, Content::Raw(brace.to_vec()));
        let said = sample(b"{\"a\"", Some("application/octet-stream"));
        assert!(matches!(said.unwrap().content, Content::Raw(_)));
    }

    #[test]
    fn each_way_of_being_wrong_says_what_to_do() {
        assert!(text(b"").contains("the message is empty"));
        assert!(text(b"abc").contains("not a whole number of f32"));
        assert!(text(b"{\"features\": [1,").contains("not understood"));
        assert!(text(b"{\"features\": [\"a\"]}").contains("not understood"));
        assert!(text(b"{}").contains("either"));
        assert!(text(br#"{"features": [1], "channels": {}}"#).contains("either"));
        assert!(text(&vec![b'a'; PAYLOAD_BYTES_MAX + 1]).contains("send fewer samples"));
        let endless = format!(r#"{{"features": [1], "id": "{}"}}"#, "x".repeat(201));
        assert!(text(endless.as_bytes()).contains("\"id\" is longer"));
        assert!(
            correction(b"{\"label\": \"a\"}").unwrap_err().to_string().contains("prediction_id")
        );
        let nested = format!("{}{}", "{\"id\":".repeat(5000), "}".repeat(5000));
        assert!(text(nested.as_bytes()).contains("not understood"));
    }

    #[test]
    fn channels_become_rows_in_the_order_of_the_task() {
        let names = ["x".to_owned(), "y".to_owned()];
        let read = |json: &[u8]| match sample(json, None).unwrap().content {
            Content::Channels(channels) => rows(channels, &names),
            other @ (Content::Features(_) | Content::Raw(_)) => panic!("{other:?}"),
        };
        assert_eq!(
            read(br#"{"channels": {"y": [3, 4], "x": [1, 2]}}"#),
            Ok(vec![1.0, 3.0, 2.0, 4.0])
        );
        assert_eq!(read(br#"{"channels": {"y": 3, "x": 1}}"#), Ok(vec![1.0, 3.0]));
        let wrong = |json: &[u8]| read(json).unwrap_err().to_string();
        assert!(wrong(br#"{"channels": {"x": [1]}}"#).contains("\"y\" is missing"));
        assert!(wrong(br#"{"channels": {"x": 1, "y": 1, "z": 1}}"#).contains("\"z\" is not one"));
        assert!(wrong(br#"{"channels": {"x": [1], "y": [1, 2]}}"#).contains("has 2 values"));
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes: Vec<u8>, json in "\\{[ -~]{0,40}\\}?") {
            let _any = sample(&bytes, None);
            let _any = sample(json.as_bytes(), None);
            let _any = correction(json.as_bytes());
        }

        #[test]
        fn raw_values_read_back(values in proptest::collection::vec(proptest::num::f32::ANY, 1..50)) {
            let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
            let read = sample(&bytes, Some("application/octet-stream")).unwrap();
            let Content::Raw(read) = read.content else { panic!("it is raw") };
            let bits = |values: &[f32]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&values));
        }
    }
}
