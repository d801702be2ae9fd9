//! The collector of traces that a process is told of, by the names that OpenTelemetry has for it.

use traces::Settings;

use crate::failure::Failure;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Where the collector is, and which traces it is told of.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Collector {
    /// Tell this collector of traces (OTLP over gRPC): `http://HOST:4317`.
    #[arg(long = "otlp-endpoint", env = ENDPOINT, value_name = "URL")]
    endpoint: Option<String>,
    /// Which traces: `always_on`, `always_off` or `traceidratio`, each also with `parentbased_` in front.
    /// Those whose caller says so when absent (`parentbased_always_off`).
    #[arg(long = "traces-sampler", env = SAMPLER, value_name = "NAME")]
    sampler: Option<String>,
    /// Which part of all traces `traceidratio` takes, from 0 to 1.
    #[arg(long = "traces-sampler-arg", env = ARGUMENT, value_name = "RATIO")]
    argument: Option<String>,
}

impl Collector {
    /// What was said, understood; `None` when no collector was named.
    pub(crate) fn settings(&self, insecure: bool) -> Result<Option<Settings>, Failure> {
        let given = |it: &Option<String>| it.clone().unwrap_or_default();
        let Some(endpoint) = self.endpoint.as_deref().filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let sampler = (given(&self.sampler), given(&self.argument));
        let settings = Settings::new(endpoint, (&sampler.0, &sampler.1), insecure);
        settings.map(Some).map_err(|error| Failure::usage(format!("--otlp-endpoint: {error}")))
    }

    /// The same, for the environment of a child.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let said =
            [(ENDPOINT, &self.endpoint), (SAMPLER, &self.sampler), (ARGUMENT, &self.argument)];
        let said = said.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it.clone()?)));
        said.collect()
    }
}
