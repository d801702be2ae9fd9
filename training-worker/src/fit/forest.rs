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
    let by_row = bins.by_row();
    let grown = abreast(lesson.threads, settings.trees, |tree| {
        grow(settings, lesson, (&bins, &by_row), tree)
    })?;

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
    (bins, by_row): (&Bins, &[u8]),
    tree: usize,
) -> Result<Tree, FitError> {
    let seed = hash(&[lesson.seed, tree as u64]);
    let times = bootstrap(seed, lesson);
    let mut rows: Vec<u32> = (0..index32(times.len())).filter(|&row| 0 < times[at(row)]).collect();
    let mut growing = Growing::default();
    let mut mixed = Vec::new();
    let mut search = Search::new(settings, lesson, bins, by_row, &times);
    let mut spare = Vec::new();
    let root = growing.plant();
    let mut waiting = vec![Waiting { node: root, start: 0, end: rows.len(), depth: 0, path: seed }];
    while let Some(Waiting { node, start, end, depth, path }) = waiting.pop() {
        lesson.stop.check()?;
        let here = &mut rows[start..end];
        search.enter(here);
        let splits =
            settings.rows_min as u64 <= search.rows && depth < settings.depth && !search.pure();
        let found = if splits { search.best(here, path) } else { None };
        let Some(Cut { column, bin }) = found else {
            let payload = search.leaf(&mut mixed);
            growing.end(node, payload);
            continue;
        };
        let bytes = bins.column(column);
        let parted = part(here, &mut spare, bytes, bin);
        let middle = start + parted.left;
        let bin = bins.middle(column, parted.low, parted.high);
        let left = growing.cut(node, bins, column, bin);
        let depth = depth + 1;
        let (low, high) = (hash(&[path, 0]), hash(&[path, 1]));
        waiting.push(Waiting { node: left + 1, start: middle, end, depth, path: high });
        waiting.push(Waiting { node: left, start, end: middle, depth, path: low });
    }
    Ok(Tree { growing, mixed })
}

/// How often each row is drawn: a Poisson draw with its weight as the mean (Oza and Russell, 2001),
/// which is like drawing rows with replacement, but a row's share does not depend on the others.
fn bootstrap(seed: u64, lesson: &Lesson<'_>) -> Vec<u32> {
    let rows = lesson.samples.len();
    let mut times = vec![0; rows];
    for (row, times) in (0..index32(rows)).zip(&mut times) {
        let mut draw = Draw::new(hash(&[seed, u64::from(row)]));
        // A large mean in parts, of which each is small enough for the powers below.
        let mut mean = f64::from(lesson.weight(at(row)));
        while 0.0 < mean {
            let part = mean.min(1.0);
            mean -= part;
            let mut left = draw.unit();
            let mut share = (-part).exp();
            let mut drawn = 0.0;
            while share <= left && drawn < 8.0 {
                left -= share;
                drawn += 1.0;
                share *= part / drawn;
                *times += 1;
            }
        }
    }
    if times.iter().all(|&times| times == 0) {
        times.fill(1);
    }
    times
}

#[derive(Clone, Copy)]
struct Cut {
    column: usize,
    bin: u8,
}

/// Bytes that come from memory at once.
const LINE: usize = 64;
/// From so many cells of a table for each row on, rows are sorted instead.
const SORTED: usize = 32;
/// Bins of a column, at most.
const BINS_MAX: usize = 256;

/// The search for the best cut of a node, with buffers that last for a tree.
///
/// A row that was drawn several times counts so often and is read once. Classes are numbered anew in
/// every node, so that deep nodes, which have few, sweep over few. Where the rows of a node are few
/// among all, their bins are read row by row: a column's would lie in a line of memory each.
struct Search<'a> {
    lesson: &'a Lesson<'a>,
    bins: &'a Bins,
    /// `[rows, width]`: the same bins.
    by_row: &'a [u8],
    /// How often each row was drawn.
    times: &'a [u32],
    /// Columns to try at a node.
    tries: usize,
    /// Fewer rows than this are read row by row.
    few: usize,
    /// Rows in the node, those drawn several times counted so often.
    rows: u64,
    /// The classes of the node, and the number of each there.
    classes: Vec<u16>,
    numbers: Vec<u32>,
    /// Rows of each class in the node.
    totals: Vec<u32>,
    /// For each row of the node, in their order: the number of its class, and how often it counts.
    said: Vec<(u32, u32)>,
    /// `[columns, rows]` of a node with few rows.
    gathered: Vec<u8>,
    chosen: Vec<usize>,
    counts: Counts,
    /// The visit at which a column was tried last.
    tried: Vec<u32>,
    visit: u32,
}

/// A class that is not in the node.
const ABSENT: u32 = u32::MAX;

