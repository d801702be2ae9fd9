//! An error over HTTP: a status that says what to do, `{"error": "…"}`, and when to try again.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use runtime::Report;
use tonic::Code;

use crate::{
    answer::shortened,
    error::{CorrectError, PredictError},
};

/// Why a request over HTTP was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    text: String,
    retry: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry: None }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Says when to try again.
    pub(crate) fn after(self, retry: Duration) -> Self {
        Self { retry: Some(retry), ..self }
    }

    fn of(code: Code, error: &dyn std::error::Error, retry: Option<Duration>) -> Self {
        Self { status: status(code), text: Report(error).to_string(), retry }
    }
}

/// What a gRPC code is called here.
fn status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<PredictError> for Refused {
    fn from(error: PredictError) -> Self {
        Self::of(error.code(), &error, error.retry())
    }
}

impl From<CorrectError> for Refused {
    fn from(error: CorrectError) -> Self {
        Self::of(error.code(), &error, error.retry())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { status, text, retry } = self;
        let mut response = (status, Json(serde_json::json!({ "error": text }))).into_response();
        if let Some(retry) = retry {
            // Whole seconds are all that the header can say.
            let seconds = retry.as_secs() + u64::from(0 < retry.subsec_nanos());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(crate) async fn no_such_page(uri: Uri) -> Refused {
    let text = format!("there is nothing at {:?}", shortened(uri.path()));
    Refused::new(StatusCode::NOT_FOUND, text)
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Refused {
    let text = format!("{:?} is not answered to {method}", shortened(uri.path()));
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shed_says_when_to_try_again() {
        let busy =
            Refused::from(PredictError::Busy { in_flight: 3, retry: Duration::from_millis(70) })
                .into_response();
        assert_eq!(busy.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        let task = || "kitchen".to_owned();
        let loading = PredictError::NotLoaded { task: task(), fault: String::new() };
        let loading = Refused::from(loading).into_response();
        assert_eq!(loading.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(loading.headers()[header::RETRY_AFTER], "1");
        let late = Refused::from(PredictError::Expired { task: task() }).into_response();
        assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(!late.headers().contains_key(header::RETRY_AFTER));
    }
}
