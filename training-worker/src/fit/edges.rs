//! What holds at the edges: much of one thing and little of another, rows that count more than
//! others, and too little memory. Each is a sound model or an error with a name, never a panic.

use models::{Family, Features, Model};

use super::{
    FitError, Lesson, Recipe, Stop, balanced, fit, logistic, mlp,
    synthetic::{clouds, scores, vote},
    tests::quick,
};
use crate::draw::Draw;

const WIDTH: usize = 6;

fn too_large(error: &FitError) -> bool {
    matches!(error, FitError::TooLarge { .. })
}

#[test]
fn a_million_columns_are_learned_or_refused() {
    let (rows, width) = (6, 1_000_000);
    let mut draw = Draw::new(1);
    let values = (0..rows * width).map(|_| super::matrix::narrow(draw.unit())).collect();
    let samples = Features::new(width, values).unwrap();
    let labels: Vec<u16> = (0..2).cycle().take(rows).collect();
    let stop = Stop::default();
    for family in Family::ALL {
        let lesson = Lesson::new(&samples, &labels, 2, &stop);
        let recipe = if family == Family::Mlp { Recipe::of(family) } else { quick(family) };
        match fit(&recipe, &lesson) {
            Ok(model) => {
                assert_eq!(model.check(width, 2), Ok(()), "{}", family.name());
                assert!(vote(&model, samples.row(0), 2).index() < 2);
            }
            Err(error) => assert!(too_large(&error), "{}: {error}", family.name()),
        }
    }
    for family in [Family::Ridge, Family::Lda, Family::Logistic] {
        let lesson = Lesson::new(&samples, &labels, 2, &stop);
        let model = fit(&Recipe::of(family), &lesson).unwrap();
        for (row, &label) in samples.rows().zip(&labels) {
            assert_eq!(vote(&model, row, 2).0, label, "{}", family.name());
        }
    }
}

#[test]
fn ten_thousand_classes_are_learned_or_refused() {
    let classes = 10_000;
    let labels: Vec<u16> = (0..10_000).collect();
    let values = labels.iter().flat_map(|&it| [f32::from(it % 100), f32::from(it / 100)]).collect();
    let samples = Features::new(2, values).unwrap();
    let stop = Stop::default();
    for family in Family::ALL {
        let recipe = match Recipe::of(family) {
            Recipe::Mlp(settings) => {
                let hidden = vec![8];
                Recipe::Mlp(mlp::Settings { hidden, passes: 1, steps_min: 20, ..settings })
            }
            // Ten thousand exponentials for each row and step.
            Recipe::Logistic(settings) => {
                Recipe::Logistic(logistic::Settings { steps: 2, ..settings })
            }
            other @ (Recipe::Knn(_)
            | Recipe::Ridge(_)
            | Recipe::Lda(_)
            | Recipe::Forest(_)
            | Recipe::LinearSvm(_)
            | Recipe::RbfSvm(_)
            | Recipe::Boosted(_)) => other,
        };
        match fit(&recipe, &Lesson::new(&samples, &labels, classes, &stop)) {
            Ok(model) => assert_eq!(model.check(2, classes), Ok(()), "{}", family.name()),
            Err(error) => {
                assert!(too_large(&error), "{}: {error}", family.name());
                let learned =
                    [Family::Knn, Family::Ridge, Family::Mlp, Family::Logistic, Family::Lda];
                assert!(!learned.contains(&family), "{}", family.name());
            }
        }
    }
}

#[test]
fn equal_rows_with_different_labels_are_no_obstacle() {
    let samples = Features::new(3, [1.0, 2.0, 3.0].repeat(60)).unwrap();
    let labels: Vec<u16> = (0..60).map(|row| u16::from(row % 3 == 0)).collect();
    let stop = Stop::default();
    for family in Family::ALL {
        let model = fit(&quick(family), &Lesson::new(&samples, &labels, 2, &stop)).unwrap();
        assert_eq!(model.check(3, 2), Ok(()), "{}", family.name());
        assert!(scores(&model, samples.row(0), 2).iter().all(|score| score.is_finite()));
    }
}

#[test]
fn one_row_has_one_class() {
    let samples = Features::new(2, vec![1.0, 2.0]).unwrap();
    let stop = Stop::default();
    for family in Family::ALL {
        let refused = fit(&quick(family), &Lesson::new(&samples, &[1], 2, &stop)).unwrap_err();
        assert_eq!(refused, FitError::OneClass { class: 1 });
    }
}

#[test]
fn a_fit_that_would_take_too_much_is_refused() {
    let taught = clouds(200, WIDTH, 3, 1);
    let stop = Stop::default();
    for family in Family::ALL {
        let lesson = Lesson { memory_max: 100, ..taught.lesson(&stop) };
        let refused = fit(&quick(family), &lesson).unwrap_err();
        assert!(too_large(&refused), "{}: {refused}", family.name());
    }
}

#[test]
fn rows_that_all_count_the_same_are_rows_without_weights() {
    let (taught, stop) = (clouds(200, WIDTH, 3, 1), Stop::default());
    let weights = [2.0; 200];
    for family in Family::ALL {
        let plain = fit(&quick(family), &taught.lesson(&stop)).unwrap();
        let lesson = Lesson { weights: Some(&weights), ..taught.lesson(&stop) };
        assert_eq!(fit(&quick(family), &lesson).unwrap(), plain, "{}", family.name());
    }
}

