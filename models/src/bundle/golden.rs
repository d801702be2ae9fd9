//! Golden rows as they stand in a bundle of version 4: three arrays, and behind the voting what the
//! gate says of each row.

use super::{
    BundleError,
    arrays::{ArrayFault, Reader, Values, Writer},
};
use crate::{Golden, schema::ClassId};

/// What the gate says of each golden row.
pub(super) type Form = Vec<Option<bool>>;

/// The golden rows of an ensemble, one behind the other.
pub(super) struct Columns {
    rows: Vec<f32>,
    votes: Vec<u16>,
    sums: Vec<u64>,
}

impl Columns {
    pub(super) fn of(golden: &[Golden]) -> (Self, Form) {
        let columns = Self {
            rows: golden.iter().flat_map(|it| &it.row).copied().collect(),
            votes: golden.iter().flat_map(|it| &it.votes).map(|class| class.0).collect(),
            sums: golden.iter().flat_map(|it| &it.sums).copied().collect(),
        };
        (columns, golden.iter().map(|it| it.stopped).collect())
    }

    /// Nothing is written where there is nothing.
    pub(super) fn put<'a>(&'a self, arrays: &mut Writer<'a>) {
        if !self.rows.is_empty() {
            arrays.put(ROWS.to_owned(), Values::F32(&self.rows));
            arrays.put(VOTES.to_owned(), Values::U16(&self.votes));
            arrays.put(SUMS.to_owned(), Values::U64(&self.sums));
        }
    }
}

const ROWS: &str = "golden.rows";
const VOTES: &str = "golden.votes";
const SUMS: &str = "golden.sums";

/// What was written; whether each row is one of the ensemble is asked by [`crate::Ensemble::new`].
pub(super) fn take(form: Form, arrays: &mut Reader<'_>) -> Result<Vec<Golden>, BundleError> {
    if form.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, votes, sums) = (arrays.f32(ROWS)?, arrays.u16(VOTES)?, arrays.u64(SUMS)?);
    let count = form.len();
    let rows = parts(ROWS, &rows, count)?;
    let votes = parts(VOTES, &votes, count)?;
    let sums = parts(SUMS, &sums, count)?;
    let each = form.into_iter().zip(rows).zip(votes).zip(sums);
    Ok(each
        .map(|(((stopped, row), votes), sums)| Golden {
            row: row.to_vec(),
            votes: votes.iter().copied().map(ClassId).collect(),
            sums: sums.to_vec(),
            stopped,
        })
        .collect())
}

/// `values` in `count` parts of one length.
fn parts<'a, T>(
    name: &str,
    values: &'a [T],
    count: usize,
) -> Result<std::slice::ChunksExact<'a, T>, BundleError> {
    let each = values.len() / count;
    if each == 0 || each * count != values.len() {
        let fault = ArrayFault::Parts { values: values.len(), parts: count };
        return Err(BundleError::Array { name: name.to_owned(), fault });
    }
    Ok(values.chunks_exact(each))
}
