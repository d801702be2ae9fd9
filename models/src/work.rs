//! What an answer costs, in units that any device can be measured in: the cost card.

pub use crate::probe::{Probe, probes};

/// Units of work of one answer, counted from the arrays of a member before it ever runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Work {
    /// Multiply-adds in dense products over arrays that stay in the cache.
    pub madds: u64,
    /// Bytes streamed from memory (the rows of a kNN, the support vectors of an RBF SVM).
    pub bytes: u64,
    /// Tree nodes visited.
    pub nodes: u64,
    /// Exponentials.
    pub exps: u64,
    /// Members called: what a call costs when it does nothing.
    pub calls: u64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            madds: self.madds.saturating_add(other.madds),
            bytes: self.bytes.saturating_add(other.bytes),
            nodes: self.nodes.saturating_add(other.nodes),
            exps: self.exps.saturating_add(other.exps),
            calls: self.calls.saturating_add(other.calls),
        }
    }
}

impl std::iter::Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), |sum, work| sum + work)
    }
}

impl Work {
    /// `count` such works.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        let Self { madds, bytes, nodes, exps, calls } = self;
        let [madds, bytes, nodes, exps, calls] =
            [madds, bytes, nodes, exps, calls].map(|units| units.saturating_mul(count));
        Self { madds, bytes, nodes, exps, calls }
    }

    /// `part` of `of` such works on average, rounded up.
    #[must_use]
    pub fn share(self, part: u64, of: u64) -> Self {
        let Self { madds, bytes, nodes, exps, calls } = self;
        let [madds, bytes, nodes, exps, calls] = [madds, bytes, nodes, exps, calls].map(|count| {
            let mean = (u128::from(count) * u128::from(part)).div_ceil(u128::from(of.max(1)));
            u64::try_from(mean).unwrap_or(u64::MAX)
        });
        Self { madds, bytes, nodes, exps, calls }
    }

    /// No unit is more than that of `other`: not slower on any device.
    #[must_use]
    pub fn fits_in(self, other: Self) -> bool {
        self.madds <= other.madds
            && self.bytes <= other.bytes
            && self.nodes <= other.nodes
            && self.exps <= other.exps
            && self.calls <= other.calls
    }

    #[expect(clippy::cast_precision_loss, reason = "a prediction of a time, not a count")]
    fn units(self) -> [f64; UNITS] {
        let Self { madds, bytes, nodes, exps, calls } = self;
        [madds, bytes, nodes, exps, calls].map(|count| count as f64)
    }
}

/// Units of [`Work`].
const UNITS: usize = 5;
/// Rounds of [`Speed::from_timings`].
const ROUNDS: usize = 20;
/// The least that a unit is believed to take: a thousandth of a nanosecond.
pub const FLOOR_NS: f64 = 0.001;

/// A device's speed: nanoseconds per unit of [`Work`], measured with the kernels that serve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Speed {
    /// Nanoseconds per multiply-add.
    pub madd_ns: f64,
    /// Nanoseconds per byte streamed.
    pub byte_ns: f64,
    /// Nanoseconds per tree node.
    pub node_ns: f64,
    /// Nanoseconds per exponential.
    pub exp_ns: f64,
    /// Nanoseconds per member called.
    pub call_ns: f64,
}

impl Speed {
    /// A machine of today: to order members and to see whether a gate pays before any device was
    /// measured.
    pub const USUAL: Self =
        Self { madd_ns: 0.1, byte_ns: 0.1, node_ns: 4.0, exp_ns: 4.0, call_ns: 40.0 };

