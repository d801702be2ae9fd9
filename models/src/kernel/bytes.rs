//! Distances between rows of bytes: sums of whole numbers, the same in any order and on any machine.

#[cfg(target_arch = "x86_64")]
use pulp::{Arch, x86::V3};

use super::{
    arch,
    near::{BLOCK_ROWS, Blocks, Spare, in_turn},
};

/// `|row - x|²` of each row of bytes, in order.
///
/// # Shapes
///
/// As [`super::products`], and `x` has at most [`crate::rows::COMPACT_WIDTH_MAX`] values.
pub fn squared_distances_of_bytes(rows: &[u8], x: &[u8], then: impl FnMut(u32)) {
    widest_of_bytes(EachRow { rows, x, then });
}

/// [`super::nearest`] of rows of bytes.
///
/// The first values of a row are compared by themselves: those of principal components tell most.
pub fn nearest_of_bytes(
    blocks: Blocks<'_, u8>,
    x: &[u8],
    spare: &mut Spare<u8>,
    then: impl FnMut(usize, u32) -> u32,
) {
    widest_of_bytes(Nearest { blocks, x, spare, then });
}

/// Values of a row that are compared first, by themselves.
const HEAD: usize = 16;
/// Rows whose first values are compared side by side.
const ABREAST: usize = 8;

/// Σ (a[i] - b[i])²; the shorter slice ends it.
trait Squares: Copy {
    fn sum(self, a: &[u8], b: &[u8]) -> u32;

    /// The sums of the first values of each row of a block, `[ABREAST, width]`; `width` is at least [`HEAD`].
    #[inline(always)]
    fn heads(self, block: &[u8], width: usize, first: &[u8; HEAD]) -> [u32; ABREAST] {
        let mut sums = [0; ABREAST];
        for (sum, row) in sums.iter_mut().zip(block.chunks_exact(width)) {
            *sum = self.sum(&row[..HEAD], first);
        }
        sums
    }
}

/// What is done with it.
trait OfBytes {
    fn run(self, squares: impl Squares);
}

/// Runs `kernel` with the widest vector registers that this machine has.
fn widest_of_bytes(kernel: impl OfBytes) {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(
            #[inline(always)]
            || kernel.run(Adjacent(*simd)),
        ),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(
            #[inline(always)]
            || kernel.run(Adjacent(simd)),
        ),
        other => other.dispatch(
            #[inline(always)]
            || kernel.run(Portable),
        ),
    }
}

/// Bytes that are compared at once.
const BYTES: usize = 16;
/// The same for what is left over.
const SHORT: usize = 8;

/// As the compiler makes it of a loop.
#[derive(Clone, Copy)]
struct Portable;

impl Squares for Portable {
    #[inline(always)]
    fn sum(self, a: &[u8], b: &[u8]) -> u32 {
        let mut lanes = [0_u32; BYTES];
        let (a, a_rest) = a.as_chunks::<BYTES>();
        let (b, b_rest) = b.as_chunks::<BYTES>();
        for (a, b) in a.iter().zip(b) {
            for lane in 0..BYTES {
                let difference = u32::from(a[lane].abs_diff(b[lane]));
                lanes[lane] += difference * difference;
            }
        }
        let (a_short, a_rest) = a_rest.as_chunks::<SHORT>();
        let (b_short, b_rest) = b_rest.as_chunks::<SHORT>();
        for (a, b) in a_short.iter().zip(b_short) {
            for lane in 0..SHORT {
                let difference = u32::from(a[lane].abs_diff(b[lane]));
                lanes[lane] += difference * difference;
            }
        }
        let rest = a_rest.iter().zip(b_rest).map(|(a, &b)| u32::from(a.abs_diff(b)).pow(2));
        lanes.into_iter().sum::<u32>() + rest.sum::<u32>()
    }
}

/// With the instruction that multiplies sixteen values and adds each to the next: compilers do not find it
/// in a loop over bytes, and half the time goes without it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Adjacent(V3);

