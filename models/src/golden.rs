//! Golden rows: samples of which it is written down what the whole ensemble says.
//!
//! They travel with it. Whoever loads it asks them before it serves: an ensemble that was decoded
//! well and says something else than where it was trained must not answer anybody. What is written
//! down is whole numbers, and every kernel sums in the same order on every machine, so that the
//! comparison is exact: a difference is a defect, never a rounding.

use crate::{
    answer::Scratch,
    check,
    ensemble::{Ensemble, Parts},
    features::ShapeError,
    frontier::Subset,
    gate::Gate,
    member::ModelError,
    schema::ClassId,
    work::Speed,
};

/// Most golden rows of an ensemble.
pub const ROWS_MAX: usize = 16;
/// Most bytes of golden rows and their answers together.
pub const BYTES_MAX: usize = 1 << 20;
/// What asking all of them may take on a usual machine, in microseconds, unless a single one takes
/// more: a worker that starts cold asks them before its first answer.
pub const MICROS_MAX: f64 = 500.0;

/// A sample, and what was said of it where the ensemble was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The sample, as an app sends it.
    pub row: Vec<f32>,
    /// What each member voted for, in the order of members.
    pub votes: Vec<ClassId>,
    /// What each class had of the full vote, in whole numbers.
    pub sums: Vec<u64>,
    /// Whether the gate stops it, where there is a gate.
    pub stopped: Option<bool>,
}

/// How an ensemble answers a golden row otherwise than it is written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoldenFault {
    /// The gate.
    #[error("golden row {row} {}", if *wanted {
        "passes the gate, which must stop it"
    } else {
        "is stopped by the gate, which must let it pass"
    })]
    Gate {
        /// Which row, counted from 0.
        row: usize,
        /// Whether it should stop it.
        wanted: bool,
    },
    /// The class of the full vote.
    #[error("golden row {row} is answered {got:?}, not {wanted:?}")]
    Class {
        /// Which row, counted from 0.
        row: usize,
        /// What is written down.
        wanted: String,
        /// What is said.
        got: String,
    },
    /// One member.
    #[error("member {member} votes for {got:?} and not {wanted:?} in golden row {row}")]
    Member {
        /// Which row, counted from 0.
        row: usize,
        /// Which member.
        member: usize,
        /// What is written down.
        wanted: String,
        /// What it says.
        got: String,
    },
    /// The count of a class, although the class that wins is the same.
    #[error("{class:?} has {got} of the vote and not {wanted} in golden row {row}")]
    Sum {
        /// Which row, counted from 0.
        row: usize,
        /// Of which class.
        class: String,
        /// What is written down.
        wanted: u64,
        /// What is counted.
        got: u64,
    },
}

impl Golden {
    /// The class that the full vote elects: of equal ones the smallest.
    #[must_use]
    pub fn class(&self) -> ClassId {
        let (mut winner, mut most) = (0, 0);
        for (class, &sum) in (0_u16..).zip(&self.sums) {
            if most < sum {
                (winner, most) = (class, sum);
            }
        }
        ClassId(winner)
    }

    /// Bytes of its arrays.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.row) + size_of_val(&*self.votes) + size_of_val(&*self.sums)
    }
}

/// How many golden rows an ensemble can afford: as many as are asked within [`MICROS_MAX`] on a usual
/// machine and take no more than [`BYTES_MAX`]; one at least, if it fits.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and a small limit"
)]
pub fn affordable(ensemble: &Ensemble) -> usize {
    let members = ensemble.members().len();
    let work = ensemble.work(Subset::all(members)) + ensemble.gate_work().unwrap_or_default();
    let in_time = (MICROS_MAX / Speed::USUAL.micros(work).max(1e-3)).clamp(1.0, 1e3) as usize;
    let each = ensemble.schema().width() * size_of::<f32>()
        + members * size_of::<ClassId>()
        + ensemble.schema().classes().len() * size_of::<u64>();
    in_time.min(BYTES_MAX / each).min(ROWS_MAX)
}

impl Ensemble {
    /// The golden rows.
    #[must_use]
    pub fn golden(&self) -> &[Golden] {
        &self.parts.golden
    }

