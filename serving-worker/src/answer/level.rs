//! The set of classes beside an answer: what a caller asks for, or else what the policy says.

use models::{Coverage, Level};

use crate::{error::PredictError, served::Served};

/// The set of classes that a caller wants beside the class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SetAsked {
    /// How often it must hold the true class; absent: as the policy says.
    pub(crate) coverage: Option<f64>,
    /// Whether there must be one, also where the policy says nothing.
    pub(crate) needed: bool,
}

/// Why there is no set where neither the request nor the policy says of which coverage.
pub(super) const UNNAMED: &str = "its policy names no coverage: name one, such as 0.9";

/// The set that is answered beside the class: what was asked for, or else what the policy says.
///
/// # Errors
///
/// [`PredictError::NoSet`] for what nobody can promise, or not with the members that serve here.
pub(super) fn level(
    served: &Served,
    SetAsked { coverage, needed }: SetAsked,
) -> Result<Option<Level>, PredictError> {
    let refused = |why: String| {
        served.meter.failed();
        PredictError::NoSet { task: served.wanted.task.clone(), why }
    };
    let Some(share) = coverage else {
        if needed && served.level.is_none() {
            return Err(refused(UNNAMED.to_owned()));
        }
        return Ok(served.level);
    };
    let (least, most) = Coverage::RANGE;
    let coverage = Coverage::of_share(share).ok_or_else(|| {
        refused(format!("a coverage lies between {least} and {most}, not at {share}"))
    })?;
    let level = served.promised(coverage).ok_or_else(|| {
        let most = served.most_promised().map(Coverage::share);
        let most = most.map_or("no set at all".to_owned(), |most| format!("at most {most}"));
        refused(format!("this revision can promise {most}, not {share}"))
    })?;
    Ok(Some(level))
}
