//! Events and spans to standard error: text for people, JSON for machines.

use tracing_subscriber::{EnvFilter, fmt};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// Starts writing events to standard error. `SENSEMBLE_LOG` filters them (`info` by default).
///
/// Called twice, the second call changes nothing.
pub fn init(format: Format) {
    let filter =
        EnvFilter::try_from_env("SENSEMBLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Text => builder.with_target(false).with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "telemetry was started before");
    }
}
