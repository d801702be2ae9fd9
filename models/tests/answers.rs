//! What an ensemble answers, against definitions written out slowly.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::sync::Arc;

use models::{
    Buffers, Cast, ClassId, Compact, Ensemble, Family, Features, Gate, Member, Model, ModelError,
    Near, Parts, Preparation, Rows, Schema, ShapeError, Stage, Step, Subset, Voting, Weighted,
    Work, bundle,
    frontier::{self, Votes},
    member::{Forest, Knn, RbfSvm, Trees, Verdict, tree::LEAF},
    synthetic::{self, Numbers, Shape},
    vote::first_largest,
};
use proptest::prelude::*;

fn scores(model: &Model, x: &[f32], classes: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; classes];
    model.scores(x, &mut out, &mut Buffers::default());
    out
}

fn near(rows: Vec<f32>, width: usize) -> Near {
    Near::new(Rows::Exact(rows), width)
}

fn full(seed: u64) -> Ensemble {
    synthetic::ensemble(&Family::PAPER, Shape::SMALL, true, seed)
}

fn samples(count: usize, seed: u64) -> Features {
    let width = Shape::SMALL.width;
    Features::new(width, synthetic::rows(width, count, seed).concat()).unwrap()
}

/// What each member gives to the count of each sample.
fn casts(ensemble: &Ensemble, samples: &Features) -> Vec<Cast> {
    let scores = ensemble.scores_of_members(samples);
    scores.iter().enumerate().map(|(member, scores)| ensemble.cast(member, scores)).collect()
}

/// A tree as a person would write it.
#[derive(Clone, Debug)]
enum Branch {
    Leaf(u32),
    Cut { feature: usize, threshold: f32, low: Box<Branch>, high: Box<Branch> },
}

impl Branch {
    fn leaf(&self, x: &[f32]) -> u32 {
        match self {
            Self::Leaf(payload) => *payload,
            Self::Cut { feature, threshold, low, high } => {
                if x[*feature] <= *threshold {
                    low.leaf(x)
                } else {
                    high.leaf(x)
                }
            }
        }
    }

    /// Appends the tree breadth by pairs: both children side by side.
    fn lower(&self, trees: &mut Trees) {
        let root = trees.feature.len();
        trees.roots.push(u32::try_from(root).unwrap());
        push(trees);
        self.fill(trees, root);
    }

    fn fill(&self, trees: &mut Trees, at: usize) {
        match self {
            Self::Leaf(payload) => {
                trees.feature[at] = LEAF;
                trees.child[at] = *payload;
            }
            Self::Cut { feature, threshold, low, high } => {
                let child = trees.feature.len();
                push(trees);
                push(trees);
                trees.feature[at] = u32::try_from(*feature).unwrap();
                trees.threshold[at] = *threshold;
                trees.child[at] = u32::try_from(child).unwrap();
                low.fill(trees, child);
                high.fill(trees, child + 1);
            }
        }
    }
}

fn push(trees: &mut Trees) {
    trees.feature.push(LEAF);
    trees.threshold.push(0.0);
    trees.child.push(0);
}

const LEAVES: u32 = 6;

fn branches() -> impl Strategy<Value = Branch> {
    (0..LEAVES).prop_map(Branch::Leaf).prop_recursive(6, 60, 2, |branch| {
        (0_usize..3, -3_i8..3, branch.clone(), branch).prop_map(
            |(feature, threshold, low, high)| Branch::Cut {
                feature,
                threshold: f32::from(threshold),
                low: Box::new(low),
                high: Box::new(high),
            },
        )
    })
}

/// The block that is nearest is read first, and its rows are not the first.
#[test]
fn of_rows_at_the_same_distance_the_first_counts_in_whatever_order_they_are_read() {
    let block = |near: f32, far: f32| [vec![near], vec![far; 31]].concat();
    let rows = near([block(1.0, 100.0), block(-1.0, 50.0)].concat(), 1);
    let labels = (0..64).map(|row| row / 32).collect();
    let exact = Model::Knn(Knn { k: 1, rows, labels });
    assert_eq!(scores(&exact, &[0.0], 2), [1.0, 0.0]);
}