#[cfg(target_arch = "x86_64")]
impl Squares for Adjacent {
    #[inline(always)]
    fn sum(self, a: &[u8], b: &[u8]) -> u32 {
        let avx2 = self.0.avx2;
        let zero = pulp::cast([0_u8; WIDE]);
        let (mut low, mut high) = (zero, zero);
        let (a, a_rest) = a.as_chunks::<WIDE>();
        let (b, b_rest) = b.as_chunks::<WIDE>();
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (pulp::cast(a), pulp::cast(b));
            let difference =
                avx2._mm256_or_si256(avx2._mm256_subs_epu8(a, b), avx2._mm256_subs_epu8(b, a));
            let even = avx2._mm256_unpacklo_epi8(difference, zero);
            let odd = avx2._mm256_unpackhi_epi8(difference, zero);
            low = avx2._mm256_add_epi32(low, avx2._mm256_madd_epi16(even, even));
            high = avx2._mm256_add_epi32(high, avx2._mm256_madd_epi16(odd, odd));
        }
        let lanes: [u32; 8] = pulp::cast(avx2._mm256_add_epi32(low, high));
        lanes.into_iter().sum::<u32>() + Portable.sum(a_rest, b_rest)
    }

    #[inline(always)]
    fn heads(self, block: &[u8], width: usize, first: &[u8; HEAD]) -> [u32; ABREAST] {
        let avx2 = self.0.avx2;
        let first = avx2._mm256_cvtepu8_epi16(pulp::cast(*first));
        let mut of_rows = [first; ABREAST];
        for (squares, row) in of_rows.iter_mut().zip(block.chunks_exact(width)) {
            let head = row.first_chunk::<HEAD>().expect("a row has as many");
            let head = avx2._mm256_cvtepu8_epi16(pulp::cast(*head));
            let difference = avx2._mm256_sub_epi16(head, first);
            *squares = avx2._mm256_madd_epi16(difference, difference);
        }
        // Each step adds neighbours, until a lane is left for each row.
        let [a, b, c, d, e, f, g, h] = of_rows;
        let (a, b) = (avx2._mm256_hadd_epi32(a, b), avx2._mm256_hadd_epi32(c, d));
        let (c, d) = (avx2._mm256_hadd_epi32(e, f), avx2._mm256_hadd_epi32(g, h));
        let (a, b) = (avx2._mm256_hadd_epi32(a, b), avx2._mm256_hadd_epi32(c, d));
        let low = avx2._mm256_permute2x128_si256::<0x20>(a, b);
        let high = avx2._mm256_permute2x128_si256::<0x31>(a, b);
        pulp::cast(avx2._mm256_add_epi32(low, high))
    }
}

/// Bytes of a register.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 32;

struct EachRow<'a, F> {
    rows: &'a [u8],
    x: &'a [u8],
    then: F,
}

impl<F: FnMut(u32)> OfBytes for EachRow<'_, F> {
    #[inline(always)]
    fn run(mut self, squares: impl Squares) {
        if by_width(self.x.len(), &mut self) {
            return;
        }
        for row in self.rows.chunks_exact(self.x.len()) {
            (self.then)(squares.sum(row, self.x));
        }
    }
}

impl<F: FnMut(u32)> OfWidth for EachRow<'_, F> {
    #[inline(always)]
    fn run<const WIDTH: usize>(&mut self) {
        each_block::<WIDTH>(self.rows, self.x, |_, sums| {
            sums.iter().for_each(|&sum| (self.then)(sum));
        });
    }
}

struct Nearest<'a, F> {
    blocks: Blocks<'a, u8>,
    x: &'a [u8],
    spare: &'a mut Spare<u8>,
    then: F,
}

impl<F: FnMut(usize, u32) -> u32> OfBytes for Nearest<'_, F> {
    #[inline(always)]
    fn run(mut self, squares: impl Squares) {
        if by_width(self.x.len(), &mut self) {
            return;
        }
        let Self { blocks: Blocks { rows, boxes }, x, spare, mut then } = self;
        let width = x.len();
        let far = spare.measure(
            boxes,
            x,
            #[inline(always)]
            |point| squares.sum(point, x),
        );
        in_turn(
            far,
            #[inline(always)]
            |block, mut limit| {
                let mut number = block * BLOCK_ROWS;
                let rows = &rows[number * width..rows.len().min((number + BLOCK_ROWS) * width)];
                let mut rest = rows;
                if let Some((first, last)) = x.split_first_chunk::<HEAD>() {
                    let mut parts = rows.chunks_exact(ABREAST * width);
                    for part in &mut parts {
                        let sums = squares.heads(part, width, first);
                        // Most have nobody who is near.
                        if sums.iter().any(|&sum| sum <= limit) {
                            for (at, row) in part.chunks_exact(width).enumerate() {
                                if sums[at] <= limit {
                                    let sum = sums[at] + squares.sum(&row[HEAD..], last);
                                    if sum <= limit {
                                        limit = then(number + at, sum);
                                    }
                                }
                            }
                        }
                        number += ABREAST;
                    }
                    rest = parts.remainder();
                }
                for row in rest.chunks_exact(width) {
                    let sum = squares.sum(row, x);
                    if sum <= limit {
                        limit = then(number, sum);
                    }
                    number += 1;
                }
                limit
            },
        );
    }
}

