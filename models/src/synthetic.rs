//! Made-up models and ensembles, the same on every machine: for probes, golden files, benches and
//! tests. They have the shapes of real ones and know nothing.

use std::sync::Arc;

use crate::{
    confidence::{Confidence, Curve},
    ensemble::{Ensemble, Parts, Weighted},
    features::Features,
    frontier::Subset,
    gate::Gate,
    member::{
        Boosted, Dense, Family, Forest, Knn, Linear, Member, Mlp, Model, RbfSvm, Trees, Verdict,
        tree::LEAF,
    },
    near::Near,
    precision::Precision,
    preparation::{Preparation, Step},
    rows::Rows,
    schema::{ClassId, Schema},
    sets::{Coverage, Ladder, Level, Sets},
    softness::Softness,
    vote::VOTE,
    voting::{Rule, Voting},
};

/// A linear congruential generator (Knuth's MMIX constants): the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).expect("the upper half of 64 bits")
    }

    /// Below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u32) -> u32 {
        let scaled = (u64::from(self.bits()) * u64::from(limit)) >> 32;
        u32::try_from(scaled).expect("below a limit of 32 bits")
    }

    /// In [-1, 1), in steps of 1/32768.
    pub fn one(&mut self) -> f32 {
        let bits = u16::try_from(self.bits() >> 16).expect("the upper half of 32 bits");
        f32::from(bits) / 32_768.0 - 1.0
    }

    /// `count` of [`Numbers::one`].
    pub fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.one()).collect()
    }
}

/// How large a made-up model is. What a family has no use for is ignored.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Features of a sample.
    pub width: usize,
    /// Classes.
    pub classes: usize,
    /// Rows of a kNN, support vectors of an RBF SVM; at least 5 and at least one for each class.
    pub rows: usize,
    /// Trees of a forest, rounds of boosted trees.
    pub trees: usize,
    /// Levels of a tree above its leaves.
    pub depth: u32,
    /// Hidden units of a multi-layer perceptron.
    pub hidden: usize,
}

impl Shape {
    /// Small enough for a golden file.
    pub const SMALL: Self = Self { width: 6, classes: 3, rows: 24, trees: 5, depth: 3, hidden: 8 };
    /// Like the HAPT features and its six activities.
    pub const HAPT: Self =
        Self { width: 561, classes: 6, rows: 8_324, trees: 100, depth: 9, hidden: 128 };
    /// Like a table of a few sensors.
    pub const SENSORS: Self =
        Self { width: 16, classes: 4, rows: 4_000, trees: 100, depth: 7, hidden: 32 };
}

/// A model of `family`.
#[must_use]
pub fn model(family: Family, shape: Shape, numbers: &mut Numbers) -> Model {
    let Shape { width, classes, rows, trees, depth, hidden } = shape;
    match family {
        Family::Knn => Model::Knn(Knn {
            k: 5,
            rows: Near::new(Rows::Exact(numbers.take(rows * width)), width),
            labels: (0..class_count(classes)).cycle().take(rows).collect(),
        }),
        Family::Ridge | Family::LinearSvm | Family::Logistic | Family::Lda => {
            Model::Linear(Linear {
                width,
                weights: numbers.take(classes * width),
                bias: numbers.take(classes),
            })
        }
        Family::Forest => {
            let (trees, leaves) = complete_trees(trees, depth, width, numbers);
            let leaves = numbers.take(leaves * classes).into_iter().map(f32::abs).collect();
            Model::Forest(Forest { trees, classes, leaves })
        }
        Family::Boosted => {
            let (trees, leaves) = complete_trees(trees * classes, depth, width, numbers);
            Model::Boosted(Boosted {
                trees,
                base: numbers.take(classes),
                leaves: numbers.take(leaves),
            })
        }
        Family::RbfSvm => {
            let each = rows / classes;
            let vectors = each * classes;
            Model::RbfSvm(RbfSvm {
                // Typical distances give kernels around e^-1, as a tuned gamma does.
                gamma: 1.5 / f32::from(u16::try_from(width).unwrap_or(u16::MAX)),
                width,
                counts: vec![u32::try_from(each).expect("a small made-up model"); classes],
                vectors: Rows::Exact(numbers.take(vectors * width)),
                coefficients: numbers.take(vectors * (classes - 1)),
                bias: numbers.take(classes * (classes - 1) / 2),
                verdict: Verdict::Votes,
            })
        }
        Family::Mlp => {
            let mut layer = |inputs: usize, outputs: usize| Dense {
                weights: numbers.take(inputs * outputs),
                bias: numbers.take(outputs),
            };
            let layers = vec![layer(width, hidden), layer(hidden, classes)];
            Model::Mlp(Mlp { width, layers, precision: Precision::Single })
        }
    }
}

