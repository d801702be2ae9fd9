//! How votes are counted, as it stands behind the manifest of a bundle of version 2.
//!
//! Postcard again: nothing may be reordered or removed while bundles of version 2 are to be read.

use serde::{Deserialize, Serialize};

use super::BundleError;
use crate::{
    confidence::{Confidence, Curve},
    softness::Softness,
    voting::{Rule, Voting},
};

#[derive(Debug, Serialize, Deserialize)]
struct Form {
    rule: RuleForm,
    /// For each number of members asked, `(share, right)` at each knot.
    curves: Vec<Vec<(f32, f32)>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum RuleForm {
    Hard,
    /// The slope of each member.
    Soft(Vec<f32>),
    /// From version 7 on, the slope of each member.
    Logarithmic(Vec<f32>),
}

pub(super) fn write(voting: &Voting) -> Vec<u8> {
    let slopes = |softness: &[Softness]| softness.iter().map(|it| it.slope).collect();
    let rule = match &voting.rule {
        Rule::Hard => RuleForm::Hard,
        Rule::Soft(softness) => RuleForm::Soft(slopes(softness)),
        Rule::Logarithmic(softness) => RuleForm::Logarithmic(slopes(softness)),
    };
    let curves = voting.confidence.curves.iter();
    let knots = |curve: &Curve| {
        curve.shares.iter().copied().zip(curve.right.iter().copied()).collect::<Vec<_>>()
    };
    let form = Form { rule, curves: curves.map(knots).collect() };
    postcard::to_stdvec(&form).expect("numbers and lists can always be written")
}

/// What is written at the beginning of `bytes`, and what follows. Whether it holds together is
/// asked by [`crate::Ensemble::new`].
pub(super) fn read(bytes: &[u8]) -> Result<(Voting, &[u8]), BundleError> {
    let (Form { rule, curves }, rest) =
        postcard::take_from_bytes(bytes).map_err(BundleError::Manifest)?;
    let softness = |slopes: Vec<f32>| slopes.into_iter().map(|slope| Softness { slope }).collect();
    let rule = match rule {
        RuleForm::Hard => Rule::Hard,
        RuleForm::Soft(slopes) => Rule::Soft(softness(slopes)),
        RuleForm::Logarithmic(slopes) => Rule::Logarithmic(softness(slopes)),
    };
    let curves = curves.into_iter().map(|knots| {
        let (shares, right) = knots.into_iter().unzip();
        Curve { shares, right }
    });
    let confidence = Confidence { curves: curves.collect() };
    Ok((Voting { rule, confidence, ..Voting::default() }, rest))
}