impl<F: FnMut(usize, u32) -> u32> OfWidth for Nearest<'_, F> {
    #[inline(always)]
    fn run<const WIDTH: usize>(&mut self) {
        let Self { blocks: Blocks { rows, boxes }, x, spare, then } = self;
        let far = spare.measure_narrow::<WIDTH>(
            boxes,
            x,
            #[inline(always)]
            |point, x| {
                let squares = point.iter().zip(x).map(|(a, &b)| u32::from(a.abs_diff(b)).pow(2));
                squares.sum()
            },
        );
        let block_bytes = BLOCK_ROWS * WIDTH;
        in_turn(
            far,
            #[inline(always)]
            |block, mut limit| {
                let rows = &rows[block * block_bytes..rows.len().min((block + 1) * block_bytes)];
                each_block::<WIDTH>(
                    rows,
                    x,
                    #[inline(always)]
                    |before, sums| {
                        // Most have nobody who is near.
                        if sums.iter().all(|&sum| limit < sum) {
                            return;
                        }
                        for (row, &sum) in sums.iter().enumerate() {
                            if sum <= limit {
                                limit = then(block * BLOCK_ROWS + before + row, sum);
                            }
                        }
                    },
                );
                limit
            },
        );
    }
}

/// What is done with rows of a width that is known when this is compiled.
trait OfWidth {
    fn run<const WIDTH: usize>(&mut self);
}

/// Runs `kernel` for rows of `width` bytes, unless they are too wide to be compared side by side.
#[inline(always)]
fn by_width(width: usize, kernel: &mut impl OfWidth) -> bool {
    match width {
        1 => kernel.run::<1>(),
        2 => kernel.run::<2>(),
        3 => kernel.run::<3>(),
        4 => kernel.run::<4>(),
        5 => kernel.run::<5>(),
        6 => kernel.run::<6>(),
        7 => kernel.run::<7>(),
        8 => kernel.run::<8>(),
        9 => kernel.run::<9>(),
        10 => kernel.run::<10>(),
        11 => kernel.run::<11>(),
        12 => kernel.run::<12>(),
        _ => return false,
    }
    true
}

/// Narrow rows that are compared side by side.
const ROWS: usize = 32;

/// The sums of each block of rows of `WIDTH` bytes, which is the length of `x`, and how many rows were before it.
#[inline(always)]
fn each_block<const WIDTH: usize>(rows: &[u8], x: &[u8], mut then: impl FnMut(usize, &[u32])) {
    let mut one = [0_u8; WIDTH];
    one.copy_from_slice(x);
    let (rows, _) = rows.as_chunks::<WIDTH>();
    let mut sums = [0_u32; ROWS];
    for (block, rows) in rows.chunks(ROWS).enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = 0;
            for at in 0..WIDTH {
                let difference = u32::from(row[at].abs_diff(one[at]));
                *sum += difference * difference;
            }
        }
        then(block * ROWS, &sums[..rows.len()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps what it is told.
    struct Sum<'a>(&'a [u8], &'a [u8], &'a mut u32);

    impl OfBytes for Sum<'_> {
        fn run(self, squares: impl Squares) {
            *self.2 = squares.sum(self.0, self.1);
        }
    }

    proptest! {
        #[test]
        fn the_widest_sum_is_the_sum(
            pairs in prop::collection::vec(any::<(u8, u8)>(), 0..300),
        ) {
            let (a, b): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
            let exact: u32 = pairs.iter().map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum();
            let mut widest = 0;
            widest_of_bytes(Sum(&a, &b, &mut widest));
            prop_assert_eq!(widest, exact);
            prop_assert_eq!(Portable.sum(&a, &b), exact);
        }

        #[test]
        fn each_row_is_told(
            rows in prop::collection::vec(any::<u8>(), 70 * 40..=70 * 40),
            x in prop::collection::vec(any::<u8>(), 40..=40),
            width in 1_usize..=40,
            rows_told in 1_usize..70,
        ) {
            let (rows, x) = (&rows[..rows_told * width], &x[..width]);
            let mut all = vec![];
            squared_distances_of_bytes(rows, x, |sum| all.push(sum));
            let exact = rows.chunks_exact(width).map(|row| -> u32 {
                row.iter().zip(x).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
            });
            prop_assert_eq!(&all, &exact.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_largest_sum_that_is_let_in_fits() {
        let most = crate::rows::COMPACT_WIDTH_MAX;
        let (a, b) = (vec![0; most], vec![255; most]);
        let mut widest = 0;
        widest_of_bytes(Sum(&a, &b, &mut widest));
        assert_eq!(widest, u32::try_from(most).unwrap() * 255 * 255);
        assert_eq!(Portable.sum(&a, &b), widest);
    }
}
