//! From messages to domain types, once, at the boundary, and back.

use models::{Features, ShapeError, Speed, Subset, SubsetMeasure, Work};

use crate::v1;

/// Why a message was not understood.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// A digest of another length than SHA-256 has.
    #[error("a digest has 32 bytes, not {actual}")]
    Digest {
        /// What it has.
        actual: usize,
    },
    /// A prediction id of another length.
    #[error("a prediction id has 16 bytes (32 hexadecimal digits), not {actual}")]
    PredictionId {
        /// What it has.
        actual: usize,
    },
    /// Packed values that are no whole number of `f32`.
    #[error("{actual} bytes are no whole number of 4-byte values")]
    Packed {
        /// How many bytes there are.
        actual: usize,
    },
    /// Values that are not samples.
    #[error("the values are not samples")]
    Samples(#[source] ShapeError),
    /// As many labels or groups as rows are needed.
    #[error("{rows} rows come with {actual} {what}")]
    Rows {
        /// How many rows.
        rows: usize,
        /// What does not fit.
        what: &'static str,
        /// How many of them.
        actual: usize,
    },
    /// A number that must be finite and not negative.
    #[error("{what} is {value}; it must be a finite number that is not negative")]
    Number {
        /// The field.
        what: &'static str,
        /// What it holds.
        value: f64,
    },
    /// A member index that no subset can hold.
    #[error("member {index} is beyond the 64 that an ensemble may have")]
    Member {
        /// The index.
        index: u32,
    },
    /// An address that is no `host:port`.
    #[error("{text:?} is no address: write host:port or http://host:port")]
    Address {
        /// What was given.
        text: String,
    },
}

/// A SHA-256 digest.
///
/// # Errors
///
/// [`ParseError::Digest`] unless there are 32 bytes.
pub fn digest(bytes: &[u8]) -> Result<[u8; 32], ParseError> {
    bytes.try_into().map_err(|_| ParseError::Digest { actual: bytes.len() })
}

/// The id of a prediction.
///
/// # Errors
///
/// [`ParseError::PredictionId`] unless there are 16 bytes.
pub fn prediction_id(bytes: &[u8]) -> Result<[u8; 16], ParseError> {
    bytes.try_into().map_err(|_| ParseError::PredictionId { actual: bytes.len() })
}

/// Samples packed as little-endian `f32`, row-major.
///
/// # Errors
///
/// [`ParseError::Packed`] for a broken last value, [`ParseError::Samples`] for values that are not
/// rows of `width` finite numbers.
pub fn samples(width: u32, packed: &[u8]) -> Result<Features, ParseError> {
    let (values, rest) = packed.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ParseError::Packed { actual: packed.len() });
    }
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let width = usize::try_from(width).expect("32 bits fit in a usize on every target");
    Features::new(width, values).map_err(ParseError::Samples)
}

/// Values as little-endian `f32`: what [`samples`] reads.
#[must_use]
pub fn pack(values: &[f32]) -> bytes::Bytes {
    let mut packed = Vec::with_capacity(values.len() * 4);
    for value in values {
        packed.extend_from_slice(&value.to_le_bytes());
    }
    packed.into()
}

/// A choice of members from their indices.
///
/// # Errors
///
/// [`ParseError::Member`] for an index of 64 or more.
pub fn subset(members: &[u32]) -> Result<Subset, ParseError> {
    members.iter().try_fold(Subset(0), |subset, &index| {
        if index < 64 {
            Ok(Subset(subset.0 | 1 << index))
        } else {
            Err(ParseError::Member { index })
        }
    })
}

/// The indices of a choice of members.
#[must_use]
pub fn members(subset: Subset) -> Vec<u32> {
    subset.members().filter_map(|index| u32::try_from(index).ok()).collect()
}

/// `http://host:port` from `host:port` or `http://host:port`.
///
/// # Errors
///
/// [`ParseError::Address`] when there is no host or no port.
pub fn endpoint(text: &str) -> Result<String, ParseError> {
    let wrong = || ParseError::Address { text: text.to_owned() };
    let address = text.trim().trim_end_matches('/');
    let address = address.strip_prefix("http://").unwrap_or(address);
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let plausible = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
    if plausible && port != 0 { Ok(format!("http://{host}:{port}")) } else { Err(wrong()) }
}

