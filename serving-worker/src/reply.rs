//! What is said of an answer: the class, how it came about, and the set beside it.

use std::sync::atomic::Ordering::Relaxed;

use models::{Answer, ClassId, Level, Scratch, Stage};
use proto::v1;

use crate::{
    answer::{Times, expired},
    error::PredictError,
    served::Served,
};

/// What is said of `answer`, which was given last with `scratch`; with a set of `level`, if one is
/// wanted and everybody was heard.
pub(crate) fn reply(
    served: &Served,
    id: [u8; 16],
    answer: &Answer,
    Times { gate_us, vote_us, .. }: Times,
    scratch: &Scratch,
    level: Option<Level>,
) -> v1::PredictReply {
    let (stage, scores) = match answer.stage {
        Stage::Gate => (v1::Stage::Gate, Vec::new()),
        Stage::Vote => (v1::Stage::Vote, scratch.shares().to_vec()),
    };
    let reply = v1::PredictReply {
        prediction_id: id.to_vec().into(),
        class: served.schema().classes()[answer.class.index()].clone(),
        class_id: u32::from(answer.class.0),
        confidence: answer.confidence,
        stage: stage.into(),
        voted: answer.voted(),
        members: served.members,
        revision: served.wanted.revision,
        gate_us,
        vote_us,
        scores,
        cut_short: !answer.decided,
        ..v1::PredictReply::default()
    };
    let reply = if knows(served, answer) {
        reply
    } else {
        served.meter.abstained.fetch_add(1, Relaxed);
        v1::PredictReply { abstained: true, reason: UNSURE.to_owned(), ..reply }
    };
    match level {
        None => reply,
        Some(level) => with_set(served, level, served.ensemble.set(level, answer, scratch), reply),
    }
}

/// Why an answer is no more than a guess.
const UNSURE: &str = "the confidence is below what the policy acts on";

/// Whether an answer is sure enough for the policy: the gate always is.
fn knows(served: &Served, answer: &Answer) -> bool {
    let below = f64::from(served.wanted.abstain_below_thousandths) / 1000.0;
    match answer.stage {
        Stage::Gate => true,
        // Compared as it is told: what is said to be 0.6 is not below 0.6.
        Stage::Vote => below - 1e-6 <= f64::from(answer.confidence),
    }
}

/// Adds the set, or why there is none.
fn with_set(
    served: &Served,
    level: Level,
    set: Option<Vec<ClassId>>,
    reply: v1::PredictReply,
) -> v1::PredictReply {
    let Some(set) = set else {
        served.meter.without_set.fetch_add(1, Relaxed);
        return v1::PredictReply { no_set: NOT_ALL.to_owned(), ..reply };
    };
    served.meter.sets.fetch_add(1, Relaxed);
    served.meter.set_classes.fetch_add(u64::try_from(set.len()).unwrap_or(u64::MAX), Relaxed);
    let names = served.schema().classes();
    v1::PredictReply {
        set_classes: set.iter().map(|class| names[class.index()].clone()).collect(),
        set: set.into_iter().map(|class| u32::from(class.0)).collect(),
        coverage: level.coverage.share(),
        ..reply
    }
}

/// Why there is no set beside an answer.
const NOT_ALL: &str = "the deadline came before every member was heard";

/// Why a fallback was answered.
const TOO_LATE: &str = "the deadline came before anybody was heard";

/// What the policy names for when nobody was heard in time.
///
/// # Errors
///
/// [`PredictError::Expired`] when it names nothing.
pub(crate) fn fallback(
    served: &Served,
    id: [u8; 16],
    set_wanted: bool,
) -> Result<v1::PredictReply, PredictError> {
    let class = served.fallback.ok_or_else(|| expired(served))?;
    served.meter.fallbacks.fetch_add(1, Relaxed);
    served.meter.without_set.fetch_add(u64::from(set_wanted), Relaxed);
    Ok(v1::PredictReply {
        prediction_id: id.to_vec().into(),
        class: served.schema().classes()[class.index()].clone(),
        class_id: u32::from(class.0),
        confidence: 0.0,
        stage: v1::Stage::Fallback.into(),
        members: served.members,
        revision: served.wanted.revision,
        cut_short: true,
        reason: TOO_LATE.to_owned(),
        no_set: if set_wanted { TOO_LATE.to_owned() } else { String::new() },
        ..v1::PredictReply::default()
    })
}

