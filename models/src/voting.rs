//! How the votes of members are counted, and what a count says.

use crate::{
    check,
    confidence::Confidence,
    member::ModelError,
    schema::ClassId,
    sets::Sets,
    softness::{Scale, Softness},
    vote::{Pool, Tally},
};

/// The rule of the vote and what its outcome is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Voting {
    /// What a member gives to the count.
    pub rule: Rule,
    /// How often an answer with such a count is right; empty: nobody has measured it.
    pub confidence: Confidence,
    /// From which share of the full vote on a class belongs to what is answered; empty: nobody has
    /// measured it.
    pub sets: Sets,
}

/// What a member gives to the count.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Rule {
    /// Its whole vote to the class of its largest score: the paper's rule.
    #[default]
    Hard,
    /// A share of its vote to each class, as likely as it thinks it: `[members]`, how sharply.
    Soft(Vec<Softness>),
    /// The logarithm of how likely it thinks each class, no less than that of [`LEAST`](crate::vote::LEAST):
    /// `[members]`, how sharply.
    Logarithmic(Vec<Softness>),
}

impl Rule {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft(_) => "soft",
            Self::Logarithmic(_) => "logarithmic",
        }
    }

    /// How what members give becomes what a class has.
    #[must_use]
    pub fn pool(&self) -> Pool {
        match self {
            Self::Hard | Self::Soft(_) => Pool::Linear,
            Self::Logarithmic(_) => Pool::Logarithmic,
        }
    }

    /// What `member`, whose vote goes to `class`, gives to the count by its `scores`, which are used up. `parts` is
    /// a buffer.
    pub(crate) fn give(
        &self,
        (member, scale): (usize, Scale),
        (class, count): (ClassId, u64),
        (scores, parts): (&mut [f32], &mut Vec<u32>),
        tally: &mut Tally,
    ) {
        match self.shares(member, scale, scores, parts) {
            Some(shares) => tally.share_out(shares, count),
            None => tally.cast(class, count),
        }
    }

    /// The shares that `member` gives by its `scores`, which are used up, in parts of a vote; `None` where it gives
    /// its whole vote to one class.
    pub(crate) fn shares<'a>(
        &self,
        member: usize,
        scale: Scale,
        scores: &mut [f32],
        parts: &'a mut Vec<u32>,
    ) -> Option<&'a [u32]> {
        let (Self::Soft(softness) | Self::Logarithmic(softness)) = self else { return None };
        parts.resize(scores.len(), 0);
        match self.pool() {
            Pool::Linear => softness[member].shares(scale, scores, parts),
            Pool::Logarithmic => softness[member].log_shares(scale, scores, parts),
        }
        Some(parts)
    }
}

impl Voting {
    /// It is of so many members, and every number makes sense.
    pub(crate) fn check(&self, members: usize, gate: bool) -> Result<(), ModelError> {
        match &self.rule {
            Rule::Hard => {}
            Rule::Soft(softness) | Rule::Logarithmic(softness) => {
                check::length("softness", softness, members)?;
                softness.iter().try_for_each(|it| it.check())?;
            }
        }
        self.confidence.check()?;
        self.sets.check(members, gate)
    }
}
