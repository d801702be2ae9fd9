//! Weights of a soft vote: how much each member counts, from what it thought likely of rows that it
//! was not fitted on.

/// Rounds of [`mixture`]: it gains next to nothing after some dozens.
const ROUNDS: usize = 50;
/// It ends when no weight moves by more.
const STILL: f64 = 1e-4;

/// The weights, summing to 1, under which the rows are most likely to be what they are, if a member
/// is drawn by its weight for each row and says the truth: those of a linear pool.
///
/// A member that adds nothing to the others gets next to nothing, however good it is alone.
///
/// # Shapes
///
/// `likely` is `[member][row]`: how likely each member thought what is true, above 0. `rows` says
/// which of them count.
///
/// # Source
///
/// Expectation maximisation for the proportions of a mixture (Dempster, Laird and Rubin, 1977),
/// as for pooling forecasts (Raftery et al., 2005).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of members and rows")]
pub fn mixture(likely: &[Vec<f32>], rows: &[usize]) -> Vec<f64> {
    let members = likely.len();
    let mut weights = vec![1.0 / members.max(1) as f64; members];
    if rows.is_empty() {
        return weights;
    }
    let mut taken = vec![0.0_f64; members];
    for _ in 0..ROUNDS {
        taken.fill(0.0);
        for &row in rows {
            let whole: f64 =
                weights.iter().zip(likely).map(|(weight, of)| weight * f64::from(of[row])).sum();
            for ((taken, weight), of) in taken.iter_mut().zip(&weights).zip(likely) {
                *taken += weight * f64::from(of[row]) / whole.max(f64::MIN_POSITIVE);
            }
        }
        let mut moved = 0.0_f64;
        for (weight, taken) in weights.iter_mut().zip(&taken) {
            let next = taken / rows.len() as f64;
            moved = moved.max((next - *weight).abs());
            *weight = next;
        }
        if moved < STILL {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_knows_no_more_than_another_gets_nothing() {
        // The first is sure and right in nine rows of ten, the second says a half of everything, the
        // third says what the first says and is wrong once more.
        let first: Vec<f32> =
            (0..1000).map(|row| if row % 10 == 0 { 0.02 } else { 0.98 }).collect();
        let third: Vec<f32> = (0..1000).map(|row| if row % 10 < 2 { 0.02 } else { 0.98 }).collect();
        let rows: Vec<usize> = (0..1000).collect();
        let weights = mixture(&[first, vec![0.5; 1000], third], &rows);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(0.8 < weights[0] && weights[2] < 0.01, "{weights:?}");
    }

    #[test]
    fn only_the_rows_that_count_are_looked_at() {
        let likely = [vec![0.9, 0.1], vec![0.1, 0.9]];
        assert!(0.99 < mixture(&likely, &[0])[0]);
        assert!(0.99 < mixture(&likely, &[1])[1]);
        assert_eq!(mixture(&likely, &[]), [0.5, 0.5]);
    }
}
