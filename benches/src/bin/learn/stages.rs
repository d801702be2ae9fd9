//! Two-stage serving: what the gate saves, and what it misses, at several shares of background.

use benches::folder::Fault;
use models::{ClassId, Features, Stage, Subset};
use training_worker::{draw::Draw, workbench::Assembled};

use crate::{
    figures::{Count, Mixture, Stages},
    gauge::{speed, thread_s},
};

/// Shares of background that are looked at.
const BACKGROUND: [f64; 4] = [0.0, 0.5, 0.7, 0.9];
const SEED: u64 = 1;

/// One test row, asked with and without the gate.
struct Asked {
    event: bool,
    stopped: bool,
    gated_s: f64,
    vote_s: f64,
    missed_in_the_end: bool,
    missed_by_the_vote: bool,
}

/// Every event of the test rows once, and real background rows drawn again and again until they
/// have their share. `None` without a gate.
pub(crate) fn of(
    assembled: &Assembled,
    tests: &Features,
    truth: &[ClassId],
) -> Result<Option<Stages>, Fault> {
    let ensemble = &assembled.ensemble;
    let (Some(gate), Some(chosen), Some(background)) =
        (ensemble.gate(), assembled.gate, ensemble.schema().background())
    else {
        return Ok(None);
    };
    let all = Subset::all(ensemble.members().len());
    let (mut scratch, mut asked) = (ensemble.scratch(), Vec::with_capacity(truth.len()));
    let mut ask = |row: &[f32], gated: bool| {
        let began = thread_s();
        let answer = ensemble.answer(row, all, gated, &mut scratch)?;
        Ok::<_, Fault>((answer, thread_s() - began))
    };
    for row in tests.rows().take(200) {
        ask(row, true)?;
    }
    for (row, &truth) in tests.rows().zip(truth) {
        // Side by side, so that what else the machine does burdens both.
        let (gated, gated_s) = ask(row, true)?;
        let (vote, vote_s) = ask(row, false)?;
        let event = truth != background;
        asked.push(Asked {
            event,
            stopped: gated.stage == Stage::Gate,
            gated_s,
            vote_s,
            missed_in_the_end: event && gated.class == background,
            missed_by_the_vote: event && vote.class == background,
        });
    }

    let (events, quiet): (Vec<&Asked>, Vec<&Asked>) = asked.iter().partition(|it| it.event);
    let count = |rows: &[&Asked], counts: &dyn Fn(&Asked) -> bool| Count {
        hits: rows.iter().filter(|row| counts(row)).count() as u64,
        of: rows.len() as u64,
    };
    let speed = speed();
    let vote_us = speed.micros(ensemble.work(all));
    let gate_us = speed.micros(ensemble.gate_work().unwrap_or_default());
    // What is left of the vote when the gate has prepared the sample.
    let rest_us = speed.micros(ensemble.gated_work(all, 1, 1)) - gate_us;

    let mixture = |background: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of rows"
        )]
        let wanted = (events.len() as f64 * background / (1.0 - background)).round() as usize;
        let mut draw = Draw::new(SEED);
        let drawn = (0..wanted).map(|_| quiet[draw.below(quiet.len())]);
        let rows: Vec<&Asked> = events.iter().copied().chain(drawn).collect();
        let sum = |of: &dyn Fn(&Asked) -> f64| rows.iter().map(|row| of(row)).sum::<f64>();
        let works = sum(&|row| gate_us + if row.stopped { 0.0 } else { rest_us });
        Mixture {
            background,
            time_ratio: sum(&|row| row.gated_s) / sum(&|row| row.vote_s),
            work_ratio: works / (vote_us * rows.len() as f64),
            stopped: count(&quiet, &|row| row.stopped),
        }
    };
    let mixtures =
        BACKGROUND.into_iter().filter(|&share| share == 0.0 || !quiet.is_empty()).map(mixture);
    Ok(Some(Stages {
        gate: gate.member.family.name().to_owned(),
        missed_validation: chosen.missed.value(),
        missed: count(&events, &|row| row.stopped),
        missed_in_the_end: count(&events, &|row| row.missed_in_the_end),
        missed_by_the_vote: count(&events, &|row| row.missed_by_the_vote),
        mixtures: mixtures.collect(),
    }))
}
