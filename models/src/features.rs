//! Samples: a table of finite numbers, checked once.

/// `[rows, width]` finite `f32` values, row-major. Whoever holds one need not check again.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    width: usize,
    values: Vec<f32>,
}

/// Why values are not samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A sample without values.
    #[error("a sample needs at least one value")]
    Empty,
    /// Values that do not fill whole rows.
    #[error("{values} values do not fill rows of {width}")]
    Ragged {
        /// How many values there are.
        values: usize,
        /// How many a row takes.
        width: usize,
    },
    /// Rows of another width than the model was trained on.
    #[error("a sample has {actual} values; the task has {expected} features")]
    Width {
        /// What the task has.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// NaN or an infinity.
    #[error("the value in row {row}, column {column} is not a finite number")]
    NotFinite {
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
    },
    /// Members were asked that the ensemble does not have, or none at all.
    #[error("the members asked are none, or not among the {members} of the ensemble")]
    Subset {
        /// How many members there are.
        members: usize,
    },
}

impl Features {
    /// Samples of `width` values each.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Empty`] for a width of 0, [`ShapeError::Ragged`] for a broken last row,
    /// [`ShapeError::NotFinite`] for the first NaN or infinity.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self, ShapeError> {
        if width == 0 {
            return Err(ShapeError::Empty);
        }
        if !values.len().is_multiple_of(width) {
            return Err(ShapeError::Ragged { values: values.len(), width });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(ShapeError::NotFinite { row: at / width, column: at % width });
        }
        Ok(Self { width, values })
    }

    /// Values per row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One sample.
    ///
    /// # Panics
    ///
    /// When `row` is not below [`Features::len`], as indexing a slice does.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// All samples, in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// All values, row-major.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// [`Features::values`], to keep.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The samples at `rows`, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            values.extend_from_slice(self.row(row));
        }
        Self { width: self.width, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_rows_of_finite_values_are_samples() {
        assert_eq!(Features::new(0, vec![]), Err(ShapeError::Empty));
        assert_eq!(Features::new(2, vec![1.0; 3]), Err(ShapeError::Ragged { values: 3, width: 2 }));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(
                Features::new(2, vec![0.0, 1.0, 2.0, bad]),
                Err(ShapeError::NotFinite { row: 1, column: 1 })
            );
        }
        let samples = Features::new(2, vec![0.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples.select(&[1, 0]).values(), [2.0, 3.0, 0.0, 1.0]);
    }
}
