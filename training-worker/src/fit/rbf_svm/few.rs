//! Sequential minimal optimisation among a few rows, all of whose kernels are at hand.
//!
//! Source: second-order choice of the two rows that move (Fan, Chen and Lin, 2005), as in LIBSVM.
//! Ours: the walk that carries out a step also finds the row to move next, so that a step is two
//! walks over the rows, both in vector registers.

use crate::fit::matrix::{NullaryFnOnce, narrow, vectorised};

/// Numbers that one step of a walk takes: rows are padded to a multiple of it.
pub(super) const LANES: usize = 16;

/// Against a curvature of 0 between equal rows.
const CURVATURE_MIN: f64 = 1e-12;

/// What moves a row, and how far it has moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// `+1` for the first class, `-1` for the second.
    pub(super) side: f64,
    /// What it may cost at most.
    pub(super) cost: f64,
    /// 0 to its cost.
    pub(super) alpha: f64,
}

impl Row {
    /// Whether `y·α` may grow.
    pub(super) fn may_grow(&self) -> bool {
        if 0.0 < self.side { self.alpha < self.cost } else { 0.0 < self.alpha }
    }

    /// Whether `y·α` may shrink.
    pub(super) fn may_shrink(&self) -> bool {
        if 0.0 < self.side { 0.0 < self.alpha } else { self.alpha < self.cost }
    }

    /// How far `y·α` may grow or shrink.
    fn room(&self, grow: bool) -> f64 {
        if (0.0 < self.side) == grow { self.cost - self.alpha } else { self.alpha }
    }

    /// Moves `y·α`; when that is as far as it may go, to the bound exactly: a rounding error would
    /// leave the row in play for ever.
    fn go(&mut self, by: f64, grow: bool, to_the_end: bool) {
        let up = (0.0 < self.side) == grow;
        self.alpha = match (to_the_end, up) {
            (true, true) => self.cost,
            (true, false) => 0.0,
            (false, true) => self.alpha + by,
            (false, false) => self.alpha - by,
        };
    }
}

/// A few rows of a problem.
#[derive(Default)]
pub(super) struct Few {
    pub(super) rows: Vec<Row>,
    /// `y · slope` of each, where slope is that of the dual: what the conditions compare. Padded.
    pub(super) slopes: Vec<f64>,
    /// `[rows, padded rows]`.
    pub(super) kernels: Vec<f32>,
    /// 0 where `y·α` may grow, else minus infinity. Padded.
    grow: Vec<f32>,
    /// 0 where `y·α` may shrink, else minus infinity. Padded.
    shrink: Vec<f32>,
}

impl Few {
    /// Moves rows until none breaks the conditions by `tolerance`, `steps_max` times at most.
    pub(super) fn solve(&mut self, tolerance: f64, steps_max: usize) {
        let padded = self.rows.len().next_multiple_of(LANES);
        for marks in [&mut self.grow, &mut self.shrink] {
            marks.clear();
            marks.resize(padded, f32::NEG_INFINITY);
        }
        (0..self.rows.len()).for_each(|row| self.mark(row));
        let still = vec![0.0; padded];
        let Self { slopes, grow, shrink, .. } = self;
        let walk = CarryOut { slopes, up: &still, down: &still, step: 0.0, grow, shrink };
        let mut next = vectorised(walk);
        for _ in 0..steps_max {
            if next.most + next.widest < tolerance {
                break;
            }
            let grows = next.row;
            let up = &self.kernels[grows * padded..][..padded];
            let (slopes, shrink, most) = (&self.slopes, &self.shrink, next.most);
            let partner = vectorised(Partner { slopes, shrink, kernel: up, most });
            let Some(shrinks) = partner else { break };
            let near = f64::from(up[shrinks]);
            let step = self.step(grows, shrinks, near);
            let Self { slopes, grow, shrink, kernels, .. } = self;
            let up = &kernels[grows * padded..][..padded];
            let down = &kernels[shrinks * padded..][..padded];
            next = vectorised(CarryOut { slopes, up, down, step, grow, shrink });
        }
    }

    /// Notes which way a row may move.
    fn mark(&mut self, row: usize) {
        let mark = |may: bool| if may { 0.0 } else { f32::NEG_INFINITY };
        self.grow[row] = mark(self.rows[row].may_grow());
        self.shrink[row] = mark(self.rows[row].may_shrink());
    }

