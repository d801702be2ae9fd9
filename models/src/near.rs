//! Rows of which the nearest are asked for.
//!
//! A trainer may lay rows beside their neighbours; then most blocks of them are far from a sample, and a box around
//! each block says so without reading them. In any order the answer is the same as if all rows were read.

use crate::{
    kernel::{self, Blocks, nearest, nearest_of_bytes},
    member::ModelError,
    rows::Rows,
};

/// Rows, and boxes around blocks of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    rows: Rows,
    width: usize,
    /// As [`kernel::boxes`] draws them.
    boxes: Boxes,
}

#[derive(Clone, Debug, PartialEq)]
enum Boxes {
    Exact(Vec<f32>),
    Compact(Vec<u8>),
}

/// Buffers of one search.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    exact: kernel::Spare<f32>,
    compact: kernel::Spare<u8>,
    bytes: Vec<u8>,
}

impl Near {
    /// Draws boxes around `rows`, `[n, width]`.
    #[must_use]
    pub fn new(rows: Rows, width: usize) -> Self {
        let boxes = match &rows {
            Rows::Exact(values) => Boxes::Exact(kernel::boxes(values, width)),
            Rows::Compact(compact) => Boxes::Compact(kernel::boxes(&compact.bytes, width)),
        };
        Self { rows, width, boxes }
    }

    /// The rows themselves.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// [`Rows::compacted`].
    #[must_use]
    pub fn compacted(&self) -> Option<Self> {
        Some(Self::new(self.rows.compacted(self.width)?, self.width))
    }

    /// The number of each row that is no farther than the last answer of `then` and its squared distance, and of
    /// some that are; in no order.
    pub(crate) fn nearest(
        &self,
        x: &[f32],
        spare: &mut Spare,
        mut then: impl FnMut(usize, f32) -> f32,
    ) {
        match (&self.rows, &self.boxes) {
            (Rows::Exact(rows), Boxes::Exact(boxes)) => {
                nearest(Blocks { rows, boxes }, x, &mut spare.exact, then);
            }
            (Rows::Compact(compact), Boxes::Compact(boxes)) => {
                compact.take(x, &mut spare.bytes);
                let rows = &compact.bytes;
                nearest_of_bytes(
                    Blocks { rows, boxes },
                    &spare.bytes,
                    &mut spare.compact,
                    |row, sum| compact.sum_within(then(row, compact.distance(sum))),
                );
            }
            _ => unreachable!("boxes are drawn around the rows beside them"),
        }
    }

    /// They are as many as they should be, and finite.
    pub(crate) fn check(&self, what: &'static str, count: usize) -> Result<(), ModelError> {
        self.rows.check(what, count, self.width)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The `k` nearest rows by distance and number, as a search finds them.
    fn found(near: &Near, x: &[f32], k: usize) -> Vec<(u32, usize)> {
        let mut kept = Vec::new();
        near.nearest(x, &mut Spare::default(), |row, distance| {
            kept.push((distance.to_bits(), row));
            kept.sort_unstable();
            kept.truncate(k);
            kept.get(k - 1).map_or(f32::INFINITY, |&(worst, _)| f32::from_bits(worst))
        });
        kept
    }

    /// The same by reading every row.
    fn nearest_of_all(near: &Near, x: &[f32], k: usize) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        near.rows.distances(x, &mut vec![], |distance| all.push(distance.to_bits()));
        let mut all: Vec<(u32, usize)> = all.into_iter().zip(0..).collect();
        all.sort_unstable();
        all.truncate(k);
        all
    }

    /// Among them many that are equal, and the largest and smallest that there are.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => (-3_i8..=3).prop_map(f32::from),
            4 => -9.0_f32..9.0,
            1 => prop::sample::select(vec![f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0, 1e19]),
        ]
    }

    proptest! {
        #[test]
        fn who_is_near_is_found_as_if_all_were_read(
            rows in prop::collection::vec(value(), 150 * 37..=150 * 37),
            x in prop::collection::vec(value(), 37..=37),
            width in 1_usize..=37,
            count in 1_usize..=150,
            k in 1_usize..=7,
            sorted: bool,
        ) {
            let mut rows: Vec<&[f32]> = rows.chunks_exact(width).take(count).collect();
            if sorted {
                // As a trainer lays them: most boxes are small.
                rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
            }
            let (exact, x) = (Near::new(Rows::Exact(rows.concat()), width), &x[..width]);
            for near in exact.compacted().into_iter().chain([exact]) {
                prop_assert_eq!(found(&near, x, k), nearest_of_all(&near, x, k));
            }
        }
    }

    #[test]
    fn rows_that_are_far_are_not_told() {
        let rows = (0..10_000_u16).map(f32::from).collect();
        let exact = Near::new(Rows::Exact(rows), 1);
        for near in [exact.compacted().unwrap(), exact] {
            let mut told = 0;
            near.nearest(&[5_000.0], &mut Spare::default(), |_, distance| {
                told += 1;
                distance
            });
            assert!(told < 500, "{told}");
        }
    }

    #[test]
    fn boxes_ask_for_no_room_beyond_that_of_their_rows() {
        for (values, width) in [(5, usize::MAX), (5, 6), (0, 3), (5, 0), (65 * 2, 2)] {
            let near = Near::new(Rows::Exact(vec![1.0; values]), width);
            let Boxes::Exact(boxes) = near.boxes else { unreachable!() };
            assert!(boxes.len() <= 2 * values, "{values} {width}: {}", boxes.len());
        }
    }
}
