//! k nearest neighbours: the training rows themselves.

/// Votes of the `k` rows that are nearest by Euclidean distance.
///
/// A tie between classes goes to the smallest class; of rows at the same distance the first counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Knn {
    /// How many neighbours vote; at least 1, at most the number of rows.
    pub k: u32,
    /// Values per row.
    pub width: usize,
    /// `[n, width]`, row-major.
    pub rows: Vec<f32>,
    /// `[n]` class ids.
    pub labels: Vec<u16>,
}
