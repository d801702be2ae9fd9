//! One family alone, fitted in a process of its own as the peers' are; and the vote of all seven.

use std::{fs, sync::Arc};

use crate::{
    early::early,
    figures::{Alone, Compact, Count, Single, Vote},
    gauge::{measured, single_calls},
};
use benches::{
    fitted::{Fitted, parts},
    folder::{Fault, Folder},
};
use models::{ClassId, Confusion, Ensemble, Family, Features, Parts, Share, Subset, bundle};

/// Fits `family` with the settings that a job would use, asks it about every test row, and keeps
/// its bundle for the vote. Preparing the rows counts as fitting.
pub(crate) fn alone(folder: &Folder, family: Family) -> Result<Alone, Fault> {
    let (schema, labels) = (folder.schema()?, folder.labels("train")?);
    let classes = schema.classes().len();
    let samples = folder.samples("train")?;
    let (fitted, took) = measured(|| Fitted::of(family, &samples, &labels, classes))?;
    let ensemble = Ensemble::new(parts(schema, vec![fitted?]))?;
    let bytes = bundle::encode(&ensemble);
    fs::write(folder.ours().join(family.name()), &bytes)?;

    let (tests, truth) = (folder.samples("test")?, folder.truth("test")?);
    let right = |ensemble: &Ensemble| {
        let given = ensemble.member_votes(&tests).swap_remove(0);
        let Share { hits, of } = Confusion::of(classes, &truth, &given).accuracy();
        Count { hits, of }
    };
    let mut whole = ensemble.clone().into_parts();
    let compact = match whole.members[0].member.model.compacted() {
        None => None,
        Some(model) => {
            whole.members[0].member.model = Arc::new(model);
            let ensemble = Ensemble::new(whole)?;
            let bytes = bundle::encode(&ensemble);
            fs::write(folder.ours().join(compact_name(family)), &bytes)?;
            Some(Compact {
                right: right(&ensemble),
                one_us: time(&ensemble, &tests, Subset::all(1)),
                kb: bytes.len() as f64 / 1024.0,
            })
        }
    };
    Ok(Alone {
        family: family.name().to_owned(),
        right: right(&ensemble),
        fit_cpu_s: took.cpu_s,
        fit_wall_s: took.wall_s,
        peak_mib: took.peak_mib,
        one_us: time(&ensemble, &tests, Subset::all(1)),
        kb: bytes.len() as f64 / 1024.0,
        compact,
    })
}

fn compact_name(family: Family) -> String {
    format!("{}-compact", family.name())
}

/// Single answers of `subset`, ungated, as they are served: until the vote is decided.
pub(crate) fn time(ensemble: &Ensemble, rows: &Features, subset: Subset) -> Single {
    let mut scratch = ensemble.scratch();
    single_calls(|call| {
        let row = std::hint::black_box(rows.row(call % rows.len()));
        let answer = ensemble.answer(row, subset, false, &mut scratch);
        std::hint::black_box(answer.expect("a test row is a sample"));
    })
}

/// Single answers of every member of `subset`, also of those that cannot change the winner.
fn time_to_the_end(ensemble: &Ensemble, rows: &Features, subset: Subset) -> Result<Single, Fault> {
    let asking = ensemble.asking(subset)?.to_the_end();
    let mut scratch = ensemble.scratch();
    Ok(single_calls(|call| {
        let row = std::hint::black_box(rows.row(call % rows.len()));
        let answer = ensemble.answer_timed(row, &asking, false, &mut scratch, |_| ());
        std::hint::black_box(answer.expect("a test row is a sample"));
    }))
}

/// The vote of all families that stand in the folder, as the peers' side votes.
pub(crate) fn vote(folder: &Folder) -> Result<Vote, Fault> {
    let mut parts = all_of(folder, false)?.ok_or("no family stands")?;
    let (tests, truth) = (folder.samples("test")?, folder.truth("test")?);
    let votes = Ensemble::new(parts.clone())?.member_votes(&tests);
    let members = votes.len();
    let accuracies: Vec<f64> = votes.iter().map(|votes| share(&truth, votes)).collect();
    for (weighted, &accuracy) in parts.members.iter_mut().zip(&accuracies) {
        #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
        let weight = accuracy.max(0.01) as f32;
        weighted.weight = weight;
    }
    let ensemble = Ensemble::new(parts)?;
    let all = Subset::all(members);
    let compact = all_of(folder, true)?.ok_or("no family stands")?;
    let compact_us = time_to_the_end(&Ensemble::new(compact)?, &tests, all)?;
    let classes = ensemble.schema().classes().len();
    let hits = |weights: &[f64]| {
        let rows = truth.iter().enumerate().filter(|&(row, &truth)| {
            let mut tally = vec![0.0; classes];
            for (votes, weight) in votes.iter().zip(weights) {
                tally[votes[row].index()] += weight;
            }
            // Of equal ones the first, as the peers' side counts.
            let most = tally.iter().copied().fold(0.0, f64::max);
            tally.iter().position(|&it| it == most) == Some(truth.index())
        });
        rows.count() as u64
    };
    Ok(Vote {
        members: members as u64,
        of: truth.len() as u64,
        weighted: hits(&accuracies),
        unweighted: hits(&vec![1.0; members]),
        soft: None,
        one_us: time_to_the_end(&ensemble, &tests, all)?,
        compact_us: Some(compact_us),
        early: Some(early(&ensemble, &tests, all)?),
    })
}

/// All families that stand in the folder, in their compact forms if those are asked for.
fn all_of(folder: &Folder, compact: bool) -> Result<Option<Parts>, Fault> {
    let mut whole: Option<Parts> = None;
    for family in Family::PAPER {
        let path = folder.ours().join(family.name());
        let smaller = folder.ours().join(compact_name(family));
        let path = if compact && smaller.exists() { smaller } else { path };
        if !path.exists() {
            continue;
        }
        let parts = bundle::decode(&fs::read(path)?)?.into_parts();
        match &mut whole {
            None => whole = Some(parts),
            Some(whole) => join(whole, parts),
        }
    }
    Ok(whole)
}

/// Adds the members of `other`; a preparation that both have is done once.
fn join(whole: &mut Parts, other: Parts) {
    for mut weighted in other.members {
        let preparation = &other.preparations[weighted.member.preparation];
        let known = whole.preparations.iter().position(|it| it == preparation);
        weighted.member.preparation = known.unwrap_or_else(|| {
            whole.preparations.push(preparation.clone());
            whole.preparations.len() - 1
        });
        whole.members.push(weighted);
    }
}

fn share(truth: &[ClassId], given: &[ClassId]) -> f64 {
    let right = truth.iter().zip(given).filter(|(truth, given)| truth == given).count();
    right as f64 / truth.len().max(1) as f64
}
