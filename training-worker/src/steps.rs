//! Steps: the fits of a training, each a pure function of what it is made from, whose results are kept.
//!
//! The key of a step is the SHA-256 of all that decides its result: the rows and labels that teach, the
//! rows that are asked, the recipe, the seed, the code that fits and the kind of processor it runs on. So a
//! kept result is what computing would give again, to the last bit: with the folder, without it or
//! with half of it a job publishes the same bundle. What is read from it is untrusted, and no fault
//! of it is a reason for a training to fail.

mod results;
mod shelf;

use std::path::Path;

use models::{ClassId, Features};
use runtime::Report;
use sha2::{Digest as _, Sha256};

use self::shelf::{Shelf, ShelfError};
use crate::fit::Recipe;

pub(crate) use results::{Asked, Fitted, Form, Said, Shape};

/// Most bytes of results that are kept on a device: those of several trainings of the largest sets we know
/// (five on HAPT's six activities keep 7 MB), and little beside the disk of a Pi.
pub const BYTES_MAX: u64 = 512 << 20;

/// What the results depend on beside their inputs: the sources of the code that fits and asks, its
/// libraries and its compiler. Worked out when this is built, so that nobody has to remember it.
const CODE: &str = env!("SENSEMBLE_FITTING_CODE");

/// No step takes longer: what says so is not believed.
const SECONDS_MAX: f64 = 1e7;

/// The SHA-256 of rows, and of their labels if they teach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print([u8; 32]);

impl Print {
    /// Of rows that are asked.
    pub(crate) fn of_samples(samples: &Features) -> Self {
        Self(hash_samples(samples).finalize().into())
    }

    /// Of rows that teach.
    pub(crate) fn of_rows(samples: &Features, labels: &[u16]) -> Self {
        let mut hash = hash_samples(samples);
        let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hash.update(labels);
        Self(hash.finalize().into())
    }
}

fn hash_samples(samples: &Features) -> Sha256 {
    let mut hash = Sha256::new();
    for count in [samples.width(), samples.len()] {
        hash.update(u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(4 * samples.width());
    for row in samples.rows() {
        bytes.clear();
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
    hash
}

/// All that decides the result of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    /// How it is made.
    pub(crate) recipe: &'a Recipe,
    /// Decides every random choice.
    pub(crate) seed: u64,
    /// Values of a row, and classes of the rows.
    pub(crate) shape: Shape,
    /// The class that a gate tells from all others; `None` for a member, which tells all apart.
    pub(crate) apart: Option<ClassId>,
    /// The rows that teach.
    pub(crate) lessons: Print,
    /// The rows that are asked, and for what; `None` for a fit alone.
    pub(crate) asked: Option<(Print, Asked)>,
}

impl Inputs<'_> {
    fn key(&self) -> [u8; 32] {
        let Inputs { recipe, seed, shape, apart, lessons, asked } = self;
        // Numbers in the shortest text that reads back as the same: two recipes never look alike.
        let made = format!("{recipe:?} {seed} {shape:?} {apart:?} {:?}", pulp::Arch::new());
        let hex = |print: &Print| runtime::secret::hex(&print.0);
        let asked = asked.map(|(print, asked)| format!("{asked:?} {}", hex(&print)));
        let asked = asked.unwrap_or_default();
        let text = format!("sensemble step\n{CODE}\n{made}\n{}\n{asked}\n", hex(lessons));
        Sha256::digest(text).into()
    }

    /// What a fitted model sees and tells apart.
    fn fitted(&self) -> Shape {
        let classes = if self.apart.is_some() { 2 } else { self.shape.classes };
        Shape { classes, ..self.shape }
    }
}

/// How many steps a training had, and of how many the results were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Computed now.
    pub computed: u32,
    /// Computed by an earlier training, or earlier by this one.
    pub kept: u32,
}

impl Tally {
    /// In words: `34 of 36 steps were kept`.
    #[must_use]
    pub fn told(self) -> String {
        format!("{} of {} steps were kept", self.kept, self.kept + self.computed)
    }
}

/// The results that a training finds and leaves behind.
#[derive(Debug, Default)]
pub struct Steps {
    shelf: Option<Shelf>,
    tally: Tally,
    /// What the kept steps took when they were computed.
    spared_seconds: f64,
    /// The disk took nothing once: it is not asked again.
    takes_nothing: bool,
    said_damaged: bool,
}

impl Steps {
    /// Results in `dir`; without one, or when it cannot be used, every step is computed.
    #[must_use]
    pub fn within(dir: Option<&Path>) -> Self {
        let opened = dir.map(|dir| Shelf::open(dir, BYTES_MAX)).transpose();
        let shelf = opened.unwrap_or_else(|error| {
            tracing::warn!(error = %Report(&error), "steps are not kept");
            None
        });
        Self { shelf, ..Self::default() }
    }

    /// Whether any are kept: else nobody needs to know what they are made from.
    pub(crate) fn are_kept(&self) -> bool {
        self.shelf.is_some()
    }

    /// How many there were so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Seconds that the kept steps took when they were computed.
    pub(crate) fn spared_seconds(&self) -> f64 {
        self.spared_seconds
    }

    /// The opinions of a step, if they were kept.
    pub(crate) fn said(&mut self, inputs: &Inputs<'_>) -> Option<Said> {
        let (_, asked) = inputs.asked?;
        self.find(inputs, |bytes| Said::decode(bytes, asked))
    }

    /// What a step fitted, if it was kept.
    pub(crate) fn fitted(&mut self, inputs: &Inputs<'_>) -> Option<Fitted> {
        let family = inputs.recipe.family();
        self.find(inputs, |bytes| results::decode(bytes, family, inputs.fitted()))
    }

