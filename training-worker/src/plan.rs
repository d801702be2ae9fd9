//! In which order families are trained: what is expected to gain most for each second comes first.
//!
//! So the first bundle is there within moments, each further one is better, and when the budget
//! ends the most useful part of the work is done (the lazy training of MLIoT's slides).

use models::Family;

use crate::{
    fit::{Recipe, boosted, forest, knn, mlp, rbf_svm},
    knowledge::Knowledge,
};

/// How much there is to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Training rows.
    pub rows: usize,
    /// Values per row.
    pub width: usize,
    /// Classes.
    pub classes: usize,
}

/// The recipes of `families` (all when it is empty), in the order they should be fitted where nothing
/// is known of earlier trainings.
#[must_use]
pub fn order(families: &[Family], size: Size) -> Vec<Recipe> {
    order_by(&Knowledge::default(), families, size)
}

/// The same, by how long fits took in earlier trainings.
///
/// Total and deterministic: families that promise the same stand in their stable order.
#[must_use]
pub fn order_by(knowledge: &Knowledge, families: &[Family], size: Size) -> Vec<Recipe> {
    let asked = |family: &Family| families.is_empty() || families.contains(family);
    let mut recipes: Vec<(f64, Recipe)> = Family::ALL
        .into_iter()
        .filter(asked)
        .map(|family| {
            let recipe = recipe(family, size);
            let seconds = knowledge.pace(family) * heard(&recipe, size);
            (gain(family) / (seconds + START_SECONDS), recipe)
        })
        .collect();
    recipes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.family().cmp(&b.1.family())));
    recipes.into_iter().map(|(_, recipe)| recipe).collect()
}

/// In how many folds the training rows are parted: more tell more about small data, where they cost
/// next to nothing; large data have enough to tell in two.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn folds(size: Size) -> usize {
    let once: f64 =
        Family::ALL.into_iter().map(|family| seconds(&recipe(family, size), size)).sum();
    (FOLDS_MIN..=FOLDS_MAX)
        .rev()
        .find(|&folds| once * (folds as f64) < ACROSS_SECONDS)
        .unwrap_or(FOLDS_MIN)
}

const FOLDS_MIN: usize = 2;
const FOLDS_MAX: usize = 5;
/// What the fits without each fold may take together before there are fewer folds.
const ACROSS_SECONDS: f64 = 10.0;

/// What every family costs, however little there is to learn: its votes, a bundle, a report.
pub(crate) const START_SECONDS: f64 = 0.05;

/// Trees of all classes of a boosted member.
const BOOSTED_TREES_MAX: usize = 4_000;

/// From so many values on, an RBF SVM sees principal components: on MNIST (33 million) that is ten
/// times faster and a quarter of a point better, on HAPT (5 million) half a point worse.
const PROJECTED_MIN: usize = 10_000_000;

/// Of fewer rows a network learns what its beginning makes of them: on gas drift two that differ only in
/// that were right in 57 % and 80 % of the next batch.
const NETS_ROWS: usize = 3_000;
/// Then the mean of so many answers.
const NETS: usize = 5;
/// Steps of each of them: together they see rows twice as often as one would.
const NETS_STEPS: usize = 300;

/// The settings of a family for so much to learn from.
#[must_use]
pub fn recipe(family: Family, size: Size) -> Recipe {
    match Recipe::of(family) {
        Recipe::Boosted(settings) => Recipe::Boosted(boosted::Settings {
            rounds: settings.rounds.min(BOOSTED_TREES_MAX / size.classes.max(1)).max(4),
            ..settings
        }),
        Recipe::Forest(settings) => Recipe::Forest(forest::Settings {
            // Of few columns, two or three are too few to choose from.
            columns: if size.width < 32 { 1.5 } else { settings.columns },
            ..settings
        }),
        // Many rows fill the directions that matter; of few, every column says something.
        Recipe::RbfSvm(settings) if PROJECTED_MIN <= size.rows * size.width => {
            let components = Some(knn::Settings::default().components);
            Recipe::RbfSvm(rbf_svm::Settings { components, ..settings })
        }
        Recipe::Mlp(settings) if size.rows < NETS_ROWS => {
            Recipe::Mlp(mlp::Settings { nets: NETS, steps_min: NETS_STEPS, ..settings })
        }
        same @ (Recipe::Knn(_)
        | Recipe::Ridge(_)
        | Recipe::LinearSvm(_)
        | Recipe::RbfSvm(_)
        | Recipe::Mlp(_)
        | Recipe::Logistic(_)
        | Recipe::Lda(_)) => same,
    }
}

