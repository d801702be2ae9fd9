//! What earlier trainings tell of families: how long each takes beside what was expected.
//!
//! A value without clock or I/O, drawn from what the scheduler tells of trainings of this task and of
//! others. Where little is known, it moves the plan little; how good a family was elsewhere is not
//! asked, since that helped nobody (docs/decisions/0032-families-take-as-long-as-they-took.md).

use std::collections::BTreeMap;

use models::Family;
use proto::v1::{EarlierTraining, FamilyFit};

use crate::{
    fit::Recipe,
    plan::{self, Size},
    search::space,
};

/// Trainings that are listened to.
const TRAININGS_MAX: usize = 64;
/// The plan's own estimate counts as much as so many trainings of other tasks.
const TRUST: f64 = 2.0;
/// An earlier training of the same task counts as much as so many of others.
const OWN: f64 = 4.0;
/// A fit that took so many times longer, or shorter, tells of an odd hour and not of its family.
const PACE_MAX: f64 = 20.0;
/// Sizes beyond these are no sizes of a training.
const ROWS_MAX: u64 = 1 << 32;
const COLUMNS_MAX: u32 = 1 << 20;
const CLASSES_MAX: u32 = 1 << 16;

/// What is known of families; by default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knowledge {
    families: BTreeMap<Family, Known>,
    others: usize,
    own: bool,
}

/// Sums over trainings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    /// Logarithms of paces, each times what it counts.
    pace: f64,
    counted: f64,
}

impl Knowledge {
    /// What `earlier` tells. It comes from outside: what makes no sense is passed over.
    #[must_use]
    pub fn of(earlier: &[EarlierTraining]) -> Self {
        let mut knowledge = Self::default();
        for training in earlier.iter().take(TRAININGS_MAX) {
            let paces = paces(training);
            // One alone compares with nobody.
            if paces.len() < 2 {
                continue;
            }
            let counts = if training.own { OWN } else { 1.0 };
            for (family, pace) in paces {
                let known = knowledge.families.entry(family).or_default();
                known.pace += counts * pace;
                known.counted += counts;
            }
            knowledge.own |= training.own;
            knowledge.others += usize::from(!training.own);
        }
        knowledge
    }

    /// How many times longer than expected a family takes, beside the others; 1 where nothing is known.
    #[must_use]
    pub fn pace(&self, family: Family) -> f64 {
        let Known { pace, counted } = self.families.get(&family).copied().unwrap_or_default();
        (pace / (TRUST + counted)).exp()
    }

    /// `order` in words, and why it is so: `order: ridge, knn x2.6; how long fits take is learnt from 2
    /// other tasks`. What takes about as long as planned has no number.
    #[must_use]
    pub fn explain(&self, order: &[Recipe]) -> String {
        let named = |recipe: &Recipe| {
            let (family, pace) = (recipe.family(), self.pace(recipe.family()));
            let told =
                if (0.9..1.1).contains(&pace) { String::new() } else { format!(" x{pace:.1}") };
            format!("{}{told}", family.name())
        };
        let order: Vec<String> = order.iter().map(named).collect();
        let own = self.own.then(|| "this one".to_owned());
        let others = match self.others {
            0 => None,
            1 => Some("1 other task".to_owned()),
            more => Some(format!("{more} other tasks")),
        };
        let source =
            own.into_iter().chain(others).reduce(|own, others| format!("{own} and {others}"));
        let source = source.unwrap_or_else(|| "no task yet".to_owned());
        format!("order: {}; how long fits take is learnt from {source}", order.join(", "))
    }
}

