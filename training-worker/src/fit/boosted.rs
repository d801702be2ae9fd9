//! Gradient-boosted trees: in every round one tree per class, grown on the gradient of the softmax.
//!
//! Source: XGBoost (Chen and Guestrin, KDD 2016) for the second-order gain, LightGBM (Ke et al.,
//! NeurIPS 2017) for bins and for the larger child's histogram as the difference of two others.

mod entries;

use models::member::Boosted;

use self::entries::Entries;
use super::{
    FitError, Lesson,
    bins::Bins,
    matrix::{index32, narrow},
    trees::{Growing, at, part},
};
use crate::draw::{Draw, hash};

/// How the trees grow.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Rounds, of one tree per class each.
    pub rounds: usize,
    /// Longest path from a root to a leaf.
    pub depth: usize,
    /// How much of a tree's answer is added.
    pub rate: f64,
    /// Bins per column.
    pub bins: usize,
    /// Share of the columns that the trees of a round may look at.
    pub columns: f64,
    /// Fewest columns that they may look at.
    pub columns_min: usize,
    /// Added to the curvature of a leaf, against leaves of few rows.
    pub lambda: f64,
    /// Least curvature of a leaf.
    pub curvature_min: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rounds: 100,
            depth: 6,
            rate: 0.3,
            bins: 64,
            columns: 0.15,
            columns_min: 16,
            lambda: 1.0,
            curvature_min: 1.0,
        }
    }
}

impl Settings {
    /// How many of `width` columns the trees of a round look at.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a width is small and positive"
    )]
    pub(super) fn columns_in(&self, width: usize) -> usize {
        ((width as f64 * self.columns).ceil() as usize).max(self.columns_min).min(width)
    }
}

/// Trees that know their bins.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) growing: Growing,
    pub(super) base: Vec<f32>,
    pub(super) leaves: Vec<f32>,
    /// The trainer's own scores of its rows, `[n, classes]`.
    #[cfg(test)]
    pub(super) scores: Vec<f32>,
    #[cfg(test)]
    pub(super) bins: Bins,
}

impl Fitted {
    pub(super) fn lower(self) -> Boosted {
        Boosted { trees: self.growing.trees, base: self.base, leaves: self.leaves }
    }
}

/// Score of a class that has no row: no sum of leaves brings it back.
const ABSENT: f32 = -1e4;

/// Slope and curvature of the loss.
type Pair = [f32; 2];

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let (n, classes) = (lesson.samples.len(), lesson.classes);
    let bins = Bins::new(lesson.samples, settings.bins);
    let counts = lesson.counts();
    #[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
    let base: Vec<f32> = lesson
        .shares()
        .into_iter()
        .map(|share| if share == 0.0 { ABSENT } else { narrow((share / n as f64).ln()) })
        .collect();
    let mut scores: Vec<f32> = std::iter::repeat_n(&base, n).flatten().copied().collect();
    let mut shares = vec![0.0_f32; n * classes];
    let mut pairs: Vec<Pair> = vec![[0.0; 2]; n];
    let mut grower = Grower::new(settings, lesson, &bins);
    for round in 0..settings.rounds {
        softmax(&scores, &mut shares, classes);
        grower.begin(hash(&[lesson.seed, round as u64]));
        for class in 0..classes {
            lesson.stop.check()?;
            if counts[class] == 0 {
                grower.plant_nothing();
                continue;
            }
            for (row, pair) in pairs.iter_mut().enumerate() {
                let share = shares[row * classes + class];
                let target = if usize::from(lesson.labels[row]) == class { 1.0 } else { 0.0 };
                let weight = lesson.weight(row);
                let curvature = (2.0 * share * (1.0 - share)).max(1e-12);
                *pair = [weight * (share - target), weight * curvature];
            }
            grower.grow(&pairs, |row, value| scores[row * classes + class] += value);
        }
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(FitError::Diverged { what: "boosted" });
    }
    Ok(Fitted {
        growing: grower.growing,
        base,
        leaves: grower.leaves,
        #[cfg(test)]
        scores,
        #[cfg(test)]
        bins,
    })
}

/// The share of each class, row by row.
fn softmax(scores: &[f32], shares: &mut [f32], classes: usize) {
    for (scores, shares) in scores.chunks_exact(classes).zip(shares.chunks_exact_mut(classes)) {
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (share, score) in shares.iter_mut().zip(scores) {
            *share = (score - most).exp();
            sum += *share;
        }
        shares.iter_mut().for_each(|share| *share /= sum);
    }
}

/// Grows tree after tree, with buffers that last.
struct Grower<'a> {
    settings: &'a Settings,
    bins: &'a Bins,
    growing: Growing,
    leaves: Vec<f32>,
    rows: Vec<u32>,
    spare: Vec<u32>,
    /// All columns that are not constant.
    columns: Vec<usize>,
    /// How many of them the trees of a round look at.
    tries: usize,
    entries: Entries,
    /// Histograms that are free to be used again.
    free: Vec<Vec<Pair>>,
}

/// A node with its rows and their sums.
struct Node {
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
    sum: [f64; 2],
}

#[derive(Clone, Copy)]
struct Cut {
    gain: f64,
    column: usize,
    bin: u8,
    left: [f64; 2],
}

