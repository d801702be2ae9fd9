//! Where the next draw lies: at random at first, then where draws before did well.

use crate::draw::Draw;

/// Draws of a family that are random.
const RANDOM: usize = 4;
/// The share of the draws that count as good ones.
const GOOD: f64 = 0.3;
/// How many points are weighed against each other.
const POINTS: usize = 24;
/// The width of the bump around a draw, in a space of width one; it narrows as draws come in.
const WIDTH: f64 = 0.3;

/// A point of the unit cube with `dimensions` sides, guided by points and scores before it.
///
/// # Source
///
/// Tree-structured Parzen estimators (Bergstra, Bardenet, Bengio and Kégl, NeurIPS 2011): of some
/// points that are likely among the good draws, the one that is least likely among the others. One
/// density per side, bumps of equal width and a uniform one: those details are ours.
pub(super) fn draw(known: &[(&[f64], f64)], dimensions: usize, seed: u64) -> Vec<f64> {
    let mut draw = Draw::new(seed);
    if known.len() < RANDOM {
        return (0..dimensions).map(|_| draw.unit()).collect();
    }
    let mut ranked: Vec<&(&[f64], f64)> = known.iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    let good = ((ranked.len() as f64 * GOOD).ceil() as usize).clamp(2, ranked.len() - 1);
    let (good, others) = ranked.split_at(good);
    (0..dimensions)
        .map(|side| {
            let of = |points: &[&(&[f64], f64)]| -> Vec<f64> {
                points.iter().map(|(point, _)| point[side]).collect()
            };
            let (good, others) = (Density(of(good)), Density(of(others)));
            let points = (0..POINTS).map(|_| good.draw(&mut draw));
            let weighed = points.map(|x| (good.at(x) / others.at(x), x));
            weighed.fold((0.0, 0.5), |best, it| if best.0 < it.0 { it } else { best }).1
        })
        .collect()
}

/// Bumps around points of one side, and one bump over all of it.
struct Density(Vec<f64>);

impl Density {
    fn width(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let count = self.0.len() as f64;
        WIDTH / count.max(1.0).sqrt()
    }

    fn at(&self, x: f64) -> f64 {
        let width = self.width();
        let bump = |centre: &f64| (-0.5 * ((x - centre) / width).powi(2)).exp() / width;
        // The uniform bump: nowhere is impossible.
        let uniform = std::f64::consts::TAU.sqrt();
        uniform + self.0.iter().map(bump).sum::<f64>()
    }

    fn draw(&self, draw: &mut Draw) -> f64 {
        match self.0.get(draw.below(self.0.len() + 1)) {
            None => draw.unit(),
            Some(centre) => (centre + self.width() * draw.normal()).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closest to (0.7, 0.2) is best.
    fn score(point: &[f64]) -> f64 {
        -(point[0] - 0.7).powi(2) - (point[1] - 0.2).powi(2)
    }

    fn best_of(count: u64, seed: u64, guided: bool) -> f64 {
        let mut known: Vec<(Vec<f64>, f64)> = Vec::new();
        for at in 0..count {
            let seen: Vec<(&[f64], f64)> =
                known.iter().map(|(point, score)| (point.as_slice(), *score)).collect();
            let seen = if guided { seen.as_slice() } else { &[] };
            let point = draw(seen, 2, crate::draw::hash(&[seed, at]));
            assert!(point.iter().all(|x| (0.0..=1.0).contains(x)));
            let score = score(&point);
            known.push((point, score));
        }
        known.into_iter().map(|(_, score)| score).fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn guided_draws_come_closer_than_random_ones() {
        let mean = |guided| (0..40).map(|seed| best_of(30, seed, guided)).sum::<f64>() / 40.0;
        let (guided, random) = (mean(true), mean(false));
        assert!(random * 0.6 < guided, "guided {guided}, random {random}");
    }

    #[test]
    fn equal_scores_and_no_sides_are_no_trouble() {
        let known: [(&[f64], f64); 9] = [(&[0.5], 0.5); 9];
        assert_eq!(draw(&known, 1, 3).len(), 1);
        let known: [(&[f64], f64); 9] = [(&[], 0.5); 9];
        assert!(draw(&known, 0, 3).is_empty());
    }
}
