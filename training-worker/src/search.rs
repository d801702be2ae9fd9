//! Search for better settings: which trial comes next, and which settings have won.
//!
//! Successive halving (Jamieson and Talwalkar, 2016): many draws are tried on a part of the rows,
//! the best of them on all rows, and a winner is fitted like any member. The first draws of a family
//! are random, later ones are guided by those before (`guide`). What a family starts with runs along:
//! a draw that does not beat it there wins nothing.
//!
//! A value and functions (no clock, no I/O): the same seed and the same scores give the same trials,
//! so a search that was cut goes on by being told again what is known.

mod guide;
pub mod space;

use models::{Family, metrics::Share};

use crate::{
    draw::hash,
    fit::Recipe,
    plan::{self, Size},
};

/// How much of the rows a trial learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// One row in [`THIN`].
    Part,
    /// All rows of the fold.
    Whole,
}

/// One row in so many teaches the first rung.
pub const THIN: usize = 4;
/// Draws of a family before the best of them climb.
const DRAWS: usize = 6;
/// How many climb, beside what the family starts with.
const CLIMBERS: usize = 2;

/// A trial to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Counts from 0; what is told must name it.
    pub number: usize,
    /// What is fitted.
    pub recipe: Recipe,
    /// On how many rows.
    pub rung: Rung,
    /// Which draw of its round it is; 0 is what the family starts with.
    pub draw: usize,
}

/// What the search wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A trial.
    Try(Trial),
    /// These settings have beaten what their family had before: worth a member.
    Adopt(Recipe),
    /// The trials are spent.
    Done,
}

/// A draw of a round and how far it came.
#[derive(Clone, Debug)]
struct Candidate {
    recipe: Recipe,
    /// Where in the space of its family; `None` for what the family starts with.
    point: Option<Vec<f64>>,
    part: Option<Share>,
    whole: Option<Share>,
}

/// One family's draws of one round.
#[derive(Clone, Debug)]
struct Round {
    family: Family,
    candidates: Vec<Candidate>,
}

/// A search over the settings of some families.
#[derive(Clone, Debug)]
pub struct Search {
    size: Size,
    seed: u64,
    /// In the order in which they are searched, with the best settings known of each.
    incumbents: Vec<Recipe>,
    /// The family whose turn it is.
    turn: usize,
    round: Option<Round>,
    rounds: u64,
    /// The trial that waits for its score.
    asked: Option<Trial>,
    /// Points and scores of the first rung, for the guide.
    known: Vec<(Family, Vec<f64>, Share)>,
    made: usize,
    most: usize,
    adopt: Option<Recipe>,
}

impl Search {
    /// A search of at most `most` trials over `families` (all when empty), the one that promises
    /// most for each second first.
    #[must_use]
    pub fn new(families: &[Family], size: Size, most: usize, seed: u64) -> Self {
        Self {
            size,
            seed,
            incumbents: plan::order(families, size),
            turn: 0,
            round: None,
            rounds: 0,
            asked: None,
            known: Vec::new(),
            made: 0,
            most,
            adopt: None,
        }
    }

    /// How many trials were told.
    #[must_use]
    pub fn made(&self) -> usize {
        self.made
    }

    /// How many trials there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// What to do next. A trial is asked for again until its score is told.
    pub fn step(&mut self) -> Next {
        if let Some(recipe) = self.adopt.take() {
            return Next::Adopt(recipe);
        }
        if let Some(trial) = &self.asked {
            return Next::Try(trial.clone());
        }
        if self.most <= self.made || self.incumbents.is_empty() {
            return Next::Done;
        }
        let mut round = self.round.take().unwrap_or_else(|| self.begin());
        let (draw, rung) = match climb(&round) {
            Some(step) => step,
            None => (self.draw(&mut round), Rung::Part),
        };
        let recipe = round.candidates[draw].recipe.clone();
        self.round = Some(round);
        let trial = Trial { number: self.made, recipe, rung, draw };
        self.asked = Some(trial.clone());
        Next::Try(trial)
    }

