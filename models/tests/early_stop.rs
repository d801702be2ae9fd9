//! The vote that ends early has the class of the full vote, whatever is asked in whatever order.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::sync::Arc;

use models::{
    ClassId, Ensemble, Family, Features, Member, Model, Parts, Preparation, Rule, Schema, Subset,
    Voting, Weighted,
    frontier::{self, Votes},
    member::Linear,
    synthetic::{self, Numbers, Shape},
    vote::{LEAST, Pool},
};
use proptest::prelude::*;

/// Members of all families and some twice; weights that tie and weights that do not.
fn ensemble(seed: u64, ties: bool, pool: Option<Pool>) -> Ensemble {
    let numbers = &mut Numbers::new(seed);
    let classes = 2 + numbers.below(5) as usize;
    let count = 2 + numbers.below(9) as usize;
    let families: Vec<Family> = Family::ALL.into_iter().cycle().take(count).collect();
    let shape = Shape { classes, ..Shape::SMALL };
    let mut parts =
        synthetic::ensemble(&families, shape, seed.is_multiple_of(2), seed).into_parts();
    for weighted in &mut parts.members {
        weighted.weight = if ties {
            [0.1, 0.2, 0.3, 1.0][numbers.below(4) as usize]
        } else {
            1.1 + numbers.one()
        };
    }
    parts.voting.rule = match pool {
        None => Rule::Hard,
        Some(Pool::Linear) => synthetic::voting(count, seed).rule,
        Some(Pool::Logarithmic) => synthetic::pooled(count, seed).rule,
    };
    Ensemble::new(parts).unwrap()
}

#[test]
fn the_class_is_that_of_the_full_vote_for_every_row_subset_and_order() {
    let (mut rows, mut asked, mut assigned) = (0_u32, 0, 0);
    let pools = [None, Some(Pool::Linear), Some(Pool::Logarithmic)];
    for (seed, pool) in (0..360).zip(pools.into_iter().cycle()) {
        let ensemble = ensemble(seed, seed % 4 == 0, pool);
        let numbers = &mut Numbers::new(!seed);
        let members = ensemble.members().len();
        let mut scratch = ensemble.scratch();
        for x in synthetic::rows(Shape::SMALL.width, 60, seed) {
            // The first so many of a random order.
            let mut order: Vec<usize> = (0..members).collect();
            for at in 0..members {
                order.swap(at, numbers.below(u32::try_from(members).unwrap()) as usize);
            }
            order.truncate(1 + numbers.below(u32::try_from(members).unwrap()) as usize);
            let asking = ensemble.asking_in_order(&order).unwrap();
            let early = ensemble.answer_timed(&x, &asking, false, &mut scratch, |_| ()).unwrap();
            let end = asking.clone().to_the_end();
            let full = ensemble.answer_timed(&x, &end, false, &mut scratch, |_| ()).unwrap();
            let usual = ensemble.answer(&x, asking.subset(), false, &mut scratch).unwrap();
            assert_eq!(early.class, full.class, "seed {seed}, order {order:?}, {x:?}");
            assert_eq!(usual.class, full.class, "seed {seed}, order {order:?}, {x:?}");
            // What is left may say just what was feared: then a logarithmic pool rounds twice.
            let rounding = if pool == Some(Pool::Logarithmic) { f32::EPSILON } else { 0.0 };
            assert!(early.confidence <= full.confidence + rounding, "{early:?} {full:?}");
            assert_eq!(full.voted(), full.assigned);
            assert!(asking.members().eq(order.iter().copied()));
            let first = Subset(order[..early.voted() as usize].iter().map(|it| 1 << it).sum());
            assert_eq!(early.votes.asked(), first, "members are asked in order");
            rows += 1;
            asked += early.voted();
            assigned += early.assigned;
        }
    }
    assert!(10_000 <= rows, "{rows}");
    assert!(asked < assigned, "some votes end early: {asked} of {assigned}");
}

