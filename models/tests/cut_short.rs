//! A vote that is told to stop answers with the votes so far, and says whether that was enough.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use models::{
    Ensemble, Family, Features, Scratch, Voting,
    answer::Asking,
    recount::Recount,
    synthetic::{self, Numbers, Shape},
};

/// Seven members by every rule, with and without measured confidences.
fn ensemble(seed: u64) -> Ensemble {
    let shape = Shape { classes: 4, ..Shape::SMALL };
    let mut parts = synthetic::ensemble(&Family::ALL, shape, false, seed).into_parts();
    let numbers = &mut Numbers::new(seed);
    for weighted in &mut parts.members {
        weighted.weight = 1.0 + numbers.one().abs();
    }
    let members = parts.members.len();
    let unmeasured = |voting: Voting| Voting { rule: voting.rule, ..Voting::default() };
    parts.voting = match seed % 5 {
        0 => Voting::default(),
        1 => unmeasured(synthetic::voting(members, seed)),
        2 => synthetic::voting(members, seed),
        3 => unmeasured(synthetic::pooled(members, seed)),
        _ => synthetic::pooled(members, seed),
    };
    Ensemble::new(parts).unwrap()
}

/// The answer of a vote that is stopped after `members_max` members.
fn stopped(
    ensemble: &Ensemble,
    row: &[f32],
    asking: &Asking,
    members_max: usize,
    scratch: &mut Scratch,
) -> Option<models::Answer> {
    let mut asked = 0;
    let go_on = || {
        asked += 1;
        asked <= members_max
    };
    ensemble.answer_while(row, asking, false, scratch, |_| (), go_on).unwrap()
}

#[test]
fn what_is_stopped_is_the_vote_of_those_who_were_heard() {
    let (mut cut, mut whole) = (0, 0);
    for seed in 0..60 {
        let ensemble = ensemble(seed);
        let mut scratch = ensemble.scratch();
        let mut rows = synthetic::rows(Shape::SMALL.width, 20, seed);
        rows.truncate(20);
        let samples = Features::new(Shape::SMALL.width, rows.concat()).unwrap();
        let scores = ensemble.scores_of_members(&samples);
        let casts: Vec<_> =
            scores.iter().enumerate().map(|(at, scores)| ensemble.cast(at, scores)).collect();
        let mut recount = Recount::new(&ensemble, &casts);
        let mut order: Vec<usize> = (0..ensemble.members().len()).collect();
        let turned = usize::try_from(seed).unwrap() % order.len();
        order.rotate_left(turned);
        let asking = ensemble.asking_in_order(&order).unwrap();
        for (at, row) in rows.iter().enumerate() {
            let early = ensemble.answer_timed(row, &asking, false, &mut scratch, |_| ()).unwrap();
            let shares = scratch.shares().to_vec();
            assert!(early.decided);
            let voted = usize::try_from(early.voted()).unwrap();
            assert_eq!(stopped(&ensemble, row, &asking, 0, &mut scratch), None);

            let mut standings = Vec::new();
            recount.count_each(at, &order, |counted| standings.push(counted));
            for heard in 1..=order.len() {
                let answer = stopped(&ensemble, row, &asking, heard, &mut scratch).unwrap();
                if voted <= heard {
                    // Bit for bit, confidence and shares included.
                    assert_eq!(answer, early);
                    assert_eq!(scratch.shares(), shares);
                    whole += 1;
                    continue;
                }
                let alone = ensemble.asking_in_order(&order[..heard]).unwrap().to_the_end();
                let full = ensemble.answer_timed(row, &alone, false, &mut scratch, |_| ()).unwrap();
                assert!(!answer.decided, "{heard} of {} do not decide it", order.len());
                assert_eq!((answer.class, answer.votes), (full.class, full.votes));
                assert_eq!((answer.voted(), answer.assigned), (full.voted(), early.assigned));
                assert_eq!(answer.class, standings[heard - 1].class);
                if ensemble.voting().confidence.is_measured() {
                    // As sure as a vote of so many with such a count was found to be.
                    let share = standings[heard - 1].share;
                    let sure = ensemble.voting().confidence.of(answer.voted(), share);
                    assert_eq!(answer.confidence, sure);
                } else {
                    assert!(answer.confidence <= full.confidence, "the unheard count against it");
                }
                cut += 1;
            }
        }
    }
    assert!(500 < cut && 500 < whole, "both kinds happened: {cut} {whole}");
}

#[test]
fn a_vote_is_not_asked_again_whether_it_may_go_on() {
    let ensemble = ensemble(1);
    let row = synthetic::rows(Shape::SMALL.width, 1, 1).remove(0);
    let asking = ensemble.asking(models::Subset::all(ensemble.members().len())).unwrap();
    let mut calls = 0;
    let go_on = || {
        calls += 1;
        false
    };
    let answer =
        ensemble.answer_while(&row, &asking, false, &mut ensemble.scratch(), |_| (), go_on);
    assert_eq!((answer.unwrap(), calls), (None, 1));
}
