//! How good an ensemble is: accuracy, balanced accuracy, recall, missed events, each with an interval.

use crate::schema::ClassId;

/// Standard normal quantile of a two-sided interval that covers 95 %.
pub const Z_TWO_SIDED_95: f64 = 1.959_964;
/// Standard normal quantile of a one-sided bound that holds 95 % of the time.
pub const Z_ONE_SIDED_95: f64 = 1.644_854;

/// Where a figure lies, with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end, at least 0.
    pub low: f64,
    /// Upper end, at most 1.
    pub high: f64,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that count.
    pub hits: u64,
    /// All of them; never fewer than `hits`.
    pub of: u64,
}

impl Share {
    /// `hits / of`; 0 for a share of nothing, whose [`Share::interval`] says that it is unknown.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { float(self.hits) / float(self.of) }
    }

    /// The 95 % interval of the share that these are a sample of; all of [0, 1] for nothing.
    ///
    /// # Source
    ///
    /// Wilson (1927). Unlike the textbook interval it is not empty at 0 and 1, and it covers what
    /// it says for small samples (Agresti and Coull, 1998).
    #[must_use]
    pub fn interval(self) -> Interval {
        self.wilson(Z_TWO_SIDED_95)
    }

    /// The share is at most this, with 95 % confidence.
    #[must_use]
    pub fn at_most(self) -> f64 {
        self.wilson(Z_ONE_SIDED_95).high
    }

    /// The standard error of [`Share::value`]; 0 for nothing.
    #[must_use]
    pub fn standard_error(self) -> f64 {
        if self.of == 0 {
            return 0.0;
        }
        let p = self.value();
        (p * (1.0 - p) / float(self.of)).sqrt()
    }

    fn wilson(self, z: f64) -> Interval {
        if self.of == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let (p, n, zz) = (self.value(), float(self.of), z * z);
        let scale = 1.0 + zz / n;
        let centre = (p + zz / (2.0 * n)) / scale;
        let half = z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt() / scale;
        // At the ends the formula gives 0 and 1 but for rounding.
        Interval {
            low: if self.hits == 0 { 0.0 } else { (centre - half).max(0.0) },
            high: if self.hits == self.of { 1.0 } else { (centre + half).min(1.0) },
        }
    }
}

