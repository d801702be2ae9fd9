//! What must last: state in SQLite, blobs in a folder, samples in Parquet files, and the
//! append-only files of the serving worker.

pub mod blobs;
pub mod durable;
mod frame;
pub mod outbox;
pub mod ring;
pub mod samples;
pub mod state;