    /// The same ensemble with `rows` as golden rows, and what it says of them now.
    ///
    /// # Errors
    ///
    /// [`ModelError`] for more than may be, or for what is no sample of this task.
    pub fn with_golden<'a>(
        self,
        rows: impl Iterator<Item = &'a [f32]>,
    ) -> Result<Self, ModelError> {
        let mut scratch = self.scratch();
        let refused = |_| ModelError::NotFinite { what: "golden rows" };
        let golden: Result<Vec<Golden>, ModelError> =
            rows.map(|row| self.say(row, &mut scratch).map_err(refused)).collect();
        Self::new(Parts { golden: golden?, ..self.into_parts() })
    }

    /// Asks every golden row of all members and of the gate.
    ///
    /// # Errors
    ///
    /// The first [`GoldenFault`], in the order of rows.
    ///
    /// # Panics
    ///
    /// Never: golden rows were checked to be samples.
    pub fn check_golden(&self, scratch: &mut Scratch) -> Result<(), GoldenFault> {
        (0..self.parts.golden.len()).try_for_each(|row| self.check_golden_row(row, scratch))
    }

    /// [`Ensemble::check_golden`] of one row; nothing is wrong with one that is not there.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    ///
    /// # Panics
    ///
    /// Never: golden rows were checked to be samples.
    pub fn check_golden_row(&self, row: usize, scratch: &mut Scratch) -> Result<(), GoldenFault> {
        let name = |class: ClassId| self.parts.schema.classes()[class.index()].clone();
        let Some(wanted) = self.parts.golden.get(row) else { return Ok(()) };
        let got = self.say(&wanted.row, scratch).expect("a golden row is a sample");
        if let (Some(wanted), true) = (wanted.stopped, wanted.stopped != got.stopped) {
            return Err(GoldenFault::Gate { row, wanted });
        }
        if wanted.class() != got.class() {
            let (wanted, got) = (name(wanted.class()), name(got.class()));
            return Err(GoldenFault::Class { row, wanted, got });
        }
        let mut votes = wanted.votes.iter().zip(&got.votes).enumerate();
        if let Some((member, (&wanted, &got))) = votes.find(|(_, (wanted, got))| wanted != got) {
            let (wanted, got) = (name(wanted), name(got));
            return Err(GoldenFault::Member { row, member, wanted, got });
        }
        let mut sums = (0_u16..).zip(wanted.sums.iter().zip(&got.sums));
        if let Some((class, (&wanted, &got))) = sums.find(|(_, (wanted, got))| wanted != got) {
            return Err(GoldenFault::Sum { row, class: name(ClassId(class)), wanted, got });
        }
        Ok(())
    }

    /// What is said of a sample now: by all members, and by the gate.
    fn say(&self, row: &[f32], scratch: &mut Scratch) -> Result<Golden, ShapeError> {
        let asking = self.asking(Subset::all(self.parts.members.len()))?.to_the_end();
        let answer = self.answer_timed(row, &asking, false, scratch, |_| ())?;
        let votes = answer.votes.iter().map(|(_, class)| class).collect();
        let sums = scratch.sums().to_vec();
        let stops = |gate: &Gate| gate.stops(self.margin_alone(gate, row, scratch));
        let stopped = self.parts.gate.as_ref().map(stops);
        Ok(Golden { row: row.to_vec(), votes, sums, stopped })
    }
}