#[test]
fn a_row_that_counts_nothing_is_not_there() {
    let (taught, stop) = (clouds(200, WIDTH, 3, 1), Stop::default());
    let weights: Vec<f32> = (0..200).map(|row| if row % 5 == 0 { 0.0 } else { 3.0 }).collect();
    let kept: Vec<usize> = (0..200).filter(|row| row % 5 != 0).collect();
    let samples = taught.samples.select(&kept);
    let labels: Vec<u16> = kept.iter().map(|&row| taught.labels[row]).collect();
    for family in Family::ALL {
        let without = fit(&quick(family), &Lesson::new(&samples, &labels, 3, &stop)).unwrap();
        let lesson = Lesson { weights: Some(&weights), ..taught.lesson(&stop) };
        assert_eq!(fit(&quick(family), &lesson).unwrap(), without, "{}", family.name());
    }
}

#[test]
fn a_class_that_counts_more_is_answered_more_often() {
    let stop = Stop::default();
    // Two clouds on top of each other: nothing but their weights tells them apart.
    let mut draw = Draw::new(4);
    let values = (0..400 * WIDTH).map(|_| super::matrix::narrow(draw.normal())).collect();
    let samples = Features::new(WIDTH, values).unwrap();
    let labels: Vec<u16> = (0..400).map(|row| row % 2).collect();
    let weights: Vec<f32> = labels.iter().map(|&it| if it == 0 { 1.0 } else { 8.0 }).collect();
    let asked = (0..300 * WIDTH).map(|_| super::matrix::narrow(draw.normal())).collect();
    let asked = Features::new(WIDTH, asked).unwrap();
    for family in Family::ALL.into_iter().filter(|&it| it != Family::Knn) {
        let answered = |weights: Option<&[f32]>| -> usize {
            let lesson = Lesson { weights, ..Lesson::new(&samples, &labels, 2, &stop) };
            let model: Model = fit(&quick(family), &lesson).unwrap();
            asked.rows().filter(|row| vote(&model, row, 2).0 == 1).count()
        };
        let (plain, heavy) = (answered(None), answered(Some(&weights)));
        assert!(plain + 30 < heavy, "{}: {plain} {heavy}", family.name());
    }
}

#[test]
fn to_count_double_is_to_be_there_twice() {
    let (taught, stop) = (clouds(60, WIDTH, 3, 1), Stop::default());
    let weights: Vec<f32> = (0..60).map(|row| if row < 20 { 2.0 } else { 1.0 }).collect();
    let twice: Vec<usize> = (0..60).chain(0..20).collect();
    let samples = taught.samples.select(&twice);
    let labels: Vec<u16> = twice.iter().map(|&row| taught.labels[row]).collect();
    // The regularisation is in shares of the rows: for weights of 1 on average there are 60 of them.
    for family in [Family::Ridge, Family::RbfSvm, Family::Logistic, Family::Lda] {
        let (recipe, doubled) = match (Recipe::of(family), Recipe::of(family)) {
            (Recipe::RbfSvm(mut one), Recipe::RbfSvm(mut other)) => {
                // Weights are brought to 1 on average; gamma follows from the rows.
                one.cost *= 80.0 / 60.0;
                (one.tolerance, other.tolerance) = (1e-4, 1e-4);
                other.gamma *= variance(&samples) / variance(&taught.samples);
                (Recipe::RbfSvm(one), Recipe::RbfSvm(other))
            }
            // Weights that are kept small are known to more digits.
            (Recipe::Logistic(_), Recipe::Logistic(_)) => {
                let it = logistic::Settings { alpha: 0.1, steps: 500, tolerance: 1e-6 };
                let it = Recipe::Logistic(it);
                (it.clone(), it)
            }
            same => same,
        };
        let lesson = Lesson { weights: Some(&weights), ..taught.lesson(&stop) };
        let weighted = fit(&recipe, &lesson).unwrap();
        let doubled = fit(&doubled, &Lesson::new(&samples, &labels, 3, &stop)).unwrap();
        for row in clouds(50, WIDTH, 3, 7).samples.rows() {
            for (a, b) in scores(&weighted, row, 3).iter().zip(scores(&doubled, row, 3)) {
                let near = 2e-3 * a.abs().max(1.0);
                assert!((a - b).abs() < near, "{}: {a} {b}", family.name());
            }
        }
    }
}

fn variance(samples: &Features) -> f64 {
    let mean = super::matrix::means(samples.values(), samples.width());
    let squares = samples.rows().flatten().zip(mean.iter().cycle());
    let sum: f64 = squares.map(|(&x, mean)| (f64::from(x) - mean).powi(2)).sum();
    sum / f64::from(u32::try_from(samples.len()).unwrap())
}

#[test]
fn weights_that_say_nothing_are_refused() {
    let (taught, stop) = (clouds(10, WIDTH, 2, 1), Stop::default());
    for bad in [vec![1.0; 9], vec![0.0; 10], vec![-1.0; 10], vec![f32::NAN; 10]] {
        let lesson = Lesson { weights: Some(&bad), ..taught.lesson(&stop) };
        let refused = fit(&quick(Family::Ridge), &lesson).unwrap_err();
        assert_eq!(refused, FitError::Weights { weights: bad.len(), rows: 10 });
    }
}

#[test]
fn balanced_classes_count_alike() {
    let weights = balanced(&[0, 0, 0, 2], 3);
    let rare = weights[3];
    assert!((weights[..3].iter().sum::<f32>() - rare).abs() < 1e-6, "{weights:?}");
}
