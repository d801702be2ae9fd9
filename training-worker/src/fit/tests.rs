//! What holds for every family: what is lowered answers as the trainer does, classes without rows
//! are never answered, the same seed gives the same model, and a fit can be stopped.

use models::{Family, Features, Model, Preparation};

use super::{
    FitError, Lesson, Recipe, Stop, boosted, fit, forest, lda, linear_svm, logistic,
    matrix::narrow,
    mlp, rbf_svm, ridge, standardise, standardised_discriminants,
    synthetic::{COMPARABLE, clouds, inputs, scores, vote},
};
use crate::draw::Draw;

const WIDTH: usize = 6;

/// Settings that are quick, for every family.
pub(super) fn quick(family: Family) -> Recipe {
    match Recipe::of(family) {
        Recipe::Forest(settings) => Recipe::Forest(forest::Settings { trees: 20, ..settings }),
        Recipe::Boosted(settings) => Recipe::Boosted(boosted::Settings { rounds: 20, ..settings }),
        Recipe::Mlp(settings) => {
            Recipe::Mlp(mlp::Settings { hidden: vec![24, 16], steps_min: 300, ..settings })
        }
        same @ (Recipe::Knn(_)
        | Recipe::Ridge(_)
        | Recipe::LinearSvm(_)
        | Recipe::RbfSvm(_)
        | Recipe::Logistic(_)
        | Recipe::Lda(_)) => same,
    }
}

#[test]
fn what_is_lowered_is_compared_on_ten_thousand_inputs() {
    assert!(10_000 <= inputs(WIDTH).len());
}

#[test]
fn every_family_learns_what_can_be_learned() {
    let (taught, asked) = (clouds(600, WIDTH, 4, 1), clouds(600, WIDTH, 4, 2));
    let stop = Stop::default();
    for family in Family::ALL {
        let model = fit(&quick(family), &taught.lesson(&stop)).unwrap();
        let accuracy = asked.accuracy(&model);
        assert!(0.93 < accuracy, "{}: {accuracy}", family.name());
    }
}

#[test]
fn the_same_seed_gives_the_same_model_on_any_number_of_threads() {
    let taught = clouds(200, WIDTH, 3, 1);
    let stop = Stop::default();
    for family in Family::ALL {
        let one = fit(&quick(family), &taught.lesson(&stop)).unwrap();
        let lesson = Lesson { threads: 3, ..taught.lesson(&stop) };
        assert_eq!(fit(&quick(family), &lesson).unwrap(), one, "{}", family.name());
    }
}

#[test]
fn a_class_without_rows_has_a_score_and_is_never_answered() {
    let stop = Stop::default();
    let taught = clouds(300, WIDTH, 4, 1);
    // Classes 0, 2, 4, 6 of 8 have rows.
    let labels: Vec<u16> = taught.labels.iter().map(|label| label * 2).collect();
    let lesson = Lesson { labels: &labels, classes: 8, ..taught.lesson(&stop) };
    for family in Family::ALL {
        let model = fit(&quick(family), &lesson).unwrap();
        assert_eq!(model.check(WIDTH, 8), Ok(()), "{}", family.name());
        // Where scores overflow, every class may get the least there is.
        let sane = |input: &Vec<f32>| input.iter().all(|value| value.abs() <= 1e6);
        for input in inputs(WIDTH).into_iter().filter(sane) {
            assert_eq!(vote(&model, &input, 8).0 % 2, 0, "{} {input:?}", family.name());
        }
    }
}

#[test]
fn two_rows_are_enough_for_a_model() {
    let stop = Stop::default();
    let samples = Features::new(3, vec![1.0, 0.0, 5.0, -1.0, 0.0, 5.0]).unwrap();
    let lesson = Lesson::new(&samples, &[1, 0], 2, &stop);
    for family in Family::ALL {
        let model = fit(&quick(family), &lesson).unwrap();
        assert_eq!(model.check(3, 2), Ok(()), "{}", family.name());
        assert!(vote(&model, &[0.5, 0.0, 5.0], 2).index() < 2);
    }
}

