//! Which requests are traced: by what their caller says, by a part of all of them, or both.

use std::{fmt, str::FromStr};

use proto::trace::{Context, TraceId};

/// A rule, named as OpenTelemetry names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether a caller's word counts; then the rest is for requests without one.
    by_parent: bool,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    All,
    None,
    /// Of traces whose last 63 bits are below this.
    Below {
        ratio: f64,
        bits: u64,
    },
}

/// Why there is no such rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// A name that is none.
    #[error(
        "{name:?} is no sampler: write always_on, always_off, traceidratio, or one of them behind \
         parentbased_"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A part that is none.
    #[error("{argument:?} is no part of all traces: write a number from 0 to 1")]
    Ratio {
        /// What was given.
        argument: String,
    },
}

impl Default for Sampler {
    /// Those whose caller says so. OpenTelemetry's own default also takes all that come without a word,
    /// which would be every request of every sensor.
    fn default() -> Self {
        Self { by_parent: true, part: Part::None }
    }
}

impl Sampler {
    /// The rule `name`, with `argument` where it takes one; empty ones are not given.
    ///
    /// # Errors
    ///
    /// [`SamplerError`].
    pub fn new(name: &str, argument: &str) -> Result<Self, SamplerError> {
        if name.is_empty() {
            return Ok(Self::default());
        }
        let (by_parent, part) = match name.strip_prefix("parentbased_") {
            Some(part) => (true, part),
            None => (false, name),
        };
        let part = match part {
            "always_on" => Part::All,
            "always_off" => Part::None,
            "traceidratio" => below(argument)?,
            _ => return Err(SamplerError::Name { name: name.chars().take(64).collect() }),
        };
        Ok(Self { by_parent, part })
    }

    /// Whether a request is traced: one of `trace`, which came with `parent`, if with any. All processes
    /// with the same rule say the same of the same trace.
    #[must_use]
    pub fn takes(&self, parent: Option<Context>, trace: TraceId) -> bool {
        match (parent, self.part) {
            (Some(parent), _) if self.by_parent => parent.sampled,
            (_, Part::All) => true,
            (_, Part::None) => false,
            (_, Part::Below { bits, .. }) => {
                let [.., a, b, c, d, e, f, g, h] = *trace.bytes();
                u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < bits
            }
        }
    }

    /// Whether it may take a request that came without a word: else there is no need to begin one.
    #[must_use]
    pub(crate) fn takes_orphans(&self) -> bool {
        self.part != Part::None
    }

    /// The part that it takes, as it was given.
    #[must_use]
    pub fn argument(&self) -> Option<f64> {
        match self.part {
            Part::Below { ratio, .. } => Some(ratio),
            Part::All | Part::None => None,
        }
    }
}

fn below(argument: &str) -> Result<Part, SamplerError> {
    let wrong = || SamplerError::Ratio { argument: argument.chars().take(64).collect() };
    let ratio =
        if argument.is_empty() { 1.0 } else { f64::from_str(argument).map_err(|_| wrong())? };
    if !(0.0..=1.0).contains(&ratio) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 2^63, and a bit more or less does not matter"
    )]
    let bits = (ratio * 2.0_f64.powi(63)) as u64;
    Ok(Part::Below { ratio, bits })
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_parent = if self.by_parent { "parentbased_" } else { "" };
        let part = match self.part {
            Part::All => "always_on",
            Part::None => "always_off",
            Part::Below { .. } => "traceidratio",
        };
        write!(f, "{by_parent}{part}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::trace::SpanId;

    use super::*;

    fn trace(bits: u64) -> TraceId {
        TraceId::new((u128::from(bits) | 1 << 127).to_be_bytes()).unwrap()
    }

    fn parent(sampled: bool) -> Option<Context> {
        Some(Context { trace: trace(5), span: SpanId::new([1; 8]).unwrap(), sampled })
    }

    #[test]
    fn a_caller_is_followed_or_not() {
        let takes = |name: &str| {
            let sampler = Sampler::new(name, "").unwrap();
            assert!(name.is_empty() || sampler.to_string() == name);
            [parent(true), parent(false), None].map(|it| sampler.takes(it, trace(5)))
        };
        assert_eq!(takes("always_on"), [true; 3]);
        assert_eq!(takes("always_off"), [false; 3]);
        assert_eq!(takes("parentbased_always_on"), [true, false, true]);
        assert_eq!(takes("parentbased_always_off"), [true, false, false]);
        assert_eq!(takes(""), [true, false, false], "who says nothing is not recorded");
        assert_eq!(takes("parentbased_traceidratio"), [true, false, true]);
        let unknown = Sampler::new("jaeger_remote", "").unwrap_err().to_string();
        assert!(unknown.contains("parentbased_"), "{unknown}");
        for argument in ["-0.1", "1.1", "NaN", "half"] {
            assert!(Sampler::new("traceidratio", argument).is_err(), "{argument}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_part_takes_what_a_smaller_one_takes(
            bits in any::<u64>(), a in 0.0_f64..1.0, b in 0.0_f64..1.0,
        ) {
            let takes = |ratio: f64| {
                let sampler = Sampler::new("traceidratio", &ratio.to_string()).unwrap();
                sampler.takes(None, trace(bits))
            };
            prop_assert!(takes(a.max(b)) || !takes(a.min(b)));
            prop_assert!(!takes(0.0) && takes(1.0));
        }
    }

    #[test]
    fn a_part_is_about_that_part() {
        let sampler = Sampler::new("traceidratio", "0.25").unwrap();
        let ids = crate::ids::Ids::new().unwrap();
        let taken = (0..20_000).filter(|_| sampler.takes(None, ids.trace())).count();
        // Ten standard deviations of a fair coin with this chance are 612.
        assert!((4_388..=5_612).contains(&taken), "{taken}");
    }
}
