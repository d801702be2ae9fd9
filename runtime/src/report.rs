//! An error with its causes, on one line.

use std::{error::Error, fmt};

/// Shows an error and everything that caused it: `what failed: because: because`.
///
/// Whoever consumes an error logs it once, through this.
#[derive(Debug)]
pub struct Report<'a>(pub &'a dyn Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