    /// Says how a trial went: of its validation rows, how many were answered rightly. `None` for one
    /// that could not be fitted: it is as good as wrong everywhere.
    ///
    /// A score for another trial than the one asked for is ignored.
    pub fn tell(&mut self, number: usize, score: Option<Share>) {
        let Some(trial) = self.asked.take_if(|trial| trial.number == number) else { return };
        let Some(round) = &mut self.round else { return };
        let score = score.unwrap_or(Share { hits: 0, of: 1 });
        let candidate = &mut round.candidates[trial.draw];
        self.made += 1;
        match trial.rung {
            Rung::Part => {
                candidate.part = Some(score);
                if let Some(point) = &candidate.point {
                    self.known.push((round.family, point.clone(), score));
                }
            }
            Rung::Whole => candidate.whole = Some(score),
        }
        if is_over(round) {
            if let Some(recipe) = winner(round) {
                self.incumbents[self.turn] = recipe.clone();
                self.adopt = Some(recipe);
            }
            self.round = None;
            self.turn = (self.turn + 1) % self.incumbents.len();
        }
    }

    /// Leaves the family whose turn it is, for this round: its trials cost more than is left.
    pub fn skip(&mut self) {
        (self.round, self.asked) = (None, None);
        self.turn = (self.turn + 1) % self.incumbents.len().max(1);
    }

    /// A round of the family whose turn it is.
    fn begin(&mut self) -> Round {
        let recipe = self.incumbents[self.turn].clone();
        self.rounds += 1;
        let family = recipe.family();
        let first = Candidate { recipe, point: None, part: None, whole: None };
        Round { family, candidates: vec![first] }
    }

    /// One more draw; its place among the candidates.
    fn draw(&self, round: &mut Round) -> usize {
        let (family, at) = (round.family, round.candidates.len());
        let seed = hash(&[self.seed, self.rounds, at as u64]);
        let known = self.known.iter().filter(|(of, ..)| *of == family);
        let known: Vec<(&[f64], f64)> =
            known.map(|(_, point, score)| (point.as_slice(), score.value())).collect();
        let point = guide::draw(&known, space::of(family).len(), seed);
        let recipe = space::at(family, &point, self.size);
        round.candidates.push(Candidate { recipe, point: Some(point), part: None, whole: None });
        at
    }
}

/// The trial that a round needs besides further draws: first what the family starts with, at last
/// the best on all rows. `None` while draws are missing.
fn climb(round: &Round) -> Option<(usize, Rung)> {
    let waiting = round.candidates.iter().position(|candidate| candidate.part.is_none());
    if let Some(draw) = waiting {
        return Some((draw, Rung::Part));
    }
    if round.candidates.len() <= DRAWS {
        return None;
    }
    let climbers = climbers(round);
    let next = climbers.into_iter().find(|&draw| round.candidates[draw].whole.is_none());
    next.map(|draw| (draw, Rung::Whole))
}

/// Draws that are worth all rows, and what they have to beat: itself alone when no draw beat it.
fn climbers(round: &Round) -> Vec<usize> {
    let score = |draw: usize| round.candidates[draw].part.map_or(0.0, Share::value);
    let mut draws: Vec<usize> =
        (1..round.candidates.len()).filter(|&draw| score(0) <= score(draw)).collect();
    draws.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    draws.truncate(CLIMBERS);
    if !draws.is_empty() {
        draws.insert(0, 0);
    }
    draws
}

fn is_over(round: &Round) -> bool {
    DRAWS < round.candidates.len()
        && round.candidates.iter().all(|candidate| candidate.part.is_some())
        && climbers(round).into_iter().all(|draw| round.candidates[draw].whole.is_some())
}