#[test]
fn what_teaches_nothing_is_named() {
    let stop = Stop::default();
    let taught = clouds(10, WIDTH, 2, 1);
    let lesson = taught.lesson(&stop);
    let empty = Features::new(WIDTH, vec![]).unwrap();
    let refusal = |lesson: &Lesson<'_>| fit(&Recipe::of(Family::Ridge), lesson).unwrap_err();
    assert_eq!(refusal(&Lesson { samples: &empty, labels: &[], ..lesson }), FitError::Empty);
    assert_eq!(refusal(&Lesson { labels: &[1; 10], ..lesson }), FitError::OneClass { class: 1 });
    assert_eq!(
        refusal(&Lesson { labels: &[1; 9], ..lesson }),
        FitError::Labels { labels: 9, rows: 10 }
    );
    assert_eq!(
        refusal(&Lesson { classes: 1, ..lesson }),
        FitError::Class { row: 1, class: 1, classes: 1 }
    );
}

#[test]
fn every_fit_stops_when_told_to() {
    let taught = clouds(200, WIDTH, 3, 1);
    let stop = Stop::default();
    stop.ask();
    for family in Family::ALL {
        let refused = fit(&quick(family), &taught.lesson(&stop)).unwrap_err();
        assert_eq!(refused, FitError::Stopped, "{}", family.name());
    }
}

#[test]
fn constant_columns_harm_no_family() {
    let stop = Stop::default();
    let mut values = Vec::new();
    for row in 0_u8..40 {
        values.extend([1.0, f32::from(row % 2), -1.0]);
    }
    let samples = Features::new(3, values).unwrap();
    let labels: Vec<u16> = (0..40).map(|row| row % 2).collect();
    let lesson = Lesson::new(&samples, &labels, 2, &stop);
    for family in Family::ALL {
        let model = fit(&quick(family), &lesson).unwrap();
        assert_eq!(vote(&model, &[1.0, 1.0, -1.0], 2).0, 1, "{}", family.name());
        assert_eq!(vote(&model, &[1.0, 0.0, -1.0], 2).0, 0, "{}", family.name());
    }
}

#[test]
fn lowered_planes_score_as_the_double_precision_fits() {
    let (taught, stop) = (clouds(400, WIDTH, 5, 3), Stop::default());
    let lesson = taught.lesson(&stop);
    for (name, fitted) in [
        ("ridge", ridge::fit(&ridge::Settings::default(), &lesson).unwrap()),
        ("logistic", logistic::fit(&logistic::Settings::default(), &lesson).unwrap()),
        ("lda", lda::fit(&lda::Settings::default(), &lesson).unwrap()),
    ] {
        let model = Model::Linear(fitted.lower());
        // How far rounding of the weights reaches.
        let reach =
            fitted.weights.iter().chain(&fitted.bias).fold(1.0, |most, it| it.abs().max(most));
        for input in inputs(WIDTH) {
            let size = input.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
            for (lowered, own) in scores(&model, &input, 5).iter().zip(fitted.scores(&input)) {
                if COMPARABLE / narrow(reach) < size {
                    continue;
                }
                assert!(lowered.is_finite(), "{name} {input:?}");
                let bound = 1e-5 * size * narrow(reach);
                assert!((lowered - narrow(own)).abs() <= bound, "{name} {lowered} {own} {input:?}");
            }
        }
    }
}

