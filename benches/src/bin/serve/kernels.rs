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
    let (rows, truth) = (folder.samples("test")?, folder.truth("test")?);
    let mut scratch = ensemble.scratch();
    // Of events and of background: rows, seconds gated, seconds of the vote, ended by the gate.
    let mut sums = [(0.0, 0.0, 0.0, 0.0); 2];
    for round in 0..3 {
        for (row, &truth) in rows.rows().zip(&truth) {
            let mut ask = |gated| {
                let began = Instant::now();
                let answer =
                    ensemble.answer_timed(black_box(row), &asking, gated, &mut scratch, |_| ())?;
                Ok::<_, Fault>((answer.stage, began.elapsed().as_secs_f64()))
            };
            let ((stage, gated_s), (_, vote_s)) = (ask(true)?, ask(false)?);
            if 0 < round {
                let sum = &mut sums[usize::from(truth == background)];
                sum.0 += 1.0;
                sum.1 += gated_s;
                sum.2 += vote_s;
                sum.3 += f64::from(u8::from(stage == Stage::Gate));
            }
        }
    }
    let [events, quiet] = sums;
    let mixture = |&share: &f64| {
        let of = |event: f64, quiet: f64| (1.0 - share) * event + share * quiet;
        let gated_s = of(events.1 / events.0, quiet.1 / quiet.0);
        let vote_s = of(events.2 / events.0, quiet.2 / quiet.0);
        Gated { background: share, ratio: gated_s / vote_s, missed: events.3 / events.0 }
    };
    Ok(Some(shares.iter().map(mixture).collect()))
}
