//! Why a request was not done, and what its caller should do next.

use std::time::Duration;

use models::ShapeError;
use proto::parse::ParseError;
use runtime::Report;
use store::{outbox::OutboxError, ring::RingError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// When to try again what was refused because the disk or the outbox was full.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// When to try again what was refused because a revision is still being loaded.
const LOADING_RETRY: Duration = Duration::from_secs(1);

/// Why a prediction was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredictError {
    /// The request does not describe samples of the task.
    #[error("the request is not a sample of task {task}")]
    Malformed {
        /// The task.
        task: String,
        /// What is wrong.
        #[source]
        source: ShapeError,
    },
    /// More samples than fit into one reply.
    #[error(
        "{rows} samples are more than one request of task {task} may have: send at most {rows_max}"
    )]
    TooMany {
        /// The task.
        task: String,
        /// How many were sent.
        rows: usize,
        /// How many may be.
        rows_max: usize,
    },
    /// A set of classes that cannot be promised.
    #[error("task {task} answers no such set: {why}")]
    NoSet {
        /// The task.
        task: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A task that is not placed here.
    #[error(
        "task {task:?} is not served here (served: {served}); \
         `placement list` says where it is"
    )]
    NotServed {
        /// The task asked for.
        task: String,
        /// Those that are served.
        served: String,
    },
    /// Another revision than the one that is served.
    #[error("revision {version:?} of task {task} is not served here; revision {served} is")]
    Version {
        /// The task.
        task: String,
        /// The revision asked for.
        version: String,
        /// The one that is served.
        served: u64,
    },
    /// A task that is placed here and not yet loaded.
    #[error("task {task} is not loaded yet{fault}")]
    NotLoaded {
        /// The task.
        task: String,
        /// What went wrong so far, with a colon in front.
        fault: String,
    },
    /// As much as may be in flight is in flight.
    #[error("{in_flight} requests are in flight, which is as much as may be")]
    Busy {
        /// How many.
        in_flight: usize,
        /// When their work is done.
        retry: Duration,
    },
    /// Too many of the same task are in flight for this one to be answered in time.
    #[error(
        "as many requests of task {task} are in flight as can be answered in time; \
         come back in {} ms", retry.as_millis()
    )]
    Crowded {
        /// The task.
        task: String,
        /// When their work is done.
        retry: Duration,
    },
    /// The worker that serves the task refused it.
    #[error("{device} serves this task and says: {}", status.message())]
    Elsewhere {
        /// Which device.
        device: String,
        /// What it said.
        status: Box<Status>,
    },
    /// Nobody who serves the task has answered.
    #[error("task {task} is served elsewhere, and no place has answered in time ({last})")]
    Unreachable {
        /// The task.
        task: String,
        /// What was wrong with the last one.
        last: String,
        /// When to try again.
        retry: Duration,
    },
    /// Nobody waits for it any more.
    #[error("the deadline has passed before task {task} was answered")]
    Expired {
        /// The task.
        task: String,
    },
    /// The computation did not come to an end.
    #[error("the answer was not computed to its end")]
    Broken,
}

impl PredictError {
    /// The code that tells the caller what to do next: fix the request, try elsewhere, or wait.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Malformed { .. } | Self::TooMany { .. } | Self::NoSet { .. } => {
                Code::InvalidArgument
            }
            Self::NotServed { .. } | Self::Version { .. } => Code::NotFound,
            Self::Expired { .. } => Code::DeadlineExceeded,
            Self::NotLoaded { .. } | Self::Unreachable { .. } => Code::Unavailable,
            Self::Elsewhere { status, .. } => status.code(),
            Self::Busy { .. } | Self::Crowded { .. } => Code::ResourceExhausted,
            Self::Broken => Code::Internal,
        }
    }

    /// After which time the same request may be answered; `None` when it will not.
    pub(crate) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry, .. }
            | Self::Crowded { retry, .. }
            | Self::Unreachable { retry, .. } => Some(*retry),
            Self::Elsewhere { status, .. } => retry_of(status),
            Self::NotLoaded { .. } => Some(LOADING_RETRY),
            Self::Malformed { .. }
            | Self::TooMany { .. }
            | Self::NoSet { .. }
            | Self::NotServed { .. }
            | Self::Version { .. }
            | Self::Expired { .. }
            | Self::Broken => None,
        }
    }
}

