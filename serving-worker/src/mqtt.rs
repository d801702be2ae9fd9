//! MQTT: samples in, answers out, corrections in, through a broker that somebody else runs.
//!
//! ```text
//! broker ─▶ line ─▶ session ─▶ ledger            (what is not acknowledged yet)
//!                      │ samples ─▶ streams      (windows over raw samples)
//!                      │         ─▶ desk         (answers, as for every other way in)
//!                      │ corrections ─▶ outbox   (fsynced, then acknowledged)
//!                      ▼
//!                   letters ─▶ line ─▶ broker
//! ```
//!
//! At QoS 1 nothing is lost: a message is acknowledged to the broker when its answer is there, or
//! its correction is on disk, and not before (A-5, A-8). Each may happen twice when a line breaks at
//! the wrong moment. docs/decisions/0017.

mod broker;
mod counts;
mod ledger;
mod letter;
mod line;
pub mod payload;
mod session;
mod streams;
mod topic;

use std::sync::Arc;

pub use broker::{Broker, BrokerError};
pub(crate) use counts::Counts;
use runtime::Drain;
use tokio::{sync::watch, task::JoinHandle};

use crate::{answer::Desk, correction::Corrections};

/// Which broker, and what this worker is called there.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it is.
    pub broker: Broker,
    /// The second level of all topics.
    pub site: String,
    /// Who answers; no two workers at a broker have the same name.
    pub device: String,
}

impl Place {
    /// What an adopting node compares: a worker at another broker, or under another name, is not the
    /// one that it would have started. Without the password, which a digest stands for.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { broker, site, device } = self;
        format!("{site}/{device} at {broker} {}", broker.fingerprint())
    }
}

/// Goes to the broker, and stays until told to stop.
pub(crate) fn start(
    place: Place,
    (desk, corrections): (Arc<Desk>, Arc<Corrections>),
    changed: watch::Receiver<()>,
    counts: Arc<Counts>,
    drain: Drain,
) -> JoinHandle<()> {
    let parts = session::Parts { place, desk, corrections, changed, counts, drain };
    runtime::spawn::named("mqtt", session::Session::new(parts).live())
}

/// Doors for the fuzzer.
pub(crate) mod fuzzing {
    use tokio::time::Instant;

    use super::{
        payload::{self, Content},
        streams::{self, Streams},
        topic::{About, Topics},
    };

    const INPUT: &str = r#"{"kind": "window", "channels": ["a", "b"], "rate_hz": 1, "length_s": 2,
        "step_s": 1, "detail": "full"}"#;

    pub(crate) fn has_window(input: &str) -> bool {
        streams::window(input).is_some()
    }

    /// As a session reads it, without a desk behind it.
    pub(crate) fn message(topic: &[u8], bytes: &[u8]) -> String {
        let Some(about) = Topics::new("home", "pi").about(topic) else {
            return "nothing".to_owned();
        };
        match about {
            About::Sample { task, stream } => {
                let Ok(sample) = payload::sample(bytes, None) else {
                    return "no sample".to_owned();
                };
                let Some(window) = streams::window(INPUT) else { return "no window".to_owned() };
                let values = match sample.content {
                    Content::Features(values) | Content::Raw(values) => Ok(values),
                    Content::Channels(channels) => payload::rows(channels, window.channels()),
                };
                let Ok(values) = values else { return "no rows".to_owned() };
                let stream = stream.or(sample.stream).unwrap_or_default();
                let mut streams = Streams::default();
                let input = (INPUT, &window);
                match streams.push(&task, &stream, input, &values, Instant::now()) {
                    Ok(features) => format!("ok {}", features.len().min(100)),
                    Err(error) => format!("ok but {error:?}").chars().take(20).collect(),
                }
            }
            About::Correction { .. } => match payload::correction(bytes) {
                Ok(_) => "ok correction".to_owned(),
                Err(_) => "no correction".to_owned(),
            },
            About::Button { button, .. } => format!("ok {}", button.name()),
            About::Birth => "ok birth".to_owned(),
        }
    }
}
