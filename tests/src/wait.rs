//! Waiting for another process: asked again until it is so, or the story fails with what it saw.

use std::{fmt::Debug, thread, time::Duration};

use tokio::time::Instant;

/// Between two questions: short against anything that a process of ours does.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for a training on a story's few rows.
pub const TRAIN_MAX: Duration = Duration::from_secs(120);

/// What `ask` gives as soon as it gives something.
///
/// # Panics
///
/// When it has not within `limit`, with `what` and the last thing that `ask` said instead.
pub fn until<T, E: Debug>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(last) => assert!(
                start.elapsed() < limit,
                "waited {:.0} s for {what}; last seen: {last:?}",
                limit.as_secs_f64()
            ),
        }
        thread::sleep(PAUSE);
    }
}