/// The settings that beat what the family had before, on all rows.
fn winner(round: &Round) -> Option<Recipe> {
    let score = |candidate: &Candidate| candidate.whole.map_or(-1.0, Share::value);
    let (first, draws) = round.candidates.split_first()?;
    let best = draws.iter().reduce(|best, it| if score(best) < score(it) { it } else { best })?;
    (score(first) < score(best)).then(|| best.recipe.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::ridge;

    const SIZE: Size = Size { rows: 8_000, width: 100, classes: 6 };

    /// Plays a search against `score`; what it tried and what it adopted.
    fn play(mut search: Search, score: impl Fn(&Trial) -> f64) -> (Vec<Trial>, Vec<Recipe>) {
        let (mut tried, mut adopted) = (Vec::new(), Vec::new());
        loop {
            match search.step() {
                Next::Done => return (tried, adopted),
                Next::Adopt(recipe) => adopted.push(recipe),
                Next::Try(trial) => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a share of a million"
                    )]
                    let hits = (score(&trial) * 1e6) as u64;
                    search.tell(trial.number, Some(Share { hits, of: 1_000_000 }));
                    tried.push(trial);
                }
            }
        }
    }

    /// Best where `alpha` is 10⁻².
    fn ridges(trial: &Trial) -> f64 {
        let Recipe::Ridge(ridge::Settings { alpha }) = &trial.recipe else { return 0.5 };
        0.9 - 0.1 * (alpha.log10() + 2.0).abs()
    }

    #[test]
    fn the_same_seed_and_scores_give_the_same_trials() {
        let search = Search::new(&[], SIZE, 60, 7);
        assert_eq!(play(search.clone(), ridges), play(search, ridges));
        let other = play(Search::new(&[], SIZE, 60, 8), ridges);
        assert_ne!(play(Search::new(&[], SIZE, 60, 7), ridges), other);
    }

    #[test]
    fn the_trials_are_bounded_and_every_family_has_its_turn() {
        let (tried, _) = play(Search::new(&[], SIZE, 90, 1), ridges);
        assert_eq!(tried.len(), 90);
        for family in Family::ALL {
            assert!(tried.iter().any(|trial| trial.recipe.family() == family), "{family:?}");
        }
    }

    #[test]
    fn better_settings_are_found_and_what_is_adopted_is_better() {
        let start = ridge::Settings::default().alpha;
        let search = Search::new(&[Family::Ridge], SIZE, 60, 3);
        let (_, adopted) = play(search, ridges);
        let alphas: Vec<f64> = adopted
            .iter()
            .filter_map(|recipe| {
                let Recipe::Ridge(ridge::Settings { alpha }) = recipe else { return None };
                Some((alpha.log10() + 2.0).abs())
            })
            .collect();
        assert_eq!(alphas.len(), adopted.len(), "only ridge was searched");
        assert!(alphas.is_sorted_by(|before, after| after < before), "{alphas:?}");
        assert!(alphas.last().is_some_and(|last| *last < 0.2), "{start}: {alphas:?}");
    }

    #[test]
    fn where_nothing_is_better_nothing_is_adopted() {
        let (tried, adopted) = play(Search::new(&[], SIZE, 40, 1), |_| 0.7);
        assert_eq!((tried.len(), adopted.len()), (40, 0));
    }

    #[test]
    fn a_trial_is_asked_for_until_its_own_score_is_told() {
        let mut search = Search::new(&[], SIZE, 3, 1);
        let first = search.step();
        search.tell(17, Some(Share { hits: 1, of: 1 }));
        assert_eq!(search.step(), first);
        assert_eq!(search.made(), 0);
        search.tell(0, None);
        assert_eq!(search.made(), 1);
        assert_ne!(search.step(), first);
    }

    #[test]
    fn a_family_may_be_skipped() {
        let mut search = Search::new(&[Family::Ridge, Family::Knn], SIZE, 30, 1);
        let Next::Try(first) = search.step() else { panic!() };
        search.skip();
        let Next::Try(second) = search.step() else { panic!() };
        assert_ne!(first.recipe.family(), second.recipe.family());
    }
}
