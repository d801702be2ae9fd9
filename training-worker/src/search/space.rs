//! The settings that are searched, family by family, and from where to where.

use models::Family;

use crate::{
    fit::{Recipe, boosted, forest, knn, lda, linear_svm, logistic, mlp, rbf_svm, ridge},
    plan::{self, Size},
};

/// A setting that is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// As in the settings of the family.
    pub name: &'static str,
    /// The least value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
    /// How values lie between them.
    pub scale: Scale,
}

/// How a setting is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Even,
    /// Evenly in its logarithm.
    Log,
}

const fn even(name: &'static str, low: f64, high: f64) -> Side {
    Side { name, low, high, scale: Scale::Even }
}

const fn log(name: &'static str, low: f64, high: f64) -> Side {
    Side { name, low, high, scale: Scale::Log }
}

/// 1 for discriminants of the classes, 0 for other columns.
const DISCRIMINANTS: Side = even("discriminants", 0.0, 1.0);

/// What is searched of `family`. Everything else stays as [`plan::recipe`] has it.
#[must_use]
pub fn of(family: Family) -> &'static [Side] {
    match family {
        Family::Knn => {
            const { &[log("k", 1.0, 25.0), log("components", 8.0, 128.0), DISCRIMINANTS] }
        }
        Family::Ridge => const { &[log("alpha", 1e-5, 1e-1)] },
        Family::Logistic => const { &[log("alpha", 1e-6, 1e-1)] },
        Family::Lda => const { &[log("shrinkage", 1e-3, 1.0)] },
        Family::Forest => const { &[log("columns", 0.3, 3.0), even("rows_min", 1.0, 6.0)] },
        Family::LinearSvm => const { &[log("cost", 1e-4, 1.0)] },
        Family::RbfSvm => {
            const { &[log("cost", 0.5, 100.0), log("gamma", 0.1, 4.0), DISCRIMINANTS] }
        }
        Family::Mlp => {
            const {
                &[
                    log("hidden", 48.0, 384.0),
                    log("decay", 1e-4, 1e-1),
                    even("dropout", 0.0, 0.5),
                    log("rate", 3e-4, 3e-3),
                ]
            }
        }
        Family::Boosted => {
            const {
                &[
                    even("depth", 3.0, 8.0),
                    log("rate", 0.06, 0.4),
                    log("columns", 0.05, 1.0),
                    log("lambda", 0.3, 10.0),
                ]
            }
        }
    }
}

/// The recipe at a point of the unit cube, one value for each side of [`of`].
///
/// # Panics
///
/// When `point` has fewer values than `family` has sides.
#[must_use]
pub fn at(family: Family, point: &[f64], size: Size) -> Recipe {
    let values: Vec<f64> =
        of(family).iter().zip(point).map(|(&side, &at)| between(side, at)).collect();
    set(plan::recipe(family, size), &values)
}

/// The recipe of `family` with these settings, as a report names them. What is not named, or lies
/// outside the space, stays or comes as near as it may.
#[must_use]
pub fn with<'a>(
    family: Family,
    settings: impl Iterator<Item = (&'a str, f64)> + Clone,
    size: Size,
) -> Recipe {
    let start = plan::recipe(family, size);
    let named = |(side, value): (&Side, f64)| {
        let given = settings.clone().find(|(name, value)| *name == side.name && value.is_finite());
        given.map_or(value, |(_, given)| given.clamp(side.low, side.high))
    };
    let found: Vec<f64> = of(family).iter().zip(values(&start)).map(named).collect();
    set(start, &found)
}

/// The searched settings of `recipe`, with their names.
pub fn settings(recipe: &Recipe) -> impl Iterator<Item = (&'static str, f64)> + Clone + use<> {
    of(recipe.family()).iter().map(|side| side.name).zip(values(recipe))
}

