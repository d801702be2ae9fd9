//! Being told to stop: by a signal, by the parent's end, or by a test.

use tokio_util::sync::CancellationToken;

/// How a process ended of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Told to stop; finished what it had begun.
    Drained,
    /// Could not go on; somebody should look.
    GaveUp,
}

/// "Please stop", to be awaited or asked; clones hear the same word.
#[derive(Clone, Debug, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A drain that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for it; harmless when asked before.
    pub fn ask(&self) {
        self.0.cancel();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when it is asked for.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// A drain that is asked for by this one, or on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// A drain that SIGTERM or SIGINT ask for.
    ///
    /// # Errors
    ///
    /// When the process may not listen to signals.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let drain = Self::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut stream = signal(kind)?;
            let drain = drain.clone();
            crate::spawn::named("signals", async move {
                stream.recv().await;
                tracing::info!("told to stop by a signal");
                drain.ask();
            });
        }
        Ok(drain)
    }

    /// Also asks for it when standard input ends: the parent that held the other end is gone.
    ///
    /// A child that was started with a pipe as standard input cannot outlive its parent unnoticed,
    /// even when the parent was killed.
    pub fn with_parent(self) -> Self {
        let drain = self.clone();
        // A thread, because a blocking read of standard input would hold the runtime's shutdown.
        std::thread::spawn(move || {
            let mut ignored = [0_u8; 64];
            let mut input = std::io::stdin().lock();
            while std::io::Read::read(&mut input, &mut ignored).is_ok_and(|read| read > 0) {}
            tracing::info!("told to stop by the end of the parent");
            drain.ask();
        });
        self
    }
}
