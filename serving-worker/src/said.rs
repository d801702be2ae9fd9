//! What is said to whom the first bytes of a call refuse: under a flood thousands hear the same, and it is put
//! into words once.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tonic::{Status, body::Body, codegen::http};

use crate::error::PredictError;

/// The last words to a crowd.
#[derive(Debug, Default)]
pub(crate) struct Said(ArcSwapOption<Words>);

#[derive(Debug)]
struct Words {
    task: String,
    retry: Duration,
    headers: http::HeaderMap,
}

impl Said {
    /// The reply that says `error`.
    pub(crate) fn of(&self, error: PredictError) -> http::Response<Body> {
        let PredictError::Crowded { task, retry } = error else {
            return Status::from(error).into_http();
        };
        if let Some(words) = &*self.0.load()
            && (words.retry, &words.task) == (retry, &task)
        {
            let mut reply = http::Response::new(Body::empty());
            reply.headers_mut().clone_from(&words.headers);
            return reply;
        }
        let of = task.clone();
        let reply = Status::from(PredictError::Crowded { task, retry }).into_http::<Body>();
        let headers = reply.headers().clone();
        self.0.store(Some(Arc::new(Words { task: of, retry, headers })));
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_is_what_would_have_been_said() {
        let said = Said::default();
        let crowded = |task: &str, ms| PredictError::Crowded {
            task: task.to_owned(),
            retry: Duration::from_millis(ms),
        };
        let asked =
            [("kitchen", 7), ("kitchen", 7), ("kitchen", 80), ("cellar", 80), ("cellar", 80)];
        for (task, ms) in asked {
            let afresh = Status::from(crowded(task, ms)).into_http::<Body>();
            let reply = said.of(crowded(task, ms));
            assert_eq!(reply.headers(), afresh.headers(), "{task}, {ms} ms");
            assert_eq!(reply.status(), afresh.status());
        }
        let other = PredictError::Expired { task: "kitchen".to_owned() };
        assert_eq!(said.of(other).headers()["grpc-status"], "4");
    }
}