impl<'a> Search<'a> {
    fn new(
        settings: &Settings,
        lesson: &'a Lesson<'a>,
        bins: &'a Bins,
        by_row: &'a [u8],
        times: &'a [u32],
    ) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the square root of a width is small and positive"
        )]
        let tries = ((bins.width() as f64).sqrt() * settings.columns).round() as usize;
        let tries = tries.clamp(1, bins.width());
        Self {
            lesson,
            bins,
            by_row,
            times,
            tries,
            few: tries * bins.rows().div_ceil(LINE) / bins.width().div_ceil(LINE),
            rows: 0,
            classes: Vec::new(),
            numbers: vec![ABSENT; lesson.classes],
            totals: Vec::new(),
            said: Vec::new(),
            gathered: Vec::new(),
            chosen: Vec::new(),
            counts: Counts::default(),
            tried: vec![0; bins.width()],
            visit: 0,
        }
    }

    /// Looks at the rows of a node.
    fn enter(&mut self, rows: &[u32]) {
        self.classes.clear();
        self.totals.clear();
        self.said.clear();
        self.rows = 0;
        for &row in rows {
            let (label, times) = (self.lesson.labels[at(row)], self.times[at(row)]);
            let number = &mut self.numbers[usize::from(label)];
            if *number == ABSENT {
                *number = index32(self.classes.len());
                self.classes.push(label);
                self.totals.push(0);
            }
            self.totals[at(*number)] += times;
            self.rows += u64::from(times);
            self.said.push((*number, times));
        }
        for &class in &self.classes {
            self.numbers[usize::from(class)] = ABSENT;
        }
    }

    fn pure(&self) -> bool {
        self.classes.len() <= 1
    }

    /// The payload of the node as a leaf: its class when it is pure, else a new row of shares.
    fn leaf(&self, mixed: &mut Vec<f32>) -> usize {
        let classes = self.lesson.classes;
        if self.pure() {
            return self.classes.first().map_or(0, |&class| usize::from(class));
        }
        let first = mixed.len();
        mixed.resize(first + classes, 0.0);
        #[expect(clippy::cast_precision_loss, reason = "counts of rows in memory")]
        for (&class, &count) in self.classes.iter().zip(&self.totals) {
            mixed[first + usize::from(class)] = count as f32 / self.rows as f32;
        }
        classes + first / classes
    }

    /// The cut with the smallest Gini impurity among the columns tried; more columns are tried
    /// only while none can be cut at all.
    fn best(&mut self, rows: &[u32], path: u64) -> Option<Cut> {
        let mut draw = Draw::new(path);
        self.visit += 1;
        let width = self.bins.width();
        let mut best: Option<(f64, Cut)> = None;
        let mut tried = 0;
        while tried < width && (tried < self.tries || best.is_none()) {
            // As many as are tried in any case, then one by one.
            let some = if tried < self.tries { self.tries } else { 1 };
            self.chosen.clear();
            for _ in 0..some {
                let column = self.draw(&mut draw, tried);
                tried += 1;
                if 1 < self.bins.count(column) {
                    self.chosen.push(column);
                }
            }
            self.look(rows, &mut best);
        }
        best.map(|(_, cut)| cut)
    }

    /// A column that this node has not tried, of which `tried` were.
    fn draw(&mut self, draw: &mut Draw, tried: usize) -> usize {
        let width = self.bins.width();
        let mut column = draw.below(width);
        while self.tried[column] == self.visit {
            column = if tried < width / 2 { draw.below(width) } else { (column + 1) % width };
        }
        self.tried[column] = self.visit;
        column
    }

    /// Whether one of the chosen columns has a better cut.
    fn look(&mut self, rows: &[u32], best: &mut Option<(f64, Cut)>) {
        let (totals, said) = (&self.totals, &self.said);
        let mut found = |column: usize, found: Option<(f64, u8)>| {
            if let Some((purity, bin)) = found
                && best.is_none_or(|(most, _)| most < purity)
            {
                *best = Some((purity, Cut { column, bin }));
            }
        };
        if self.few <= rows.len() {
            for &column in &self.chosen {
                let bytes = self.bins.column(column);
                let bins = rows.iter().map(|&row| bytes[at(row)]);
                let last = self.bins.count(column) - 1;
                found(column, self.counts.best_of(bins, last, said, totals));
            }
            return;
        }
        let (width, count) = (self.bins.width(), rows.len());
        self.gathered.resize((count * self.chosen.len()).max(self.gathered.len()), 0);
        for (place, &row) in rows.iter().enumerate() {
            let bytes = &self.by_row[at(row) * width..][..width];
            let to = self.gathered[place..].iter_mut().step_by(count);
            to.zip(&self.chosen).for_each(|(to, &column)| *to = bytes[column]);
        }
        for (bytes, &column) in self.gathered.chunks_exact(count).zip(&self.chosen) {
            // Deep nodes are alike in many columns.
            if bytes.iter().all(|&bin| bin == bytes[0]) {
                continue;
            }
            let last = self.bins.count(column) - 1;
            found(column, self.counts.best_of(bytes.iter().copied(), last, said, totals));
        }
    }
}

/// How many rows of each class each bin of a column holds, while the column is looked at.
struct Counts {
    /// `[bins, classes of the node]`; all 0 between uses.
    counts: Vec<u32>,
    /// Which bins hold any; all 0 between uses.
    filled: [u8; BINS_MAX],
    left: Vec<u32>,
    sorted: Vec<(u8, u32, u32)>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { counts: Vec::new(), filled: [0; BINS_MAX], left: Vec::new(), sorted: Vec::new() }
    }
}