#[test]
fn more_columns_than_rows_are_the_same_problem() {
    // The dual and the primal solution agree where both exist: pad a fit with columns of zeros.
    let (taught, stop) = (clouds(30, WIDTH, 3, 3), Stop::default());
    let wide: Vec<f32> = taught
        .samples
        .rows()
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, 60)))
        .collect();
    let wide = Features::new(WIDTH + 60, wide).unwrap();
    let narrow = taught.lesson(&stop);
    let wide = Lesson { samples: &wide, ..narrow };
    // The mean scatter is shared by all columns, those of zeros as well.
    let shrunk = |times: f64| lda::Settings { shrinkage: 0.03 * times };
    #[expect(clippy::cast_precision_loss, reason = "a few columns")]
    let more = (WIDTH + 60) as f64 / WIDTH as f64;
    for (name, primal, dual) in [
        (
            "ridge",
            ridge::fit(&ridge::Settings::default(), &narrow).unwrap(),
            ridge::fit(&ridge::Settings::default(), &wide).unwrap(),
        ),
        ("lda", lda::fit(&shrunk(1.0), &narrow).unwrap(), lda::fit(&shrunk(more), &wide).unwrap()),
    ] {
        for input in inputs(WIDTH).iter().take(100) {
            let padded = input.iter().copied().chain(std::iter::repeat_n(0.0, 60));
            let padded: Vec<f32> = padded.collect();
            for (a, b) in primal.scores(input).iter().zip(dual.scores(&padded)) {
                assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{name}: {a} {b}");
            }
        }
    }
}

/// The gradient by the book, in double precision, of a loss that has one lowest point.
#[test]
fn no_slope_is_left_where_logistic_regression_ends() {
    let (taught, stop) = (clouds(300, WIDTH, 4, 3), Stop::default());
    let weights: Vec<f32> = (0..300_u16).map(|row| 0.5 + f32::from(row % 5)).collect();
    let settings = logistic::Settings { alpha: 0.01, steps: 500, tolerance: 1e-6 };
    let lesson = Lesson { weights: Some(&weights), ..taught.lesson(&stop) };
    let Model::Linear(found) = fit(&Recipe::Logistic(settings), &lesson).unwrap() else { panic!() };
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let mut slopes = vec![0.0_f64; 4 * (WIDTH + 1)];
    for ((row, &label), &weight) in taught.samples.rows().zip(&taught.labels).zip(&weights) {
        let planes = found.weights.chunks_exact(WIDTH).zip(&found.bias);
        let scores = planes.map(|(plane, &bias)| {
            let products = plane.iter().zip(row).map(|(&w, &x)| f64::from(w) * f64::from(x));
            f64::from(bias) + products.sum::<f64>()
        });
        let likely: Vec<f64> = scores.map(f64::exp).collect();
        let all: f64 = likely.iter().sum();
        for (class, likely) in likely.iter().enumerate() {
            let own = f64::from(u8::from(usize::from(label) == class));
            let off = f64::from(weight) / sum * (likely / all - own);
            let slopes = &mut slopes[class * (WIDTH + 1)..][..=WIDTH];
            for (slope, &x) in slopes.iter_mut().zip(row.iter().chain([&1.0])) {
                *slope += off * f64::from(x);
            }
        }
    }
    for (slopes, plane) in slopes.chunks_exact_mut(WIDTH + 1).zip(found.weights.chunks_exact(WIDTH))
    {
        for (slope, &weight) in slopes.iter_mut().zip(plane) {
            *slope += 0.01 * f64::from(weight);
        }
    }
    assert!(slopes.iter().all(|slope| slope.abs() < 5e-5), "{slopes:?}");
}

/// Where classes have as many rows each, they are as likely beforehand.
#[test]
fn lda_answers_the_nearest_mean_among_discriminants() {
    let (taught, asked) = (clouds(400, WIDTH, 4, 3), clouds(2_000, WIDTH, 4, 4));
    let stop = Stop::default();
    let first = Preparation { steps: vec![standardise(&taught.samples)] };
    let samples = first.features(&taught.samples).unwrap();
    let lesson = Lesson { samples: &samples, ..taught.lesson(&stop) };
    let model = fit(&Recipe::of(Family::Lda), &lesson).unwrap();
    let among = standardised_discriminants(&taught.samples, &taught.labels, 4, 64).unwrap();
    let rows = among.features(&taught.samples).unwrap();
    let width = rows.width();
    let mut means = vec![0.0_f32; 4 * width];
    for (row, &label) in rows.rows().zip(&taught.labels) {
        let sums = &mut means[usize::from(label) * width..][..width];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / 100.0);
    }
    let far = |row: &[f32]| -> Vec<f32> {
        let mean = means.chunks_exact(width);
        mean.map(|mean| mean.iter().zip(row).map(|(m, x)| (m - x).powi(2)).sum()).collect()
    };
    let (among, first) =
        (among.features(&asked.samples).unwrap(), first.features(&asked.samples).unwrap());
    for (row, input) in among.rows().zip(first.rows()) {
        let mut far = far(row);
        let class = vote(&model, input, 4).index();
        let own = far.swap_remove(class);
        assert!(far.iter().all(|&other| own <= other + 1e-3), "{class}: {own} {far:?}");
    }
}