/// How often each class was given where each class was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// `[true class, given class]`, row-major.
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing yet, of `classes` classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// What became of rows whose class is known.
    ///
    /// # Panics
    ///
    /// When a class is not below `classes`.
    #[must_use]
    pub fn of(classes: usize, truth: &[ClassId], given: &[ClassId]) -> Self {
        let mut confusion = Self::new(classes);
        for (&truth, &given) in truth.iter().zip(given) {
            confusion.add(truth, given);
        }
        confusion
    }

    /// The counts of [`Confusion::counts`], read back; `None` when they are not a square.
    #[must_use]
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Option<Self> {
        (classes.checked_mul(classes) == Some(counts.len())).then_some(Self { classes, counts })
    }

    /// One more row.
    ///
    /// # Panics
    ///
    /// When a class is not one of this table.
    pub fn add(&mut self, truth: ClassId, given: ClassId) {
        assert!(given.index() < self.classes, "a class of this table");
        self.counts[truth.index() * self.classes + given.index()] += 1;
    }

    /// Rows of class `truth` that were answered `given`.
    #[must_use]
    pub fn count(&self, truth: usize, given: usize) -> u64 {
        self.row(truth)[given]
    }

    /// `[true class, given class]`, row-major.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Rows answered rightly.
    #[must_use]
    pub fn accuracy(&self) -> Share {
        let hits = (0..self.classes).map(|class| self.count(class, class)).sum();
        Share { hits, of: self.rows() }
    }

    /// Rows of `class` answered rightly.
    #[must_use]
    pub fn recall(&self, class: usize) -> Share {
        Share { hits: self.count(class, class), of: self.row(class).iter().sum() }
    }

    /// [`Confusion::recall`] of every class, in order.
    pub fn recalls(&self) -> impl Iterator<Item = Share> {
        (0..self.classes).map(|class| self.recall(class))
    }

    /// Mean of the recalls of the classes that occur; 0 when none does.
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        let (sum, classes) = self.sum_over_classes(Share::value);
        if classes == 0.0 { 0.0 } else { sum / classes }
    }

    /// The 95 % interval of [`Confusion::balanced_accuracy`].
    ///
    /// A normal approximation: the recalls of different classes are independent, so the variance of
    /// their mean is the mean of their variances over the number of classes. Each variance is taken
    /// at a recall smoothed by one hit and one miss, so that three rows answered rightly do not
    /// count as certainty (the smoothing is ours).
    #[must_use]
    pub fn balanced_accuracy_interval(&self) -> Interval {
        let (variance, classes) = self.sum_over_classes(|Share { hits, of }| {
            let p = (float(hits) + 1.0) / (float(of) + 2.0);
            p * (1.0 - p) / float(of)
        });
        if classes == 0.0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let half = Z_TWO_SIDED_95 * variance.sqrt() / classes;
        let mean = self.balanced_accuracy();
        Interval { low: (mean - half).max(0.0), high: (mean + half).min(1.0) }
    }

    /// Events, which are rows of any other class than `background`, that were called background.
    /// Nothing of nothing without a background class.
    #[must_use]
    pub fn missed_events(&self, background: Option<ClassId>) -> Share {
        let Some(background) = background else { return Share::default() };
        let events = (0..self.classes).filter(|&class| class != background.index());
        events.fold(Share::default(), |Share { hits, of }, class| Share {
            hits: hits + self.count(class, background.index()),
            of: of + self.row(class).iter().sum::<u64>(),
        })
    }

    fn row(&self, truth: usize) -> &[u64] {
        &self.counts[truth * self.classes..][..self.classes]
    }

    /// Σ over the classes that occur, and how many do.
    fn sum_over_classes(&self, term: impl Fn(Share) -> f64) -> (f64, f64) {
        let occurring = self.recalls().filter(|recall| 0 < recall.of);
        occurring.fold((0.0, 0.0), |(sum, classes), recall| (sum + term(recall), classes + 1.0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of counts; exact below 2⁵³ rows")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 5e-4, "{actual} is not {expected}");
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = Share { hits, of }.interval();
            near(interval.low, low);
            near(interval.high, high);
        }
        assert_eq!(Share::default().interval(), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn figures_are_those_of_a_table_worked_by_hand() {
        // Background 0; 10 of it, 8 rightly; 5 of class 1: 3 right, 1 missed; class 2 never occurs.
        let counts = vec![8, 1, 1, 1, 3, 1, 0, 0, 0];
        let confusion = Confusion::from_counts(3, counts).unwrap();
        assert_eq!(confusion.accuracy(), Share { hits: 11, of: 15 });
        near(confusion.balanced_accuracy(), f64::midpoint(0.8, 0.6));
        assert_eq!(confusion.missed_events(Some(ClassId(0))), Share { hits: 1, of: 5 });
        assert_eq!(confusion.missed_events(None), Share { hits: 0, of: 0 });
        assert_eq!(confusion.recall(2), Share { hits: 0, of: 0 });
    }

    #[test]
    fn counts_that_are_no_square_are_no_table() {
        assert_eq!(Confusion::from_counts(3, vec![0; 8]), None);
        assert_eq!(Confusion::from_counts(usize::MAX, vec![]), None);
    }

    proptest! {
        #[test]
        fn every_figure_lies_in_its_interval(counts in prop::collection::vec(0_u64..50, 9)) {
            let confusion = Confusion::from_counts(3, counts).unwrap();
            let within = |value: f64, Interval { low, high }| {
                0.0 <= low && low <= value && value <= high && high <= 1.0
            };
            prop_assert!(within(confusion.accuracy().value(), confusion.accuracy().interval()));
            prop_assert!(within(
                confusion.balanced_accuracy(),
                confusion.balanced_accuracy_interval()
            ));
            for recall in confusion.recalls() {
                prop_assert!(within(recall.value(), recall.interval()));
                prop_assert!(recall.of == 0 || recall.value() <= recall.at_most());
                prop_assert!(recall.at_most() <= recall.interval().high + 1e-12);
            }
        }
    }
}
