//! A column that gives the label away.
//!
//! Sorted by its values, such a column falls into few stretches of one class each. A sample of the
//! rows is enough to see it, and bounds what it costs.

/// Rows of the sample, at most.
const ROWS_MAX: usize = 4_096;
/// Values of the sample, at most.
const VALUES_MAX: usize = 1 << 22;
/// Rows below which a column may part the classes by chance.
const ROWS_MIN: usize = 50;
/// Share of the rows that such a column gets right, at least.
const RIGHT_MIN: f64 = 0.995;
/// Stretches of one class, for each class, at most: more is learning by heart.
const STRETCHES_MAX: usize = 3;

/// Every so manieth row of those that passed by.
#[derive(Debug)]
pub(super) struct Sampled {
    width: usize,
    rows_max: usize,
    values: Vec<f32>,
    classes: Vec<u32>,
    stride: u64,
    passed: u64,
}

impl Sampled {
    pub(super) fn new(width: usize) -> Self {
        let rows_max = (VALUES_MAX / width.max(1)).clamp(2, ROWS_MAX);
        Self { width, rows_max, values: Vec::new(), classes: Vec::new(), stride: 1, passed: 0 }
    }

    /// Takes a row, or lets it pass.
    pub(super) fn push(&mut self, values: &[f32], class: u32) {
        let wanted = self.passed.is_multiple_of(self.stride);
        self.passed += 1;
        if !wanted {
            return;
        }
        if self.classes.len() == self.rows_max {
            // Full: every second row goes, and of what comes only every second is wanted.
            let kept = (0..self.classes.len()).step_by(2);
            self.values = kept
                .clone()
                .flat_map(|row| &self.values[row * self.width..(row + 1) * self.width])
                .copied()
                .collect();
            self.classes = kept.map(|row| self.classes[row]).collect();
            self.stride *= 2;
        }
        self.values.extend_from_slice(values);
        self.classes.push(class);
    }

    /// The columns that give the label away.
    pub(super) fn leaks(&self) -> Vec<usize> {
        let classes = self.classes.iter().collect::<std::collections::BTreeSet<_>>().len();
        if self.classes.len() < ROWS_MIN || classes < 2 {
            return Vec::new();
        }
        (0..self.width).filter(|column| self.parts(*column, classes)).collect()
    }

    fn parts(&self, column: usize, classes: usize) -> bool {
        let values = self.values.iter().skip(column).step_by(self.width.max(1));
        let mut rows: Vec<(f32, u32)> = values.copied().zip(self.classes.iter().copied()).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (mut right, mut stretches, mut before) = (0, 0, None);
        for equal in rows.chunk_by(|a, b| a.0 == b.0) {
            // The most frequent class of equal values; they are sorted by class.
            let most = equal.chunk_by(|a, b| a.1 == b.1).max_by_key(|it| it.len());
            let (class, count) = most.map_or((0, 0), |it| (it[0].1, it.len()));
            right += count;
            if before != Some(class) {
                stretches += 1;
                before = Some(class);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand rows")]
        let share = right as f64 / rows.len() as f64;
        RIGHT_MIN <= share && stretches <= STRETCHES_MAX * classes
    }
}
