//! The dual problem of one pair of classes, solved a few rows at a time.
//!
//! Source: working sets as in SVMlight (Joachims, 1999), half of each kept for the next as in
//! ThunderSVM (Wen et al., 2018). The kernels between all rows are never needed: those of the rows
//! that break the conditions most are computed together, and those rows are brought to rest among
//! themselves before the others hear of it.

use super::{
    few::{Few, LANES, Row},
    kernel::Kernel,
};
use crate::fit::{
    FitError, Lesson,
    matrix::{NullaryFnOnce, vectorised},
};

/// One pair's solution: `α·y` of the rows of the first class, then of the second, and the bias.
#[derive(Clone, Debug, Default)]
pub(in crate::fit) struct Solved {
    pub(in crate::fit) first: Vec<f64>,
    pub(in crate::fit) second: Vec<f64>,
    pub(in crate::fit) bias: f64,
}

/// The problem on its way to being solved.
pub(super) struct Pair {
    kernel: Kernel,
    tolerance: f64,
    /// Those of the first class stand first.
    rows: Vec<Row>,
    firsts: usize,
    /// `y · slope` of each row.
    slopes: Vec<f64>,
    /// The rows that move now, the newest last.
    chosen: Vec<usize>,
}

/// Rows that move together.
pub(super) const CHOSEN_MAX: usize = 96;
/// Steps among the chosen rows, for each of them.
const STEPS_PER_ROW: usize = 40;
/// The chosen rows are brought so much closer to rest than all rows are.
const CLOSER: f64 = 0.1;

impl Pair {
    /// The rows of the first class come first in `kernel`; every row has its cost.
    pub(super) fn new(kernel: Kernel, firsts: usize, costs: Vec<f64>, tolerance: f64) -> Self {
        let side = |row: usize| if row < firsts { 1.0 } else { -1.0 };
        let rows = costs.into_iter().enumerate();
        let rows: Vec<Row> =
            rows.map(|(row, cost)| Row { side: side(row), cost, alpha: 0.0 }).collect();
        let slopes = rows.iter().map(|row| -row.side).collect();
        Self { kernel, tolerance, rows, firsts, slopes, chosen: Vec::new() }
    }

    pub(super) fn solve(mut self, lesson: &Lesson<'_>) -> Result<Solved, FitError> {
        let rounds_max = 1_000 + self.rows.len();
        let mut few = Few::default();
        let mut rounds = 0;
        loop {
            lesson.stop.check()?;
            let gap = self.gap();
            if gap < self.tolerance {
                break;
            }
            if rounds == rounds_max {
                let rows = self.rows.len();
                tracing::warn!(rows, gap, rounds, "an RBF SVM pair was cut short");
                break;
            }
            rounds += 1;
            self.choose();
            self.fetch();
            self.take(&mut few);
            few.solve((CLOSER * gap).max(self.tolerance * 0.5), STEPS_PER_ROW * few.rows.len());
            self.put_back(&few);
        }
        let bias = self.bias();
        if !bias.is_finite() {
            return Err(FitError::Diverged { what: "rbf-svm" });
        }
        let signed = |row: &Row| row.alpha * row.side;
        Ok(Solved {
            first: self.rows[..self.firsts].iter().map(signed).collect(),
            second: self.rows[self.firsts..].iter().map(signed).collect(),
            bias,
        })
    }

    /// By how much the conditions are broken.
    fn gap(&self) -> f64 {
        let (mut most, mut widest) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (row, &slope) in self.rows.iter().zip(&self.slopes) {
            if row.may_grow() {
                most = most.max(-slope);
            }
            if row.may_shrink() {
                widest = widest.max(slope);
            }
        }
        most + widest
    }