/// An ensemble of a member of each of `families`, on three preparations taken in turn: none,
/// standardised, standardised and projected. With `gated` class 0 is the background and a linear
/// gate stops half of the samples.
#[must_use]
pub fn ensemble(families: &[Family], shape: Shape, gated: bool, seed: u64) -> Ensemble {
    let numbers = &mut Numbers::new(seed);
    let width = shape.width;
    let standardise = Step::Standardise {
        mean: numbers.take(width),
        factor: numbers.take(width).into_iter().map(|x| x.abs() + 0.5).collect(),
    };
    let projected = width.div_ceil(2);
    let project =
        Step::Project { mean: numbers.take(width), components: numbers.take(projected * width) };
    let preparations = vec![
        Preparation { steps: vec![] },
        Preparation { steps: vec![standardise.clone()] },
        Preparation { steps: vec![standardise, project] },
    ];
    let members = families.iter().enumerate().map(|(index, &family)| {
        let preparation = index % preparations.len();
        let width = if preparation == 2 { projected } else { width };
        Weighted {
            weight: 1.5 + numbers.one(),
            member: Member {
                family,
                preparation,
                model: Arc::new(model(family, Shape { width, ..shape }, numbers)),
            },
        }
    });
    let members = members.collect();
    let gate = gated.then(|| Gate {
        member: Member {
            family: Family::Ridge,
            preparation: 1,
            model: Arc::new(model(Family::Ridge, Shape { classes: 2, ..shape }, numbers)),
        },
        threshold: 0.0,
    });
    let names = |prefix: &str, count: usize| (0..count).map(|it| format!("{prefix}{it}")).collect();
    let schema = Schema::new(
        names("feature-", width),
        names("class-", shape.classes),
        gated.then_some(ClassId(0)),
    );
    let schema = schema.expect("names with a number are distinct");
    let parts =
        Parts { schema, preparations, gate, members, voting: Voting::default(), golden: vec![] };
    let ensemble = Ensemble::new(parts).expect("its shapes are consistent");
    let samples = Features::new(width, numbers.take(101 * width)).expect("finite whole rows");
    let Some(mut margins) = ensemble.gate_margins(&samples) else { return ensemble };
    margins.sort_unstable_by(f32::total_cmp);
    let mut parts = ensemble.into_parts();
    if let Some(gate) = &mut parts.gate {
        gate.threshold = margins[margins.len() / 2];
    }
    Ensemble::new(parts).expect("the margin of a small sample is finite")
}

/// `ensemble` with a byte for each value of rows that members are made of.
#[must_use]
pub fn compacted(ensemble: Ensemble) -> Ensemble {
    smaller(ensemble, |model| matches!(model, Model::Knn(_) | Model::RbfSvm(_)))
}

/// `ensemble` with networks in half precision.
#[must_use]
pub fn halved(ensemble: Ensemble) -> Ensemble {
    smaller(ensemble, |model| matches!(model, Model::Mlp(_)))
}

/// `ensemble` with those members in their smaller form.
///
/// # Panics
///
/// Never: what is compact holds as well.
fn smaller(ensemble: Ensemble, these: impl Fn(&Model) -> bool) -> Ensemble {
    let mut parts = ensemble.into_parts();
    for Weighted { member, .. } in &mut parts.members {
        if let Some(model) = member.model.compacted().filter(&these) {
            member.model = Arc::new(model);
        }
    }
    Ensemble::new(parts).expect("a compact form of what holds, holds")
}

/// `ensemble` whose RBF SVMs say how short of winning each class is.
///
/// # Panics
///
/// Never: that is another verdict from the same arrays.
#[must_use]
pub fn short(ensemble: Ensemble) -> Ensemble {
    let mut parts = ensemble.into_parts();
    for Weighted { member, .. } in &mut parts.members {
        if let Model::RbfSvm(svm) = Arc::make_mut(&mut member.model) {
            svm.verdict = Verdict::Shortfall;
        }
    }
    Ensemble::new(parts).expect("the arrays hold as they did")
}

