//! A collector of traces, as small as it can be: it keeps the spans that it is told of.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use proto::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Span,
    any_value::Value,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A span, and who has told of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// `service.name` of the process.
    pub service: String,
    /// `service.instance.id` of the process.
    pub instance: String,
    /// The process.
    pub pid: String,
    /// What it said.
    pub span: Span,
}

impl Told {
    /// The attributes of the span, as text.
    #[must_use]
    pub fn attributes(&self) -> BTreeMap<String, String> {
        texts(&self.span.attributes)
    }

    /// Whether `other` lies within it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let times = |it: &Self| (it.span.start_time_unix_nano, it.span.end_time_unix_nano);
        let ((from, to), (start, end)) = (times(self), times(other));
        from <= start && start <= end && end <= to
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        None => String::new(),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

type Memory = Arc<Mutex<Vec<Told>>>;

#[derive(Clone, Debug)]
struct Service(Memory);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_process in request.into_inner().resource_spans {
            let known = texts(&of_process.resource.unwrap_or_default().attributes);
            let of = |name: &str| known.get(name).cloned().unwrap_or_default();
            for span in of_process.scope_spans.into_iter().flat_map(|it| it.spans) {
                let (service, instance) = (of("service.name"), of("service.instance.id"));
                memory.push(Told { service, instance, pid: of("process.pid"), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A running collector; it ends with the story.
pub struct Collector {
    memory: Memory,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Collector {
    /// Starts one on a free port of this machine.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the collector");
        let memory = Memory::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = TraceServiceServer::new(Service(Arc::clone(&memory)));
        let server = Server::builder().add_service(service);
        let _ends_with_the_runtime =
            runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { memory, address, _runtime: runtime }
    }

    /// Where it is, as `--otlp-endpoint` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it was told so far.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was told of the trace with this id.
    #[must_use]
    pub fn trace(&self, id: &[u8]) -> Vec<Told> {
        let mut told = self.told();
        told.retain(|it| it.span.trace_id == id);
        told
    }
}
