//! How often an answer with a certain count is right: measured, not hoped.
//!
//! A share of the vote is no probability: three members that err together agree when they are
//! wrong. So for each number of members that were asked, a curve from the share of *their* weight
//! that the winner has to how often such a winner was right, on rows that no member was fitted on.
//! A vote that ended after two of seven is judged by votes of two, never by what the other five
//! might have said.

use crate::{check, member::ModelError};

/// For each number of members asked, a curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confidence {
    /// One for votes of one member, of two, and so on; the last is also for more. Empty: nobody has
    /// measured it.
    pub curves: Vec<Curve>,
}

/// From the share of the asked weight to how often the winner is right: straight between knots,
/// level beyond the first and the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Shares of the asked weight, growing; at least one, at most [`KNOTS_MAX`].
    pub shares: Vec<f32>,
    /// How often such a winner is right, 0 to 1, never falling.
    pub right: Vec<f32>,
}

/// Most knots of a curve.
pub const KNOTS_MAX: usize = 16;

impl Confidence {
    /// Whether anything was measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.curves.is_empty()
    }

    /// How often a winner is right that has `share` of the weight of the `asked` members; `share`
    /// itself when nothing was measured.
    #[must_use]
    pub fn of(&self, asked: u32, share: f32) -> f32 {
        let last = self.curves.len().saturating_sub(1);
        let at = usize::try_from(asked.saturating_sub(1)).unwrap_or(last).min(last);
        self.curves.get(at).map_or(share, |curve| curve.at(share))
    }

    /// Every curve holds.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        check::at_most("confidence curves", self.curves.len(), crate::ensemble::MEMBERS_MAX)?;
        for Curve { shares, right } in &self.curves {
            check::some("knots", shares.len())?;
            check::at_most("knots", shares.len(), KNOTS_MAX)?;
            check::length("confidences", right, shares.len())?;
            check::finite("knots", shares)?;
            check::finite("confidences", right)?;
            let grows = shares.array_windows().all(|[a, b]| a < b);
            let never_falls = right.array_windows().all(|[a, b]| a <= b);
            let within = right.iter().all(|right| (0.0..=1.0).contains(right));
            if !(grows && never_falls && within) {
                return Err(ModelError::Order { what: "a confidence curve" });
            }
        }
        Ok(())
    }
}

impl Curve {
    /// The curve at `share`.
    #[must_use]
    pub fn at(&self, share: f32) -> f32 {
        let above = self.shares.partition_point(|&knot| knot <= share);
        let last = self.shares.len() - 1;
        if above == 0 {
            return self.right[0];
        }
        if last < above {
            return self.right[last];
        }
        let (low, high) = (self.shares[above - 1], self.shares[above]);
        let part = (share - low) / (high - low);
        self.right[above - 1] + part * (self.right[above] - self.right[above - 1])
    }
}
