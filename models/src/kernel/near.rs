//! Which rows are near: of rows in blocks, each with a box around it, those blocks are left out whose box is too
//! far away.
//!
//! How far a box is is how far its nearest point is, summed as the distance of a row is. Rounding keeps the order of
//! what is subtracted, squared and added, so that no row of a block is nearer than its box, to the bit.

use pulp::{Simd, WithSimd};

use super::{ROWS, Side, beginnings, square_of_difference, sum_of, sum_of_narrow, widest};

/// Rows of a block: few enough that their box is small, enough that it is quickly read beside them.
pub const BLOCK_ROWS: usize = 32;

/// Rows and the boxes around their blocks.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a, T> {
    /// `[n, width]`, row-major; every [`BLOCK_ROWS`] of them are a block, and the rest are one.
    pub rows: &'a [T],
    /// `[blocks, 2, width]`: the least values of the rows of a block and the largest.
    pub boxes: &'a [T],
}

/// Buffers of one search.
#[derive(Debug, Default)]
pub struct Spare<T> {
    point: Vec<T>,
    far: Vec<u32>,
}

/// The boxes of `rows`, `[n, width]`; what is left over of a row is in none.
#[must_use]
pub fn boxes<T: Copy + PartialOrd>(rows: &[T], width: usize) -> Vec<T> {
    let mut boxes = Vec::new();
    for block in rows.chunks(width.saturating_mul(BLOCK_ROWS).max(1)) {
        let mut rows = block.chunks_exact(width.max(1));
        let Some(first) = rows.next() else { continue };
        let start = boxes.len();
        boxes.extend_from_slice(first);
        boxes.extend_from_slice(first);
        let (least, largest) = boxes[start..].split_at_mut(first.len());
        for row in rows {
            for ((least, largest), &value) in least.iter_mut().zip(&mut *largest).zip(row) {
                *least = if value < *least { value } else { *least };
                *largest = if *largest < value { value } else { *largest };
            }
        }
    }
    boxes
}

/// `|row - x|²` and the number of each row that is no farther than the last answer of `then`, and of some that are;
/// the block that seems nearest comes first, the others in order. Nobody is left out before `then` has answered.
///
/// # Shapes
///
/// `blocks` holds [`boxes`] of its rows; `x` has at least one value, and all are finite.
pub fn nearest(
    blocks: Blocks<'_, f32>,
    x: &[f32],
    spare: &mut Spare<f32>,
    then: impl FnMut(usize, f32) -> f32,
) {
    widest(Nearest { blocks, x, spare, then });
}

/// Calls `visit` with the block whose box is the nearest, then with each other whose box is no farther than what
/// `visit` last said.
#[inline(always)]
pub(super) fn in_turn(far: &[u32], mut visit: impl FnMut(usize, u32) -> u32) {
    let Some((first, _)) = far.iter().enumerate().min_by_key(|&(_, far)| far) else { return };
    let mut limit = visit(first, u32::MAX);
    for (block, &far) in far.iter().enumerate() {
        if far <= limit && block != first {
            limit = visit(block, limit);
        }
    }
}

/// `point` becomes the point of a box that is nearest to `x`.
#[inline(always)]
fn nearest_point<T: Copy + PartialOrd>(point: &mut [T], x: &[T], least: &[T], largest: &[T]) {
    for (((point, &x), &least), &largest) in point.iter_mut().zip(x).zip(least).zip(largest) {
        let above = if x < least { least } else { x };
        *point = if largest < above { largest } else { above };
    }
}

impl<T: Copy + PartialOrd> Spare<T> {
    /// `far` becomes how far each box is.
    #[inline(always)]
    pub(super) fn measure(
        &mut self,
        boxes: &[T],
        x: &[T],
        mut distance: impl FnMut(&[T]) -> u32,
    ) -> &[u32] {
        let Self { point, far } = self;
        point.clear();
        point.extend_from_slice(x);
        far.clear();
        for around in boxes.chunks_exact(2 * x.len()) {
            let (least, largest) = around.split_at(x.len());
            nearest_point(point, x, least, largest);
            far.push(distance(point));
        }
        far
    }

