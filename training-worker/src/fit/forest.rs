//! Random forest: trees on bootstrapped rows, a random choice of columns at every node.
//!
//! The bootstrap follows from the tree and the row, the columns tried follow from the tree and the
//! path to the node: a few more rows change few nodes, so that a retrained forest is close to the
//! one before, and the forest does not depend on the number of threads.

use models::member::Forest;

use super::{
    FitError, Lesson, abreast,
    bins::Bins,
    matrix::index32,
    trees::{Growing, at, part},
};
use crate::draw::{Draw, hash};

/// How the forest grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many trees.
    pub trees: usize,
    /// Bins per column.
    pub bins: usize,
    /// Longest path from a root to a leaf.
    pub depth: usize,
    /// Columns tried at a node, as a multiple of the square root of the width.
    pub columns: f64,
    /// A node with fewer rows is a leaf.
    pub rows_min: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { trees: 100, bins: 128, depth: 40, columns: 1.0, rows_min: 2 }
    }
}

/// A forest that knows its bins.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) growing: Growing,
    classes: usize,
    /// `[leaves, classes]`; the first `classes` rows are the pure leaves.
    pub(super) leaves: Vec<f32>,
    #[cfg(test)]
    pub(super) bins: Bins,
}

impl Fitted {
    pub(super) fn lower(self) -> Forest {
        Forest { trees: self.growing.trees, classes: self.classes, leaves: self.leaves }
    }
}

pub(super) fn fit(settings: &Settings, lesson: &Lesson<'_>) -> Result<Fitted, FitError> {
    let bins = Bins::new(lesson.samples, settings.bins);
    let grown =
        abreast(lesson.threads, settings.trees, |tree| grow(settings, lesson, &bins, tree))?;

    let classes = lesson.classes;
    let mut growing = Growing::default();
    let mut leaves = vec![0.0_f32; classes * classes];
    for class in 0..classes {
        leaves[class * classes + class] = 1.0;
    }
    for tree in grown {
        // Payloads of pure leaves are classes; the mixed ones move behind those of earlier trees.
        let mixed = leaves.len() / classes - classes;
        growing.append(&tree.growing, |payload| {
            if at(payload) < classes { payload } else { payload + index32(mixed) }
        });
        leaves.extend(tree.mixed);
    }
    Ok(Fitted {
        growing,
        classes,
        leaves,
        #[cfg(test)]
        bins,
    })
}

/// One tree and the class shares of its mixed leaves.
struct Tree {
    growing: Growing,
    mixed: Vec<f32>,
}

/// A node whose rows wait to be parted.
struct Waiting {
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
    path: u64,
}

fn grow(
    settings: &Settings,
    lesson: &Lesson<'_>,
    bins: &Bins,
    tree: usize,
) -> Result<Tree, FitError> {
    let seed = hash(&[lesson.seed, tree as u64]);
    let mut rows = bootstrap(seed, lesson);
    let mut growing = Growing::default();
    let mut mixed = Vec::new();
    let mut search = Search::new(settings, lesson, bins);
    let mut spare = Vec::new();
    let root = growing.plant();
    let mut waiting = vec![Waiting { node: root, start: 0, end: rows.len(), depth: 0, path: seed }];
    while let Some(Waiting { node, start, end, depth, path }) = waiting.pop() {
        lesson.stop.check()?;
        let here = &mut rows[start..end];
        search.enter(here);
        let splits = settings.rows_min <= here.len() && depth < settings.depth && !search.pure();
        let found = if splits { search.best(here, path) } else { None };
        let Some(Cut { column, bin }) = found else {
            let payload = search.leaf(&mut mixed);
            growing.end(node, payload);
            continue;
        };
        let bytes = bins.column(column);
        let middle = start + part(here, &mut spare, |row| bytes[at(row)] <= bin);
        let left = growing.cut(node, bins, column, bin);
        let depth = depth + 1;
        let (low, high) = (hash(&[path, 0]), hash(&[path, 1]));
        waiting.push(Waiting { node: left + 1, start: middle, end, depth, path: high });
        waiting.push(Waiting { node: left, start, end: middle, depth, path: low });
    }
    Ok(Tree { growing, mixed })
}

