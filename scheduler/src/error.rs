//! From what went wrong to what a caller should do about it: the codes of gRPC.

use std::time::Duration;

use kameo::error::{Infallible, SendError};
use store::blobs::BlobError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{controller::HearError, registry::RegistryError};

/// When to try again after "not now".
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Full, or restarting: the same request may succeed in a moment.
pub(crate) fn try_again(code: Code, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(code, message, details)
}

/// What a caller is told who said something that cannot be understood.
pub(crate) fn malformed(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(runtime::Report(error).to_string())
}

/// The answer of an actor, or what to tell the caller instead.
pub(crate) fn asked<T, M, E: Into<Status>>(
    answer: Result<T, SendError<M, E>>,
) -> Result<T, Status> {
    answer.map_err(|error| match error {
        SendError::HandlerError(error) => error.into(),
        SendError::MailboxFull(_) => {
            try_again(Code::ResourceExhausted, "the scheduler is busy; try again in a second")
        }
        SendError::ActorNotRunning(_)
        | SendError::ActorStopped
        | SendError::ActorRestarting(_)
        | SendError::Timeout(_) => {
            try_again(Code::Unavailable, "the scheduler is restarting; try again in a second")
        }
    })
}

/// The answer of an actor that never says no.
pub(crate) fn told<T, M>(answer: Result<T, SendError<M, Infallible>>) -> Result<T, Status> {
    asked(answer.map_err(|error| error.map_err(|never| -> RegistryError { match never {} })))
}

/// What is to be said about a bundle that was not put or got.
pub(crate) fn bundle_error(error: &BlobError) -> Status {
    let code = match error {
        BlobError::Full { .. } => Code::ResourceExhausted,
        BlobError::NotFound { .. } => Code::NotFound,
        BlobError::Damaged { .. } => Code::DataLoss,
        BlobError::Disk { .. } => Code::Internal,
    };
    Status::new(code, runtime::Report(error).to_string())
}

/// A query of the state failed.
pub(crate) fn state_error(error: &sqlx::Error) -> Status {
    tracing::error!(error = %runtime::Report(error), "the state could not be read");
    Status::internal("the state could not be read; the scheduler's log says why")
}

impl From<HearError> for Status {
    fn from(error: HearError) -> Self {
        let code = match &error {
            HearError::Replaced { .. } => Code::Aborted,
            HearError::Fleet(_) => Code::ResourceExhausted,
        };
        Self::new(code, error.to_string())
    }
}