    fn find<T>(
        &mut self,
        inputs: &Inputs<'_>,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let found = match self.shelf.as_ref()?.take_up(&inputs.key()) {
            Ok(found) => found?,
            Err(error) => {
                if !std::mem::replace(&mut self.said_damaged, true) {
                    tracing::warn!(error = %Report(&error), "a kept step is computed again");
                }
                return None;
            }
        };
        let (seconds, result) = found.split_first_chunk::<8>()?;
        let result = decode(result)?;
        let seconds = f64::from_le_bytes(*seconds);
        self.spared_seconds += if (0.0..SECONDS_MAX).contains(&seconds) { seconds } else { 0.0 };
        self.tally.kept += 1;
        Some(result)
    }

    /// Notes that the opinions of a step took so long, and keeps them.
    pub(crate) fn keep_said(&mut self, inputs: Option<&Inputs<'_>>, said: &Said, seconds: f64) {
        self.keep(inputs, seconds, |_| Some(said.encode()));
    }

    /// Notes that a fit took so long, and keeps what it made.
    pub(crate) fn keep_fitted(
        &mut self,
        inputs: Option<&Inputs<'_>>,
        fitted: &Fitted,
        seconds: f64,
    ) {
        self.keep(inputs, seconds, |inputs| {
            results::encode(fitted, inputs.recipe.family(), inputs.fitted())
        });
    }

    fn keep(
        &mut self,
        inputs: Option<&Inputs<'_>>,
        seconds: f64,
        encode: impl FnOnce(&Inputs<'_>) -> Option<Vec<u8>>,
    ) {
        self.tally.computed += 1;
        let (Some(shelf), Some(inputs), false) = (&self.shelf, inputs, self.takes_nothing) else {
            return;
        };
        let Some(result) = encode(inputs) else { return };
        match shelf.put_down(&inputs.key(), &[&seconds.to_le_bytes()[..], &result].concat()) {
            Ok(()) => {}
            Err(error @ ShelfError::TooLarge { .. }) => {
                tracing::debug!(error = %Report(&error), "a step is not kept");
            }
            Err(error @ (ShelfError::Disk { .. } | ShelfError::Damaged { .. })) => {
                tracing::warn!(error = %Report(&error), "no more steps are kept");
                self.takes_nothing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{fit::ridge, panel::Opinion};

    fn rows(values: [f32; 4]) -> Features {
        Features::new(2, values.to_vec()).unwrap()
    }

    fn said(scores: [f32; 4]) -> Said {
        Said { exact: Opinion::Scores(scores.to_vec()), compact: None }
    }

    fn ask(seed: u64, recipe: &Recipe) -> Inputs<'_> {
        let samples = rows([1.0, 2.0, 3.0, 4.0]);
        let asked = Asked { rows: 2, form: Form::Scores(2), compact: false };
        Inputs {
            recipe,
            seed,
            shape: Shape { width: 2, classes: 2 },
            apart: None,
            lessons: Print::of_rows(&samples, &[0, 1]),
            asked: Some((Print::of_samples(&samples), asked)),
        }
    }

    #[test]
    fn whatever_decides_a_result_is_in_its_key() {
        let recipe = Recipe::Ridge(ridge::Settings::default());
        let other = Recipe::Ridge(ridge::Settings { alpha: 1.25e-3 });
        let base = ask(1, &recipe);
        let (print, asked) = base.asked.unwrap();
        let taught = |samples: [f32; 4], labels: &[u16]| Print::of_rows(&rows(samples), labels);
        let others = [
            Inputs { recipe: &other, ..base },
            Inputs { seed: 2, ..base },
            Inputs { shape: Shape { width: 2, classes: 3 }, ..base },
            Inputs { apart: Some(ClassId(0)), ..base },
            Inputs { lessons: taught([1.0, 2.0, 3.0, 4.5], &[0, 1]), ..base },
            Inputs { lessons: taught([1.0, 2.0, 3.0, 4.0], &[1, 0]), ..base },
            Inputs { asked: None, ..base },
            Inputs { asked: Some((base.lessons, asked)), ..base },
            Inputs { asked: Some((print, Asked { compact: true, ..asked })), ..base },
            Inputs { asked: Some((print, Asked { form: Form::Votes(2), ..asked })), ..base },
        ];
        let keys: std::collections::BTreeSet<[u8; 32]> =
            others.iter().chain([&base]).map(Inputs::key).collect();
        assert_eq!(keys.len(), others.len() + 1);
        assert_eq!(ask(1, &recipe).key(), base.key());
    }

    #[test]
    fn a_disk_that_takes_nothing_is_asked_once_and_what_it_has_is_still_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut steps = Steps::within(Some(dir.path()));
        let recipe = Recipe::Ridge(ridge::Settings::default());
        let (first, second, third) = (ask(1, &recipe), ask(2, &recipe), ask(3, &recipe));
        steps.keep_said(Some(&first), &said([1.0, 0.0, 0.5, 0.25]), 2.5);
        // Something that cannot be replaced stands where the second belongs.
        let taken = dir.path().join(runtime::secret::hex(&second.key()));
        fs::create_dir_all(taken.join("not empty")).unwrap();
        assert!(steps.said(&second).is_none());
        steps.keep_said(Some(&second), &said([0.0; 4]), 1.0);
        steps.keep_said(Some(&third), &said([0.0; 4]), 1.0);
        assert!(steps.said(&third).is_none(), "no more are kept");
        assert_eq!(steps.said(&first).unwrap().encode(), said([1.0, 0.0, 0.5, 0.25]).encode());
        assert_eq!(steps.tally(), Tally { computed: 3, kept: 1 });
        assert_eq!(steps.spared_seconds(), 2.5, "what it took when it was computed");
    }
}
