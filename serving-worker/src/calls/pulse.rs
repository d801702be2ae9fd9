//! Whether whoever is at the other end of a connection still lives.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::SILENCE_MAX;

/// Asks now and then, and waits for the answer.
pub(super) struct Pulse {
    pings: Option<PingPong>,
    /// Until it is asked again, or given up.
    wait: Pin<Box<Sleep>>,
    asked: bool,
}

impl Pulse {
    pub(super) fn of(pings: Option<PingPong>) -> Self {
        Self { pings, wait: Box::pin(sleep(SILENCE_MAX)), asked: false }
    }

    /// Ready once nobody has answered for too long.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        loop {
            if self.asked && pings.poll_pong(context).is_ready() {
                self.asked = false;
                self.wait.as_mut().reset(Instant::now() + SILENCE_MAX);
            }
            ready!(self.wait.as_mut().poll(context));
            if self.asked {
                self.pings = None;
                return Poll::Ready(());
            }
            // What cannot be asked has ended, which is seen elsewhere.
            if pings.send_ping(Ping::opaque()).is_err() {
                self.pings = None;
                return Poll::Pending;
            }
            self.asked = true;
            self.wait.as_mut().reset(Instant::now() + SILENCE_MAX);
        }
    }
}
