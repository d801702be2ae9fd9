//! Reading with a bound: no record may be endless, and no packed file may unfold for ever.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Longest record, with its quotes and separators: 64 MiB, a million features of 64 characters.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// How many bytes may be read before the next record begins.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<AtomicU64>);

/// A reader that stops when its budget is spent.
#[derive(Debug)]
pub(crate) struct Bounded<R> {
    inner: R,
    budget: Budget,
}

impl Budget {
    /// Puts a bound on `inner`; the budget is refilled for each record.
    pub(crate) fn over<R: Read>(inner: R) -> (Bounded<R>, Self) {
        let budget = Self(Arc::new(AtomicU64::new(RECORD_BYTES_MAX)));
        (Bounded { inner, budget: budget.clone() }, budget)
    }

    /// A record was read whole.
    pub(crate) fn refill(&self) {
        self.0.store(RECORD_BYTES_MAX, Ordering::Relaxed);
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(format!(
                "a line is longer than {RECORD_BYTES_MAX} bytes: is this a table?"
            )));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..room])?;
        self.budget.0.store(left - read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A reader that says how much was read of it.
#[derive(Debug)]
pub(crate) struct Metered<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Metered<R> {
    /// Counts what is read from `inner`.
    pub(crate) fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        (Self { inner, read: Arc::clone(&read) }, read)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_record_is_refused() {
        let (mut bounded, budget) = Budget::over(io::repeat(b'1'));
        let mut sink = io::sink();
        let refused = io::copy(&mut bounded, &mut sink).unwrap_err();
        assert!(refused.to_string().contains("longer than"), "{refused}");
        budget.refill();
        assert!(bounded.read(&mut [0; 8]).is_ok());
    }
}