#[test]
fn the_full_vote_is_the_sum_of_weights_with_ties_to_the_smallest_class() {
    // Weights in quarters: their sums are exact, so ties are ties.
    let numbers = &mut Numbers::new(5);
    for _ in 0..2_000 {
        let weights: Vec<f32> =
            (0..5).map(|_| [0.25, 0.5, 0.75][numbers.below(3) as usize]).collect();
        let votes: Vec<usize> = (0..5).map(|_| numbers.below(3) as usize).collect();
        let ensemble = constant(&weights, &votes);
        let mut sums = [0.0_f32; 3];
        weights.iter().zip(&votes).for_each(|(weight, &class)| sums[class] += weight);
        let largest = sums.iter().copied().fold(0.0, f32::max);
        let expected = sums.iter().position(|&sum| sum == largest).unwrap();
        let mut scratch = ensemble.scratch();
        let answer = ensemble.answer(&[0.0], Subset::all(5), false, &mut scratch).unwrap();
        assert_eq!(answer.class.index(), expected, "{weights:?} {votes:?}");
    }
}

/// Members that always say the same.
fn constant(weights: &[f32], votes: &[usize]) -> Ensemble {
    let member = |(&weight, &class): (&f32, &usize)| {
        let bias = (0..3).map(|it| f32::from(u8::from(it == class))).collect();
        let model = Model::Linear(Linear { width: 1, weights: vec![0.0; 3], bias });
        Weighted {
            weight,
            member: Member { family: Family::Ridge, preparation: 0, model: Arc::new(model) },
        }
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Ensemble::new(Parts {
        schema: Schema::new(names(&["x"]), names(&["a", "b", "c"]), None).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: weights.iter().zip(votes).map(member).collect(),
        voting: Voting::default(),
        golden: Vec::new(),
    })
    .unwrap()
}

/// Seven members of a task that they have learnt, three of them better than the others.
fn learnt() -> (Ensemble, Features, Vec<ClassId>) {
    const WIDTH: usize = 16;
    let numbers = &mut Numbers::new(9);
    let weights = numbers.take(4 * WIDTH);
    let linear = |noise: f32, numbers: &mut Numbers| {
        let weights =
            weights.iter().map(|weight| weight + noise * numbers.one()).collect::<Vec<f32>>();
        Model::Linear(Linear { width: WIDTH, weights, bias: vec![0.0; 4] })
    };
    let truth = linear(0.0, numbers);
    let member = |weight: f32, noise: f32, numbers: &mut Numbers| Weighted {
        weight,
        member: Member {
            family: Family::Ridge,
            preparation: 0,
            model: Arc::new(linear(noise, numbers)),
        },
    };
    let members =
        [(2.0, 0.005), (2.0, 0.005), (2.0, 0.005), (0.8, 0.3), (0.8, 0.3), (0.8, 0.3), (0.8, 0.3)]
            .map(|(weight, noise)| member(weight, noise, numbers));
    let names = |of: usize| (0..of).map(|it| format!("n{it}")).collect();
    let ensemble = Ensemble::new(Parts {
        schema: Schema::new(names(WIDTH), names(4), None).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: members.to_vec(),
        voting: Voting::default(),
        golden: Vec::new(),
    });
    let samples = Features::new(WIDTH, numbers.take(12_000 * WIDTH)).unwrap();
    let mut scores = [0.0; 4];
    let truth = samples.rows().map(|x| truth.vote(x, &mut scores, &mut models::Buffers::default()));
    (ensemble.unwrap(), samples.clone(), truth.collect())
}

#[test]
fn where_the_better_members_agree_half_of_the_work_is_left_undone() {
    let (ensemble, samples, truth) = learnt();
    let scores = ensemble.scores_of_members(&samples);
    let casts: Vec<_> =
        scores.iter().enumerate().map(|(member, scores)| ensemble.cast(member, scores)).collect();
    let votes = Votes { truth: &truth, members: &casts, margins: None };
    let measures = frontier::measure(&ensemble, votes);
    let all = measures.iter().find(|it| it.subset == Subset::all(7)).unwrap();
    assert!(0.9 < all.accuracy, "{}", all.accuracy);
    let full = ensemble.work(all.subset).madds;
    assert!(all.work.madds * 2 <= full, "{} of {full} multiply-adds", all.work.madds);
    assert!(full * 3 / 7 <= all.work.madds, "three of seven are needed");

    let full = ensemble.asking(Subset::all(7)).unwrap().to_the_end();
    let mut scratch = ensemble.scratch();
    for x in samples.rows() {
        let early = ensemble.answer(x, Subset::all(7), false, &mut scratch).unwrap();
        let full = ensemble.answer_timed(x, &full, false, &mut scratch, |_| ()).unwrap();
        assert_eq!(early.class, full.class);
    }
}

#[test]
fn who_decides_most_for_its_time_is_asked_first() {
    let ensemble = constant(&[1.0, 2.0, 3.0], &[0, 0, 0]);
    let order = |micros: [f64; 3]| {
        let asking = ensemble.asking_on(Subset::all(3), |it| micros[it]).unwrap();
        asking.members().collect::<Vec<usize>>()
    };
    assert_eq!(order([1.0, 1.0, 1.0]), [2, 1, 0]);
    assert_eq!(order([1.0, 1.0, 9.0]), [1, 0, 2]);
    assert_eq!(order([1.0, 2.0, 4.0]), [0, 1, 2], "of equal ones the first");
    assert_eq!(order([0.0, f64::INFINITY, 1.0]), [0, 2, 1]);
    for wrong in [&[][..], &[3], &[0, 0], &[64]] {
        assert!(ensemble.asking_in_order(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn a_soft_vote_is_the_mean_of_what_members_think_likely(seed: u64) {
        let ensemble = ensemble(seed, false, Some(Pool::Linear));
        let Rule::Soft(softness) = &ensemble.voting().rule else { unreachable!() };
        let classes = ensemble.schema().classes().len();
        let members = ensemble.members();
        let whole: f64 = members.iter().map(|it| f64::from(it.weight)).sum();
        let mut scratch = ensemble.scratch();
        for x in synthetic::rows(Shape::SMALL.width, 5, seed).into_iter().take(5) {
            let mut expected = vec![0.0_f64; classes];
            for (member, Weighted { weight, member: model }) in members.iter().enumerate() {
                let mut scores = ensemble.member_scores(member, &x).unwrap();
                if model.family == Family::RbfSvm {
                    continue;
                }
                let slope = f64::from(softness[member].slope);
                let largest = scores.iter().copied().fold(f32::MIN, f32::max);
                scores.iter_mut().for_each(|score| *score -= largest);
                let each = scores.iter().map(|&score| (slope * f64::from(score)).exp());
                let sum: f64 = each.clone().sum();
                for (expected, each) in expected.iter_mut().zip(each) {
                    *expected += f64::from(*weight) / whole * each / sum;
                }
            }
            let asking = ensemble.asking(Subset::all(members.len())).unwrap().to_the_end();
            ensemble.answer_timed(&x, &asking, false, &mut scratch, |_| ()).unwrap();
            if members.iter().all(|it| it.member.family != Family::RbfSvm) {
                for (&share, expected) in scratch.shares().iter().zip(expected) {
                    prop_assert!((f64::from(share) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_logarithmic_pool_is_the_geometric_mean_of_what_members_think_likely(seed: u64) {
        let ensemble = ensemble(seed, false, Some(Pool::Logarithmic));
        let Rule::Logarithmic(softness) = &ensemble.voting().rule else { unreachable!() };
        let classes = ensemble.schema().classes().len();
        let members = ensemble.members();
        let usual = members.iter().all(|it| it.member.family != Family::RbfSvm);
        let whole: f64 = members.iter().map(|it| f64::from(it.weight)).sum();
        let mut scratch = ensemble.scratch();
        for x in synthetic::rows(Shape::SMALL.width, 5, seed).into_iter().take(5).filter(|_| usual) {
            let mut logs = vec![0.0_f64; classes];
            for (member, Weighted { weight, .. }) in members.iter().enumerate() {
                let scores = ensemble.member_scores(member, &x).unwrap();
                let slope = f64::from(softness[member].slope);
                let largest = scores.iter().copied().fold(f32::MIN, f32::max);
                let each = scores.iter().map(|&score| (slope * f64::from(score - largest)).exp());
                let sum: f64 = each.clone().sum();
                for (log, each) in logs.iter_mut().zip(each) {
                    *log += f64::from(*weight) / whole * (each / sum).max(LEAST).ln();
                }
            }
            let sum: f64 = logs.iter().map(|log| log.exp()).sum();
            let asking = ensemble.asking(Subset::all(members.len())).unwrap().to_the_end();
            let full = ensemble.answer_timed(&x, &asking, false, &mut scratch, |_| ()).unwrap();
            for (&share, log) in scratch.shares().iter().zip(&logs) {
                prop_assert!((f64::from(share) - log.exp() / sum).abs() < 2e-5);
            }
            prop_assert_eq!(full.confidence, scratch.shares()[full.class.index()]);
        }
    }
}
