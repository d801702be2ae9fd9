//! RBF SVM: one problem for each pair of classes, solved by sequential minimal optimisation.
//!
//! Source: LIBSVM (Chang and Lin, 2011) with second-order working sets (Fan, Chen and Lin, 2005).
//! Ours: kernel rows are computed by one matrix product for the rows that break the conditions most,
//! and kept in a cache of bounded size.

use models::member::RbfSvm;

use super::{
    FitError, Lesson,
    matrix::{NullaryFnOnce, Squares, multiply, narrow, vectorised, view, view_mut},
};

/// How the margins are found.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What a row inside the margin costs at most.
    pub cost: f64,
    /// The kernel's gamma, times the number of columns that are not constant.
    pub gamma: f64,
    /// Stops when the conditions are broken by less than this.
    pub tolerance: f64,
    /// Most bytes of kernel rows kept.
    pub cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cost: 5.0, gamma: 0.5, tolerance: 1e-2, cache_bytes: 128 << 20 }
    }
}

/// The solved pairs.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) gamma: f32,
    pub(super) width: usize,
    pub(super) classes: usize,
    /// Row numbers of each class.
    pub(super) members: Vec<Vec<usize>>,
    /// For each pair `a < b`, in order: `α·y` of the rows of `a`, then of `b`, and the bias.
    pub(super) pairs: Vec<Solved>,
    values: Vec<f32>,
}

/// One pair's solution.
#[derive(Clone, Debug, Default)]
pub(super) struct Solved {
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
    pub(super) bias: f64,
}

impl Fitted {
    /// Keeps the rows that any pair leans on.
    pub(super) fn lower(&self) -> RbfSvm {
        let others = self.classes - 1;
        let mut model = RbfSvm {
            gamma: self.gamma,
            width: self.width,
            counts: Vec::with_capacity(self.classes),
            vectors: Vec::new(),
            coefficients: Vec::new(),
            bias: self.pairs.iter().map(|pair| narrow(pair.bias)).collect(),
        };
        for (class, rows) in self.members.iter().enumerate() {
            let mut count = 0;
            let mut coefficients = Vec::with_capacity(others);
            for (at, &row) in rows.iter().enumerate() {
                coefficients.clear();
                coefficients.extend((0..self.classes).filter(|&other| other != class).map(
                    |other| {
                        let pair =
                            &self.pairs[pair_of(class.min(other), class.max(other), self.classes)];
                        let side = if class < other { &pair.first } else { &pair.second };
                        narrow(side.get(at).copied().unwrap_or(0.0))
                    },
                ));
                if coefficients.iter().all(|&coefficient| coefficient == 0.0) {
                    continue;
                }
                model.vectors.extend_from_slice(&self.values[row * self.width..][..self.width]);
                model.coefficients.extend_from_slice(&coefficients);
                count += 1;
            }
            model.counts.push(count);
        }
        model
    }

    /// The decision of each pair, in double precision, from all rows.
    #[cfg(test)]
    pub(super) fn decisions(&self, x: &[f32]) -> Vec<f64> {
        let kernel = |row: usize| {
            let y = &self.values[row * self.width..][..self.width];
            let far: f64 =
                x.iter().zip(y).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            (-f64::from(self.gamma) * far).exp()
        };
        let mut decisions = Vec::new();
        for a in 0..self.classes {
            for b in a + 1..self.classes {
                let pair = &self.pairs[pair_of(a, b, self.classes)];
                let sum = |rows: &[usize], alphas: &[f64]| -> f64 {
                    alphas.iter().zip(rows).map(|(alpha, &row)| alpha * kernel(row)).sum()
                };
                decisions.push(
                    sum(&self.members[a], &pair.first)
                        + sum(&self.members[b], &pair.second)
                        + pair.bias,
                );
            }
        }
        decisions
    }
}

