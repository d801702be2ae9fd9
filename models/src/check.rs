//! What is asked of every array before it is believed.

use crate::{
    member::ModelError,
    precision::{Precision, is_half},
};

/// `values` has `expected` values.
pub(crate) fn length<T>(
    what: &'static str,
    values: &[T],
    expected: usize,
) -> Result<(), ModelError> {
    if values.len() == expected {
        return Ok(());
    }
    Err(ModelError::Length { what, expected, actual: values.len() })
}

/// `rows × columns`, unless nothing can be that large.
pub(crate) fn area(what: &'static str, rows: usize, columns: usize) -> Result<usize, ModelError> {
    rows.checked_mul(columns).ok_or(ModelError::TooMany { what, actual: rows, limit: usize::MAX })
}

/// There is at least one of `what`.
pub(crate) fn some(what: &'static str, count: usize) -> Result<(), ModelError> {
    if count == 0 { Err(ModelError::Empty { what }) } else { Ok(()) }
}

/// There are at most `limit` of `what`.
pub(crate) fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), ModelError> {
    if actual <= limit { Ok(()) } else { Err(ModelError::TooMany { what, actual, limit }) }
}

/// All `values` are finite.
pub(crate) fn finite(what: &'static str, values: &[f32]) -> Result<(), ModelError> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(ModelError::NotFinite { what })
}

/// All `values` are of this precision.
pub(crate) fn precise(
    what: &'static str,
    values: &[f32],
    precision: Precision,
) -> Result<(), ModelError> {
    if precision == Precision::Single || values.iter().copied().all(is_half) {
        return Ok(());
    }
    Err(ModelError::NotHalf { what })
}

/// `value` is finite and above zero.
pub(crate) fn positive(what: &'static str, value: f32) -> Result<(), ModelError> {
    finite(what, &[value])?;
    if 0.0 < value { Ok(()) } else { Err(ModelError::NotPositive { what }) }
}

/// `value` is below `limit`.
pub(crate) fn below(
    what: &'static str,
    value: impl Into<u64>,
    limit: usize,
) -> Result<(), ModelError> {
    let value = value.into();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    if value < limit { Ok(()) } else { Err(ModelError::Index { what, value, limit }) }
}