    /// Keeps the newer half of the chosen rows, and chooses those that want to move most: as many
    /// that want to grow as that want to shrink.
    fn choose(&mut self) {
        let count = CHOSEN_MAX.min(self.rows.len());
        if self.chosen.len() < count {
            self.chosen.clear();
        } else {
            self.chosen.drain(..count / 2);
        }
        let mut taken = vec![false; self.rows.len()];
        self.chosen.iter().for_each(|&row| taken[row] = true);
        let wanted = count - self.chosen.len();
        for (grow, wanted) in [(true, wanted / 2), (false, wanted - wanted / 2)] {
            let rows = self.rows.iter().zip(&self.slopes).enumerate();
            let mut wanting: Vec<(f64, usize)> = rows
                .filter(|(at, (row, _))| {
                    !taken[*at] && if grow { row.may_grow() } else { row.may_shrink() }
                })
                .map(|(at, (_, &slope))| (if grow { -slope } else { slope }, at))
                .collect();
            let by_want =
                |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            if 0 < wanted && wanted < wanting.len() {
                wanting.select_nth_unstable_by(wanted - 1, by_want);
                wanting.truncate(wanted);
            }
            wanting.sort_unstable_by(by_want);
            for &(_, row) in wanting.iter().take(wanted) {
                taken[row] = true;
                self.chosen.push(row);
            }
        }
    }

    /// Makes sure that the kernels of all chosen rows are there.
    fn fetch(&mut self) {
        let (kept, missing): (Vec<usize>, Vec<usize>) =
            self.chosen.iter().copied().partition(|&row| self.kernel.has(row));
        kept.iter().for_each(|&row| self.kernel.touch(row));
        self.kernel.fetch(&missing);
    }

    /// The chosen rows with what is known of them.
    fn take(&self, few: &mut Few) {
        let padded = self.chosen.len().next_multiple_of(LANES);
        few.rows.clear();
        few.rows.extend(self.chosen.iter().map(|&row| self.rows[row]));
        few.slopes.clear();
        few.slopes.extend(self.chosen.iter().map(|&row| self.slopes[row]));
        few.slopes.resize(padded, 0.0);
        few.kernels.clear();
        for (at, &row) in self.chosen.iter().enumerate() {
            let kernel = self.kernel.row(row);
            few.kernels.extend(self.chosen.iter().map(|&other| kernel[other]));
            few.kernels.resize((at + 1) * padded, 0.0);
        }
    }

    /// Carries what moved among the chosen rows to all.
    fn put_back(&mut self, few: &Few) {
        let mut moves: Vec<(f64, &[f32])> = Vec::with_capacity(self.chosen.len());
        for (&row, moved) in self.chosen.iter().zip(&few.rows) {
            let by = (moved.alpha - self.rows[row].alpha) * moved.side;
            self.rows[row] = *moved;
            if by != 0.0 {
                moves.push((by, self.kernel.row(row)));
            }
        }
        vectorised(Spread { slopes: &mut self.slopes, moves: &moves });
    }

    /// From the rows on the margin; without any, the middle of what the others allow.
    fn bias(&self) -> f64 {
        let (mut sum, mut free) = (0.0, 0.0);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for (row, &slope) in self.rows.iter().zip(&self.slopes) {
            match (row.may_grow(), row.may_shrink()) {
                (true, true) => {
                    sum -= slope;
                    free += 1.0;
                }
                (true, false) => low = low.max(-slope),
                (false, true) => high = high.min(-slope),
                (false, false) => {}
            }
        }
        if 0.0 < free { sum / free } else { f64::midpoint(low, high) }
    }
}

/// Adds the kernels of the rows that moved, times how far, to the slopes of all.
struct Spread<'a> {
    slopes: &'a mut [f64],
    moves: &'a [(f64, &'a [f32])],
}

/// Slopes that stay in the cache while all moves are added.
const BLOCK: usize = 1024;

impl NullaryFnOnce for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (block, slopes) in self.slopes.chunks_mut(BLOCK).enumerate() {
            for (by, kernel) in self.moves {
                for (slope, &near) in slopes.iter_mut().zip(&kernel[block * BLOCK..]) {
                    *slope += by * f64::from(near);
                }
            }
        }
    }
}
