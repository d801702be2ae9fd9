//! How much of a vote is enough to be in a set, as it stands in a bundle of version 4.
//!
//! Postcard again: nothing may be reordered or removed while bundles of version 4 are to be read.

use serde::{Deserialize, Serialize};

use super::BundleError;
use crate::{
    frontier::Subset,
    member::ModelError,
    sets::{Coverage, Ladder, Level, Sets},
};

#[derive(Debug, Serialize, Deserialize)]
struct Form {
    /// Bit i set: member i votes.
    members: u64,
    gated: bool,
    /// Thousandths, and the least share.
    levels: Vec<(u16, u32)>,
}

pub(super) fn write(sets: &Sets) -> Vec<u8> {
    let level = |it: &Level| (it.coverage.thousandths(), it.least);
    let ladders = sets.ladders.iter().map(|Ladder { subset, gated, levels }| Form {
        members: subset.0,
        gated: *gated,
        levels: levels.iter().map(level).collect(),
    });
    let ladders: Vec<Form> = ladders.collect();
    postcard::to_stdvec(&ladders).expect("numbers and lists can always be written")
}

/// What is written at the beginning of `bytes`, and what follows. Whether it holds together is
/// asked by [`crate::Ensemble::new`].
pub(super) fn read(bytes: &[u8]) -> Result<(Sets, &[u8]), BundleError> {
    let (ladders, rest): (Vec<Form>, _) =
        postcard::take_from_bytes(bytes).map_err(BundleError::Manifest)?;
    let level = |(thousandths, least): (u16, u32)| {
        let coverage = Coverage::of_thousandths(thousandths.into()).ok_or(ModelError::Index {
            what: "the coverage of a level",
            value: thousandths.into(),
            limit: 1000,
        });
        Ok(Level { coverage: coverage.map_err(BundleError::Model)?, least })
    };
    let ladder = |Form { members, gated, levels }: Form| {
        let levels = levels.into_iter().map(level).collect::<Result<_, BundleError>>()?;
        Ok(Ladder { subset: Subset(members), gated, levels })
    };
    let ladders = ladders.into_iter().map(ladder).collect::<Result<_, BundleError>>()?;
    Ok((Sets { ladders }, rest))
}