/// Where pair `(a, b)`, `a < b`, stands in the order (0,1), (0,2), …, (1,2), ….
pub(super) fn pair_of(a: usize, b: usize, classes: usize) -> usize {
    a * (2 * classes - a - 1) / 2 + b - a - 1
}

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let (width, classes) = (lesson.samples.width(), lesson.classes);
    let mut members = vec![Vec::new(); classes];
    for (row, &label) in lesson.labels.iter().enumerate() {
        members[usize::from(label)].push(row);
    }
    let first = lesson.samples.row(0);
    let varying = (0..width)
        .filter(|&column| lesson.samples.rows().any(|row| row[column] != first[column]))
        .count();
    #[expect(clippy::cast_precision_loss, reason = "a width in memory")]
    let gamma = narrow(settings.gamma / varying.max(1) as f64);
    let mut pairs = Vec::with_capacity(classes * (classes - 1) / 2);
    for a in 0..classes {
        for b in a + 1..classes {
            lesson.stop.check()?;
            pairs.push(match (members[a].is_empty(), members[b].is_empty()) {
                // Against a class without rows, the other one is right.
                (false, true) => Solved { bias: 1.0, ..Solved::default() },
                (true, false) => Solved { bias: -1.0, ..Solved::default() },
                (true, true) => Solved::default(),
                (false, false) => {
                    let rows: Vec<usize> = members[a].iter().chain(&members[b]).copied().collect();
                    let values = lesson.samples.select(&rows);
                    let kernel = Kernel::new(values.values(), width, gamma, settings.cache_bytes);
                    Problem::new(settings, kernel, members[a].len()).solve(lesson)?
                }
            });
        }
    }
    let values = lesson.samples.values().to_vec();
    Ok(Fitted { gamma, width, classes, members, pairs, values })
}

/// Rows of the kernel matrix, computed when they are needed and kept while there is room.
struct Kernel<'a> {
    values: &'a [f32],
    width: usize,
    gamma: f32,
    rows: usize,
    squares: Vec<f32>,
    /// `[slots, rows]`.
    kept: Vec<f32>,
    /// The row that each slot keeps.
    holds: Vec<Option<usize>>,
    /// The slot of each row.
    slots: Vec<Option<usize>>,
    /// When each slot was used last.
    used: Vec<u64>,
    now: u64,
    batch: Vec<f32>,
}

/// Kernel rows of one matrix product.
const BATCH: usize = 24;

impl<'a> Kernel<'a> {
    fn new(values: &'a [f32], width: usize, gamma: f32, bytes: usize) -> Self {
        let rows = values.len() / width;
        let room = (bytes / (4 * rows)).clamp(2 * BATCH, (2 * BATCH).max(rows));
        let squares = vectorised(Squares { rows: values, width });
        Self {
            values,
            width,
            gamma,
            rows,
            squares,
            kept: Vec::new(),
            holds: vec![None; room],
            slots: vec![None; rows],
            used: vec![0; room],
            now: 0,
            batch: Vec::new(),
        }
    }

    fn has(&self, row: usize) -> bool {
        self.slots[row].is_some()
    }

    /// The kernel row of `row`, which must have been fetched.
    fn row(&mut self, row: usize) -> &[f32] {
        let slot = self.slots[row].expect("fetched before it is used");
        self.now += 1;
        self.used[slot] = self.now;
        &self.kept[slot * self.rows..][..self.rows]
    }

    /// Computes the kernel rows of `wanted`, none of which is kept yet, `BATCH` at most.
    fn fetch(&mut self, wanted: &[usize]) {
        let (rows, width) = (self.rows, self.width);
        self.batch.clear();
        for &row in wanted {
            self.batch.extend_from_slice(&self.values[row * width..][..width]);
        }
        let mut products = vec![0.0_f32; wanted.len() * rows];
        multiply(
            view_mut(&mut products, wanted.len(), rows),
            view(&self.batch, wanted.len(), width),
            view(self.values, rows, width).transpose(),
        );
        for (products, &row) in products.chunks_exact_mut(rows).zip(wanted) {
            let square = self.squares[row];
            vectorised(Kernels { products, squares: &self.squares, square, gamma: self.gamma });
            products[row] = 1.0;
            let slot = self.make_room();
            if self.kept.len() < (slot + 1) * rows {
                self.kept.resize((slot + 1) * rows, 0.0);
            }
            self.kept[slot * rows..][..rows].copy_from_slice(products);
            self.holds[slot] = Some(row);
            self.slots[row] = Some(slot);
            self.now += 1;
            self.used[slot] = self.now;
        }
    }

    /// A free slot, or the one used longest ago.
    fn make_room(&mut self) -> usize {
        let oldest = (0..self.used.len()).min_by_key(|&slot| self.used[slot]);
        let slot = oldest.expect("a cache has slots");
        if let Some(row) = self.holds[slot].take() {
            self.slots[row] = None;
        }
        slot
    }
}