/// Small whole numbers: distances are exact, and ties are common.
fn whole(width: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-3_i8..=3).prop_map(f32::from), width)
}

proptest! {
    #[test]
    fn neighbours_are_those_of_a_full_sort(
        rows in prop::collection::vec((whole(3), 0_u16..4), 1..200), x in whole(3), k in 1_usize..9,
    ) {
        let k = k.min(rows.len());
        let model = Model::Knn(Knn {
            k: u32::try_from(k).unwrap(),
            rows: near(rows.iter().flat_map(|(row, _)| row.clone()).collect(), 3),
            labels: rows.iter().map(|&(_, label)| label).collect(),
        });
        prop_assert_eq!(model.check(3, 4), Ok(()));
        let mut sorted: Vec<(f32, usize, u16)> = rows
            .iter()
            .enumerate()
            .map(|(at, (row, label))| {
                let distance = row.iter().zip(&x).map(|(a, b)| (a - b) * (a - b)).sum();
                (distance, at, *label)
            })
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut expected = vec![0.0; 4];
        for &(_, _, label) in &sorted[..k] {
            expected[usize::from(label)] += 1.0;
        }
        prop_assert_eq!(scores(&model, &x, 4), expected);
    }

    #[test]
    fn a_forest_adds_the_leaves_that_its_trees_lead_to(
        branches in prop::collection::vec(branches(), 1..20), x in whole(3),
    ) {
        let mut trees = Trees::default();
        for branch in &branches {
            branch.lower(&mut trees);
        }
        let leaves: Vec<f32> = (0_u16..).map(f32::from).take(LEAVES as usize * 2).collect();
        let mut expected = vec![0.0; 2];
        for branch in &branches {
            let at = branch.leaf(&x) as usize * 2;
            expected[0] += leaves[at];
            expected[1] += leaves[at + 1];
        }
        let model = Model::Forest(Forest { trees, classes: 2, leaves });
        prop_assert_eq!(model.check(3, 2), Ok(()));
        prop_assert_eq!(scores(&model, &x, 2), expected);
    }

    #[test]
    fn an_rbf_machine_decides_each_pair_as_libsvm_does(seed: u64, counts in prop::collection::vec(0_u32..6, 4)) {
        prop_assume!(counts.iter().sum::<u32>() > 0);
        let numbers = &mut Numbers::new(seed);
        let n = counts.iter().sum::<u32>() as usize;
        let vectors = numbers.take(n * 5);
        let svm = RbfSvm {
            gamma: 0.4,
            width: 5,
            counts: counts.clone(),
            vectors: Rows::Exact(vectors.clone()),
            coefficients: numbers.take(n * 3),
            bias: numbers.take(6),
            verdict: Verdict::Votes,
        };
        let x = numbers.take(5);
        let kernel = |vector: usize| {
            let vector = &vectors[vector * 5..][..5];
            let squared: f64 =
                vector.iter().zip(&x).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
            (-f64::from(svm.gamma) * squared).exp()
        };
        let start = |class: usize| counts[..class].iter().sum::<u32>() as usize;
        let mut votes = [0.0_f64; 4];
        let mut sums = [0.0_f64; 4];
        let mut short = [0.0_f64; 4];
        let mut pair = 0;
        let mut close = f64::INFINITY;
        for a in 0..4 {
            for b in a + 1..4 {
                let bias = f64::from(svm.bias[pair]);
                pair += 1;
                if counts[a] == 0 || counts[b] == 0 {
                    continue;
                }
                // sv_coef[b - 1] for the vectors of a, sv_coef[a] for those of b, as in svm.cpp.
                let of = |class: usize, column: usize| -> f64 {
                    (start(class)..start(class + 1))
                        .map(|it| f64::from(svm.coefficients[it * 3 + column]) * kernel(it))
                        .sum()
                };
                let decision = of(a, b - 1) + of(b, a) + bias;
                votes[if 0.0 < decision { a } else { b }] += 1.0;
                sums[a] += decision;
                sums[b] -= decision;
                short[a] += decision.min(0.0);
                short[b] += (-decision).min(0.0);
                close = close.min(decision.abs());
            }
        }
        prop_assume!(1e-4 < close);
        let least = Model::RbfSvm(RbfSvm { verdict: Verdict::Shortfall, ..svm.clone() });
        prop_assert_eq!(least.check(5, 4), Ok(()));
        let by_shortfall = scores(&least, &x, 4);
        for (class, &score) in by_shortfall.iter().enumerate() {
            let expected = if counts[class] == 0 { f64::from(f32::MIN) } else { short[class] };
            prop_assert!((f64::from(score) - expected).abs() < 1e-5, "{score} is not {expected}");
        }
        let model = Model::RbfSvm(svm);
        prop_assert_eq!(model.check(5, 4), Ok(()));
        // Who wins all pairs is elected by both.
        let taught: Vec<usize> = (0..4).filter(|&class| 0 < counts[class]).collect();
        let all_others = (1..taught.len()).fold(0.0, |sum, _| sum + 1.0);
        if let Some(&winner) = taught.iter().find(|&&class| votes[class] == all_others) {
            prop_assert_eq!(first_largest(&scores(&model, &x, 4)).index(), winner);
            prop_assert_eq!(first_largest(&by_shortfall).index(), winner);
        }
        for (class, &score) in scores(&model, &x, 4).iter().enumerate() {
            let expected = if counts[class] == 0 {
                -1.0
            } else {
                votes[class] + sums[class] / (3.0 * (sums[class].abs() + 1.0))
            };
            prop_assert!((f64::from(score) - expected).abs() < 1e-5, "{score} is not {expected}");
        }
    }

    #[test]
    fn dense_layers_are_those_of_twice_the_precision(seed: u64) {
        let shape = Shape { width: 37, classes: 4, hidden: 21, ..Shape::SMALL };
        let Model::Mlp(mlp) = synthetic::model(Family::Mlp, shape, &mut Numbers::new(seed)) else {
            unreachable!("the family that was asked for");
        };
        let x = Numbers::new(!seed).take(37);
        let mut layer: Vec<f64> = x.iter().copied().map(f64::from).collect();
        for (at, dense) in mlp.layers.iter().enumerate() {
            layer = dense
                .weights
                .chunks_exact(layer.len())
                .zip(&dense.bias)
                .map(|(weights, &bias)| {
                    let sum: f64 = weights.iter().zip(&layer).map(|(&w, x)| f64::from(w) * x).sum();
                    let y = sum + f64::from(bias);
                    if at == 0 { y.max(0.0) } else { y }
                })
                .collect();
        }
        for (score, expected) in scores(&Model::Mlp(mlp), &x, 4).into_iter().zip(layer) {
            prop_assert!((f64::from(score) - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn one_sample_among_others_is_answered_as_it_is_alone(
        seed: u64, subset in 1_u64..128, gated: bool,
    ) {
        let (ensemble, samples) = (full(seed), samples(12, !seed));
        let subset = Subset(subset);
        let together = ensemble.predict(&samples, subset, gated).unwrap();
        let votes = ensemble.member_votes(&samples);
        let margins = ensemble.gate_margins(&samples).unwrap();
        let mut scratch = ensemble.scratch();
        for (row, x) in samples.rows().enumerate() {
            let alone = ensemble.answer(x, subset, gated, &mut scratch).unwrap();
            prop_assert_eq!(alone.class, together[row]);
            let fresh = ensemble.answer(x, subset, gated, &mut ensemble.scratch()).unwrap();
            prop_assert_eq!(fresh, alone, "nothing is left over from the sample before");
            prop_assert!((0.0..=1.0).contains(&alone.confidence));

            let stopped = gated && margins[row] < ensemble.gate().unwrap().threshold;
            prop_assert_eq!(alone.stage, if stopped { Stage::Gate } else { Stage::Vote });
            if stopped {
                prop_assert_eq!(Some(alone.class), ensemble.schema().background());
                prop_assert_eq!(alone.voted(), 0);
                prop_assert!(scratch.shares().is_empty());
                continue;
            }
            prop_assert_eq!(scratch.shares()[alone.class.index()], alone.confidence);
            prop_assert_eq!(alone.assigned, subset.len());
            prop_assert_eq!(alone.votes.asked().0 & !subset.0, 0);
            let asking = ensemble.asking(subset).unwrap().to_the_end();
            let full =
                ensemble.answer_timed(x, &asking, gated, &mut scratch, |_| ()).unwrap();
            prop_assert_eq!(full.class, alone.class);
            prop_assert_eq!(full.votes.asked(), subset);
            prop_assert!(alone.confidence <= full.confidence, "an early end never overstates");
            let mut tally = [0.0_f32; Shape::SMALL.classes];
            for (member, class) in full.votes.iter() {
                prop_assert_eq!(class, votes[member][row]);
                let own = ensemble.member_scores(member, x).unwrap();
                prop_assert_eq!(class, first_largest(&own));
                prop_assert!(alone.votes.get(member).is_none_or(|early| early == class));
                tally[class.index()] += ensemble.members()[member].weight;
            }
            prop_assert_eq!(full.class, first_largest(&tally));
        }
    }

    #[test]
    fn a_scratch_of_another_ensemble_changes_nothing(seed: u64) {
        let small = full(seed);
        let shape = Shape { width: 9, classes: 5, ..Shape::SMALL };
        let large = synthetic::ensemble(&Family::ALL, shape, false, seed);
        let mut scratch = large.scratch();
        large.answer(&[0.5; 9], Subset::all(7), true, &mut scratch).unwrap();
        let x = [0.25; Shape::SMALL.width];
        let after = small.answer(&x, Subset::all(7), false, &mut scratch).unwrap();
        prop_assert_eq!(after, small.answer(&x, Subset::all(7), false, &mut small.scratch()).unwrap());
    }

    #[test]
    fn any_finite_sample_has_an_answer_that_is_a_class(
        seed: u64, bits in prop::collection::vec(any::<u32>(), Shape::SMALL.width),
    ) {
        let ensemble = full(seed);
        let x: Vec<f32> =
            bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        let mut scratch = ensemble.scratch();
        for member in 0..7 {
            let one = Subset(1 << member);
            let answer = ensemble.answer(&x, one, false, &mut scratch).unwrap();
            prop_assert!(answer.class.index() < Shape::SMALL.classes);
            prop_assert_eq!(answer.confidence, 1.0);
            prop_assert_eq!((answer.voted(), answer.assigned), (1, 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_measured_subset_is_what_it_answers(seed: u64) {
        let (ensemble, samples) = (full(seed), samples(30, !seed));
        let mut numbers = Numbers::new(seed ^ 1);
        let truth: Vec<ClassId> = (0..samples.len())
            .map(|_| ClassId(u16::try_from(numbers.below(3)).unwrap()))
            .collect();
        let margins = ensemble.gate_margins(&samples).unwrap();
        let measures = frontier::measure(
            &ensemble,
            Votes { truth: &truth, members: &casts(&ensemble, &samples), margins: Some(&margins) },
        );
        prop_assert_eq!(measures.len(), 2 * 127);
        for measure in &measures {
            let given = ensemble.predict(&samples, measure.subset, measure.gated).unwrap();
            let confusion = models::Confusion::of(3, &truth, &given);
            prop_assert_eq!(measure.accuracy, confusion.accuracy().value());
            prop_assert_eq!(measure.balanced_accuracy, confusion.balanced_accuracy());
            let missed = confusion.missed_events(Some(ClassId(0)));
            prop_assert_eq!(measure.missed_events, missed.value());
            if !measure.gated {
                prop_assert!(measure.work.fits_in(ensemble.work(measure.subset)));
                let asking = ensemble.asking(measure.subset).unwrap();
                let mut scratch = ensemble.scratch();
                let calls = samples.rows().map(|x| {
                    let answer = ensemble.answer_timed(x, &asking, false, &mut scratch, |_| ());
                    u64::from(answer.unwrap().voted())
                });
                let rows = u64::try_from(samples.len()).unwrap();
                prop_assert_eq!(measure.work.calls, calls.sum::<u64>().div_ceil(rows));
            }
        }
        let kept = frontier::undominated(&measures);
        prop_assert!(!kept.is_empty());
        let best = measures.iter().map(|it| it.accuracy).fold(0.0, f64::max);
        prop_assert!(kept.iter().any(|it| it.accuracy == best));
    }
}

#[test]
fn many_members_are_measured_in_chains() {
    let families: Vec<Family> = Family::ALL.into_iter().cycle().take(12).collect();
    let ensemble = synthetic::ensemble(&families, Shape::SMALL, false, 3);
    let samples = samples(40, 4);
    let truth = ensemble.predict(&samples, Subset::all(12), false).unwrap();
    let casts = casts(&ensemble, &samples);
    let measures =
        frontier::measure(&ensemble, Votes { truth: &truth, members: &casts, margins: None });
    assert!(measures.len() <= 12 * 3);
    assert!(measures.iter().any(|it| it.subset == Subset::all(12) && it.accuracy == 1.0));
    for member in 0..12 {
        assert!(measures.iter().any(|it| it.subset == Subset(1 << member)));
    }
}

#[test]
fn what_is_no_sample_of_the_task_is_refused_by_name() {
    let ensemble = full(1);
    let mut scratch = ensemble.scratch();
    let mut answer = |x: &[f32], subset| ensemble.answer(x, subset, true, &mut scratch);
    let all = Subset::all(7);
    assert_eq!(answer(&[0.0; 5], all), Err(ShapeError::Width { expected: 6, actual: 5 }));
    assert_eq!(
        answer(&[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0], all),
        Err(ShapeError::NotFinite { row: 0, column: 2 })
    );
    assert_eq!(answer(&[0.0; 6], Subset(0)), Err(ShapeError::Subset { members: 7 }));
    assert_eq!(answer(&[0.0; 6], Subset(128)), Err(ShapeError::Subset { members: 7 }));
    let narrow = Features::new(5, vec![0.0; 10]).unwrap();
    assert_eq!(
        ensemble.predict(&narrow, all, true),
        Err(ShapeError::Width { expected: 6, actual: 5 })
    );
}

#[test]
fn stages_are_announced_when_they_end() {
    let ensemble = full(1);
    let samples = samples(20, 2);
    let all = ensemble.asking(Subset::all(7)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for x in samples.rows() {
        let mut ended = Vec::new();
        let answer = ensemble
            .answer_timed(x, &all, true, &mut ensemble.scratch(), |it| ended.push(it))
            .unwrap();
        match answer.stage {
            Stage::Gate => assert_eq!(ended, [Stage::Gate]),
            Stage::Vote => assert_eq!(ended, [Stage::Gate, Stage::Vote]),
        }
        seen.insert(answer.stage);
    }
    assert_eq!(seen.len(), 2, "both stages answer some of the samples");
}

#[test]
fn a_shared_preparation_is_counted_once() {
    let ensemble = full(1);
    // Members 2 and 5 share preparation 2; 1 and 4 share preparation 1 with the gate.
    let both = ensemble.work(Subset(0b100100));
    let apart = ensemble.member_work(2) + ensemble.member_work(5);
    let preparation = ensemble.preparations()[2].work();
    assert_eq!(both + preparation, apart);
    let gate = ensemble.gate_work().unwrap();
    let all_pass = ensemble.mean_work(&[1], &[0, 10], true, 10);
    assert_eq!(all_pass + ensemble.preparations()[1].work(), gate + ensemble.member_work(1));
    assert_eq!(ensemble.mean_work(&[1], &[0, 0], true, 10), gate);
    assert_eq!(ensemble.member_work(7), Work::default());
    assert_eq!(ensemble.member_work(64), Work::default());
}

/// What is changed about an ensemble, and why that is refused.
type Change = (fn(&mut Parts), ModelError);

#[test]
fn parts_that_do_not_hold_together_are_refused_by_name() {
    fn model<M>(parts: &mut Parts, at: usize, change: impl FnOnce(&mut Model) -> Option<M>) {
        change(Arc::make_mut(&mut parts.members[at].member.model))
            .expect("a model of the form that is changed");
    }
    macro_rules! with {
        ($at:expr, $form:ident, |$it:ident| $change:expr) => {
            |parts: &mut Parts| {
                model(parts, $at, |model| match model {
                    Model::$form($it) => Some({
                        $change;
                    }),
                    _ => None,
                })
            }
        };
    }
    fn bytes(count: usize, low: f32, step: f32) -> Rows {
        Rows::Compact(Compact { low, step, bytes: vec![7; count] })
    }
    let not_finite = |what| ModelError::NotFinite { what };
    let length = |what, expected, actual| ModelError::Length { what, expected, actual };
    let index = |what, value, limit| ModelError::Index { what, value, limit };
    let changes: Vec<Change> = vec![
        (|parts| parts.members[0].weight = 0.0, ModelError::NotPositive { what: "weight" }),
        (|parts| parts.members[0].weight = f32::NAN, not_finite("weight")),
        (|parts| parts.members[0].member.preparation = 3, index("preparation", 3, 3)),
        (|parts| parts.members[0].member.family = Family::Mlp, ModelError::Form { family: "mlp" }),
        (with!(0, Knn, |it| it.k = 0), ModelError::Empty { what: "knn k" }),
        (
            with!(0, Knn, |it| it.k = 25),
            ModelError::TooMany { what: "knn k", actual: 25, limit: 24 },
        ),
        (
            with!(0, Knn, |it| it.rows = Near::new(it.rows.rows().clone(), 5)),
            length("knn width", 6, 5),
        ),
        (with!(0, Knn, |it| it.rows = near(vec![0.0; 143], 6)), length("knn rows", 144, 143)),
        (with!(0, Knn, |it| it.rows = near(vec![f32::INFINITY; 144], 6)), not_finite("knn rows")),
        (
            with!(0, Knn, |it| it.rows = Near::new(bytes(143, 0.0, 1.0), 6)),
            length("knn rows", 144, 143),
        ),
        (
            with!(0, Knn, |it| it.rows = Near::new(bytes(144, f32::NAN, 1.0), 6)),
            not_finite("knn rows"),
        ),
        (
            with!(4, RbfSvm, |it| it.vectors = bytes(144, 0.0, 0.0)),
            ModelError::NotPositive { what: "rbf svm vectors" },
        ),
        (with!(0, Knn, |it| it.labels[3] = 3), index("knn labels", 3, 3)),
        (with!(1, Linear, |it| it.bias.push(0.0)), length("linear bias", 3, 4)),
        (with!(1, Linear, |it| it.weights.pop()), length("linear weights", 18, 17)),
        (with!(2, Forest, |it| it.leaves.pop()), length("forest leaves", 117, 119)),
        (with!(2, Forest, |it| it.trees.roots.clear()), ModelError::Empty { what: "tree roots" }),
        (with!(2, Forest, |it| it.trees.roots[0] = 75), index("tree roots", 75, 75)),
        (with!(2, Forest, |it| it.trees.feature[0] = 3), index("tree features", 3, 3)),
        (with!(2, Forest, |it| it.trees.child[1] = 1), ModelError::Cycle { node: 1, child: 1 }),
        (with!(2, Forest, |it| it.trees.child[1] = 0), ModelError::Cycle { node: 1, child: 0 }),
        (with!(2, Forest, |it| it.trees.child[0] = 74), index("tree children", 75, 75)),
        (with!(2, Forest, |it| it.trees.child[0] = LEAF), index("tree children", 1 << 32, 75)),
        (with!(2, Forest, |it| it.trees.child[14] = 40), index("tree payloads", 40, 40)),
        (with!(2, Forest, |it| it.trees.threshold.pop()), length("tree thresholds", 75, 74)),
        (with!(4, RbfSvm, |it| it.gamma = 0.0), ModelError::NotPositive { what: "rbf svm gamma" }),
        (with!(4, RbfSvm, |it| it.counts[0] += 1), length("rbf svm vectors", 150, 144)),
        (
            with!(4, RbfSvm, |it| it.counts = vec![u32::MAX; 3]),
            length("rbf svm vectors", 3 * (u32::MAX as usize) * 6, 144),
        ),
        (with!(4, RbfSvm, |it| it.bias.pop()), length("rbf svm bias", 3, 2)),
        (with!(5, Mlp, |it| it.layers.clear()), ModelError::Empty { what: "mlp layers" }),
        (with!(5, Mlp, |it| it.layers.pop()), length("mlp outputs", 3, 8)),
        (with!(5, Mlp, |it| it.layers[1].weights.pop()), length("mlp weights", 24, 23)),
        (with!(6, Boosted, |it| it.trees.roots.pop()), length("boosted roots", 12, 14)),
        (with!(6, Boosted, |it| it.base[0] = f32::NAN), not_finite("boosted base")),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        let mut parts = full(1).into_parts();
        change(&mut parts);
        match Ensemble::new(parts) {
            Err(ModelError::Part { source, .. }) => assert_eq!(*source, expected, "change {at}"),
            other => panic!("change {at}: {other:?}"),
        }
    }
}

#[test]
fn an_ensemble_is_refused_as_a_whole_by_name() {
    let refused = |change: fn(&mut Parts)| {
        let mut parts = full(1).into_parts();
        change(&mut parts);
        Ensemble::new(parts).unwrap_err()
    };
    assert_eq!(refused(|parts| parts.members.clear()), ModelError::Empty { what: "members" });
    assert_eq!(
        refused(|parts| parts.members = vec![parts.members[1].clone(); 65]),
        ModelError::TooMany { what: "members", actual: 65, limit: 64 }
    );
    assert_eq!(
        refused(|parts| parts.members.iter_mut().for_each(|it| it.weight = f32::MAX)),
        ModelError::NotFinite { what: "sum of weights" }
    );
    assert_eq!(
        refused(|parts| {
            let schema = &parts.schema;
            parts.schema =
                Schema::new(schema.features().to_vec(), schema.classes().to_vec(), None).unwrap();
        }),
        ModelError::Background
    );
    let gate_of = |change: fn(&mut Gate)| {
        let mut parts = full(1).into_parts();
        change(parts.gate.as_mut().unwrap());
        match Ensemble::new(parts) {
            Err(ModelError::Part { part, source }) if part == "gate" => *source,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        gate_of(|gate| gate.threshold = f32::NAN),
        ModelError::NotFinite { what: "threshold" }
    );
    assert_eq!(
        gate_of(|gate| {
            let shape = Shape { classes: 3, ..Shape::SMALL };
            gate.member.model =
                Arc::new(synthetic::model(Family::Ridge, shape, &mut Numbers::new(1)));
        }),
        ModelError::Length { what: "linear bias", expected: 2, actual: 3 }
    );
}

#[test]
fn preparations_that_do_not_chain_are_refused() {
    let width = |steps| Preparation { steps }.width(3);
    let select = |columns: &[u32]| Step::Select { columns: columns.to_vec() };
    assert_eq!(width(vec![select(&[2, 0, 2, 1])]), Ok(4));
    assert_eq!(width(vec![select(&[0]), select(&[0, 0])]), Ok(2));
    assert_eq!(
        width(vec![select(&[3])]),
        Err(ModelError::Index { what: "selected columns", value: 3, limit: 3 })
    );
    assert_eq!(width(vec![select(&[])]), Err(ModelError::Empty { what: "selected columns" }));
    let project = |mean: usize, components: usize| Step::Project {
        mean: vec![0.0; mean],
        components: vec![0.0; components],
    };
    assert_eq!(width(vec![project(3, 6)]), Ok(2));
    assert_eq!(
        width(vec![project(3, 7)]),
        Err(ModelError::Length { what: "components", expected: 6, actual: 7 })
    );
    assert_eq!(
        width(vec![select(&[0, 1]), project(3, 6)]),
        Err(ModelError::Length { what: "means", expected: 2, actual: 3 })
    );
    assert_eq!(
        width(vec![select(&[0]); 17]),
        Err(ModelError::TooMany { what: "preparation steps", actual: 17, limit: 16 })
    );
}

#[test]
fn a_preparation_does_its_steps_in_order() {
    let preparation = Preparation {
        steps: vec![
            Step::Select { columns: vec![2, 0] },
            Step::Standardise { mean: vec![1.0, 2.0], factor: vec![10.0, 0.0] },
            Step::Project { mean: vec![0.0, 1.0], components: vec![1.0, 1.0, 2.0, -1.0] },
        ],
    };
    // (7, 3) → ((7 - 1)·10, 0) = (60, 0) → (60 - 1, 120 + 1).
    assert_eq!(preparation.apply(&[3.0, 5.0, 7.0]), [59.0, 121.0]);
    let samples = Features::new(3, vec![3.0, 5.0, 7.0]).unwrap();
    assert_eq!(preparation.features(&samples).unwrap().values(), [59.0, 121.0]);
}

#[test]
fn a_tie_of_the_vote_goes_to_the_smallest_class() {
    let says = |class: usize| {
        let mut bias = vec![0.0; 3];
        bias[class] = 1.0;
        let linear = models::member::Linear { width: 1, weights: vec![0.0; 3], bias };
        let member = Member {
            family: Family::Ridge,
            preparation: 0,
            model: Arc::new(Model::Linear(linear)),
        };
        Weighted { weight: 0.5, member }
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let ensemble = Ensemble::new(Parts {
        schema: Schema::new(names(&["x"]), names(&["a", "b", "c"]), None).unwrap(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: vec![says(2), says(1)],
        voting: Voting::default(),
        golden: Vec::new(),
    })
    .unwrap();
    let mut scratch = ensemble.scratch();
    let answer = ensemble.answer(&[0.0], Subset(0b11), true, &mut scratch).unwrap();
    assert_eq!((answer.class, answer.confidence), (ClassId(1), 0.5));
    assert_eq!(scratch.shares(), [0.0, 0.5, 0.5]);
}

#[test]
fn a_revision_shares_the_arrays_of_the_one_before_where_they_are_equal_and_answers_alike() {
    let before = synthetic::ensemble(&Family::ALL, Shape::SMALL, true, 3);
    let mut parts = before.clone().into_parts();
    parts.members.reverse();
    for weighted in &mut parts.members {
        weighted.weight += 0.5;
    }
    let first = Arc::make_mut(&mut parts.members[0].member.model);
    let Model::Linear(linear) = first else { panic!("the last family draws lines") };
    linear.bias[0] += 1.0;
    let read = || bundle::decode(&bundle::encode(&Ensemble::new(parts.clone()).unwrap())).unwrap();
    let (alone, shared) = (read(), read().sharing(&before, &|| ()));
    assert_eq!(alone, shared);
    for (at, Weighted { member, .. }) in shared.members().iter().enumerate() {
        let other = &before.members()[Family::ALL.len() - 1 - at].member;
        assert_eq!(member.family, other.family);
        assert_eq!(Arc::ptr_eq(&member.model, &other.model), at != 0, "{at}");
    }
    let gates = [&shared, &before].map(|it| &it.gate().unwrap().member.model);
    assert!(Arc::ptr_eq(gates[0], gates[1]));
    let all = Subset::all(Family::ALL.len());
    let mut scratch = alone.scratch();
    for row in synthetic::rows(Shape::SMALL.width, 50, 4) {
        let both = [&alone, &shared].map(|it| it.answer(&row, all, true, &mut scratch).unwrap());
        assert_eq!(both[0], both[1]);
    }
}