/// A weight in half precision is off by one part in 2¹¹ at most, or by 2⁻²⁵ near zero.
#[test]
fn half_precision_moves_scores_no_further_than_its_rounding() {
    const OFF: f32 = 1.0 / 2048.0;
    let (taught, stop) = (clouds(600, WIDTH, 4, 1), Stop::default());
    let exact = fit(&quick(Family::Mlp), &taught.lesson(&stop)).unwrap();
    let half = exact.compacted().unwrap();
    assert_eq!(half.check(WIDTH, 4), Ok(()));
    assert_eq!(half.compacted(), None, "it is half already");
    assert!(half.shipped_bytes() < exact.shipped_bytes() / 3 * 2);
    assert_eq!(half.bytes(), exact.bytes(), "in memory it is as large");
    // The same network with everything above zero: no sum of it can hide a difference.
    let Model::Mlp(mut above) = exact.clone() else { panic!() };
    let layers = f32::from(u8::try_from(above.layers.len()).unwrap());
    for layer in &mut above.layers {
        let numbers = layer.weights.iter_mut().chain(&mut layer.bias);
        numbers.for_each(|number| *number = number.abs());
    }
    let above = Model::Mlp(above);
    for input in inputs(WIDTH) {
        let (ours, theirs) = (scores(&half, &input, 4), scores(&exact, &input, 4));
        assert!(!ours.iter().any(|score| score.is_nan()), "{input:?}");
        if input.iter().any(|value| COMPARABLE < value.abs()) {
            continue;
        }
        let input: Vec<f32> = input.iter().map(|value| value.abs()).collect();
        for ((half, exact), above) in ours.iter().zip(&theirs).zip(scores(&above, &input, 4)) {
            let most = (1.01 * layers * OFF + 1e-5) * above.max(1.0);
            assert!((half - exact).abs() <= most, "{half} {exact} {input:?}");
        }
    }
}

#[test]
fn ridge_regularises_more_strongly_rather_than_divide_by_nothing() {
    // Two equal columns and no regularisation to speak of: the plain equations are singular.
    let stop = Stop::default();
    let values = (0_u8..20).flat_map(|row| [f32::from(row), f32::from(row)]).collect();
    let samples = Features::new(2, values).unwrap();
    let labels: Vec<u16> = (0..20).map(|row| u16::from(10 <= row)).collect();
    let lesson = Lesson::new(&samples, &labels, 2, &stop);
    let fitted = ridge::fit(&ridge::Settings { alpha: 0.0 }, &lesson).unwrap();
    let model = Model::Linear(fitted.lower());
    assert_eq!(vote(&model, &[1.0, 1.0], 2).0, 0);
    assert_eq!(vote(&model, &[18.0, 18.0], 2).0, 1);
}