/// Each row as often as a Poisson draw with its weight as the mean says (Oza and Russell, 2001): like
/// drawing rows with replacement, but a row's share does not depend on the others.
fn bootstrap(seed: u64, lesson: &Lesson<'_>) -> Vec<u32> {
    let rows = lesson.samples.len();
    let mut drawn = Vec::with_capacity(rows + rows / 8);
    for row in 0..index32(rows) {
        let mut draw = Draw::new(hash(&[seed, u64::from(row)]));
        // A large mean in parts, of which each is small enough for the powers below.
        let mut mean = f64::from(lesson.weight(at(row)));
        while 0.0 < mean {
            let part = mean.min(1.0);
            mean -= part;
            let mut left = draw.unit();
            let mut share = (-part).exp();
            let mut times = 0.0;
            while share <= left && times < 8.0 {
                left -= share;
                times += 1.0;
                share *= part / times;
                drawn.push(row);
            }
        }
    }
    if drawn.is_empty() {
        drawn.extend(0..index32(rows));
    }
    drawn
}

#[derive(Clone, Copy)]
struct Cut {
    column: usize,
    bin: u8,
}

/// The search for the best cut of a node, with buffers that last for a tree.
struct Search<'a> {
    lesson: &'a Lesson<'a>,
    bins: &'a Bins,
    /// Columns to try at a node.
    tries: usize,
    /// Rows of each class in the node.
    totals: Vec<u32>,
    /// The labels of the node's rows, in their order.
    labels: Vec<u16>,
    /// `[bins, classes]`; all 0 between uses.
    counts: Vec<u32>,
    left: Vec<u32>,
    keys: Vec<u32>,
    /// The visit at which a column was tried last.
    tried: Vec<u32>,
    visit: u32,
}

