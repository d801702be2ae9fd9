//! Channels that are the axes of one sensor: `acc_x`, `acc_y` and `acc_z` are a vector.
//!
//! How a device lies in a pocket turns its axes; the length of the vector does not care, and
//! neither does how much of it lies along its own mean, which for an accelerometer is gravity.

use crate::number::{count, mean, share};

/// Three channels of a window that are one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axes {
    /// What the names of the channels begin with; `vector` where they are only `x`, `y` and `z`.
    pub(crate) stem: String,
    /// Where x, y and z are among the channels.
    pub(crate) channels: [usize; 3],
}

impl Axes {
    /// The vectors among `channels`, in the order of their first channel.
    pub(crate) fn among(channels: &[String]) -> Vec<Self> {
        let find = |stem: &str, axis: char| {
            channels.iter().position(|name| parted(name) == Some((stem, axis)))
        };
        let mut found = Vec::<Self>::new();
        for stem in channels.iter().filter_map(|name| parted(name).map(|it| it.0)) {
            let axes = [find(stem, 'x'), find(stem, 'y'), find(stem, 'z')];
            if let [Some(x), Some(y), Some(z)] = axes {
                let axes = Self {
                    stem: if stem.is_empty() { "vector" } else { stem }.to_owned(),
                    channels: [x, y, z],
                };
                if !found.contains(&axes) {
                    found.push(axes);
                }
            }
        }
        found
    }

    /// The length of the vector at each sample of three equally long series.
    pub(crate) fn magnitude(axes: [&[f64]; 3]) -> Vec<f64> {
        let [x, y, z] = axes;
        x.iter().zip(y).zip(z).map(|((x, y), z)| (x * x + y * y + z * z).sqrt()).collect()
    }

    /// How the mean vector points: its cosine with each axis; zeros where it has no length.
    pub(crate) fn direction(axes: [&[f64]; 3]) -> [f64; 3] {
        let mean = axes.map(mean);
        let length = mean.iter().map(|axis| axis * axis).sum::<f64>().sqrt();
        mean.map(|axis| share(axis, length))
    }

    /// How much of the vector lies along `direction` at each sample, and how much across it.
    pub(crate) fn along_and_across(axes: [&[f64]; 3], direction: [f64; 3]) -> (Vec<f64>, Vec<f64>) {
        let [x, y, z] = axes;
        let [dx, dy, dz] = direction;
        let both = x.iter().zip(y).zip(z).map(|((x, y), z)| {
            let along = x * dx + y * dy + z * dz;
            let across = [x - along * dx, y - along * dy, z - along * dz];
            (along, across.iter().map(|axis| axis * axis).sum::<f64>().sqrt())
        });
        both.unzip()
    }
}

/// The stem and the axis of `acc_x`, `gyro-Y`, `accX` or `x`.
fn parted(name: &str) -> Option<(&str, char)> {
    let last = name.chars().next_back()?;
    let axis = last.to_ascii_lowercase();
    if !('x'..='z').contains(&axis) {
        return None;
    }
    let rest = &name[..name.len() - 1];
    let stem = rest.trim_end_matches(['_', '-', '.', ' ']);
    let camel = last.is_ascii_uppercase() && rest.ends_with(|c: char| c.is_ascii_lowercase());
    (rest.is_empty() || stem.len() < rest.len() || camel).then_some((stem, axis))
}

/// The correlation of two equally long series; 0 where one of them stands still.
pub(crate) fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let still = |values: &[f64]| values.windows(2).all(|pair| pair[0] == pair[1]);
    if still(one) || still(other) {
        return 0.0;
    }
    let (first, second) = (mean(one), mean(other));
    // Each is brought to its own scale before the product, so that no product is lost below it.
    let spread = |values: &[f64], mean: f64| {
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count(values.len())).sqrt()
    };
    let scales = (spread(one, first), spread(other, second));
    let sum: f64 = one
        .iter()
        .zip(other)
        .map(|(a, b)| share(a - first, scales.0) * share(b - second, scales.1))
        .sum();
    share(sum, count(one.len())).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn three_axes_are_one_vector() {
        let channels = names(&["gyro_z", "t", "acc_x", "acc_y", "gyro_x", "gyro_y", "acc_z"]);
        let axes = Axes::among(&channels);
        let found: Vec<_> = axes.iter().map(|it| (it.stem.as_str(), it.channels)).collect();
        assert_eq!(found, [("gyro", [4, 5, 0]), ("acc", [2, 3, 6])]);
        for three in [["x", "y", "z"], ["accX", "accY", "accZ"], ["a-x", "a-y", "a-z"]] {
            assert_eq!(Axes::among(&names(&three)).len(), 1, "{three:?}");
        }
        for none in [["max", "may", "maz"], ["acc_x", "acc_y", "gyro_z"], ["a", "b", "c"]] {
            assert_eq!(Axes::among(&names(&none)), [], "{none:?}");
        }
    }

    #[test]
    fn a_turned_vector_keeps_its_length() {
        let (still, moved) = ([0.0, 0.0], [3.0, 5.0]);
        assert_eq!(Axes::magnitude([&moved, &still, &[4.0, 12.0]]), [5.0, 13.0]);
        let axes = [&moved[..], &still[..], &still[..]];
        let direction = Axes::direction(axes);
        assert_eq!(direction, [1.0, 0.0, 0.0]);
        let (along, across) = Axes::along_and_across(axes, direction);
        assert_eq!((along, across), (vec![3.0, 5.0], vec![0.0, 0.0]));
        assert_eq!(Axes::direction([&still, &still, &still]), [0.0; 3]);
    }

    #[test]
    fn what_moves_together_correlates() {
        let rising = [1.0, 2.0, 3.0, 4.0];
        assert!((correlation(&rising, &[2.0, 4.0, 6.0, 8.0]) - 1.0).abs() < 1e-12);
        assert!((correlation(&rising, &[4.0, 3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&rising, &[7.0; 4]), 0.0);
    }
}