    /// [`Spare::measure`] of a width that is known when this is compiled.
    #[inline(always)]
    pub(super) fn measure_narrow<const WIDTH: usize>(
        &mut self,
        boxes: &[T],
        x: &[T],
        mut distance: impl FnMut(&[T; WIDTH], &[T; WIDTH]) -> u32,
    ) -> &[u32] {
        self.far.clear();
        let Some(x) = x.first_chunk::<WIDTH>() else { return &[] };
        for [least, largest] in boxes.as_chunks::<WIDTH>().0.as_chunks::<2>().0 {
            let mut point = *x;
            nearest_point(&mut point, x, least, largest);
            self.far.push(distance(&point, x));
        }
        &self.far
    }
}

struct Nearest<'a, F> {
    blocks: Blocks<'a, f32>,
    x: &'a [f32],
    spare: &'a mut Spare<f32>,
    then: F,
}

impl<F: FnMut(usize, f32) -> f32> WithSimd for Nearest<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // The lengths that leave most of a register empty.
        match self.x.len() {
            1 => self.narrow::<1>(),
            2 => self.narrow::<2>(),
            3 => self.narrow::<3>(),
            4 => self.narrow::<4>(),
            5 => self.narrow::<5>(),
            6 => self.narrow::<6>(),
            7 => self.narrow::<7>(),
            _ => self.wide(),
        }
    }
}

impl<F: FnMut(usize, f32) -> f32> Nearest<'_, F> {
    // What is not inlined here is compiled for the least machine: every closure says that it must be.
    #[inline(always)]
    fn wide(mut self) {
        let Self { blocks: Blocks { rows, boxes }, x, spare, then } = &mut self;
        let (width, side) = (x.len(), Side::of(x));
        let far = spare.measure(
            boxes,
            x,
            #[inline(always)]
            |point| sum_of(point, &side, square_of_difference).to_bits(),
        );
        in_turn(
            far,
            #[inline(always)]
            |block, mut limit| {
                let first = block * BLOCK_ROWS;
                let rows = beginnings(&rows[first * width..], width).take(BLOCK_ROWS);
                for (number, row) in (first..).zip(rows) {
                    tell(number, sum_of(row, &side, square_of_difference), &mut limit, then);
                }
                limit
            },
        );
    }

    /// Rows of fewer values than a register has: several side by side.
    #[inline(always)]
    fn narrow<const WIDTH: usize>(mut self) {
        let Self { blocks: Blocks { rows, boxes }, x, spare, then } = &mut self;
        let Some(x) = x.first_chunk::<WIDTH>() else { return };
        let far = spare.measure_narrow(
            boxes,
            x,
            #[inline(always)]
            |point: &[f32; WIDTH], x| sum_of_narrow(point, x, square_of_difference).to_bits(),
        );
        let rows = rows.as_chunks::<WIDTH>().0;
        in_turn(
            far,
            #[inline(always)]
            |block, mut limit| {
                let first = block * BLOCK_ROWS;
                let (eights, rest) = rows[first..].as_chunks::<ROWS>();
                let mut number = first;
                for eight in eights.iter().take(BLOCK_ROWS / ROWS) {
                    let distances: [f32; ROWS] = std::array::from_fn(
                        #[inline(always)]
                        |row| sum_of_narrow(&eight[row], x, square_of_difference),
                    );
                    for distance in distances {
                        tell(number, distance, &mut limit, then);
                        number += 1;
                    }
                }
                if number - first < BLOCK_ROWS {
                    for row in rest {
                        let distance = sum_of_narrow(row, x, square_of_difference);
                        tell(number, distance, &mut limit, then);
                        number += 1;
                    }
                }
                limit
            },
        );
    }
}

/// Tells of a row that is no farther than `limit`.
#[inline(always)]
fn tell(number: usize, distance: f32, limit: &mut u32, then: &mut impl FnMut(usize, f32) -> f32) {
    if distance.to_bits() <= *limit {
        *limit = then(number, distance).to_bits();
    }
}
