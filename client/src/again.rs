//! Asking again after the connection was lost: once, and only what does no harm twice.

use std::{error::Error as _, future::Future, time::Duration};

use tonic::{Code, Response, Status, transport};

use crate::error::ClientError;

/// How long to wait before asking again: a service that restarts needs a moment.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks, and asks once more when the service could not be reached.
pub(crate) async fn again<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let first = ask().await;
    let answer = match first {
        Err(status) if lost(&status) => {
            tokio::time::sleep(PAUSE).await;
            ask().await
        }
        answer => answer,
    };
    Ok(answer?.into_inner())
}

/// Whether the service could not be reached. A connection that broke while nobody used it is noticed
/// by the next question, and tonic calls that unknown: what it knows stands in the source.
fn lost(status: &Status) -> bool {
    let by_transport = status.source().is_some_and(|source| source.is::<transport::Error>());
    status.code() == Code::Unavailable || (status.code() == Code::Unknown && by_transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked_with(code: Code) -> usize {
        let mut asked = 0;
        let answer: Result<(), ClientError> = again(|| {
            asked += 1;
            async move { Err(Status::new(code, "no")) }
        })
        .await;
        assert_eq!(answer.unwrap_err().code(), code);
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lost_connection_is_asked_twice() {
        assert_eq!(asked_with(Code::Unavailable).await, 2);
        assert_eq!(asked_with(Code::NotFound).await, 1);
        assert_eq!(asked_with(Code::Unknown).await, 1);
        assert_eq!(asked_with(Code::ResourceExhausted).await, 1);
    }
}