    /// Moves two rows as far as the loss falls and the bounds allow; gives how far.
    fn step(&mut self, grows: usize, shrinks: usize, near: f64) -> f64 {
        let curvature = (2.0 - 2.0 * near).max(CURVATURE_MIN);
        let wanted = (self.slopes[shrinks] - self.slopes[grows]) / curvature;
        let (up, down) = (self.rows[grows].room(true), self.rows[shrinks].room(false));
        let step = wanted.min(up).min(down);
        self.rows[grows].go(step, true, step == up);
        self.rows[shrinks].go(step, false, step == down);
        self.mark(grows);
        self.mark(shrinks);
        step
    }
}

/// What to do next.
#[derive(Clone, Copy)]
struct Next {
    /// The row whose `y·α` wants to grow most.
    row: usize,
    /// How much.
    most: f64,
    /// How much the row that wants to shrink most wants it.
    widest: f64,
}

/// The walk that carries out a step and finds the row to move next.
struct CarryOut<'a> {
    slopes: &'a mut [f64],
    up: &'a [f32],
    down: &'a [f32],
    step: f64,
    grow: &'a [f32],
    shrink: &'a [f32],
}

impl NullaryFnOnce for CarryOut<'_> {
    type Output = Next;

    #[inline(always)]
    fn call(self) -> Next {
        let mut most = [f64::NEG_INFINITY; LANES];
        let mut found = [0_u32; LANES];
        let mut widest = [f64::NEG_INFINITY; LANES];
        let (slopes, _) = self.slopes.as_chunks_mut::<LANES>();
        let kernels = self.up.as_chunks::<LANES>().0.iter().zip(self.down.as_chunks::<LANES>().0);
        let marks = self.grow.as_chunks::<LANES>().0.iter().zip(self.shrink.as_chunks::<LANES>().0);
        let rows = slopes.iter_mut().zip(kernels.zip(marks));
        for (at, (slopes, ((up, down), (grow, shrink)))) in (0_u32..).zip(rows) {
            for lane in 0..LANES {
                let slope = slopes[lane] + self.step * f64::from(up[lane] - down[lane]);
                slopes[lane] = slope;
                let wants = f64::from(grow[lane]) - slope;
                let better = most[lane] < wants;
                most[lane] = if better { wants } else { most[lane] };
                found[lane] = if better { at } else { found[lane] };
                let wants = f64::from(shrink[lane]) + slope;
                widest[lane] = if widest[lane] < wants { wants } else { widest[lane] };
            }
        }
        let mut next = Next { row: 0, most: f64::NEG_INFINITY, widest: f64::NEG_INFINITY };
        for lane in 0..LANES {
            let row = found[lane] as usize * LANES + lane;
            if next.most < most[lane] || next.most == most[lane] && row < next.row {
                (next.row, next.most) = (row, most[lane]);
            }
            next.widest = next.widest.max(widest[lane]);
        }
        next
    }
}

/// The walk that finds the row whose `y·α` should shrink when that of another, which wants to by
/// `most`, grows: the largest decrease by second order.
struct Partner<'a> {
    slopes: &'a [f64],
    shrink: &'a [f32],
    kernel: &'a [f32],
    most: f64,
}

impl NullaryFnOnce for Partner<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn call(self) -> Option<usize> {
        let least = narrow(CURVATURE_MIN);
        let mut most = [0.0_f32; LANES];
        let mut found = [u32::MAX; LANES];
        let (slopes, _) = self.slopes.as_chunks::<LANES>();
        let (shrink, _) = self.shrink.as_chunks::<LANES>();
        let (kernels, _) = self.kernel.as_chunks::<LANES>();
        let rows = slopes.iter().zip(shrink.iter().zip(kernels));
        for (at, (slopes, (shrink, kernel))) in (0_u32..).zip(rows) {
            for lane in 0..LANES {
                let gap = narrow(self.most + slopes[lane]) + shrink[lane];
                let gap = if 0.0 < gap { gap } else { 0.0 };
                let curvature = 2.0 - 2.0 * kernel[lane];
                let curvature = if least < curvature { curvature } else { least };
                let decrease = gap * gap / curvature;
                let better = most[lane] < decrease;
                most[lane] = if better { decrease } else { most[lane] };
                found[lane] = if better { at } else { found[lane] };
            }
        }
        let mut best: Option<(f32, usize)> = None;
        for lane in 0..LANES {
            if found[lane] == u32::MAX {
                continue;
            }
            let row = found[lane] as usize * LANES + lane;
            let better = best
                .is_none_or(|(value, at)| value < most[lane] || value == most[lane] && row < at);
            if better {
                best = Some((most[lane], row));
            }
        }
        best.map(|(_, row)| row)
    }
}