/// Logarithm of what each family took over what was expected, less their median: machine, threads and
/// folds make all of them slower alike.
fn paces(training: &EarlierTraining) -> BTreeMap<Family, f64> {
    let Some(size) = size(training) else { return BTreeMap::new() };
    let mut paces = BTreeMap::new();
    for fit in &training.families {
        if let Some((family, pace)) = pace(fit, size) {
            paces.entry(family).or_insert(pace);
        }
    }
    let usual = median(paces.values().copied().collect());
    let most = PACE_MAX.ln();
    paces.values_mut().for_each(|pace| *pace = (*pace - usual).clamp(-most, most));
    paces
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or_default();
    f64::midpoint(middle(values.len().saturating_sub(1) / 2), middle(values.len() / 2))
}

#[expect(clippy::cast_precision_loss, reason = "a few folds")]
fn pace(fit: &FamilyFit, size: Size) -> Option<(Family, f64)> {
    let family = Family::parse(&fit.family)?;
    if !(fit.seconds.is_finite() && 0.0 < fit.seconds) {
        return None;
    }
    let settings = fit.settings.iter().map(|it| (it.name.as_str(), it.value));
    let recipe = space::with(family, settings, size);
    // What is learnt without each fold, and from all rows, is together about one fit for each fold.
    let took = fit.seconds / plan::folds(size) as f64;
    let expected = plan::heard(&recipe, size);
    // The start is in both: of what takes no time at all, no ratio tells anything.
    Some((family, ((took + plan::START_SECONDS) / (expected + plan::START_SECONDS)).ln()))
}

