//! Sets are of the full vote, whoever is asked first, and change nothing else of an answer.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use models::{
    ClassId, Ensemble, Family, Level, Parts, Stage, Subset,
    synthetic::{self, Numbers, Shape},
    vote::VOTE,
};

const ROWS: usize = 300;

/// Of seven members with a measured confidence and a soft vote, behind a gate.
fn ensemble(seed: u64) -> Ensemble {
    let parts = synthetic::ensemble(&Family::ALL, Shape::SMALL, true, seed).into_parts();
    let made = if seed.is_multiple_of(2) { synthetic::voting } else { synthetic::pooled };
    let voting = made(Family::ALL.len(), seed);
    synthetic::with_sets(Ensemble::new(Parts { voting, ..parts }).unwrap())
}

fn levels(ensemble: &Ensemble) -> Vec<Level> {
    let all = Subset::all(ensemble.members().len());
    ensemble.voting().sets.ladder(all, true).unwrap().levels.clone()
}

fn order(members: usize, numbers: &mut Numbers) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members).collect();
    for at in (1..members).rev() {
        let other = numbers.below(u32::try_from(at + 1).unwrap());
        order.swap(at, usize::try_from(other).unwrap());
    }
    order
}

#[test]
fn a_set_is_that_of_the_full_vote_in_every_order_and_changes_neither_class_nor_confidence() {
    let numbers = &mut Numbers::new(31);
    let (mut stopped, mut larger) = (0, 0);
    for seed in 0..4 {
        let ensemble = ensemble(seed);
        let members = ensemble.members().len();
        let levels = levels(&ensemble);
        let mut scratch = ensemble.scratch();
        for row in synthetic::rows(ensemble.schema().width(), ROWS, seed) {
            let mut known: Option<Vec<Vec<ClassId>>> = None;
            for _ in 0..3 {
                let early = ensemble.asking_in_order(&order(members, numbers)).unwrap();
                let first =
                    ensemble.answer_timed(&row, &early, true, &mut scratch, |_| ()).unwrap();
                let all = early.to_the_end();
                let full = ensemble.answer_timed(&row, &all, true, &mut scratch, |_| ()).unwrap();
                assert_eq!(first.class, full.class);
                assert_eq!(first.confidence.to_bits(), full.confidence.to_bits());
                let sets: Vec<Vec<ClassId>> = levels
                    .iter()
                    .map(|&level| ensemble.set(level, &full, &scratch).unwrap())
                    .collect();
                assert!(sets.iter().all(|set| set.is_sorted() && set.contains(&full.class)));
                for pair in sets.windows(2) {
                    assert!(pair[0].iter().all(|class| pair[1].contains(class)), "{sets:?}");
                }
                if full.stage == Stage::Gate {
                    stopped += 1;
                    assert!(sets.iter().all(|set| *set == [full.class]));
                }
                larger += usize::from(sets[0].len() < sets[2].len());
                assert_eq!(*known.get_or_insert_with(|| sets.clone()), sets);
            }
        }
    }
    assert!(ROWS < stopped && ROWS / 10 < larger, "{stopped} {larger}");
}

#[test]
fn a_vote_that_was_not_heard_to_its_end_has_no_set() {
    let ensemble = ensemble(5);
    let level = levels(&ensemble)[0];
    let all = Subset::all(ensemble.members().len());
    let asking = ensemble.asking(all).unwrap().to_the_end();
    let mut scratch = ensemble.scratch();
    for row in synthetic::rows(ensemble.schema().width(), 20, 5) {
        for heard in 1..=ensemble.members().len() {
            let mut asked = 0;
            let go_on = || {
                asked += 1;
                asked <= heard
            };
            let answer =
                ensemble.answer_while(&row, &asking, false, &mut scratch, |_| (), go_on).unwrap();
            let set = ensemble.set(level, &answer.unwrap(), &scratch);
            assert_eq!(set.is_some(), heard == ensemble.members().len());
        }
    }
}

#[test]
fn who_needs_nothing_of_the_vote_is_in_every_set_also_at_the_gate() {
    let ensemble = ensemble(6);
    let level = levels(&ensemble)[0];
    let asking = ensemble.asking(Subset::all(7)).unwrap().to_the_end();
    let mut scratch = ensemble.scratch();
    let mut stages = std::collections::BTreeSet::new();
    for row in synthetic::rows(ensemble.schema().width(), 40, 6) {
        let answer = ensemble.answer_timed(&row, &asking, true, &mut scratch, |_| ()).unwrap();
        stages.insert(answer.stage);
        let of = |least| ensemble.set(Level { least, ..level }, &answer, &scratch).unwrap();
        assert_eq!(of(0).len(), ensemble.schema().classes().len());
        assert!(of(VOTE).contains(&answer.class));
    }
    assert_eq!(stages.len(), 2);
}