impl From<PredictError> for Status {
    fn from(error: PredictError) -> Self {
        status(error.code(), &error, error.retry())
    }
}

/// Why a correction was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorrectError {
    /// What was given is no prediction id.
    #[error("this is not the id of an answer")]
    Id(#[source] ParseError),
    /// No answer of this id is remembered.
    #[error(
        "no answer with this id is remembered here: send the correction to the worker that answered, \
         or, if the answer is too old, add the sample with its label by `data import`"
    )]
    Unknown,
    /// The label is no class of the task.
    #[error("{label:?} is no class of task {task}; the classes are {classes}")]
    Label {
        /// What was said.
        label: String,
        /// The task.
        task: String,
        /// What could have been said.
        classes: String,
    },
    /// The receipt could not be read.
    #[error("the receipt of the answer cannot be read")]
    Receipt(#[source] RingError),
    /// The correction could not be made durable, so it was not taken.
    #[error("the correction was not taken")]
    Outbox(#[source] OutboxError),
    /// As much as may be in flight is in flight.
    #[error("the worker is full")]
    Busy(#[source] Box<PredictError>),
    /// The worker that gave the answer, or that may have, did not take it.
    #[error("{}", .0.message())]
    Elsewhere(Box<Status>),
    /// The work did not come to an end.
    #[error("the correction was not worked on to its end; send it again")]
    Broken,
}

impl CorrectError {
    /// The code that tells the caller what to do next.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Id(_) | Self::Label { .. } | Self::Outbox(OutboxError::Length { .. }) => {
                Code::InvalidArgument
            }
            Self::Unknown => Code::NotFound,
            Self::Elsewhere(status) => status.code(),
            Self::Busy(_) | Self::Outbox(OutboxError::Full { .. }) => Code::ResourceExhausted,
            Self::Receipt(_) | Self::Outbox(OutboxError::Disk { .. } | OutboxError::Stopped) => {
                Code::Unavailable
            }
            Self::Broken => Code::Internal,
        }
    }

    /// After which time the same correction may be taken; `None` when it will not.
    pub(crate) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Busy(full) => full.retry(),
            Self::Elsewhere(status) => retry_of(status),
            Self::Outbox(OutboxError::Length { .. }) => None,
            Self::Outbox(_) | Self::Receipt(_) => Some(FULL_RETRY),
            Self::Id(_) | Self::Unknown | Self::Label { .. } | Self::Broken => None,
        }
    }
}

impl From<CorrectError> for Status {
    fn from(error: CorrectError) -> Self {
        status(error.code(), &error, error.retry())
    }
}

fn retry_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn status(code: Code, error: &dyn std::error::Error, retry: Option<Duration>) -> Status {
    let text = Report(error).to_string();
    match retry {
        Some(after) => {
            Status::with_error_details(code, text, ErrorDetails::with_retry_info(Some(after)))
        }
        None => Status::new(code, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_says_when_to_try_again_and_every_layer_says_its_part_once() {
        let retry = Duration::from_millis(70);
        let status = Status::from(PredictError::Busy { in_flight: 3, retry });
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(retry));

        let source = ShapeError::Width { expected: 3, actual: 2 };
        let status = Status::from(PredictError::Malformed { task: "a".to_owned(), source });
        assert_eq!(
            status.message(),
            "the request is not a sample of task a: a sample has 2 values; the task has 3 features"
        );
        assert!(status.get_details_retry_info().is_none());
    }
}
