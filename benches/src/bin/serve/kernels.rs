//! What the answer itself takes, without a server around it: on the server's core, one row at a time.

use std::{hint::black_box, path::Path};

use benches::folder::{Fault, Folder};
use models::{Stage, Subset, bundle};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    load::ROWS_MAX,
    spread::{Spread, nanoseconds},
    wire,
};

/// Times over all test rows, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Kernels {
    /// As it is served: until the vote is decided.
    pub(crate) served: Spread,
    /// Every member is asked.
    pub(crate) to_the_end: Spread,
}

/// Asks the members of `bundle` about every row several times.
pub(crate) fn time(path: &Path, folder: &Folder, subset: Subset) -> Result<Kernels, Fault> {
    let ensemble = bundle::decode(&std::fs::read(path)?)?;
    let rows = wire::rows(folder, ROWS_MAX, false, None)?;
    let asking = ensemble.asking(subset)?;
    let to_the_end = asking.clone().to_the_end();
    let mut scratch = ensemble.scratch();
    let mut time = |asking: &models::Asking| {
        let mut times = Vec::new();
        for round in 0..4 {
            for row in rows.rows() {
                let began = Instant::now();
                let answer =
                    ensemble.answer_timed(black_box(row), asking, false, &mut scratch, |_| ())?;
                let took = began.elapsed();
                black_box(answer);
                // The first round is for the caches.
                if 0 < round {
                    times.push(nanoseconds(took));
                }
            }
        }
        Ok::<_, Fault>(Spread::of(&mut times))
    };
    Ok(Kernels { served: time(&asking)?, to_the_end: time(&to_the_end)? })
}

/// Two stages beside one, in the time of the kernels alone, for each share of background.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Gated {
    pub(crate) background: f64,
    /// Mean of gate and vote over the mean of the vote alone.
    pub(crate) ratio: f64,
    /// … over the mean of a vote that asks every member, as the paper's does.
    pub(crate) ratio_to_full: f64,
    /// Events that the gate ended.
    pub(crate) missed: f64,
}

/// Mixes test rows so that they have each share of background.
pub(crate) fn gated(
    path: &Path,
    folder: &Folder,
    shares: &[f64],
) -> Result<Option<Vec<Gated>>, Fault> {
    let ensemble = bundle::decode(&std::fs::read(path)?)?;
    let Some(background) = ensemble.schema().background() else { return Ok(None) };
    if ensemble.gate().is_none() {
        return Ok(None);
    }
    let asking = ensemble.asking(Subset::all(ensemble.members().len()))?;
    let to_the_end = asking.clone().to_the_end();
    let (rows, truth) = (folder.samples("test")?, folder.truth("test")?);
    let mut scratch = ensemble.scratch();
    // Of events and of background: rows, seconds gated, of the vote, of the full vote, ended by the gate.
    let mut sums = [[0.0; 5]; 2];
    for round in 0..3 {
        for (row, &truth) in rows.rows().zip(&truth) {
            let mut ask = |asking, gated| {
                let began = Instant::now();
                let answer =
                    ensemble.answer_timed(black_box(row), asking, gated, &mut scratch, |_| ())?;
                Ok::<_, Fault>((answer.stage, began.elapsed().as_secs_f64()))
            };
            let (stage, gated_s) = ask(&asking, true)?;
            let ((_, vote_s), (_, full_s)) = (ask(&asking, false)?, ask(&to_the_end, false)?);
            if 0 < round {
                let ended = f64::from(u8::from(stage == Stage::Gate));
                let sum = &mut sums[usize::from(truth == background)];
                let more = [1.0, gated_s, vote_s, full_s, ended];
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
        }
    }
    let [events, quiet] = sums;
    let mixture = |&share: &f64| {
        let mean =
            |at: usize| (1.0 - share) * events[at] / events[0] + share * quiet[at] / quiet[0];
        Gated {
            background: share,
            ratio: mean(1) / mean(2),
            ratio_to_full: mean(1) / mean(3),
            missed: events[4] / events[0],
        }
    };
    Ok(Some(shares.iter().map(mixture).collect()))
}