    /// The speed that explains `timings`: pairs of the work of a run and the nanoseconds it took.
    ///
    /// Each unit is read off the timing that does most of it, compared with the other timings, and
    /// what the other units take of that timing is subtracted; a few rounds of this settle, since
    /// each probe of [`crate::probe`] is mostly one unit. A unit that no timing has, or that the
    /// clock could not see, gets [`FLOOR_NS`]: never zero, never negative, never NaN.
    ///
    /// # Source
    ///
    /// Gauss and Seidel's iteration on a matrix that is nearly diagonal; the choice of rows is ours.
    #[must_use]
    pub fn from_timings(timings: &[(Work, f64)]) -> Self {
        let mut ns = [FLOOR_NS; UNITS];
        let works: Vec<[f64; UNITS]> = timings.iter().map(|&(work, _)| work.units()).collect();
        let probes: [Option<usize>; UNITS] = std::array::from_fn(|unit| {
            // Calls are in every timing: the one that does least of everything else shows them.
            let share = |work: &[f64; UNITS]| work[unit] / work.iter().sum::<f64>().max(1.0);
            let candidates = works.iter().enumerate().filter(|(_, work)| 0.0 < work[unit]);
            candidates.max_by(|a, b| share(a.1).total_cmp(&share(b.1))).map(|(index, _)| index)
        });
        for _ in 0..ROUNDS {
            for unit in 0..UNITS {
                let Some(probe) = probes[unit] else { continue };
                let others: f64 =
                    (0..UNITS).filter(|&it| it != unit).map(|it| works[probe][it] * ns[it]).sum();
                let own = (timings[probe].1 - others) / works[probe][unit];
                ns[unit] = if own.is_finite() { own.max(FLOOR_NS) } else { FLOOR_NS };
            }
        }
        let [madd_ns, byte_ns, node_ns, exp_ns, call_ns] = ns;
        Self { madd_ns, byte_ns, node_ns, exp_ns, call_ns }
    }

    /// How long `work` takes on this device when nothing else runs, in microseconds.
    #[must_use]
    pub fn micros(&self, work: Work) -> f64 {
        let [madds, bytes, nodes, exps, calls] = work.units();
        (madds * self.madd_ns
            + bytes * self.byte_ns
            + nodes * self.node_ns
            + exps * self.exp_ns
            + calls * self.call_ns)
            / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe;

    fn speeds() -> impl Strategy<Value = Speed> {
        (0.02..2.0, 0.02..1.0, 0.5..50.0, 0.5..20.0, 5.0..500.0).prop_map(
            |(madd_ns, byte_ns, node_ns, exp_ns, call_ns)| Speed {
                madd_ns,
                byte_ns,
                node_ns,
                exp_ns,
                call_ns,
            },
        )
    }

    proptest! {
        #[test]
        fn the_probes_find_the_speed_that_timed_them(speed in speeds()) {
            let timings: Vec<(Work, f64)> = probe::Unit::ALL
                .into_iter()
                .map(probe::work_of)
                .map(|work| (work, speed.micros(work) * 1000.0))
                .collect();
            let found = Speed::from_timings(&timings);
            for (found, true_one) in [
                (found.madd_ns, speed.madd_ns),
                (found.byte_ns, speed.byte_ns),
                (found.node_ns, speed.node_ns),
                (found.exp_ns, speed.exp_ns),
                (found.call_ns, speed.call_ns),
            ] {
                prop_assert!((found / true_one - 1.0).abs() < 0.01, "{found} for {true_one}");
            }
        }

        #[test]
        fn any_timings_give_a_speed_that_can_be_used(
            timings in prop::collection::vec(
                (any::<(u32, u32, u32, u32, u32)>(), prop::num::f64::ANY), 0..8),
        ) {
            let timings: Vec<(Work, f64)> = timings
                .into_iter()
                .map(|((madds, bytes, nodes, exps, calls), nanos)| {
                    let [madds, bytes, nodes, exps, calls] =
                        [madds, bytes, nodes, exps, calls].map(u64::from);
                    (Work { madds, bytes, nodes, exps, calls }, nanos)
                })
                .collect();
            let Speed { madd_ns, byte_ns, node_ns, exp_ns, call_ns } = Speed::from_timings(&timings);
            for ns in [madd_ns, byte_ns, node_ns, exp_ns, call_ns] {
                prop_assert!(ns.is_finite() && FLOOR_NS <= ns);
            }
        }
    }
}
