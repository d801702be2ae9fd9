//! What a fit will take, estimated before anything is taken.
//!
//! The estimate counts the arrays that grow with the task, rows that are given not included. It errs
//! on the large side, so that a fit which begins does not end the process.

use super::{FitError, Lesson, Recipe, logistic, matrix::BLOCK_ROWS};

/// What a fit may take when nobody says otherwise: seven members of a task as large as MNIST are
/// trained within half a gigabyte.
pub const MEMORY_MAX: u64 = 384 << 20;

/// Refuses a fit that would take more than it may.
///
/// # Errors
///
/// [`FitError::TooLarge`], with what would be too large.
pub(super) fn check(recipe: &Recipe, lesson: &Lesson<'_>) -> Result<(), FitError> {
    let (what, bytes) = estimate(recipe, lesson);
    let limit = lesson.memory_max;
    if bytes <= limit { Ok(()) } else { Err(FitError::TooLarge { what, bytes, limit }) }
}

fn estimate(recipe: &Recipe, lesson: &Lesson<'_>) -> (&'static str, u64) {
    let count = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
    let (rows, width) = (count(lesson.samples.len()), count(lesson.samples.width()));
    let (classes, threads) = (count(lesson.classes), count(lesson.threads.max(1)));
    let times = |parts: &[u64]| parts.iter().fold(1_u64, |all, &part| all.saturating_mul(part));
    let sum = |parts: &[u64]| parts.iter().fold(0_u64, |all, &part| all.saturating_add(part));
    match recipe {
        Recipe::Knn(_) => ("the rows of the model", times(&[rows, width, 4])),
        Recipe::Ridge(_) | Recipe::Lda(_) => {
            let order = rows.min(width);
            // Sums in both precisions and a factor; in the dual the rows in double precision too.
            let dual = if rows < width { times(&[rows, width, 8]) } else { 0 };
            let equations = sum(&[times(&[order, order, 28]), dual]);
            ("the equations", sum(&[equations, times(&[classes, width, 44])]))
        }
        Recipe::Forest(settings) => {
            let growing = times(&[threads, rows, 28]);
            let pure = times(&[classes, classes, 4]);
            let trees = times(&[count(settings.trees), rows, 2, 13]);
            ("the trees", sum(&[times(&[rows, width, 2]), growing, pure, trees]))
        }
        Recipe::LinearSvm(_) => {
            let planes = times(&[classes, width, 4]);
            ("what each row says of each class", sum(&[times(&[rows, classes, 5]), planes]))
        }
        Recipe::Logistic(_) => {
            let remembered = times(&[classes, width, logistic::BYTES_OF_A_WEIGHT]);
            let block = times(&[count(BLOCK_ROWS).min(rows), classes, 4]);
            ("the weights", sum(&[remembered, block]))
        }
        Recipe::RbfSvm(settings) => {
            let pairs = times(&[classes, classes.saturating_sub(1), 40]);
            let said = times(&[rows, classes.saturating_sub(1), 12]);
            let kept = times(&[rows, rows, 4]).min(count(settings.cache_bytes));
            let pair = sum(&[kept, times(&[rows, width, 4])]);
            ("the pairs of classes", sum(&[pairs, said, times(&[threads, pair])]))
        }
        Recipe::Mlp(settings) => {
            let (mut inputs, mut weights, mut values) = (width, 0_u64, width);
            for outputs in settings.hidden.iter().copied().map(count).chain([classes]) {
                weights = sum(&[weights, times(&[inputs, outputs])]);
                values = sum(&[values, outputs]);
                inputs = outputs;
            }
            let batch = times(&[count(settings.batch), values, 8]);
            let nets = count(settings.nets.max(1));
            ("the weights", times(&[nets, sum(&[times(&[weights, 32]), batch])]))
        }
        Recipe::Boosted(settings) => {
            let depth = u32::try_from(settings.depth).unwrap_or(u32::MAX);
            let leaves = 2_u64.saturating_pow(depth).min(rows);
            let trees = times(&[count(settings.rounds), classes, leaves, 2, 17]);
            let scores = times(&[rows, classes, 8]);
            let columns = width.min(count(settings.columns_in(lesson.samples.width())));
            let places = times(&[rows, columns, 8]);
            let bins = count(settings.bins.min(256)).min(rows);
            let histograms = times(&[columns, bins, 8, u64::from(depth).saturating_add(3)]);
            ("the trees", sum(&[times(&[rows, width]), scores, places, histograms, trees]))
        }
    }
}
