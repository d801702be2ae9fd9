//! What a trained ensemble is and how it answers.
//!
//! Plain arrays and functions of values: no async, no I/O, no machine-learning library. Whatever
//! trained a member, it is *lowered* into [`Member`], and only [`Ensemble`] turns features into a
//! class, in the training worker and in the serving worker alike.

pub mod answer;
pub mod bundle;
mod check;
pub mod confidence;
pub mod ensemble;
pub mod features;
pub mod frontier;
pub mod gate;
pub mod golden;
pub mod kernel;
pub mod member;
pub mod metrics;
pub mod mixture;
pub mod near;
pub mod paired;
pub mod precision;
pub mod preparation;
pub mod probe;
pub mod recount;
pub mod rows;
pub mod schema;
pub mod sets;
pub mod softness;
pub mod synthetic;
pub mod vote;
pub mod voting;
pub mod weights;
pub mod work;

pub use answer::{Answer, Asking, Scratch, Stage, Votes};
pub use confidence::{Confidence, Curve};
pub use ensemble::{Ensemble, Parts, Weighted};
pub use features::{Features, ShapeError};
pub use frontier::{Subset, SubsetMeasure};
pub use gate::Gate;
pub use golden::{Golden, GoldenFault};
pub use member::{Buffers, Family, Member, Model, ModelError};
pub use metrics::{Confusion, Interval, Share};
pub use near::Near;
pub use paired::Paired;
pub use precision::Precision;
pub use preparation::{Preparation, Step};
pub use probe::Probe;
pub use recount::Cast;
pub use rows::{Compact, Rows};
pub use schema::{ClassId, Schema, SchemaError};
pub use sets::{Coverage, Ladder, Level, Sets};
pub use softness::{Scale, Softness};
pub use voting::{Rule, Voting};
pub use work::{Speed, Work};
