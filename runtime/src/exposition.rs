//! What an operator's Prometheus reads: a page of text in base units, written metric by metric, and
//! histograms that are added to without waiting.

use std::{
    fmt::{self, Display, Write as _},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// What the page is, for a header `content-type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page of text.
#[derive(Debug)]
pub struct Page {
    prefix: &'static str,
    text: String,
}

impl Page {
    /// An empty page; all its names begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    /// Opens a metric: a counter, a gauge or a histogram.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        self.line(format_args!("# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}"));
    }

    /// Writes one sample of it; `labels` stand in braces, or are empty.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let prefix = self.prefix;
        self.line(format_args!("{prefix}{name}{labels} {value}"));
    }

    /// Opens a metric and writes its only sample.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, "", value);
    }

    /// Writes the samples of a histogram, in seconds; `labels` stand without braces, or are empty.
    pub fn histogram<const N: usize>(&mut self, name: &str, labels: &str, of: &Histogram<N>) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (bucket, mut all) = (format!("{name}_bucket"), 0);
        for (bound_us, within) in of.accumulated() {
            let labels = format!("{{{labels}{comma}le=\"{}\"}}", seconds(bound_us));
            self.sample(&bucket, &labels, within);
            all = within;
        }
        // Others go on adding while this is written: the count must not be below a bucket.
        let all = of.count().max(all);
        self.sample(&bucket, &format!("{{{labels}{comma}le=\"+Inf\"}}"), all);
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.sample(&format!("{name}_sum"), &labels, seconds(of.us()));
        self.sample(&format!("{name}_count"), &labels, all);
    }

    /// The whole text.
    #[must_use]
    pub fn text(self) -> String {
        self.text
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }
}

/// How long things took: how many at most as long as each of `N` bounds, and how long together.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds_us: &'static [u64; N],
    /// Each is counted in one.
    within: [AtomicU64; N],
    count: AtomicU64,
    us: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one; `bounds_us` grow.
    #[must_use]
    pub const fn new(bounds_us: &'static [u64; N]) -> Self {
        let within = [const { AtomicU64::new(0) }; N];
        Self { bounds_us, within, count: AtomicU64::new(0), us: AtomicU64::new(0) }
    }

    /// Something took so many microseconds.
    pub fn add(&self, us: u64) {
        if let Some(at) = self.bounds_us.iter().position(|&bound| us <= bound) {
            self.within[at].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.us.fetch_add(us, Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How long they took together, in microseconds.
    #[must_use]
    pub fn us(&self) -> u64 {
        self.us.load(Relaxed)
    }

    /// Each bound, and how many took at most as long.
    pub fn accumulated(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut sum = 0;
        self.bounds_us.iter().zip(&self.within).map(move |(&bound, within)| {
            sum += within.load(Relaxed);
            (bound, sum)
        })
    }
}

/// Microseconds as seconds, exactly.
#[must_use]
pub fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// A label value, as the text format wants it.
#[must_use]
pub fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_adds_up_on_the_page() {
        let times = Histogram::new(&[100, 1_000]);
        [50, 100, 101, 5_000_000].into_iter().for_each(|us| times.add(us));
        let mut page = Page::new("sensemble_");
        page.metric("x_seconds", "histogram", "How long x took.");
        page.histogram("x_seconds", "of=\"it\"", &times);
        page.single("y", "gauge", "y.", 7);
        let expected = "\
# HELP sensemble_x_seconds How long x took.
# TYPE sensemble_x_seconds histogram
sensemble_x_seconds_bucket{of=\"it\",le=\"0.000100\"} 2
sensemble_x_seconds_bucket{of=\"it\",le=\"0.001000\"} 3
sensemble_x_seconds_bucket{of=\"it\",le=\"+Inf\"} 4
sensemble_x_seconds_sum{of=\"it\"} 5.000251
sensemble_x_seconds_count{of=\"it\"} 4
# HELP sensemble_y y.
# TYPE sensemble_y gauge
sensemble_y 7
";
        assert_eq!(page.text(), expected);
        let mut page = Page::new("");
        page.histogram("z", "", &Histogram::new(&[1]));
        assert!(page.text().ends_with("z_bucket{le=\"+Inf\"} 0\nz_sum 0.000000\nz_count 0\n"));
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
