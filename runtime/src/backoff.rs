//! How long to wait before trying again: doubling, bounded, and back to the start after success.

use std::time::Duration;

/// Doubling waits between a first and a longest one.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, never longer than `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait now; the next wait is twice as long.
    pub fn wait(&mut self) -> Duration {
        let now = self.next.min(self.longest);
        self.next = now.saturating_mul(2).min(self.longest);
        now
    }

    /// Starts again with the first wait: it worked.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        let waits: Vec<u128> = (0..4).map(|_| backoff.wait().as_millis()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        backoff.reset();
        assert_eq!(backoff.wait().as_millis(), 10);
    }
}
