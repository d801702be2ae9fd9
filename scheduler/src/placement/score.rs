//! The reasons to prefer a choice, most important first.

use models::Subset;

use super::{choice::Choice, problem::TaskFacts};
use crate::policy::Objective;

/// Share by which the time of a device counts as shorter when the task is there already: moving
/// ships a bundle, so another device has to be faster by more than this.
const MOVE_COST: f64 = 0.2;
/// Shares are compared in parts per million.
const PPM: f64 = 1e6;

/// Smaller is better; the derived `Ord` compares the fields from top to bottom, so to read this
/// struct is to read the policy.
///
/// The first three say by how much a promise is missed. They are 0 for whatever holds it, so a
/// choice that breaks a promise is only ever taken when nothing holds it: answering late or with
/// more missed events than allowed is better than not answering, and is reported as unmet.
/// The last two make the order total, so that a plan never depends on iteration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score<'a> {
    /// Microseconds above the latency of the policy.
    pub late_us: u32,
    /// Missed events above the ceiling of the policy, in parts per million.
    pub missed_ppm: u32,
    /// Accuracy below the floor of the policy, in parts per million.
    pub short_ppm: u32,
    /// What the objective looks at, in its order. Whatever is measured of a choice stands in it, so
    /// that names break ties only between choices that are alike.
    pub wish: [u32; 4],
    /// Makes the order total over devices.
    pub device: &'a str,
    /// Makes the order total over subsets: fewer members first.
    pub subset: (u32, Subset, bool),
}

/// What one choice has to know of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Whether any choice keeps the ceiling of missed events. When none does, coming nearest to it
    /// is worth no accuracy: the ceiling is reported as unmet, and the objective decides.
    pub ceiling_holds: bool,
    /// Best accuracy that holds the promise, less its standard error.
    pub accuracy_min: f64,
}

impl<'a> Score<'a> {
    /// The score of `choice`. `near` is what `balanced` allows; `stays` says that the task is on
    /// that device already.
    #[must_use]
    pub fn of(task: &TaskFacts, choice: &'a Choice, near: Near, stays: bool) -> Self {
        let policy = &task.policy;
        let total_us = choice.cost.total_us();
        let inaccuracy = ppm(1.0 - choice.accuracy);
        let stay = |cost| if stays { discounted(cost) } else { cost };
        let (time, burden) = (stay(total_us), stay(choice.burden_ns));
        let silent = silent(choice.subset);
        let wish = match policy.objective {
            // Between choices that validation rows cannot tell apart, more voters: what they have
            // not shown, one member alone gets wrong sooner than many. And who says how long an
            // answer may take says that faster is not worth more: the device that is least burdened
            // serves, and near and small ones stay free for others.
            Objective::BestEffort if policy.latency_us_max.is_some() => {
                [inaccuracy, silent, burden, time]
            }
            Objective::BestEffort => [inaccuracy, silent, time, burden],
            Objective::Balanced if near.accuracy_min <= choice.accuracy => {
                [0, time, inaccuracy, burden]
            }
            // Beyond one standard error: the more accurate, the better, but after all within it.
            Objective::Balanced => [inaccuracy.max(1), time, inaccuracy, burden],
            Objective::LowLatency => [time, inaccuracy, burden, silent],
        };
        Self {
            late_us: policy.latency_us_max.map_or(0, |max| total_us.saturating_sub(max)),
            missed_ppm: if near.ceiling_holds { missed_ppm(task, choice) } else { 0 },
            short_ppm: ppm(policy.accuracy_min - choice.accuracy),
            wish,
            device: &choice.device,
            subset: (choice.subset.len(), choice.subset, choice.gated),
        }
    }

    /// Whether nothing of the policy is missed.
    #[must_use]
    pub fn holds(&self) -> bool {
        (self.late_us, self.missed_ppm, self.short_ppm) == (0, 0, 0)
    }
}

/// Missed events above the ceiling of the policy, in parts per million.
pub(super) fn missed_ppm(task: &TaskFacts, choice: &Choice) -> u32 {
    ppm(choice.missed_events - task.policy.missed_events_max)
}

/// Members that could vote and do not.
fn silent(subset: Subset) -> u32 {
    u64::BITS - subset.len()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 and a million"
)]
fn ppm(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * PPM).round() as u32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a 32-bit number"
)]
fn discounted(us: u32) -> u32 {
    (f64::from(us) * (1.0 - MOVE_COST)).round() as u32
}
