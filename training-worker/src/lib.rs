//! From samples and corrections to bundles: one job, one process.

pub mod draw;
pub mod fit;
pub mod split;
