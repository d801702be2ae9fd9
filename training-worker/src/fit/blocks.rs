//! Rows beside their neighbours, so that a box around each block of them is small.
//!
//! Source: k-d trees (Bentley, 1975; Friedman, Bentley and Finkel, 1977): all rows are parted at the median of the
//! column in which they are widest, and each part again. Only the order of the leaves is kept.

use models::{Features, kernel::BLOCK_ROWS};

/// The numbers of the rows, neighbours side by side; within a block they are as before.
pub(super) fn order(samples: &Features) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    part(samples, &mut order);
    order
}

/// Parts `rows` at the median, and each half again, as deep as there are blocks to halve.
fn part(samples: &Features, rows: &mut [usize]) {
    if rows.len() <= BLOCK_ROWS {
        rows.sort_unstable();
        return;
    }
    // Every block but the last is whole.
    let middle = (rows.len() / 2).next_multiple_of(BLOCK_ROWS);
    let column = widest(samples, rows);
    rows.select_nth_unstable_by(middle, |&a, &b| {
        samples.row(a)[column].total_cmp(&samples.row(b)[column]).then(a.cmp(&b))
    });
    let (below, above) = rows.split_at_mut(middle);
    part(samples, below);
    part(samples, above);
}

/// The column in which these rows are widest; of several the first.
fn widest(samples: &Features, rows: &[usize]) -> usize {
    let mut least = samples.row(rows[0]).to_vec();
    let mut largest = least.clone();
    for &row in rows {
        for ((least, largest), &value) in least.iter_mut().zip(&mut largest).zip(samples.row(row)) {
            *least = least.min(value);
            *largest = largest.max(value);
        }
    }
    let (mut column, mut most) = (0, f32::NEG_INFINITY);
    for (at, (least, largest)) in least.iter().zip(&largest).enumerate() {
        if most < largest - least {
            (column, most) = (at, largest - least);
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_there_once_and_blocks_hold_neighbours() {
        // Numbers of one column in no order, beside one that says nothing.
        let count = 10 * BLOCK_ROWS + 5;
        let value = |row: usize| f32::from(u16::try_from(row * 97 % count).unwrap());
        let rows: Vec<f32> = (0..count).flat_map(|row| [0.0, value(row)]).collect();
        let order = order(&Features::new(2, rows).unwrap());
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..count).collect::<Vec<_>>());
        let mut values: Vec<f32> = (0..count).map(value).collect();
        values.sort_by(f32::total_cmp);
        for (block, values) in order.chunks(BLOCK_ROWS).zip(values.chunks(BLOCK_ROWS)) {
            assert!(block.is_sorted());
            let mut held: Vec<f32> = block.iter().map(|&row| value(row)).collect();
            held.sort_by(f32::total_cmp);
            assert_eq!(held, values);
        }
    }
}
