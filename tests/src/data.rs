//! Data that a story makes up: clouds of points, the same ones for the same seed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What is to be drawn: one round cloud a class, far enough apart to be told from each other.
#[derive(Clone, Debug)]
pub struct Blobs<'a> {
    /// The same seed gives the same rows.
    pub seed: u64,
    /// Names; the first one is the wide cloud around the origin ("background").
    pub classes: &'a [&'a str],
    /// Values of a row.
    pub width: usize,
    /// Rows of each class.
    pub rows: usize,
    /// Rows carry one of this many group names in turn.
    pub groups: usize,
    /// Distance of the clouds from the origin; their standard deviation is 1.
    pub distance: f64,
    /// Added to every value: the sensor was moved, and the same classes lie elsewhere.
    pub shift: f64,
    /// Every other row stands on the other side of the origin: no line tells the classes apart, so
    /// a linear member and a neighbour answer differently.
    pub mirrored: bool,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its values.
    pub features: Vec<f32>,
    /// Its class.
    pub label: String,
    /// Who or what it came from.
    pub group: String,
}

/// Samples with names for their columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One for each feature.
    pub names: Vec<String>,
    /// The samples, classes in turn.
    pub rows: Vec<Row>,
}

impl Blobs<'_> {
    /// Draws them.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut random = Random(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let names = (0..self.width).map(|index| format!("f{index}")).collect();
        let mut rows = Vec::new();
        for turn in 0..self.rows {
            let side = if self.mirrored && turn % 2 == 1 { -1.0 } else { 1.0 };
            for (class, label) in self.classes.iter().enumerate() {
                let features = (0..self.width)
                    .map(|column| {
                        let center = side * self.center(class, column) + self.shift;
                        as_f32(center + random.normal())
                    })
                    .collect();
                let group = format!("g{}", turn % self.groups.max(1));
                rows.push(Row { features, label: (*label).to_owned(), group });
            }
        }
        Table { names, rows }
    }

    /// Class 0 stands at the origin, the others each along their own columns.
    fn center(&self, class: usize, column: usize) -> f64 {
        let others = (self.classes.len() - 1).max(1);
        let mine = class > 0 && column % others == class - 1;
        if mine { self.distance } else { 0.0 }
    }
}

impl Table {
    /// Writes it as CSV with the columns `label` and `group` last; the path.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let mut text = self.names.join(",");
        text.push_str(",label,group\n");
        for Row { features, label, group } in &self.rows {
            for value in features {
                write!(text, "{value},").expect("writing to a string does not fail");
            }
            writeln!(text, "{label},{group}").expect("writing to a string does not fail");
        }
        let path = folder.join(name);
        fs::write(&path, text).expect("a story may write to its folder");
        path
    }
}

fn as_f32(value: f64) -> f32 {
    // Four digits, so that a CSV file says exactly what the story sends.
    format!("{value:.4}").parse().expect("a number that was just written")
}

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in 0..1.
    fn share(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("32 bits");
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Blobs<'_> = Blobs {
        seed: 7,
        classes: &["idle", "one", "two"],
        width: 4,
        rows: 50,
        groups: 5,
        distance: 6.0,
        shift: 0.0,
        mirrored: false,
    };

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        assert_eq!(THREE.table(), THREE.table());
        assert_ne!(THREE.table(), Blobs { seed: 8, ..THREE }.table());
    }

    #[test]
    fn classes_lie_where_they_are_said_to_lie() {
        let mean = |blobs: &Blobs<'_>, class: &str| {
            let table = blobs.table();
            let rows: Vec<_> = table.rows.iter().filter(|row| row.label == class).collect();
            let sum: f32 = rows.iter().map(|row| row.features[0]).sum();
            sum / f32::from(u8::try_from(rows.len()).unwrap())
        };
        let near = |mean: f32, center: f32| (mean - center).abs() < 1.0;
        assert!(near(mean(&THREE, "one"), 6.0) && near(mean(&THREE, "two"), 0.0));
        assert!(near(mean(&THREE, "idle"), 0.0));
        let shifted = Blobs { shift: 3.0, ..THREE };
        assert!(near(mean(&shifted, "one"), 9.0) && near(mean(&shifted, "idle"), 3.0));
        let mirrored = Blobs { mirrored: true, ..THREE };
        assert!(near(mean(&mirrored, "one"), 0.0));
    }
}
