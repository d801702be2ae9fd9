//! Our fits beside those of the libraries that do the same, on small data: as accurate, and where
//! the problem has one solution, the same answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use linfa::prelude::*;
use models::{Family, Features, Model, member::Buffers};
use ndarray::{Array1, Array2};
use smartcore::{
    linalg::basic::matrix::DenseMatrix,
    linear::ridge_regression::{RidgeRegression, RidgeRegressionParameters},
    neighbors::knn_classifier::{KNNClassifier, KNNClassifierParameters},
};
use training_worker::{
    draw::Draw,
    fit::{Lesson, Recipe, Stop, fit, rbf_svm, ridge},
};

const WIDTH: usize = 4;

/// Rows of two rings that overlap: no line parts them.
fn rings(rows: usize, seed: u64) -> (Vec<Vec<f64>>, Vec<u16>) {
    let mut draw = Draw::new(seed);
    let samples = (0..rows).map(|row| {
        let radius = if row % 2 == 0 { 1.0 } else { 2.2 };
        let direction: Vec<f64> = (0..WIDTH).map(|_| draw.normal()).collect();
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        let far = radius + 0.3 * draw.normal();
        direction.iter().map(|x| x / length * far).collect()
    });
    (samples.collect(), (0_u16..2).cycle().take(rows).collect())
}

/// Rows of two clouds that a plane parts, but for a few.
fn clouds(rows: usize, seed: u64) -> (Vec<Vec<f64>>, Vec<u16>) {
    let mut draw = Draw::new(seed);
    let samples = (0..rows).map(|row| {
        let centre = if row % 2 == 0 { -0.6 } else { 0.6 };
        (0..WIDTH).map(|_| centre + draw.normal()).collect()
    });
    (samples.collect(), (0_u16..2).cycle().take(rows).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "test data")]
fn features(rows: &[Vec<f64>]) -> Features {
    Features::new(WIDTH, rows.iter().flatten().map(|&x| x as f32).collect()).unwrap()
}

fn fitted(recipe: &Recipe, rows: &[Vec<f64>], labels: &[u16]) -> Model {
    let samples = features(rows);
    let stop = Stop::default();
    let lesson = Lesson::new(&samples, labels, 2, &stop);
    fit(recipe, &lesson).unwrap()
}

fn answers(model: &Model, rows: &[Vec<f64>]) -> Vec<u16> {
    let (mut scores, mut buffers) = ([0.0; 2], Buffers::default());
    features(rows).rows().map(|row| model.vote(row, &mut scores, &mut buffers).0).collect()
}

/// The share of places where two lists agree.
fn share(a: &[u16], b: &[u16]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

/// The variance of all columns together.
fn variance(rows: &[Vec<f64>]) -> f64 {
    let count = rows.len() as f64;
    let of = |column: usize| {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / count;
        rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / count
    };
    (0..WIDTH).map(of).sum()
}

fn matrix(rows: &[Vec<f64>]) -> DenseMatrix<f64> {
    DenseMatrix::from_2d_vec(&rows.to_vec()).unwrap()
}

fn array(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_vec((rows.len(), WIDTH), rows.concat()).unwrap()
}

#[test]
fn knn_answers_as_smartcore_does() {
    let ((rows, labels), (asked, _)) = (rings(400, 1), rings(400, 2));
    let ours = answers(&fitted(&Recipe::of(Family::Knn), &rows, &labels), &asked);
    let named: Vec<i32> = labels.iter().copied().map(i32::from).collect();
    let parameters = KNNClassifierParameters::default().with_k(5);
    let peer = KNNClassifier::fit(&matrix(&rows), &named, parameters).unwrap();
    let theirs: Vec<u16> = peer
        .predict(&matrix(&asked))
        .unwrap()
        .into_iter()
        .map(|class| u16::try_from(class).unwrap())
        .collect();
    assert_eq!(share(&ours, &theirs), 1.0);
}

#[test]
fn ridge_answers_as_smartcore_does() {
    let ((rows, labels), (asked, _)) = (clouds(400, 1), clouds(400, 2));
    let recipe = Recipe::Ridge(ridge::Settings { alpha: 1e-3 });
    let ours = answers(&fitted(&recipe, &rows, &labels), &asked);
    let targets: Vec<f64> = labels.iter().map(|&label| f64::from(label) * 2.0 - 1.0).collect();
    // Ours is in shares of the rows; theirs has no intercept, and these clouds need none.
    let parameters = RidgeRegressionParameters {
        alpha: 1e-3 * 400.0,
        normalize: false,
        ..RidgeRegressionParameters::default()
    };
    let peer = RidgeRegression::fit(&matrix(&rows), &targets, parameters).unwrap();
    let theirs: Vec<u16> = peer
        .predict(&matrix(&asked))
        .unwrap()
        .into_iter()
        .map(|score| u16::from(0.0 < score))
        .collect();
    assert!(0.99 < share(&ours, &theirs), "{}", share(&ours, &theirs));
}

#[test]
fn the_rbf_svm_answers_as_linfa_does() {
    let ((rows, labels), (asked, _)) = (rings(300, 1), rings(400, 2));
    let gamma = 0.5;
    // Ours is in shares of the variance of all columns together.
    let settings = rbf_svm::Settings {
        gamma: gamma * variance(&rows),
        cost: 5.0,
        tolerance: 1e-3,
        ..Default::default()
    };
    let ours = answers(&fitted(&Recipe::RbfSvm(settings), &rows, &labels), &asked);
    let targets: Array1<bool> = labels.iter().map(|&label| label == 1).collect();
    let peer = linfa_svm::Svm::<f64, bool>::params()
        .eps(1e-3)
        .pos_neg_weights(5.0, 5.0)
        .gaussian_kernel(1.0 / gamma)
        .fit(&linfa::Dataset::new(array(&rows), targets))
        .unwrap();
    let theirs: Vec<u16> = peer.predict(&array(&asked)).into_iter().map(u16::from).collect();
    assert!(0.99 < share(&ours, &theirs), "{}", share(&ours, &theirs));
}

#[test]
fn forest_and_boosted_trees_are_more_accurate_than_a_tree_of_linfa() {
    let ((rows, labels), (asked, truth)) = (rings(600, 1), rings(600, 2));
    let targets: Array1<usize> = labels.iter().copied().map(usize::from).collect();
    let peer = linfa_trees::DecisionTree::<f64, usize>::params()
        .fit(&linfa::Dataset::new(array(&rows), targets))
        .unwrap();
    let tree: Vec<u16> = peer
        .predict(&array(&asked))
        .into_iter()
        .map(|class| u16::try_from(class).unwrap())
        .collect();
    let tree = share(&tree, &truth);
    for family in [Family::Forest, Family::Boosted] {
        let ours = share(&answers(&fitted(&Recipe::of(family), &rows, &labels), &asked), &truth);
        assert!(tree < ours, "{}: {ours}, one tree: {tree}", family.name());
    }
}

#[test]
fn what_no_line_parts_is_learned_by_those_that_draw_no_line() {
    let ((rows, labels), (asked, truth)) = (rings(600, 1), rings(600, 2));
    for family in Family::ALL {
        let ours = share(&answers(&fitted(&Recipe::of(family), &rows, &labels), &asked), &truth);
        match family {
            Family::Ridge | Family::LinearSvm | Family::Logistic | Family::Lda => {
                assert!(ours < 0.65, "{}: {ours}", family.name());
            }
            Family::Knn | Family::Forest | Family::RbfSvm | Family::Mlp | Family::Boosted => {
                assert!(0.85 < ours, "{}: {ours}", family.name());
            }
        }
    }
}