/// From products with a row to kernels with it.
struct Kernels<'a> {
    products: &'a mut [f32],
    squares: &'a [f32],
    square: f32,
    gamma: f32,
}

impl NullaryFnOnce for Kernels<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (product, other) in self.products.iter_mut().zip(self.squares) {
            *product = exp(-self.gamma * (self.square + other - 2.0 * *product).max(0.0));
        }
    }
}

/// What the slopes become when one row grows and another shrinks by `step`.
struct Slopes<'a> {
    slopes: &'a mut [f64],
    up: &'a [f32],
    down: &'a [f32],
    step: f64,
}

impl NullaryFnOnce for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((slope, &up), &down) in self.slopes.iter_mut().zip(self.up).zip(self.down) {
            *slope += self.step * (f64::from(up) - f64::from(down));
        }
    }
}

/// `eˣ` for `x <= 0`, to about two units in the last place, in instructions that vectorise.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the exponent lies between -126 and 0"
)]
fn exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    let whole = (x * std::f32::consts::LOG2_E).round_ties_even();
    let rest = whole.mul_add(-0.693_359_4, x);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        sum = sum.mul_add(rest, factor);
    }
    let sum = (sum * rest).mul_add(rest, rest) + 1.0;
    sum * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

/// The dual problem of one pair.
struct Problem<'a> {
    kernel: Kernel<'a>,
    cost: f64,
    tolerance: f64,
    /// Rows of the first class, whose side is +1; the others follow with -1.
    firsts: usize,
    /// 0 to `cost`.
    alphas: Vec<f64>,
    /// `y · slope`, where slope is that of the dual: what the conditions compare.
    slopes: Vec<f64>,
}

/// Against a curvature of 0 between equal rows.
const CURVATURE_MIN: f64 = 1e-12;

impl<'a> Problem<'a> {
    fn new(settings: &Settings, kernel: Kernel<'a>, firsts: usize) -> Self {
        let rows = kernel.rows;
        let slopes = (0..rows).map(|row| if row < firsts { -1.0 } else { 1.0 }).collect();
        Self {
            kernel,
            cost: settings.cost,
            tolerance: settings.tolerance,
            firsts,
            alphas: vec![0.0; rows],
            slopes,
        }
    }

    fn side(&self, row: usize) -> f64 {
        if row < self.firsts { 1.0 } else { -1.0 }
    }

    /// Whether `y·α` of the row may grow.
    #[inline(always)]
    fn may_grow(&self, row: usize) -> bool {
        if row < self.firsts { self.alphas[row] < self.cost } else { 0.0 < self.alphas[row] }
    }

    /// Whether `y·α` of the row may shrink.
    #[inline(always)]
    fn may_shrink(&self, row: usize) -> bool {
        if row < self.firsts { 0.0 < self.alphas[row] } else { self.alphas[row] < self.cost }
    }

    fn solve(mut self, lesson: &Lesson<'_>) -> Result<Solved, FitError> {
        let steps_max = 20_000 + 100 * self.kernel.rows;
        let mut done = false;
        for step in 0..steps_max {
            if step % 64 == 0 {
                lesson.stop.check()?;
            }
            let Some((grows, most)) = self.first() else {
                done = true;
                break;
            };
            if !self.kernel.has(grows) {
                let wanted = self.worst(grows);
                self.kernel.fetch(&wanted);
            }
            let Some(shrinks) = self.second(grows, most) else {
                done = true;
                break;
            };
            if !self.kernel.has(shrinks) {
                let wanted = self.worst(shrinks);
                self.kernel.fetch(&wanted);
                if !self.kernel.has(grows) {
                    self.kernel.fetch(&[grows]);
                }
            }
            self.step(grows, shrinks);
        }
        if !done {
            tracing::warn!(rows = self.kernel.rows, steps_max, "an RBF SVM pair was cut short");
        }
        let bias = self.bias();
        if !bias.is_finite() {
            return Err(FitError::Diverged { what: "rbf-svm" });
        }
        let signed = |row: usize| self.alphas[row] * self.side(row);
        Ok(Solved {
            first: (0..self.firsts).map(signed).collect(),
            second: (self.firsts..self.kernel.rows).map(signed).collect(),
            bias,
        })
    }

