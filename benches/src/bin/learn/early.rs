//! The early end of a vote: the class of the full vote, for a part of its work.

use std::collections::BTreeMap;

use benches::folder::Fault;
use models::{Ensemble, Features, Subset};

use crate::{
    figures::{Count, Early},
    gauge::{speed, thread_s},
};

/// Every test row twice: until the vote is decided, and to the end.
pub(crate) fn early(ensemble: &Ensemble, tests: &Features, subset: Subset) -> Result<Early, Fault> {
    let speed = speed();
    let micros = |subset: Subset| speed.micros(ensemble.work(subset));
    // As a serving worker orders them on its own device.
    let asking = ensemble.asking_on(subset, |member| micros(Subset(1 << member)))?;
    let to_the_end = asking.clone().to_the_end();
    let mut scratch = ensemble.scratch();
    let mut asked: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut same, mut early_s, mut full_s) = (0, 0.0, 0.0);
    for row in tests.rows() {
        let began = thread_s();
        let early = ensemble.answer_timed(row, &asking, false, &mut scratch, |_| ())?;
        let between = thread_s();
        let full = ensemble.answer_timed(row, &to_the_end, false, &mut scratch, |_| ())?;
        early_s += between - began;
        full_s += thread_s() - between;
        same += u64::from(early.class == full.class);
        *asked.entry(early.votes.asked().0).or_default() += 1;
    }
    let of = tests.len() as u64;
    let work: f64 = asked.iter().map(|(&bits, &rows)| micros(Subset(bits)) * rows as f64).sum();
    Ok(Early {
        same: Count { hits: same, of },
        work: work / (micros(subset) * of as f64),
        time: early_s / full_s,
    })
}
