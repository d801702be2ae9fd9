//! The Rust client of Sensemble: what a tool says to the scheduler ([`Admin`]) and what an app says
//! to a serving worker ([`Predictor`]).
//!
//! Both are cheap to clone and share one connection, which comes back by itself after a break.
//! What can be asked twice without harm is asked again once when the connection was lost; what
//! changes something is not.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::ClientError> {
//! let admin = client::Admin::connect("127.0.0.1:7400").await?;
//! let placement = &admin.placements("kitchen").await?[0];
//!
//! let predictor = client::Predictor::connect(&placement.serving_address).await?;
//! let answer = predictor.predict("kitchen", vec![0.1, 0.2, 9.8]).await?;
//! if answer.class != "blender" {
//!     predictor.correct(answer.prediction_id, "blender").await?;
//! }
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod admin;
pub mod error;
pub mod predictor;
pub mod upload;

mod again;

pub use address::Address;
pub use admin::Admin;
pub use error::ClientError;
pub use predictor::Predictor;
pub use upload::{Chunker, ImportError, Sample};