    /// The row whose `y·α` should grow most, and how much it wants to.
    fn first(&self) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (row, &slope) in self.slopes.iter().enumerate() {
            if best.is_none_or(|(_, most)| most < -slope) && self.may_grow(row) {
                best = Some((row, -slope));
            }
        }
        best
    }

    /// The row whose `y·α` should shrink for it: the largest decrease by second order. `None` when
    /// the conditions hold to the tolerance.
    fn second(&mut self, grows: usize, most: f64) -> Option<usize> {
        let now = self.kernel.now;
        let slot = self.kernel.slots[grows].expect("fetched before it is used");
        self.kernel.now = now + 1;
        self.kernel.used[slot] = self.kernel.now;
        let kernel = &self.kernel.kept[slot * self.kernel.rows..][..self.kernel.rows];
        let (mut widest, mut best) = (f64::NEG_INFINITY, (0.0, None));
        for (row, (&slope, &near)) in self.slopes.iter().zip(kernel).enumerate() {
            let gap = most + slope;
            if gap <= 0.0 && slope <= widest || !self.may_shrink(row) {
                continue;
            }
            widest = widest.max(slope);
            if 0.0 < gap {
                let curvature = (2.0 - 2.0 * f64::from(near)).max(CURVATURE_MIN);
                let decrease = gap * gap / curvature;
                if best.0 < decrease {
                    best = (decrease, Some(row));
                }
            }
        }
        if most + widest < self.tolerance { None } else { best.1 }
    }

    /// `row` and those that break the conditions most among the rows whose kernel is not kept.
    fn worst(&self, row: usize) -> Vec<usize> {
        let mut wanting: Vec<(f64, usize)> = (0..self.kernel.rows)
            .filter(|&other| other != row && !self.kernel.has(other))
            .filter_map(|other| {
                let grow =
                    if self.may_grow(other) { -self.slopes[other] } else { f64::NEG_INFINITY };
                let shrink =
                    if self.may_shrink(other) { self.slopes[other] } else { f64::NEG_INFINITY };
                let wants = grow.max(shrink);
                wants.is_finite().then_some((wants, other))
            })
            .collect();
        let count = (BATCH - 1).min(wanting.len());
        if 0 < count && count < wanting.len() {
            wanting
                .select_nth_unstable_by(count - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        let mut wanted = vec![row];
        wanted.extend(wanting[..count].iter().map(|&(_, other)| other));
        wanted
    }

    /// Moves the two rows as far as the loss falls and the bounds allow.
    fn step(&mut self, grows: usize, shrinks: usize) {
        let near = f64::from(self.kernel.row(grows)[shrinks]);
        let curvature = (2.0 - 2.0 * near).max(CURVATURE_MIN);
        let wanted = (self.slopes[shrinks] - self.slopes[grows]) / curvature;
        let room_up =
            if grows < self.firsts { self.cost - self.alphas[grows] } else { self.alphas[grows] };
        let room_down = if shrinks < self.firsts {
            self.alphas[shrinks]
        } else {
            self.cost - self.alphas[shrinks]
        };
        let step = wanted.min(room_up).min(room_down);
        // At a bound, exactly: a rounding error would leave the row in play for ever.
        self.alphas[grows] = if step == room_up {
            if grows < self.firsts { self.cost } else { 0.0 }
        } else {
            self.alphas[grows] + step * self.side(grows)
        };
        self.alphas[shrinks] = if step == room_down {
            if shrinks < self.firsts { 0.0 } else { self.cost }
        } else {
            self.alphas[shrinks] - step * self.side(shrinks)
        };
        self.kernel.row(grows);
        self.kernel.row(shrinks);
        let rows = self.kernel.rows;
        let slot = |row: usize| self.kernel.slots[row].expect("fetched before it is used") * rows;
        let up = &self.kernel.kept[slot(grows)..][..rows];
        let down = &self.kernel.kept[slot(shrinks)..][..rows];
        vectorised(Slopes { slopes: &mut self.slopes, up, down, step });
    }

    /// From the rows on the margin; without any, the middle of what the others allow.
    fn bias(&self) -> f64 {
        let (mut sum, mut free) = (0.0, 0.0);
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for (row, &slope) in self.slopes.iter().enumerate() {
            match (self.may_grow(row), self.may_shrink(row)) {
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
