//! What is said of a window of motion: every channel, its jerk, and every vector among them.
//!
//! | of | series | what is said |
//! | --- | --- | --- |
//! | each channel `c` | `c` | its course and its spectrum |
//! | each channel `c` | `c_jerk`, its change per second | the short form of its course |
//! | each vector `v` | `v_magnitude`, `v_along`, `v_across` | course and spectrum; lengths do not cross zero |
//! | each vector `v` | `v_jerk`, the length of the jerk | the short form of its course |
//! | each axis `c` of a vector | `c_cosine` | how the mean vector points |
//! | each pair of channels | `c_d_correlation` | between -1 and 1 |
//!
//! A vector is three channels such as `acc_x`, `acc_y`, `acc_z`; see [`crate::axes`]. Pairs are
//! those of all channels up to [`CORRELATED_MAX`] of them, and those within a vector beyond.
//! Everything is a function of one window alone, so that a stream and a recording cannot differ.

use std::collections::BTreeSet;

use crate::{
    axes::{Axes, correlation},
    course::{self, course},
    number::narrow,
    spectrum::{self, Spectrum},
};

/// What is not said of a length.
const CROSSING: &str = "zero_crossings";
/// Channels up to which every pair is compared; their number grows with the square.
pub const CORRELATED_MAX: usize = 12;

/// The names of the features and what is needed to compute them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Portrait {
    rate_hz: f64,
    axes: Vec<Axes>,
    pairs: Vec<(usize, usize)>,
    spectrum: Spectrum,
    names: Vec<String>,
    /// Where the numbers of [`course::BRIEF`] stand among those of [`course::NAMES`].
    brief: Vec<usize>,
}

impl Portrait {
    /// A portrait of `channels` over `length` samples, `rate_hz` of them a second.
    pub(crate) fn new(channels: &[String], length: usize, rate_hz: f64) -> Self {
        let axes = Axes::among(channels);
        let pairs = pairs(channels.len(), &axes);
        let names = names(channels, &axes, &pairs);
        let spectrum = Spectrum::new(length, length);
        let brief = (0..course::NAMES.len())
            .filter(|at| course::BRIEF.contains(&course::NAMES[*at]))
            .collect();
        Self { rate_hz, axes, pairs, spectrum, names, brief }
    }

    /// The names of the features, in their order.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The features of one window, whose channels are equally long series.
    pub(crate) fn features(&self, channels: &[Vec<f64>]) -> Vec<f32> {
        let mut features = Vec::with_capacity(self.names.len());
        for series in channels {
            self.whole(series, true, &mut features);
            self.brief(&self.jerk(series), &mut features);
        }
        for vector in &self.axes {
            let of = vector.channels.map(|at| channels[at].as_slice());
            let direction = Axes::direction(of);
            let (along, across) = Axes::along_and_across(of, direction);
            self.whole(&Axes::magnitude(of), false, &mut features);
            self.whole(&along, true, &mut features);
            self.whole(&across, false, &mut features);
            let jerk = of.map(|series| self.jerk(series));
            self.brief(&Axes::magnitude([&jerk[0], &jerk[1], &jerk[2]]), &mut features);
            features.extend(direction.map(narrow));
        }
        for &(one, other) in &self.pairs {
            features.push(narrow(correlation(&channels[one], &channels[other])));
        }
        features
    }

    /// Course and spectrum of a series, which `crosses` zero or is a length.
    fn whole(&self, series: &[f64], crosses: bool, features: &mut Vec<f32>) {
        let course = course::NAMES.iter().zip(course(series, self.rate_hz));
        let said = course.filter(|(name, _)| crosses || **name != CROSSING);
        features.extend(said.map(|(_, value)| narrow(value)));
        features.extend(self.spectrum.features(series, self.rate_hz).map(narrow));
    }

    fn brief(&self, series: &[f64], features: &mut Vec<f32>) {
        let all = course(series, self.rate_hz);
        features.extend(self.brief.iter().map(|at| narrow(all[*at])));
    }

    fn jerk(&self, series: &[f64]) -> Vec<f64> {
        series.windows(2).map(|pair| (pair[1] - pair[0]) * self.rate_hz).collect()
    }
}

fn pairs(channels: usize, axes: &[Axes]) -> Vec<(usize, usize)> {
    if channels <= CORRELATED_MAX {
        return (0..channels).flat_map(|a| (a + 1..channels).map(move |b| (a, b))).collect();
    }
    axes.iter()
        .flat_map(|it| [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (it.channels[a], it.channels[b])))
        .collect()
}

fn names(channels: &[String], axes: &[Axes], pairs: &[(usize, usize)]) -> Vec<String> {
    let mut all = Vec::new();
    let of = |series: &str, names: &[&str], all: &mut Vec<String>| {
        all.extend(names.iter().map(|name| format!("{series}_{name}")));
    };
    for channel in channels {
        of(channel, &course::NAMES, &mut all);
        of(channel, &spectrum::NAMES, &mut all);
        of(&format!("{channel}_jerk"), &course::BRIEF, &mut all);
    }
    for Axes { stem, channels: three } in axes {
        let length: Vec<&str> =
            course::NAMES.iter().copied().filter(|name| *name != CROSSING).collect();
        for (series, said) in
            [("magnitude", &length[..]), ("along", &course::NAMES), ("across", &length)]
        {
            of(&format!("{stem}_{series}"), said, &mut all);
            of(&format!("{stem}_{series}"), &spectrum::NAMES, &mut all);
        }
        of(&format!("{stem}_jerk"), &course::BRIEF, &mut all);
        all.extend(three.map(|at| format!("{}_cosine", channels[at])));
    }
    let pair = |&(a, b): &(usize, usize)| format!("{}_{}_correlation", channels[a], channels[b]);
    all.extend(pairs.iter().map(pair));
    all
}

/// The first name that stands twice, of features whose channels are called alike.
pub(crate) fn repeated(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(name.as_str()))
}