fn size(training: &EarlierTraining) -> Option<Size> {
    let EarlierTraining { training_rows, width, classes, .. } = *training;
    let makes_sense = (1..=ROWS_MAX).contains(&training_rows)
        && (1..=COLUMNS_MAX).contains(&width)
        && (2..=CLASSES_MAX).contains(&classes);
    let rows = usize::try_from(training_rows).ok().filter(|_| makes_sense)?;
    let (width, classes) = (usize::try_from(width).ok()?, usize::try_from(classes).ok()?);
    rows.checked_mul(width).map(|_| Size { rows, width, classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAPT: Size = Size { rows: 8_425, width: 561, classes: 13 };
    const SLOW: [Family; 3] = [Family::RbfSvm, Family::Mlp, Family::Boosted];

    /// A training of this size: how many times longer than expected each family took.
    fn training(own: bool, families: &[(Family, f64)]) -> EarlierTraining {
        let folds = f64::from(u32::try_from(plan::folds(HAPT)).unwrap());
        let fit = |&(family, longer): &(Family, f64)| FamilyFit {
            family: family.name().to_owned(),
            seconds: folds * longer * plan::heard(&plan::recipe(family, HAPT), HAPT),
            settings: Vec::new(),
        };
        EarlierTraining {
            own,
            training_rows: 8_425,
            width: 561,
            classes: 13,
            families: families.iter().map(fit).collect(),
        }
    }

    /// One in which this family took so many times longer, and others as long as expected.
    fn slow(own: bool, family: Family, longer: f64) -> EarlierTraining {
        training(own, &SLOW.map(|it| (it, if it == family { longer } else { 1.0 })))
    }

    fn order(knowledge: &Knowledge) -> Vec<Family> {
        plan::order_by(knowledge, &SLOW, HAPT).iter().map(Recipe::family).collect()
    }

    #[test]
    fn nothing_known_leaves_the_plan_as_it_is() {
        for earlier in [vec![], vec![training(true, &[(Family::Knn, 9.0)])]] {
            let knowledge = Knowledge::of(&earlier);
            assert_eq!(knowledge, Knowledge::default());
            assert_eq!(plan::order_by(&knowledge, &[], HAPT), plan::order(&[], HAPT));
        }
    }

    #[test]
    fn a_family_that_took_longer_than_expected_comes_later() {
        let before = order(&Knowledge::default());
        let knowledge = Knowledge::of(&vec![slow(false, before[0], 15.0); 30]);
        assert!(5.0 < knowledge.pace(before[0]));
        let others = knowledge.pace(before[1]);
        assert!((0.99..1.01).contains(&others), "not their fault: {others}");
        assert_ne!(order(&knowledge)[0], before[0]);
        assert_eq!(knowledge.pace(Family::Knn).to_bits(), 1.0_f64.to_bits(), "nobody saw it");
    }

    #[test]
    fn a_machine_that_is_slow_for_all_says_nothing_of_any() {
        let knowledge = Knowledge::of(&[training(false, &SLOW.map(|family| (family, 7.0)))]);
        for family in SLOW {
            let pace = knowledge.pace(family);
            assert!((0.95..1.05).contains(&pace), "{} {pace}", family.name());
        }
    }

    #[test]
    fn one_odd_hour_moves_little_and_many_witnesses_decide() {
        let pace = |times: usize| {
            Knowledge::of(&vec![slow(false, Family::Mlp, 15.0); times]).pace(Family::Mlp)
        };
        assert!(1.0 < pace(1) && pace(1) < 3.0, "{}", pace(1));
        assert!(5.0 < pace(60), "{}", pace(60));
        // Of more than the most, none is heard.
        assert_eq!(pace(TRAININGS_MAX).to_bits(), pace(9_000).to_bits());
    }

    #[test]
    fn its_own_earlier_training_counts_most() {
        let others = vec![slow(false, Family::Mlp, 9.0); 3];
        let own = [others, vec![slow(true, Family::Boosted, 9.0)]].concat();
        let knowledge = Knowledge::of(&own);
        assert!(knowledge.pace(Family::Mlp) < knowledge.pace(Family::Boosted));
    }

    #[test]
    fn the_order_says_where_it_comes_from() {
        let said = |earlier: &[EarlierTraining]| {
            let order = [plan::recipe(Family::Ridge, HAPT), plan::recipe(Family::Mlp, HAPT)];
            Knowledge::of(earlier).explain(&order)
        };
        let nothing = "order: ridge, mlp; how long fits take is learnt from no task yet";
        assert_eq!(said(&[]), nothing);
        let own = training(true, &SLOW.map(|it| (it, 1.0)));
        let other = slow(false, Family::Mlp, 9.0);
        assert_eq!(said(std::slice::from_ref(&own)), nothing.replace("no task yet", "this one"));
        assert!(said(std::slice::from_ref(&other)).starts_with("order: ridge, mlp x2."));
        assert!(said(&[own, other.clone()]).ends_with("learnt from this one and 1 other task"));
        assert!(said(&[other.clone(), other]).ends_with("learnt from 2 other tasks"));
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let good = training(false, &[(Family::Forest, 3.0), (Family::Ridge, 1.0)]);
        let with = |spoil: &dyn Fn(&mut EarlierTraining)| {
            let mut training = good.clone();
            spoil(&mut training);
            Knowledge::of(&[training])
        };
        let nothing = Knowledge::default();
        assert_ne!(with(&|_| ()), nothing);
        assert_eq!(with(&|it| it.training_rows = 0), nothing);
        assert_eq!(with(&|it| it.training_rows = u64::MAX), nothing);
        assert_eq!(with(&|it| it.width = u32::MAX), nothing);
        assert_eq!(with(&|it| it.classes = 1), nothing);
        assert_eq!(with(&|it| it.families[0].family = "oracle".to_owned()), nothing);
        assert_eq!(with(&|it| it.families[0].family = "ridge".to_owned()), nothing, "one family");
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(with(&|it| it.families[0].seconds = seconds), nothing);
        }
        for value in [f64::NAN, f64::MAX, f64::MIN] {
            let knowledge = with(&|it| {
                let setting = proto::v1::Setting { name: "columns".to_owned(), value };
                it.families[0].settings = vec![setting; 3];
                it.families[0].seconds = f64::MAX;
                it.training_rows = ROWS_MAX;
                it.width = COLUMNS_MAX;
            });
            let pace = knowledge.pace(Family::Forest);
            assert!(1.0 < pace && pace < PACE_MAX, "{pace}");
        }
    }
}
