//! The trace of a command: begun here, or gone on with from where `TRACEPARENT` says.

use std::{sync::Arc, time::Duration};

use clap::builder::FalseyValueParser;
use proto::trace::Context;
use tokio::time::Instant;
use traces::{Attributes as _, Exporter, Ids, Process, SpanKind, Traced, Tracer, span};

use crate::{
    failure::{Doing as _, Failure, Outcome},
    process::collector::Collector,
};

/// Where a program that starts others says in which trace: OpenTelemetry's name for it.
const PARENT: &str = "TRACEPARENT";
/// How long the collector may take when the command is done.
const END_MAX: Duration = Duration::from_secs(2);

/// Whether a command is traced.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceOptions {
    /// Ask those who answer to record a trace, and print its id; goes on with the one that the
    /// environment names (TRACEPARENT).
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    collector: Collector,
    /// Tell a collector elsewhere in plaintext: the network is yours alone.
    #[arg(long, env = "SENSEMBLE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
}

/// The trace of a running command.
pub(super) struct Trace {
    context: Context,
    /// Where its own part is recorded, when a collector was named.
    told: Option<(Traced, Arc<Tracer>, Exporter)>,
}

impl Trace {
    /// `None` when nobody asked for one.
    pub(super) fn begin(options: &TraceOptions) -> Result<Option<Self>, Failure> {
        if !options.trace {
            return Ok(None);
        }
        let parent = std::env::var(PARENT).ok().and_then(|it| Context::parse(it.as_bytes()));
        let no_trace = || "no trace was begun".to_owned();
        let trace = match options.collector.settings(options.insecure)? {
            Some(settings) => {
                let process = Process {
                    service: "cli",
                    instance: std::process::id().to_string(),
                    version: env!("CARGO_PKG_VERSION"),
                };
                let (tracer, exporter) = Tracer::start(&settings, process).doing(no_trace)?;
                let traced = tracer.insist(parent);
                Self { context: traced.context, told: Some((traced, tracer, exporter)) }
            }
            None => {
                let ids = Ids::new().doing(no_trace)?;
                let new = || Context { trace: ids.trace(), span: ids.span(), sampled: true };
                let context = Context { sampled: true, ..parent.unwrap_or_else(new) };
                Self { context, told: None }
            }
        };
        eprintln!("trace {}", trace.context.trace);
        Ok(Some(trace))
    }

    /// Where what the command asks for comes from.
    pub(super) fn context(&self) -> Context {
        self.context
    }

    /// The command has ended so; the collector hears of it.
    pub(super) async fn end(self, service: &str, method: &str, outcome: &Result<Outcome, Failure>) {
        let Some((traced, tracer, exporter)) = self.told else { return };
        let fault = outcome.as_ref().err().map(|it| it.text().to_owned());
        let (ended, service, method) = (Instant::now(), service.to_owned(), method.to_owned());
        tracer.say(1, move |_| {
            let span = span::of(&traced, format!("{service}/{method}"), SpanKind::Client, ended)
                .with("rpc.system", "grpc")
                .with("rpc.service", service)
                .with("rpc.method", method);
            vec![fault.iter().fold(span, |span, fault| span.failed(fault))]
        });
        exporter.end(END_MAX).await;
    }
}
