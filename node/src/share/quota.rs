//! Cores as a quota of CPU time in each period, the way the kernel wants it.

/// The usual period: short, so that a throttled device is slow rather than stuttering.
const PERIOD_US: u32 = 10_000;

/// The kernel grants no less than this in a period.
const QUOTA_US_MIN: u32 = 1_000;

/// The kernel has no longer period than this.
const PERIOD_US_MAX: u32 = 1_000_000;

/// CPU time that may be used in each period, over all cores together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// CPU time, in microseconds.
    pub(super) quota_us: u32,
    /// The period, in microseconds.
    pub(super) period_us: u32,
}

impl Quota {
    /// The quota of `cores` cores; at least a thousandth of one, which is the least there is.
    pub(super) fn of(cores: f64) -> Self {
        let cores = cores.clamp(0.001, 4_096.0);
        let period =
            (f64::from(QUOTA_US_MIN) / cores).clamp(f64::from(PERIOD_US), f64::from(PERIOD_US_MAX));
        let (quota_us, period_us) = (whole(cores * period), whole(period));
        Self { quota_us: quota_us.max(QUOTA_US_MIN), period_us }
    }
}

/// The nearest whole number of microseconds.
fn whole(us: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 4,096 cores × 10 ms"
    )]
    let whole = us.round() as u32;
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_share_gets_a_longer_period_rather_than_more_time() {
        assert_eq!(Quota::of(1.5), Quota { quota_us: 15_000, period_us: 10_000 });
        assert_eq!(Quota::of(0.1), Quota { quota_us: 1_000, period_us: 10_000 });
        assert_eq!(Quota::of(0.02), Quota { quota_us: 1_000, period_us: 50_000 });
    }

    proptest! {
        #[test]
        fn every_share_is_a_quota_that_the_kernel_takes(cores in 0.001_f64..4_096.0) {
            let Quota { quota_us, period_us } = Quota::of(cores);
            prop_assert!(QUOTA_US_MIN <= quota_us);
            prop_assert!((PERIOD_US..=PERIOD_US_MAX).contains(&period_us));
            let granted = f64::from(quota_us) / f64::from(period_us);
            prop_assert!((granted / cores - 1.0).abs() < 0.01, "{granted} for {cores}");
        }
    }
}
