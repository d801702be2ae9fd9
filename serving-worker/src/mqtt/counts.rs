//! What is counted of MQTT, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counted since the worker started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// 1 while the line to the broker is up.
    pub(crate) connected: AtomicU64,
    /// Lines that broke or could not be had.
    pub(crate) lost: AtomicU64,
    /// Messages with samples.
    pub(crate) samples: AtomicU64,
    /// Messages with corrections, and buttons that were pressed.
    pub(crate) corrections: AtomicU64,
    /// Messages that were brought again and were not worked on twice.
    pub(crate) again: AtomicU64,
    /// Messages that nobody waits for (QoS 0), left out because there was no room.
    pub(crate) dropped: AtomicU64,
    /// Answers given.
    pub(crate) predictions: AtomicU64,
    /// Messages that were answered by an error.
    pub(crate) errors: AtomicU64,
    /// Answers and announcements that the broker refused.
    pub(crate) refused: AtomicU64,
}

impl Counts {
    /// Name, kind, help and value of each.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, &'static str, u64); 9] {
        let of = |count: &AtomicU64| count.load(Relaxed);
        [
            (
                "mqtt_connected",
                "gauge",
                "1 while the line to the broker is up.",
                of(&self.connected),
            ),
            (
                "mqtt_lines_lost_total",
                "counter",
                "Lines to the broker that broke or could not be had.",
                of(&self.lost),
            ),
            ("mqtt_samples_total", "counter", "Messages with samples.", of(&self.samples)),
            (
                "mqtt_corrections_total",
                "counter",
                "Messages with corrections, and buttons pressed.",
                of(&self.corrections),
            ),
            (
                "mqtt_repeated_total",
                "counter",
                "Messages brought again, and not worked on twice.",
                of(&self.again),
            ),
            (
                "mqtt_dropped_total",
                "counter",
                "Messages of QoS 0 for which there was no room.",
                of(&self.dropped),
            ),
            ("mqtt_predictions_total", "counter", "Answers given.", of(&self.predictions)),
            (
                "mqtt_errors_total",
                "counter",
                "Messages that were answered by an error.",
                of(&self.errors),
            ),
            (
                "mqtt_refused_total",
                "counter",
                "Answers and announcements that the broker refused.",
                of(&self.refused),
            ),
        ]
    }
}