fn number(what: &'static str, value: f64) -> Result<f64, ParseError> {
    if value.is_finite() && 0.0 <= value {
        Ok(value)
    } else {
        Err(ParseError::Number { what, value })
    }
}

impl From<Work> for v1::WorkUnits {
    fn from(work: Work) -> Self {
        let Work { madds, bytes, nodes, exps, calls } = work;
        Self { madds, bytes, nodes, exps, calls }
    }
}

impl From<v1::WorkUnits> for Work {
    fn from(units: v1::WorkUnits) -> Self {
        let v1::WorkUnits { madds, bytes, nodes, exps, calls } = units;
        Self { madds, bytes, nodes, exps, calls }
    }
}

impl From<Speed> for v1::DeviceSpeed {
    fn from(speed: Speed) -> Self {
        let Speed { madd_ns, byte_ns, node_ns, exp_ns, call_ns } = speed;
        Self { madd_ns, byte_ns, node_ns, exp_ns, call_ns }
    }
}

impl TryFrom<v1::DeviceSpeed> for Speed {
    type Error = ParseError;

    fn try_from(speed: v1::DeviceSpeed) -> Result<Self, ParseError> {
        Ok(Self {
            madd_ns: number("madd_ns", speed.madd_ns)?,
            byte_ns: number("byte_ns", speed.byte_ns)?,
            node_ns: number("node_ns", speed.node_ns)?,
            exp_ns: number("exp_ns", speed.exp_ns)?,
            call_ns: number("call_ns", speed.call_ns)?,
        })
    }
}

impl From<&SubsetMeasure> for v1::SubsetReport {
    fn from(measure: &SubsetMeasure) -> Self {
        Self {
            members: measure.subset.0,
            gated: measure.gated,
            accuracy: measure.accuracy,
            balanced_accuracy: measure.balanced_accuracy,
            missed_events: measure.missed_events,
            accuracy_standard_error: measure.standard_error,
            work: Some(measure.work.into()),
        }
    }
}

impl TryFrom<&v1::SubsetReport> for SubsetMeasure {
    type Error = ParseError;

    fn try_from(report: &v1::SubsetReport) -> Result<Self, ParseError> {
        Ok(Self {
            subset: Subset(report.members),
            gated: report.gated,
            accuracy: number("accuracy", report.accuracy)?,
            balanced_accuracy: number("balanced_accuracy", report.balanced_accuracy)?,
            missed_events: number("missed_events", report.missed_events)?,
            standard_error: number("accuracy_standard_error", report.accuracy_standard_error)?,
            work: report.work.unwrap_or_default().into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_read_back_what_pack_wrote() {
        let packed = pack(&[1.0, -0.0, f32::MIN_POSITIVE, f32::MAX]);
        assert_eq!(samples(2, &packed).unwrap().values(), [1.0, -0.0, f32::MIN_POSITIVE, f32::MAX]);
    }

    #[test]
    fn what_is_not_samples_is_named() {
        assert_eq!(samples(1, &[0; 5]), Err(ParseError::Packed { actual: 5 }));
        assert_eq!(samples(0, &[0; 4]), Err(ParseError::Samples(ShapeError::Empty)));
        let nan = pack(&[0.0, f32::NAN]);
        assert_eq!(
            samples(1, &nan),
            Err(ParseError::Samples(ShapeError::NotFinite { row: 1, column: 0 }))
        );
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:7400", "http://127.0.0.1:7400", "http://127.0.0.1:7400/"] {
            assert_eq!(endpoint(good).unwrap(), "http://127.0.0.1:7400");
        }
        assert_eq!(endpoint("[::1]:80").unwrap(), "http://[::1]:80");
        for bad in ["", "localhost", ":80", "host:port", "host:0", "a b:1", "http://u@h/x:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subset_is_its_members() {
        assert_eq!(members(subset(&[3, 0, 3]).unwrap()), [0, 3]);
        assert_eq!(subset(&[64]), Err(ParseError::Member { index: 64 }));
    }
}
