//! How the votes of members are counted, and what a count says.

use crate::{check, confidence::Confidence, member::ModelError, sets::Sets, softness::Softness};

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
}

impl Rule {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft(_) => "soft",
        }
    }
}

impl Voting {
    /// It is of so many members, and every number makes sense.
    pub(crate) fn check(&self, members: usize, gate: bool) -> Result<(), ModelError> {
        match &self.rule {
            Rule::Hard => {}
            Rule::Soft(softness) => {
                check::length("softness", softness, members)?;
                softness.iter().try_for_each(|it| it.check())?;
            }
        }
        self.confidence.check()?;
        self.sets.check(members, gate)
    }
}