#[test]
fn the_lowered_linear_svm_is_the_plane_of_its_dual_solution() {
    let (taught, stop) = (clouds(400, WIDTH, 3, 3), Stop::default());
    let fitted = linear_svm::fit(&linear_svm::Settings::default(), &taught.lesson(&stop)).unwrap();
    let alphas = fitted.alphas.clone();
    let lever_square = f64::from(fitted.lever_square);
    let model = Model::Linear(fitted.lower());
    let planes: Vec<(Vec<f64>, f64)> = (0..3)
        .map(|class| {
            let (mut weights, mut bias) = (vec![0.0_f64; WIDTH], 0.0);
            let rows = taught.samples.rows().zip(&taught.labels).zip(alphas.chunks_exact(3));
            for ((row, &label), alphas) in rows {
                let side = if usize::from(label) == class { 1.0 } else { -1.0 };
                let signed = side * f64::from(alphas[class]);
                bias += lever_square * signed;
                for (weight, &value) in weights.iter_mut().zip(row) {
                    *weight += signed * f64::from(value);
                }
            }
            (weights, bias)
        })
        .collect();
    for input in inputs(WIDTH) {
        let size = input.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
        for (lowered, (weights, bias)) in scores(&model, &input, 3).iter().zip(&planes) {
            assert!(lowered.is_finite(), "{input:?}");
            if COMPARABLE < size {
                continue;
            }
            let own: f64 =
                bias + weights.iter().zip(&input).map(|(w, &x)| w * f64::from(x)).sum::<f64>();
            assert!((lowered - narrow(own)).abs() <= 1e-4 * size, "{lowered} {own}");
        }
    }
}

/// On MNIST the planes leaned towards each class, since a column of ones was nothing beside 784 others
/// and an intercept came dear: .9025 where LIBLINEAR was right in .9092 of rows that were not asked.
#[test]
fn the_intercept_of_a_linear_svm_says_how_rare_a_class_is_among_many_columns() {
    const COLUMNS: usize = 256;
    // Each row comes with its opposite, in nine of ten pairs of class 0: only the intercept can say so.
    let mut draw = Draw::new(1);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for pair in 0..100 {
        let row: Vec<f32> =
            (0..COLUMNS).map(|_| if draw.below(2) == 0 { 1.0 } else { -1.0 }).collect();
        // The same ten rows for class 1 as for the others.
        let row =
            if pair < 10 { row } else { values[pair % 10 * 2 * COLUMNS..][..COLUMNS].to_vec() };
        values.extend(&row);
        values.extend(row.iter().map(|value| -value));
        labels.extend([u16::from(pair < 10); 2]);
    }
    let (samples, stop) = (Features::new(COLUMNS, values).unwrap(), Stop::default());
    let settings = linear_svm::Settings { tolerance: 1e-3, passes: 2_000, ..Default::default() };
    let lesson = Lesson::new(&samples, &labels, 2, &stop);
    let model = Model::Linear(linear_svm::fit(&settings, &lesson).unwrap().lower());
    // What costs least where weights say nothing: 2 · 0.1 - 1, and it was -0.64.
    let score = scores(&model, &[0.0; COLUMNS], 2)[1];
    assert!((score + 0.8).abs() < 0.02, "{score}");
}

#[test]
fn the_lowered_forest_walks_to_the_leaves_that_its_bins_say() {
    let (taught, stop) = (clouds(500, WIDTH, 4, 3), Stop::default());
    let settings = forest::Settings { trees: 15, bins: 32, ..forest::Settings::default() };
    let fitted = forest::fit(&settings, &taught.lesson(&stop)).unwrap();
    let own: Vec<Vec<f32>> = inputs(WIDTH)
        .iter()
        .map(|input| {
            let mut sums = vec![0.0_f32; 4];
            for tree in 0..settings.trees {
                let leaf = fitted.growing.walk_bins(tree, &fitted.bins, input);
                for (sum, share) in sums.iter_mut().zip(&fitted.leaves[leaf * 4..]) {
                    *sum += share;
                }
            }
            sums
        })
        .collect();
    let model = Model::Forest(fitted.lower());
    for (input, own) in inputs(WIDTH).iter().zip(own) {
        for (lowered, own) in scores(&model, input, 4).iter().zip(own) {
            assert!((lowered - own).abs() < 1e-5, "{lowered} {own} {input:?}");
        }
    }
}

