//! The ensemble: preparations, a gate and weighted members. The only place where features become a
//! class.

use crate::{
    gate::Gate,
    member::Member,
    preparation::Preparation,
    schema::{ClassId, Schema},
};

/// A member and how much its vote counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    /// Positive and finite.
    pub weight: f32,
    /// Who votes.
    pub member: Member,
}

/// What an ensemble is made of, before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// What goes in and comes out.
    pub schema: Schema,
    /// Named by index from the members and the gate.
    pub preparations: Vec<Preparation>,
    /// Stage one; needs a background class.
    pub gate: Option<Gate>,
    /// Stage two: 1 to 64 members.
    pub members: Vec<Weighted>,
}

/// An ensemble that holds: every array has the length its shapes say, every index points inside,
/// every value is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    parts: Parts,
}

/// Which stage gave the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The gate said "background".
    Gate,
    /// The members voted.
    Vote,
}

/// An answer and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The class.
    pub class: ClassId,
    /// Share of the asked weight that the class won, 0 to 1.
    pub confidence: f32,
    /// Who decided.
    pub stage: Stage,
    /// Member index and the class it voted for, for those that were asked.
    pub votes: Vec<(u8, ClassId)>,
    /// Time in the gate, in microseconds; filled by the caller that has a clock.
    pub voted: u32,
}

/// Buffers of one thread, so that answering allocates nothing.
#[derive(Debug)]
pub struct Scratch {
    _buffers: Vec<f32>,
}
