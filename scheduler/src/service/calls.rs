//! Calls of the services: how many, how they ended, and how long they took.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use runtime::exposition::{Histogram, Page};
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

/// All methods of ours: what is none is not counted, so that nobody can make up labels.
pub(super) const METHODS: [&str; 25] = [
    "Admin/ApplyTask",
    "Admin/ListTasks",
    "Admin/RemoveTask",
    "Admin/ImportSamples",
    "Admin/StatSamples",
    "Admin/StartTraining",
    "Admin/WatchTraining",
    "Admin/ListDevices",
    "Admin/ListPlacements",
    "Admin/ExplainPlacement",
    "Admin/ListRevisions",
    "Admin/Rollback",
    "Admin/Events",
    "Admin/ListCorrections",
    "Admin/AddMember",
    "Admin/ListMembers",
    "Admin/RemoveMember",
    "Fleet/Lease",
    "Training/Begin",
    "Training/Samples",
    "Training/Publish",
    "Training/Progress",
    "Bundles/PutBundle",
    "Bundles/GetBundle",
    "Corrections/Submit",
];
const PACKAGE: &str = "/sensemble.v1.";
/// How many codes gRPC has.
const CODES: usize = 17;
/// Bounds of how long a call takes, in microseconds; streams last as long as they last.
const BOUNDS_US: [u64; 10] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// The calls of one method.
#[derive(Debug)]
struct Counts {
    codes: [AtomicU64; CODES],
    times: Histogram<{ BOUNDS_US.len() }>,
}

/// The calls of all methods, in the order of [`METHODS`].
#[derive(Clone, Debug)]
pub(crate) struct Calls(Arc<[Counts; METHODS.len()]>);

impl Default for Calls {
    fn default() -> Self {
        let none = || Counts {
            codes: [const { AtomicU64::new(0) }; CODES],
            times: Histogram::new(&BOUNDS_US),
        };
        Self(Arc::new(std::array::from_fn(|_| none())))
    }
}

impl Calls {
    /// `service`, counted.
    pub(super) fn of<S>(&self, service: S) -> Counted<S> {
        Counted { inner: service, calls: self.clone() }
    }

    fn begin(&self, path: &str) -> Option<Call> {
        let method = path.strip_prefix(PACKAGE)?;
        let method = METHODS.iter().position(|&it| it == method)?;
        Some(Call { calls: self.clone(), method, begun: Instant::now(), code: None })
    }

    /// Writes what was counted: of methods that were called, and codes that were answered.
    pub(crate) fn write(&self, page: &mut Page) {
        let called = || METHODS.iter().zip(&*self.0).filter(|(_, it)| 0 < it.times.count());
        page.metric("grpc_calls_total", "counter", "Calls that have ended, by how they did.");
        for (method, counts) in called() {
            for (code, count) in (0_i32..).zip(&counts.codes) {
                let count = count.load(Relaxed);
                if 0 < count {
                    let code = Code::from_i32(code);
                    let labels = format!("{{method=\"{method}\",code=\"{code:?}\"}}");
                    page.sample("grpc_calls_total", &labels, count);
                }
            }
        }
        page.metric("grpc_call_seconds", "histogram", "How long calls and streams took.");
        for (method, counts) in called() {
            page.histogram("grpc_call_seconds", &format!("method=\"{method}\""), &counts.times);
        }
    }
}

/// A call that goes on; counted when it is dropped.
struct Call {
    calls: Calls,
    method: usize,
    begun: Instant,
    /// How it ended; who left it has cancelled it.
    code: Option<Code>,
}

impl Call {
    fn ended(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let counts = &self.calls.0[self.method];
        let code = i32::from(self.code.unwrap_or(Code::Cancelled));
        let at = usize::try_from(code).unwrap_or(0).min(CODES - 1);
        counts.codes[at].fetch_add(1, Relaxed);
        let us = self.begun.elapsed().as_micros();
        counts.times.add(u64::try_from(us).unwrap_or(u64::MAX));
    }
}

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = self.calls.begin(request.uri().path());
        let answer = self.inner.call(request);
        let Some(mut call) = call else { return Box::pin(answer) };
        Box::pin(async move {
            let response = answer.await?;
            // A call that is refused at once says so in front; all others say it at their end.
            if let Some(status) = Status::from_header_map(response.headers()) {
                call.ended(status.code());
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Ending { body, call })))
        })
    }
}

/// The body of an answer, listened to for how it ends.
struct Ending {
    body: Body,
    call: Call,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let status = Status::from_header_map(trailers);
                    self.call.code = status.map(|it| it.code());
                }
            }
            Poll::Ready(Some(Err(status))) => self.call.ended(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 3] = [
        include_str!("../../../proto/proto/sensemble/v1/admin.proto"),
        include_str!("../../../proto/proto/sensemble/v1/fleet.proto"),
        include_str!("../../../proto/proto/sensemble/v1/training.proto"),
    ];

    #[test]
    fn every_method_is_counted_by_its_name() {
        let mut service = "";
        let mut found = Vec::new();
        for line in FILES.iter().flat_map(|file| file.lines()).map(str::trim_start) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split(' ').next().unwrap();
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                found.push(format!("{service}/{}", rest.split('(').next().unwrap()));
            }
        }
        assert_eq!(found, METHODS);
    }

    #[test]
    fn how_a_call_ended_is_counted_and_strangers_are_not() {
        let calls = Calls::default();
        let mut done = calls.begin("/sensemble.v1.Fleet/Lease").unwrap();
        done.code = Some(Code::NotFound);
        drop(done);
        drop(calls.begin("/sensemble.v1.Fleet/Lease"));
        assert!(calls.begin("/sensemble.v1.Fleet/Loan").is_none());
        assert!(calls.begin("/metrics").is_none());
        let mut page = Page::new("");
        calls.write(&mut page);
        let text = page.text();
        for code in ["NotFound", "Cancelled"] {
            let line = format!("grpc_calls_total{{method=\"Fleet/Lease\",code=\"{code}\"}} 1");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("grpc_call_seconds_count{method=\"Fleet/Lease\"} 2"), "{text}");
    }
}