#[test]
fn the_lowered_boosted_trees_score_as_training_added_up() {
    let (taught, stop) = (clouds(500, WIDTH, 4, 3), Stop::default());
    let settings = boosted::Settings { rounds: 30, ..boosted::Settings::default() };
    let fitted = boosted::fit(&settings, &taught.lesson(&stop)).unwrap();
    let own = fitted.scores.clone();
    let by_bins: Vec<Vec<f32>> = inputs(WIDTH)
        .iter()
        .map(|input| {
            let mut sums = fitted.base.clone();
            for tree in 0..settings.rounds * 4 {
                let leaf = fitted.growing.walk_bins(tree, &fitted.bins, input);
                sums[tree % 4] += fitted.leaves[leaf];
            }
            sums
        })
        .collect();
    let model = Model::Boosted(fitted.lower());
    for (row, own) in taught.samples.rows().zip(own.chunks_exact(4)) {
        for (lowered, own) in scores(&model, row, 4).iter().zip(own) {
            assert!((lowered - own).abs() < 1e-4, "{lowered} {own}");
        }
    }
    for (input, own) in inputs(WIDTH).iter().zip(by_bins) {
        for (lowered, own) in scores(&model, input, 4).iter().zip(own) {
            assert!((lowered - own).abs() < 1e-4, "{lowered} {own} {input:?}");
        }
    }
}

#[test]
fn the_lowered_rbf_svm_is_as_short_of_winning_as_its_pairs_decide() {
    let (taught, stop) = (clouds(300, WIDTH, 4, 3), Stop::default());
    let fitted = rbf_svm::fit(&rbf_svm::Settings::default(), &taught.lesson(&stop)).unwrap();
    let model = Model::RbfSvm(fitted.lower());
    for input in inputs(WIDTH) {
        let decisions = fitted.decisions(&input);
        // Where a pair is on the fence, single and double precision may differ.
        if decisions.iter().any(|decision| decision.abs() < 1e-4) {
            continue;
        }
        let (mut votes, mut short) = (vec![0_u32; 4], vec![0.0_f64; 4]);
        for a in 0..4 {
            for b in a + 1..4 {
                let decision = decisions[rbf_svm::pair_of(a, b, 4)];
                votes[if 0.0 < decision { a } else { b }] += 1;
                short[a] += decision.min(0.0);
                short[b] += (-decision).min(0.0);
            }
        }
        for (lowered, own) in scores(&model, &input, 4).iter().zip(&short) {
            assert!((f64::from(*lowered) - own).abs() < 1e-3, "{lowered} {own} {input:?}");
        }
        // Who wins all pairs is LIBSVM's choice as well.
        if let Some(winner) = votes.iter().position(|&votes| votes == 3) {
            assert_eq!(vote(&model, &input, 4).index(), winner, "{votes:?}");
        }
    }
}

#[test]
fn the_solution_of_an_rbf_svm_keeps_the_conditions_of_its_dual() {
    let (taught, stop) = (clouds(300, WIDTH, 2, 5), Stop::default());
    let settings = rbf_svm::Settings { tolerance: 1e-3, ..rbf_svm::Settings::default() };
    let fitted = rbf_svm::fit(&settings, &taught.lesson(&stop)).unwrap();
    let pair = &fitted.pairs[0];
    let sum: f64 = pair.first.iter().chain(&pair.second).sum();
    assert!(sum.abs() < 1e-6, "Σ αy = {sum}");
    let rows = fitted.members[0].iter().zip(&pair.first).map(|it| (it, 1.0));
    for ((&row, &signed), side) in
        rows.chain(fitted.members[1].iter().zip(&pair.second).map(|it| (it, -1.0)))
    {
        let alpha = signed * side;
        let margin = side * fitted.decisions(taught.samples.row(row))[0];
        assert!((-1e-9..=settings.cost + 1e-9).contains(&alpha));
        if alpha <= 0.0 {
            assert!(1.0 - 5e-3 < margin, "outside the margin: {margin}");
        } else if settings.cost <= alpha {
            assert!(margin < 1.0 + 5e-3, "inside the margin: {margin}");
        } else {
            assert!((margin - 1.0).abs() < 5e-3, "on the margin: {margin}");
        }
    }
}