/// A value for each side of the family's space.
fn values(recipe: &Recipe) -> Vec<f64> {
    match recipe {
        Recipe::Knn(it) => {
            vec![count(it.k), count(it.components), either(it.discriminants)]
        }
        Recipe::Ridge(it) => vec![it.alpha],
        Recipe::Logistic(it) => vec![it.alpha],
        Recipe::Lda(it) => vec![it.shrinkage],
        Recipe::Forest(it) => vec![it.columns, count(it.rows_min)],
        Recipe::LinearSvm(it) => vec![f64::from(it.cost)],
        Recipe::RbfSvm(it) => vec![it.cost, it.gamma, either(it.discriminants)],
        Recipe::Mlp(it) => {
            let hidden = it.hidden.first().copied().unwrap_or(0);
            vec![count(hidden), it.decay, it.dropout, it.rate]
        }
        Recipe::Boosted(it) => vec![count(it.depth), it.rate, it.columns, it.lambda],
    }
}

/// `recipe` with other values of what is searched.
fn set(recipe: Recipe, values: &[f64]) -> Recipe {
    let whole = |at: usize| nearest(values[at]);
    match recipe {
        Recipe::Knn(_) => Recipe::Knn(knn::Settings {
            k: whole(0),
            components: whole(1),
            discriminants: 0 < whole(2),
        }),
        Recipe::Ridge(_) => Recipe::Ridge(ridge::Settings { alpha: values[0] }),
        Recipe::Forest(it) => {
            Recipe::Forest(forest::Settings { columns: values[0], rows_min: whole(1), ..it })
        }
        Recipe::Logistic(it) => Recipe::Logistic(logistic::Settings { alpha: values[0], ..it }),
        Recipe::Lda(_) => Recipe::Lda(lda::Settings { shrinkage: values[0] }),
        Recipe::LinearSvm(it) => {
            Recipe::LinearSvm(linear_svm::Settings { cost: narrow(values[0]), ..it })
        }
        Recipe::RbfSvm(it) => {
            let (cost, gamma, discriminants) = (values[0], values[1], 0 < whole(2));
            Recipe::RbfSvm(rbf_svm::Settings { cost, gamma, discriminants, ..it })
        }
        Recipe::Mlp(it) => Recipe::Mlp(mlp::Settings {
            hidden: vec![whole(0)],
            decay: values[1],
            dropout: values[2],
            rate: values[3],
            ..it
        }),
        Recipe::Boosted(it) => Recipe::Boosted(boosted::Settings {
            depth: whole(0),
            rate: values[1],
            columns: values[2],
            lambda: values[3],
            ..it
        }),
    }
}

fn either(it: bool) -> f64 {
    f64::from(u8::from(it))
}

fn between(Side { low, high, scale, .. }: Side, at: f64) -> f64 {
    let at = at.clamp(0.0, 1.0);
    match scale {
        Scale::Even => low + at * (high - low),
        Scale::Log => low * (high / low).powf(at),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a setting lies between two small counts"
)]
fn nearest(value: f64) -> usize {
    value.round() as usize
}

#[expect(clippy::cast_precision_loss, reason = "settings are small")]
fn count(value: usize) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { rows: 8_000, width: 100, classes: 6 };

    #[test]
    fn every_corner_of_every_space_is_a_recipe_of_its_family() {
        for family in Family::ALL {
            for corner in [0.0, 0.5, 1.0] {
                let recipe = at(family, &vec![corner; of(family).len()], SIZE);
                assert_eq!(recipe.family(), family);
                for (side, (name, value)) in of(family).iter().zip(settings(&recipe)) {
                    assert_eq!(side.name, name);
                    let slack = 1e-6 * side.high;
                    assert!(
                        side.low - slack <= value && value <= side.high + slack,
                        "{name} {value}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_a_family_starts_with_lies_inside_its_space() {
        for family in Family::ALL {
            let start = Recipe::of(family);
            for (side, (name, value)) in of(family).iter().zip(settings(&start)) {
                let slack = 1e-6 * side.high;
                assert!(side.low - slack <= value && value <= side.high + slack, "{name} {value}");
            }
        }
    }

    #[test]
    fn settings_that_a_report_names_make_the_same_recipe_again() {
        for family in Family::ALL {
            let recipe = at(family, &vec![0.3; of(family).len()], SIZE);
            assert_eq!(with(family, settings(&recipe), SIZE), recipe);
        }
        let start = plan::recipe(Family::Ridge, SIZE);
        assert_eq!(with(Family::Ridge, [("alpha", f64::NAN)].into_iter(), SIZE), start);
        assert_eq!(with(Family::Ridge, [("beta", 1.0)].into_iter(), SIZE), start);
    }
}
