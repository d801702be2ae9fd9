//! Tasks with a name and an owner.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Starts `future` as a task whose events carry `name`. A panic in it is logged, never lost.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", task.name = name)))
}