impl<'a> Search<'a> {
    fn new(settings: &Settings, lesson: &'a Lesson<'a>, bins: &'a Bins) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the square root of a width is small and positive"
        )]
        let tries = ((bins.width() as f64).sqrt() * settings.columns).round() as usize;
        Self {
            lesson,
            bins,
            tries: tries.clamp(1, bins.width()),
            totals: vec![0; lesson.classes],
            labels: Vec::new(),
            counts: vec![0; 256 * lesson.classes],
            left: vec![0; lesson.classes],
            keys: Vec::new(),
            tried: vec![0; bins.width()],
            visit: 0,
        }
    }

    /// Looks at the rows of a node.
    fn enter(&mut self, rows: &[u32]) {
        self.totals.fill(0);
        self.labels.clear();
        self.labels.extend(rows.iter().map(|&row| self.lesson.labels[at(row)]));
        for &label in &self.labels {
            self.totals[usize::from(label)] += 1;
        }
    }

    fn pure(&self) -> bool {
        self.totals.iter().filter(|&&count| count > 0).count() <= 1
    }

    /// The payload of the node as a leaf: its class when it is pure, else a new row of shares.
    fn leaf(&self, mixed: &mut Vec<f32>) -> usize {
        let classes = self.totals.len();
        if self.pure() {
            return self.totals.iter().position(|&count| count > 0).unwrap_or(0);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
        let sum = self.labels.len() as f32;
        #[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
        mixed.extend(self.totals.iter().map(|&count| count as f32 / sum));
        classes + mixed.len() / classes - 1
    }

    /// The cut with the smallest Gini impurity among the columns tried; more columns are tried
    /// only while none can be cut at all.
    fn best(&mut self, rows: &[u32], path: u64) -> Option<Cut> {
        let mut draw = Draw::new(path);
        self.visit += 1;
        let width = self.bins.width();
        let mut best: Option<(f64, Cut)> = None;
        for tried in 0..width {
            if self.tries <= tried && best.is_some() {
                break;
            }
            let mut column = draw.below(width);
            while self.tried[column] == self.visit {
                column = if tried < width / 2 { draw.below(width) } else { (column + 1) % width };
            }
            self.tried[column] = self.visit;
            if self.bins.count(column) < 2 {
                continue;
            }
            if let Some((purity, bin)) = self.best_of(column, rows)
                && best.is_none_or(|(most, _)| most < purity)
            {
                best = Some((purity, Cut { column, bin }));
            }
        }
        best.map(|(_, cut)| cut)
    }

    /// The purest cut of one column: Σ over sides of (Σ counts²) / rows.
    fn best_of(&mut self, column: usize, rows: &[u32]) -> Option<(f64, u8)> {
        let classes = self.totals.len();
        let bytes = self.bins.column(column);
        // Sorting a few keys is cheaper than reading a whole table of counts.
        if rows.len() * 8 < self.bins.count(column) * classes {
            self.keys.clear();
            let keys = rows.iter().zip(&self.labels);
            self.keys.extend(
                keys.map(|(&row, &label)| u32::from(bytes[at(row)]) << 16 | u32::from(label)),
            );
            self.keys.sort_unstable();
            let mut sweep = Sweep::new(&self.totals, &mut self.left, rows.len());
            let mut keys = self.keys.iter().peekable();
            while let Some(key) = keys.next() {
                sweep.move_left(at(key & 0xffff), 1);
                if keys.peek().is_some_and(|next| *next >> 16 != key >> 16) {
                    sweep.measure(key >> 16);
                }
            }
            return sweep.best;
        }
        let (mut low, mut high) = (u8::MAX, 0_u8);
        for (&row, &label) in rows.iter().zip(&self.labels) {
            let bin = bytes[at(row)];
            low = low.min(bin);
            high = high.max(bin);
            self.counts[usize::from(bin) * classes + usize::from(label)] += 1;
        }
        let mut sweep = Sweep::new(&self.totals, &mut self.left, rows.len());
        for bin in low..=high {
            let counts = &mut self.counts[usize::from(bin) * classes..][..classes];
            let mut any = false;
            for (class, count) in counts.iter_mut().enumerate() {
                if *count > 0 {
                    sweep.move_left(class, *count);
                    *count = 0;
                    any = true;
                }
            }
            if any && bin < high {
                sweep.measure(u32::from(bin));
            }
        }
        sweep.best
    }
}

/// Rows moving from the right side of a cut to the left, bin by bin.
struct Sweep<'a> {
    totals: &'a [u32],
    left: &'a mut [u32],
    rows: u64,
    rows_left: u64,
    squares_left: u64,
    squares_right: u64,
    best: Option<(f64, u8)>,
}

impl<'a> Sweep<'a> {
    fn new(totals: &'a [u32], left: &'a mut [u32], rows: usize) -> Self {
        left.fill(0);
        let squares_right = totals.iter().map(|&count| u64::from(count).pow(2)).sum();
        let rows = rows as u64;
        Self { totals, left, rows, rows_left: 0, squares_left: 0, squares_right, best: None }
    }

    #[inline(always)]
    fn move_left(&mut self, class: usize, count: u32) {
        let before = u64::from(self.left[class]);
        let right = u64::from(self.totals[class]) - before;
        self.left[class] += count;
        let count = u64::from(count);
        self.squares_left += 2 * before * count + count * count;
        self.squares_right -= 2 * right * count - count * count;
        self.rows_left += count;
    }

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "squares of counts; only their order matters")]
    fn measure(&mut self, bin: u32) {
        let purity = self.squares_left as f64 / self.rows_left as f64
            + self.squares_right as f64 / (self.rows - self.rows_left) as f64;
        if self.best.is_none_or(|(most, _)| most < purity) {
            self.best = Some((purity, u8::try_from(bin).expect("a bin is a byte")));
        }
    }
}