/// How many answers certainly fit into one message, with a set beside each or without.
pub(crate) fn rows_max(served: &Served, set: bool) -> usize {
    let classes = served.schema().classes();
    let name = classes.iter().map(String::len).max().unwrap_or(0);
    // A class in a set takes its name, its id and a tag for each.
    let names: usize = classes.iter().map(|class| class.len() + 8).sum();
    // Everything else in a reply but the name and the scores is below 240 bytes, tags and what is said of
    // a fallback or of an abstention included.
    let reply = 240 + name + 4 * classes.len() + if set { names } else { 0 };
    proto::MESSAGE_BYTES_MAX / reply
}

#[cfg(test)]
mod tests {
    use models::{Family, synthetic};
    use tokio::time::Instant;

    use super::*;
    use crate::served::tests::served;

    #[test]
    fn a_vote_that_was_cut_short_has_no_set_and_says_so() {
        let mut served = served(&[Family::Ridge, Family::Knn, Family::Mlp], false);
        let ensemble = synthetic::with_sets((*served.ensemble).clone());
        let sets = &ensemble.voting().sets;
        let level = sets.ladder(served.wanted.subset, false).unwrap().levels[0];
        served.ensemble = std::sync::Arc::new(ensemble);
        let row = synthetic::rows(served.schema().width(), 1, 3).remove(0);
        let now = Instant::now();
        let times = Times { gate_us: 0, vote_us: 1, ended: now };
        for heard in 1..=3 {
            let mut scratch = served.ensemble.scratch();
            let mut asked = 0;
            let go_on = || {
                asked += 1;
                asked <= heard
            };
            let (ensemble, all) = (&served.ensemble, &served.asking_all);
            let answer = ensemble.answer_while(&row, all, false, &mut scratch, |_| (), go_on);
            let answer = answer.unwrap().unwrap();
            let wanted = reply(&served, [7; 16], &answer, times, &scratch, Some(level));
            let not = reply(&served, [7; 16], &answer, times, &scratch, None);
            assert_eq!(wanted.set.is_empty(), heard < 3);
            assert_eq!(wanted.no_set.is_empty(), heard == 3);
            assert_eq!(wanted.coverage != 0.0, heard == 3);
            assert!(not.set.is_empty() && not.no_set.is_empty());
        }
        let meter = &served.meter;
        let counted = [&meter.sets, &meter.without_set].map(|it| it.load(Relaxed));
        assert_eq!(counted, [1, 2]);
    }

    #[test]
    fn a_vote_below_the_policy_is_a_guess_and_the_gate_is_sure() {
        let mut served = served(&[Family::Ridge, Family::Knn, Family::Mlp], true);
        let mut scratch = served.ensemble.scratch();
        let now = Instant::now();
        let times = Times { gate_us: 0, vote_us: 1, ended: now };
        let mut seen = std::collections::BTreeSet::new();
        let mut abstained = 0;
        for row in synthetic::rows(served.schema().width(), 40, 4) {
            let ensemble = std::sync::Arc::clone(&served.ensemble);
            let answer = ensemble.answer_timed(&row, &served.asking, true, &mut scratch, |_| ());
            let answer = answer.unwrap();
            for below in [0, 1, 400, 600, 800, 1000] {
                served.wanted.abstain_below_thousandths = below;
                let reply = reply(&served, [7; 16], &answer, times, &scratch, None);
                let unsure = reply.confidence < f32::from(u16::try_from(below).unwrap()) / 1000.0;
                assert_eq!(reply.abstained, unsure && answer.stage == Stage::Vote);
                assert_eq!(reply.reason.is_empty(), !reply.abstained);
                assert_eq!(reply.class_id, u32::from(answer.class.0), "the guess stays");
                seen.insert((answer.stage, reply.abstained));
                abstained += u64::from(reply.abstained);
            }
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert_eq!(served.meter.abstained.load(Relaxed), abstained);
    }
}
