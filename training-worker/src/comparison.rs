//! A candidate beside the revision that is served: the same rows, asked of both.

use models::{ClassId, Ensemble, ShapeError, Subset};
use proto::v1::PairedComparison;

use crate::material::{Checks, Material};

/// An ensemble as it is served: these of its members, with or without its gate.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The ensemble.
    pub ensemble: &'a Ensemble,
    /// The members that vote.
    pub members: Subset,
    /// Whether the gate stands in front of them.
    pub gated: bool,
}

impl<'a> Served<'a> {
    /// All members of an ensemble, gated like `other` is.
    #[must_use]
    pub fn like(ensemble: &'a Ensemble, other: &Served<'_>) -> Self {
        Self {
            ensemble,
            members: Subset::all(ensemble.members().len()),
            gated: other.gated && ensemble.gate().is_some(),
        }
    }

    fn answers(&self, checks: &Checks) -> Result<Vec<ClassId>, ShapeError> {
        self.ensemble.predict(&checks.samples, self.members, self.gated)
    }
}

/// Counts on held-out rows and on corrections that were kept back, and how many of all corrections
/// each would now answer as people said.
///
/// # Errors
///
/// [`ShapeError`] when one of the two is not of this task.
pub fn compare(
    material: &Material,
    candidate: &Served<'_>,
    baseline: &Served<'_>,
) -> Result<PairedComparison, ShapeError> {
    let classes = material.schema.classes().len();
    let mut counts = PairedComparison {
        class_only_candidate_right: vec![0; classes],
        class_only_baseline_right: vec![0; classes],
        ..PairedComparison::default()
    };
    for checks in [&material.held_out, &material.kept_back] {
        let answers = candidate.answers(checks)?.into_iter().zip(baseline.answers(checks)?);
        for (truth, (new, old)) in checks.truth.iter().zip(answers) {
            counts.rows += 1;
            match (new == *truth, old == *truth) {
                (true, true) => counts.both_right += 1,
                (true, false) => {
                    counts.only_candidate_right += 1;
                    counts.class_only_candidate_right[truth.index()] += 1;
                }
                (false, true) => {
                    counts.only_baseline_right += 1;
                    counts.class_only_baseline_right[truth.index()] += 1;
                }
                (false, false) => {}
            }
        }
    }
    let corrections = &material.corrections;
    let right = |answers: Vec<ClassId>| {
        let right = answers.iter().zip(&corrections.truth).filter(|(given, truth)| given == truth);
        u64::try_from(right.count()).unwrap_or(u64::MAX)
    };
    counts.corrections = u64::try_from(corrections.truth.len()).unwrap_or(u64::MAX);
    counts.corrections_candidate_right = right(candidate.answers(corrections)?);
    counts.corrections_baseline_right = right(baseline.answers(corrections)?);
    Ok(counts)
}