/// They are few, small, and of an ensemble with so many members and classes.
pub(crate) fn holds(
    golden: &[Golden],
    width: usize,
    members: usize,
    classes: usize,
    gated: bool,
) -> Result<(), ModelError> {
    check::at_most("golden rows", golden.len(), ROWS_MAX)?;
    let bytes = golden.iter().map(Golden::bytes).sum();
    check::at_most("bytes of golden rows", bytes, BYTES_MAX)?;
    for Golden { row, votes, sums, stopped } in golden {
        check::length("golden rows", row, width)?;
        check::finite("golden rows", row)?;
        check::length("golden votes", votes, members)?;
        votes.iter().try_for_each(|vote| check::below("golden votes", vote.0, classes))?;
        check::length("golden sums", sums, classes)?;
        check::length("what the gate says of golden rows", stopped.as_slice(), gated.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        member::{Family, Linear, Model},
        preparation::Preparation,
        schema::Schema,
        synthetic::{self, Shape},
    };

    fn ensemble(gated: bool) -> Ensemble {
        let ensemble = synthetic::ensemble(&Family::ALL, Shape::SMALL, gated, 5);
        let rows = synthetic::rows(ensemble.schema().width(), 4, 9);
        ensemble.with_golden(rows.iter().map(Vec::as_slice)).unwrap()
    }

    fn tampered(change: impl FnOnce(&mut Golden)) -> GoldenFault {
        let mut parts = ensemble(true).into_parts();
        change(&mut parts.golden[2]);
        let ensemble = Ensemble::new(parts).unwrap();
        ensemble.check_golden(&mut ensemble.scratch()).unwrap_err()
    }

    #[test]
    fn what_an_ensemble_said_it_says_again() {
        for gated in [false, true] {
            let ensemble = ensemble(gated);
            assert_eq!(ensemble.golden().len(), 12, "the edges come after the four");
            assert_eq!(ensemble.check_golden(&mut ensemble.scratch()), Ok(()));
            let all = Subset::all(ensemble.members().len());
            for golden in ensemble.golden() {
                let answer =
                    ensemble.answer(&golden.row, all, false, &mut ensemble.scratch()).unwrap();
                assert_eq!(answer.class, golden.class());
            }
        }
    }

    #[test]
    fn each_difference_is_named_with_its_row() {
        let fault = tampered(|it| it.stopped = it.stopped.map(|stopped| !stopped));
        assert!(matches!(fault, GoldenFault::Gate { row: 2, .. }), "{fault}");
        let fault = tampered(|it| {
            let last = it.sums.len() - 1;
            let other = if it.class().index() == last { 0 } else { last };
            it.sums[other] = u64::MAX;
        });
        assert!(matches!(fault, GoldenFault::Class { row: 2, .. }), "{fault}");
        assert!(fault.to_string().starts_with("golden row 2 is answered \"class-"), "{fault}");
        let fault = tampered(|it| it.votes[3] = ClassId((it.votes[3].0 + 1) % 3));
        assert!(matches!(fault, GoldenFault::Member { row: 2, member: 3, .. }), "{fault}");
        let fault = tampered(|it| {
            let class = it.class();
            it.sums[class.index()] += 1;
        });
        assert!(matches!(fault, GoldenFault::Sum { row: 2, .. }), "{fault}");
    }

    #[test]
    fn what_cannot_be_golden_rows_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<Golden>)| {
            let mut parts = ensemble(true).into_parts();
            change(&mut parts.golden);
            Ensemble::new(parts).unwrap_err()
        };
        let many = refused(&|it| *it = vec![it[0].clone(); ROWS_MAX + 1]);
        assert!(matches!(many, ModelError::TooMany { what: "golden rows", .. }), "{many}");
        for change in [
            (|it: &mut Vec<Golden>| it[0].row.push(0.0)) as fn(&mut Vec<Golden>),
            |it| it[0].votes.truncate(2),
            |it| it[0].sums.clear(),
            |it| it[0].stopped = None,
        ] {
            assert!(matches!(refused(&change), ModelError::Length { .. }));
        }
        let infinite = refused(&|it| it[0].row[0] = f32::INFINITY);
        assert!(matches!(infinite, ModelError::NotFinite { .. }));
        let beyond = refused(&|it| it[0].votes[0] = ClassId(3));
        assert!(matches!(beyond, ModelError::Index { .. }));
    }

    #[test]
    fn a_slow_ensemble_affords_one_and_a_fast_one_as_many_as_may_be() {
        assert_eq!(affordable(&ensemble(false)), ROWS_MAX);
        let shape = Shape { width: 561, rows: 4_000, ..Shape::SMALL };
        assert_eq!(affordable(&synthetic::ensemble(&[Family::Knn], shape, false, 3)), 1);
        // As wide as a task may be, and quick: rows of 400 kB.
        let width = 100_000;
        let parts = synthetic::ensemble(&[Family::Ridge], Shape::SMALL, false, 3).into_parts();
        let names = (0..width).map(|it| format!("f{it}")).collect();
        let schema = Schema::new(names, parts.schema.classes().to_vec(), None).unwrap();
        let linear = Linear { width, weights: vec![0.0; 3 * width], bias: vec![0.0; 3] };
        let mut members = parts.members.clone();
        members[0].member.model = std::sync::Arc::new(Model::Linear(linear));
        let wide = Ensemble::new(Parts {
            schema,
            members,
            preparations: vec![Preparation::default()],
            ..parts
        });
        assert_eq!(affordable(&wide.unwrap()), 2);
    }
}