impl Counts {
    /// The purest cut of one column: Σ over sides of (Σ counts²) / rows. `last` is its highest bin.
    fn best_of(
        &mut self,
        bins: impl Iterator<Item = u8>,
        last: usize,
        said: &[(u32, u32)],
        totals: &[u32],
    ) -> Option<(f64, u8)> {
        let classes = totals.len();
        if said.len() * SORTED < classes * said.len().min(last + 1) {
            return self.best_of_sorted(bins, said, totals);
        }
        if self.counts.len() < BINS_MAX * classes {
            self.counts.resize(BINS_MAX * classes, 0);
        }
        for (bin, &(class, times)) in bins.zip(said) {
            self.counts[usize::from(bin) * classes + at(class)] += times;
            self.filled[usize::from(bin)] = 1;
        }
        let mut sweep = Sweep::new(totals, &mut self.left);
        let mut before = None;
        for (first, eight) in (0..=last).step_by(8).zip(self.filled.as_chunks_mut::<8>().0) {
            let mut marks = u64::from_le_bytes(*eight);
            *eight = [0; 8];
            while marks != 0 {
                let bin = first + marks.trailing_zeros() as usize / 8;
                marks &= marks - 1;
                // A cut has rows on both sides.
                if let Some(before) = before.replace(bin) {
                    sweep.measure(before);
                }
                let counts = &mut self.counts[bin * classes..][..classes];
                for (class, count) in counts.iter_mut().enumerate() {
                    if *count > 0 {
                        sweep.move_left(class, *count);
                        *count = 0;
                    }
                }
            }
        }
        sweep.best
    }

    /// The same for so many classes that most of a table would be empty.
    fn best_of_sorted(
        &mut self,
        bins: impl Iterator<Item = u8>,
        said: &[(u32, u32)],
        totals: &[u32],
    ) -> Option<(f64, u8)> {
        self.sorted.clear();
        self.sorted.extend(bins.zip(said).map(|(bin, &(class, times))| (bin, class, times)));
        self.sorted.sort_unstable();
        let mut sweep = Sweep::new(totals, &mut self.left);
        let mut before = None;
        for &(bin, class, times) in &self.sorted {
            if let Some(before) = before.replace(bin)
                && before < bin
            {
                sweep.measure(usize::from(before));
            }
            sweep.move_left(at(class), times);
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
    fn new(totals: &'a [u32], left: &'a mut Vec<u32>) -> Self {
        left.clear();
        left.resize(totals.len(), 0);
        let squares_right = totals.iter().map(|&count| u64::from(count).pow(2)).sum();
        let rows = totals.iter().copied().map(u64::from).sum();
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
    fn measure(&mut self, bin: usize) {
        let purity = self.squares_left as f64 / self.rows_left as f64
            + self.squares_right as f64 / (self.rows - self.rows_left) as f64;
        if self.best.is_none_or(|(most, _)| most < purity) {
            self.best = Some((purity, u8::try_from(bin).expect("a bin is a byte")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_a_sorted_list_find_the_same_cut() {
        let mut draw = Draw::new(3);
        let mut counts = Counts::default();
        for rows in [2, 7, 50, 300] {
            for classes in [2, 5, 90] {
                let bins: Vec<u8> =
                    (0..rows).map(|_| u8::try_from(draw.below(40)).unwrap()).collect();
                let said: Vec<(u32, u32)> = (0..rows)
                    .map(|_| (index32(draw.below(classes)), index32(1 + draw.below(3))))
                    .collect();
                let mut totals = vec![0; classes];
                said.iter().for_each(|&(class, times)| totals[at(class)] += times);
                let sorted = counts.best_of_sorted(bins.iter().copied(), &said, &totals);
                // As by hand: every cut between two bins that hold rows.
                let mut best: Option<(f64, u8)> = None;
                for bin in 0..40 {
                    let (mut sides, mut rows) = (vec![[0_u32; 2]; classes], [0_u32; 2]);
                    for (&it, &(class, times)) in bins.iter().zip(&said) {
                        sides[at(class)][usize::from(bin < it)] += times;
                        rows[usize::from(bin < it)] += times;
                    }
                    let squares = |side: usize| -> f64 {
                        let squares = sides.iter().map(|it| f64::from(it[side]).powi(2));
                        squares.sum::<f64>() / f64::from(rows[side])
                    };
                    let purity = squares(0) + squares(1);
                    if rows.iter().all(|&rows| 0 < rows)
                        && bins.contains(&bin)
                        && best.is_none_or(|(most, _)| most < purity)
                    {
                        best = Some((purity, bin));
                    }
                }
                assert_eq!(sorted, best, "{rows} rows of {classes} classes");
                let table = counts.best_of(bins.iter().copied(), 63, &said, &totals);
                assert_eq!(table, best, "{rows} rows of {classes} classes");
            }
        }
    }
}