#[test]
fn a_small_kernel_cache_changes_no_solution() {
    let (taught, stop) = (clouds(400, WIDTH, 2, 5), Stop::default());
    let large = rbf_svm::Settings::default();
    let small = rbf_svm::Settings { cache_bytes: 0, ..large.clone() };
    let own = rbf_svm::fit(&large, &taught.lesson(&stop)).unwrap();
    let tight = rbf_svm::fit(&small, &taught.lesson(&stop)).unwrap();
    for input in inputs(WIDTH).iter().take(200) {
        let (a, b) = (own.decisions(input)[0], tight.decisions(input)[0]);
        assert!((a - b).abs() < 0.05, "{a} {b}");
    }
}

#[test]
fn the_lowered_mlp_scores_as_the_products_of_training() {
    let (taught, stop) = (clouds(400, WIDTH, 4, 3), Stop::default());
    let settings =
        mlp::Settings { hidden: vec![32, 16], steps_min: 200, ..mlp::Settings::default() };
    let mut fitted = mlp::fit(&settings, &taught.lesson(&stop)).unwrap();
    let all: Vec<f32> = inputs(WIDTH).concat();
    let own = fitted.scores(&all);
    let model = Model::Mlp(fitted.lower());
    for (input, own) in inputs(WIDTH).iter().zip(own.chunks_exact(4)) {
        let size = own.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
        let far = input.iter().any(|value| COMPARABLE < value.abs());
        for (lowered, own) in scores(&model, input, 4).iter().zip(own) {
            assert!(lowered.is_finite(), "{input:?}");
            if !far {
                assert!((lowered - own).abs() <= 1e-4 * size, "{lowered} {own} {input:?}");
            }
        }
    }
}

#[test]
fn networks_that_are_joined_give_the_mean_of_their_scores() {
    let (taught, stop) = (clouds(400, WIDTH, 4, 3), Stop::default());
    let settings =
        mlp::Settings { nets: 3, hidden: vec![16], steps_min: 100, ..mlp::Settings::default() };
    let lesson = taught.lesson(&stop);
    let joined = Model::Mlp(mlp::fit(&settings, &lesson).unwrap().lower());
    let apart: Vec<Model> = (0..3)
        .map(|net| {
            let lesson = Lesson { seed: mlp::seed(lesson.seed, net), ..lesson };
            Model::Mlp(mlp::fit_one(&settings, &lesson).unwrap().lower())
        })
        .collect();
    assert_ne!(
        scores(&apart[0], taught.samples.row(0), 4),
        scores(&apart[1], taught.samples.row(0), 4)
    );
    for input in taught.samples.rows() {
        let apart: Vec<Vec<f32>> = apart.iter().map(|it| scores(it, input, 4)).collect();
        for (class, score) in scores(&joined, input, 4).into_iter().enumerate() {
            let mean = apart.iter().map(|it| it[class]).sum::<f32>() / 3.0;
            assert!((score - mean).abs() < 1e-4 * mean.abs().max(1.0), "{score} {mean}");
        }
    }
}

#[test]
fn the_lowered_knn_answers_as_a_search_through_all_rows_does() {
    let (taught, stop) = (clouds(300, WIDTH, 4, 3), Stop::default());
    let model = fit(&Recipe::of(Family::Knn), &taught.lesson(&stop)).unwrap();
    for input in inputs(WIDTH) {
        let mut near: Vec<(f64, usize)> = taught
            .samples
            .rows()
            .enumerate()
            .map(|(at, row)| {
                let far =
                    row.iter().zip(&input).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                (far.sum(), at)
            })
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // Where the fifth and the sixth are equally far, single precision may choose otherwise.
        if near[5].0 - near[4].0 <= 1e-5 * near[4].0.max(1.0) {
            continue;
        }
        let mut votes = [0_u32; 4];
        near[..5].iter().for_each(|(_, at)| votes[usize::from(taught.labels[*at])] += 1);
        let most = *votes.iter().max().unwrap();
        let first = votes.iter().position(|&count| count == most).unwrap();
        assert_eq!(vote(&model, &input, 4).index(), first, "{votes:?} {input:?}");
    }
}
