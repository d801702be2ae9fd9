//! Saying how far a job is, every second, and hearing whether to stop.

use std::time::Duration;

use proto::v1::ProgressRequest;
use tokio::{sync::watch, time::Instant};

use crate::{fit::Stop, link::Link};

/// How often the scheduler hears of us.
const EVERY: Duration = Duration::from_secs(1);

/// What is being done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// In words.
    pub(crate) text: String,
    /// Members that stand.
    pub(crate) done: u32,
    /// Members that are planned.
    pub(crate) total: u32,
}

/// Tells the scheduler, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reporter {
    step: watch::Sender<Step>,
    stopped: watch::Receiver<bool>,
    began: Instant,
}

impl Reporter {
    /// Begins to report. When the scheduler says "stop", `stop` is asked for.
    #[must_use]
    pub(crate) fn start(link: Link, stop: Stop) -> Self {
        let began = Instant::now();
        let (step, steps) = watch::channel(Step::default());
        let (told, stopped) = watch::channel(false);
        runtime::spawn::named("progress", report(link, steps, told, stop, began));
        Self { step, stopped, began }
    }

    /// Says what is done from now on; heard at once.
    pub(crate) fn say(&self, text: impl Into<String>, done: usize, total: usize) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.step.send_replace(Step { text: text.into(), done: count(done), total: count(total) });
    }

    /// Seconds since the job began.
    #[must_use]
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Whether the scheduler said "stop".
    #[must_use]
    pub(crate) fn stopped(&self) -> bool {
        *self.stopped.borrow()
    }
}

async fn report(
    link: Link,
    mut steps: watch::Receiver<Step>,
    told: watch::Sender<bool>,
    stop: Stop,
    began: Instant,
) {
    loop {
        let Step { text, done, total } = steps.borrow_and_update().clone();
        let seconds = began.elapsed().as_secs_f64();
        let fault = String::new();
        let word =
            ProgressRequest { step: text, done, total, seconds, fault, ..Default::default() };
        if link.progress(word).await == Some(true) {
            tracing::info!("told to stop by the scheduler");
            told.send_replace(true);
            stop.ask();
            return;
        }
        // Soon after something new, else every second; done when the job is.
        match tokio::time::timeout(EVERY, steps.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
    }
}
