//! How a command ends: what scripts see (the exit status) and what people read (the reason, and
//! what to do next).

use std::{error::Error, io::ErrorKind::BrokenPipe, process::ExitCode};

use client::ClientError;
use runtime::Report;
use tonic::Code;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it was asked for.
    Done,
    /// It was not done.
    Error,
    /// It was taken note of, but what it is for does not hold (yet).
    Unsatisfied,
    /// What was named is not there.
    NotFound,
    /// The caller may not.
    Denied,
    /// The call makes no sense.
    Usage,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Error => 1,
            Outcome::Unsatisfied => 2,
            Outcome::NotFound => 3,
            Outcome::Denied => 4,
            Outcome::Usage => 64,
        })
    }
}

/// Why a command was not done, in words, and what its reader could do next.
///
/// Not an [`Error`] itself, so that `?` turns every error into one, with all its causes.
#[derive(Debug)]
pub(crate) struct Failure {
    outcome: Outcome,
    text: String,
    hint: Option<String>,
    code: Option<Code>,
}

impl Failure {
    /// A failure of the program's own.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, text: text.into(), hint: None, code: None }
    }

    /// Something that was named is not there.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotFound, ..Self::new(text) }
    }

    /// A call that makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { outcome: Outcome::Usage, ..Self::new(text) }
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What a service answered; `None` when none was asked.
    pub(crate) fn code(&self) -> Option<Code> {
        self.code
    }

    /// What went wrong, with all its causes.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Tells it on standard error, once; the exit status to end with.
    pub(crate) fn tell(&self) -> ExitCode {
        if self.outcome != Outcome::Done {
            eprintln!("sensemble: {}", self.text);
            if let Some(hint) = &self.hint {
                eprintln!("  hint: {hint}");
            }
        }
        self.outcome.into()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Self::new(Report(&error).to_string());
        let first: &(dyn Error + 'static) = &error;
        if first.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == BrokenPipe) {
            // Whoever read our output has seen enough.
            failure.outcome = Outcome::Done;
        }
        let mut cause = Some(first);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<ClientError>() {
                failure.code = Some(error.code());
                failure.outcome = outcome(error.code());
                failure.hint = hint(error).map(str::to_owned);
            }
            cause = error.source();
        }
        failure
    }
}

/// What a refusal means for scripts.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::NotFound => Outcome::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => Outcome::Denied,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Error,
    }
}

/// What people could do about a refusal.
fn hint(error: &ClientError) -> Option<&'static str> {
    Some(match (error, error.code()) {
        (ClientError::Unreachable { .. }, _) => {
            "start one with `sensemble up --data-dir DIR`, or say where it is with --scheduler"
        }
        (ClientError::Address { .. }, _) => "an address looks like 127.0.0.1:7400",
        (ClientError::Nonsense { .. }, _) | (_, Code::Unimplemented) => {
            "are both sides of the same version?"
        }
        (_, Code::ResourceExhausted) => "it is busy: try again in a moment",
        (_, Code::Unavailable) => "the connection was lost: is it still running?",
        (ClientError::Refused(_), _) => return None,
    })
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    /// Puts `what: ` in front of the reason.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let mut failure: Failure = error.into();
            failure.text = format!("{}: {}", what(), failure.text);
            failure
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn scripts_can_tell_refusals_apart() {
        let cases = [
            (Code::NotFound, Outcome::NotFound),
            (Code::PermissionDenied, Outcome::Denied),
            (Code::Unauthenticated, Outcome::Denied),
            (Code::InvalidArgument, Outcome::Error),
            (Code::FailedPrecondition, Outcome::Error),
        ];
        for (code, outcome) in cases {
            let failure = Failure::from(ClientError::from(Status::new(code, "because")));
            assert_eq!(failure.outcome, outcome);
            assert_eq!(failure.text, "because");
        }
    }

    #[test]
    fn what_was_being_done_comes_first() {
        let lost: Result<(), _> = Err(std::io::Error::other("the disk is gone"));
        let failure = lost.doing(|| "cannot read kitchen.toml".to_owned()).unwrap_err();
        assert_eq!(failure.text, "cannot read kitchen.toml: the disk is gone");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        let failure = Failure::from(std::io::Error::from(BrokenPipe));
        assert_eq!(failure.outcome, Outcome::Done);
    }
}
