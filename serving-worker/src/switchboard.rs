//! The switchboard: which service a gRPC call is for, by its path.
//!
//! A router that serves any service takes a copy of itself, a table of parameters and three more boxes
//! for each call, refused ones included. Nearly all calls are for two services: these are found by
//! comparing the beginning of the path, and behind it stands the door; all others take the router.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
    service::Routes,
};

use crate::doorway::Doorway;

/// Two services behind the door, and all others.
#[derive(Debug)]
pub(crate) struct Switchboard<A, B>(Arc<Lines<A, B>>);

#[derive(Debug)]
struct Lines<A, B> {
    first: Doorway<A>,
    second: Doorway<B>,
    others: Routes,
}

impl<A, B> Switchboard<A, B> {
    pub(crate) fn new(first: Doorway<A>, second: Doorway<B>, others: Routes) -> Self {
        Self(Arc::new(Lines { first, second, others: others.prepare() }))
    }
}

impl<A, B> Clone for Switchboard<A, B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Whether `path` is that of a method of the service.
fn is_of<S: NamedService>(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME));
    method.is_some_and(|method| method.starts_with('/'))
}

impl<A, B> Service<http::Request<Body>> for Switchboard<A, B>
where
    A: Behind,
    B: Behind,
    A::Future: Send + 'static,
    B::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // None of them is ever not ready: what is too much is refused call by call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Lines { first, second, others } = &*self.0;
        let path = request.uri().path();
        if is_of::<B>(path) {
            second.answer(request)
        } else if is_of::<A>(path) {
            first.answer(request)
        } else {
            Box::pin(others.clone().call(request))
        }
    }
}

/// What may stand behind the door: a service of gRPC, named and ready at all times.
pub(crate) trait Behind:
    Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Behind for S where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::intake::Intake;

    /// Notes who was called.
    type Calls = Arc<Mutex<Vec<&'static str>>>;

    #[derive(Clone)]
    struct Named<const PLACE: u8>(Calls);

    impl NamedService for Named<1> {
        const NAME: &'static str = "sensemble.v1.Serving";
    }

    impl NamedService for Named<2> {
        const NAME: &'static str = "inference.GRPCInferenceService";
    }

    impl NamedService for Named<3> {
        const NAME: &'static str = "sensemble.v1.ServingControl";
    }

    impl<const PLACE: u8> Service<http::Request<Body>> for Named<PLACE>
    where
        Self: NamedService,
    {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<http::Response<Body>, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            self.0.lock().unwrap().push(Self::NAME);
            Box::pin(async { Ok(http::Response::new(Body::empty())) })
        }
    }

    #[tokio::test]
    async fn a_call_goes_to_the_service_that_its_path_names_and_to_no_namesake() {
        let dir = tempfile::tempdir().unwrap();
        let desk = Arc::new(crate::answer::tests::desk(dir.path(), None));
        let calls = Calls::default();
        let first = Named::<1>(Arc::clone(&calls));
        let first = Doorway::new(first, Arc::clone(&desk), Intake::default());
        let second = Doorway::new(Named::<2>(Arc::clone(&calls)), desk, Intake::default());
        let others = Routes::new(Named::<3>(Arc::clone(&calls)));
        let mut board = Switchboard::new(first, second, others);
        let mut status = async |path: &str| {
            let request = http::Request::post(path).body(Body::empty()).unwrap();
            board.call(request).await.unwrap().headers().get("grpc-status").cloned()
        };
        for name in ["sensemble.v1.Serving", "inference.GRPCInferenceService"] {
            assert_eq!(status(&format!("/{name}/Any")).await, None);
            assert_eq!(calls.lock().unwrap().pop(), Some(name));
        }
        assert_eq!(status("/sensemble.v1.ServingControl/Attach").await, None);
        assert_eq!(calls.lock().unwrap().pop(), Some("sensemble.v1.ServingControl"));
        for nobody in ["/", "/sensemble.v1.Serving", "/sensemble.v1.Servin/Any", "/x/y"] {
            assert_eq!(status(nobody).await.unwrap(), "12", "{nobody}");
        }
        assert!(calls.lock().unwrap().is_empty());
    }
}