impl<'a> Grower<'a> {
    fn new(settings: &'a Settings, lesson: &Lesson<'_>, bins: &'a Bins) -> Self {
        let columns: Vec<usize> = (0..bins.width()).filter(|&it| 1 < bins.count(it)).collect();
        Self {
            settings,
            bins,
            growing: Growing::default(),
            leaves: vec![0.0],
            rows: (0..index32(lesson.samples.len())).collect(),
            spare: Vec::new(),
            tries: settings.columns_in(columns.len()),
            columns,
            entries: Entries::new(bins),
            free: Vec::new(),
        }
    }

    /// A tree that adds nothing, for a class without rows.
    fn plant_nothing(&mut self) {
        let root = self.growing.plant();
        self.growing.end(root, 0);
    }

    /// Chooses the columns of a round.
    fn begin(&mut self, seed: u64) {
        let mut columns = self.columns.clone();
        Draw::new(seed).choose(&mut columns, self.tries);
        columns.truncate(self.tries);
        columns.sort_unstable();
        self.entries.take_up(self.bins, &columns);
    }

    fn grow(&mut self, pairs: &[Pair], mut add: impl FnMut(usize, f32)) {
        let rows = self.rows.len();
        // In order, so that a tree does not depend on the one before it.
        self.rows.sort_unstable();
        let node = self.growing.plant();
        let mut sum = [0.0_f64; 2];
        for pair in pairs {
            sum[0] += f64::from(pair[0]);
            sum[1] += f64::from(pair[1]);
        }
        let root = Node { node, start: 0, end: rows, depth: 0, sum };
        let histogram = self.histogram(&root, pairs);
        let mut waiting = vec![(root, histogram)];
        while let Some((node, histogram)) = waiting.pop() {
            let found = if node.depth < self.settings.depth && !histogram.is_empty() {
                self.best(&histogram, node.sum)
            } else {
                None
            };
            let Some(cut) = found else {
                let value =
                    -self.settings.rate * node.sum[0] / (node.sum[1] + self.settings.lambda);
                let value = narrow(value);
                self.growing.end(node.node, self.leaves.len());
                self.leaves.push(value);
                self.rows[node.start..node.end].iter().for_each(|&row| add(at(row), value));
                if !histogram.is_empty() {
                    self.free.push(histogram);
                }
                continue;
            };
            self.part(node, cut, histogram, pairs, &mut waiting);
        }
    }

    /// Cuts `node` in two: the smaller child's histogram is counted, the larger one's is what is
    /// left of the parent's.
    fn part(
        &mut self,
        node: Node,
        cut: Cut,
        mut histogram: Vec<Pair>,
        pairs: &[Pair],
        waiting: &mut Vec<(Node, Vec<Pair>)>,
    ) {
        let bytes = self.bins.column(cut.column);
        let here = &mut self.rows[node.start..node.end];
        let parted = part(here, &mut self.spare, bytes, cut.bin);
        let middle = node.start + parted.left;
        let bin = self.bins.middle(cut.column, parted.low, parted.high);
        let child = self.growing.cut(node.node, self.bins, cut.column, bin);
        let depth = node.depth + 1;
        let right = [node.sum[0] - cut.left[0], node.sum[1] - cut.left[1]];
        let left = Node { node: child, start: node.start, end: middle, depth, sum: cut.left };
        let right = Node { node: child + 1, start: middle, end: node.end, depth, sum: right };
        let left_is_smaller = left.end - left.start <= right.end - right.start;
        let (small, large) = if left_is_smaller { (left, right) } else { (right, left) };
        // Children that cannot be cut need no histogram.
        let counted = if depth < self.settings.depth {
            let counted = self.histogram(&small, pairs);
            for (all, part) in histogram.iter_mut().zip(&counted) {
                all[0] -= part[0];
                all[1] -= part[1];
            }
            counted
        } else {
            Vec::new()
        };
        waiting.push((large, histogram));
        waiting.push((small, counted));
    }

    fn histogram(&mut self, node: &Node, pairs: &[Pair]) -> Vec<Pair> {
        let mut histogram = self.free.pop().unwrap_or_default();
        let rows = &self.rows[node.start..node.end];
        self.entries.count(rows, pairs, node.sum, &mut histogram);
        histogram
    }

    /// The cut that lowers the loss most.
    fn best(&self, histogram: &[Pair], sum: [f64; 2]) -> Option<Cut> {
        let Settings { lambda, curvature_min, .. } = *self.settings;
        let worth = |slope: f64, curvature: f64| slope * slope / (curvature + lambda);
        let whole = worth(sum[0], sum[1]);
        let mut best: Option<Cut> = None;
        for (column, sums) in self.entries.columns(histogram) {
            let mut left = [0.0_f64; 2];
            let last = self.bins.count(column) - 1;
            for (bin, pair) in (0_u8..=u8::MAX).zip(&sums[..last]) {
                left[0] += f64::from(pair[0]);
                left[1] += f64::from(pair[1]);
                let right = [sum[0] - left[0], sum[1] - left[1]];
                if left[1] < curvature_min || right[1] < curvature_min {
                    continue;
                }
                let gain = worth(left[0], left[1]) + worth(right[0], right[1]) - whole;
                if 1e-6 < gain && best.is_none_or(|best| best.gain < gain) {
                    best = Some(Cut { gain, column, bin, left });
                }
            }
        }
        best
    }
}