/// How much a family lowers the error of the ensemble, as a share, where nothing else is known: from
/// its accuracy on the data sets of our yardsticks.
fn gain(family: Family) -> f64 {
    match family {
        Family::RbfSvm => 1.0,
        Family::Boosted | Family::Mlp => 0.9,
        Family::Lda => 0.85,
        Family::Ridge | Family::LinearSvm | Family::Logistic => 0.8,
        Family::Forest => 0.75,
        Family::Knn => 0.6,
    }
}

/// How long a fit takes on one thread of a machine of today, roughly: to compare families, and to
/// leave out what does not fit into the rest of a budget.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn seconds(recipe: &Recipe, size: Size) -> f64 {
    let (rows, width, classes) = (size.rows as f64, size.width as f64, size.classes as f64);
    // Nanoseconds of a multiply-add in a matrix product, in a stream, of a step in a tree, and of an
    // exponential.
    let (product, stream, step, exponential) = (0.03, 0.1, 8.0, 5.0);
    let nanoseconds = match recipe {
        Recipe::Knn(_) => rows * width * width.min(rows) * product,
        Recipe::Ridge(_) | Recipe::Lda(_) => (rows + width) * width * width.min(rows) * product,
        Recipe::LinearSvm(settings) => {
            // Of many passes most are over the few rows that are still in play.
            0.3 * settings.passes as f64 * classes * rows * width * 2.0 * stream
        }
        Recipe::Logistic(settings) => {
            settings.steps as f64 * classes * rows * (width * stream + exponential)
        }
        Recipe::Forest(settings) => {
            settings.trees as f64 * rows * rows.max(2.0).log2() * width.sqrt() * step
        }
        Recipe::Mlp(settings) => {
            let mut inputs = width;
            let mut weights = 0.0;
            for &outputs in settings.hidden.iter().chain([&size.classes]) {
                weights += inputs * outputs as f64;
                inputs = outputs as f64;
            }
            let seen =
                (settings.passes as f64 * rows).max((settings.steps_min * settings.batch) as f64);
            seen * weights * 3.0 * product * settings.nets as f64
        }
        Recipe::Boosted(settings) => {
            let columns = (width * settings.columns).max(settings.columns_min as f64).min(width);
            let trees = settings.rounds as f64 * classes;
            trees * rows * columns * settings.depth as f64 * 0.7
        }
        // Rows that any pair of classes leans on grow with the rows; each needs its kernel row.
        Recipe::RbfSvm(settings) => {
            let seen = settings.components.map_or(width, |most| width.min(most as f64));
            rows * rows * (0.27 * seen * product + 0.44)
        }
    };
    nanoseconds * 1e-9
}

/// How long it takes to hear of a family: those that go by distances are fitted twice, on components and
/// on discriminants (docs/decisions/0031-distances-in-what-tells-classes-apart.md).
#[must_use]
pub fn heard(recipe: &Recipe, size: Size) -> f64 {
    let times = match recipe.family() {
        Family::Knn | Family::RbfSvm => 2.0,
        Family::Ridge
        | Family::Forest
        | Family::LinearSvm
        | Family::Mlp
        | Family::Boosted
        | Family::Logistic
        | Family::Lda => 1.0,
    };
    times * seconds(recipe, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAPT: Size = Size { rows: 8_425, width: 561, classes: 13 };

    #[test]
    fn the_first_member_takes_a_small_part_of_the_whole() {
        let order = order(&[], HAPT);
        let costs: Vec<f64> = order.iter().map(|recipe| seconds(recipe, HAPT)).collect();
        assert_eq!(order.len(), Family::ALL.len());
        assert!(costs[0] * 20.0 < costs.iter().sum(), "{costs:?}");
    }

    #[test]
    fn only_what_is_asked_for_is_planned() {
        let order = order(&[Family::Forest, Family::Ridge], HAPT);
        let families: Vec<Family> = order.iter().map(Recipe::family).collect();
        assert_eq!(families, [Family::Ridge, Family::Forest]);
    }

    #[test]
    fn many_classes_do_not_make_boosting_endless() {
        let Recipe::Boosted(settings) = recipe(Family::Boosted, Size { classes: 1_000, ..HAPT })
        else {
            panic!()
        };
        assert_eq!(settings.rounds, 4);
    }
}