/// A soft vote of so many members with slopes and curves that know nothing; curves for votes of one
/// and of more.
#[must_use]
pub fn voting(members: usize, seed: u64) -> Voting {
    let numbers = &mut Numbers::new(seed);
    let slopes = numbers.take(members).into_iter().map(|it| Softness { slope: 2.0 + it });
    let rule = Rule::Soft(slopes.collect());
    let curve = |low: f32| Curve { shares: vec![0.25, 0.5, 0.9], right: vec![low, 0.6, 0.95] };
    let confidence = Confidence { curves: vec![curve(0.3), curve(0.4)] };
    Voting { rule, confidence, ..Voting::default() }
}

/// The same in a logarithmic pool.
///
/// # Panics
///
/// Never: [`voting`] is soft.
#[must_use]
pub fn pooled(members: usize, seed: u64) -> Voting {
    let voting = voting(members, seed);
    let Rule::Soft(softness) = voting.rule else { unreachable!("made so above") };
    Voting { rule: Rule::Logarithmic(softness), ..voting }
}

/// `ensemble` with ladders of three levels that know nothing: for all members, behind the gate if there
/// is one, and for the first member alone.
///
/// # Panics
///
/// Never: such ladders hold.
#[must_use]
pub fn with_sets(ensemble: Ensemble) -> Ensemble {
    let level = |thousandths: u32, least: u32| Level {
        coverage: Coverage::of_thousandths(thousandths).expect("between 500 and 999"),
        least,
    };
    let levels = vec![level(800, VOTE / 3), level(900, VOTE / 5), level(950, VOTE / 8)];
    let gates: &[bool] = if ensemble.gate().is_some() { &[false, true] } else { &[false] };
    let all = Subset::all(ensemble.members().len());
    let subsets = if all == Subset(1) { vec![all] } else { vec![Subset(1), all] };
    let choices = subsets.iter().flat_map(|&subset| gates.iter().map(move |&it| (subset, it)));
    let ladders = choices.map(|(subset, gated)| Ladder { subset, gated, levels: levels.clone() });
    ensemble.with_sets(Sets { ladders: ladders.collect() }).expect("levels rise and shares fall")
}

/// `count` samples of `width` values, and after them the edges: zeros, negative zeros, the smallest
/// and the largest numbers there are, of both signs.
///
/// Golden answers are answers to these rows: they may never change.
#[must_use]
pub fn rows(width: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut numbers = Numbers::new(seed);
    let mut rows: Vec<Vec<f32>> = (0..count).map(|_| numbers.take(width)).collect();
    let small = f32::from_bits(1);
    for (even, odd) in [
        (0.0, 0.0),
        (-0.0, -0.0),
        (small, -small),
        (f32::MIN_POSITIVE, -f32::MIN_POSITIVE),
        (f32::MAX, f32::MAX),
        (f32::MIN, f32::MIN),
        (f32::MAX, f32::MIN),
        (f32::MAX, 0.0),
    ] {
        rows.push((0..width).map(|at| if at % 2 == 0 { even } else { odd }).collect());
    }
    rows
}

/// Complete trees cut at random, each leaf with a payload of its own; and how many leaves there are.
fn complete_trees(count: usize, depth: u32, width: usize, numbers: &mut Numbers) -> (Trees, usize) {
    let inner = (1_u32 << depth) - 1;
    let nodes = 2 * inner + 1;
    let columns = u32::try_from(width).expect("a small made-up model");
    let mut trees = Trees::default();
    let mut leaves = 0;
    for _ in 0..count {
        let root = u32::try_from(trees.feature.len()).expect("a small made-up model");
        trees.roots.push(root);
        for node in 0..nodes {
            if node < inner {
                trees.feature.push(numbers.below(columns));
                trees.threshold.push(numbers.one());
                trees.child.push(root + 2 * node + 1);
            } else {
                trees.feature.push(LEAF);
                trees.threshold.push(0.0);
                trees.child.push(leaves);
                leaves += 1;
            }
        }
    }
    (trees, usize::try_from(leaves).expect("a usize has at least 32 bits on every target"))
}

fn class_count(classes: usize) -> u16 {
    u16::try_from(classes).expect("a small made-up model")
}
