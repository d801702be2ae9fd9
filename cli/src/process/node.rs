//! `sensemble node`.

use std::{net::SocketAddr, path::PathBuf};

use clap::builder::FalseyValueParser;
use runtime::Exit;

use crate::failure::{Doing as _, Failure};

/// What a node may be told. Where the scheduler is, `--scheduler` says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where it keeps its orders, its measurements, and its workers' folders.
    #[arg(long, env = "SENSEMBLE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// The name of this device in the fleet; the host name when absent.
    #[arg(long, env = "SENSEMBLE_DEVICE", value_name = "NAME")]
    device: Option<String>,
    /// The place with its own network that it stands in.
    #[arg(long, env = "SENSEMBLE_SITE", default_value = "home")]
    site: String,
    /// Where the serving worker answers gRPC; port 0 picks a free one, which
    /// DATA_DIR/addresses.json names.
    #[arg(long, env = "SENSEMBLE_GRPC", default_value = "127.0.0.1:8001", value_name = "ADDRESS")]
    grpc: SocketAddr,
    /// Where the serving worker answers HTTP.
    #[arg(long, env = "SENSEMBLE_HTTP", default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Where the serving worker shows its metrics.
    #[arg(
        long,
        env = "SENSEMBLE_METRICS",
        default_value = "127.0.0.1:8002",
        value_name = "ADDRESS"
    )]
    metrics: SocketAddr,
    /// Where apps reach the serving worker, as host:port; its gRPC address when absent.
    #[arg(long, env = "SENSEMBLE_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<String>,
    /// The cores that this device may use, such as 0.5; all of them when absent.
    #[arg(long, env = "SENSEMBLE_CPU_CORES", value_name = "CORES")]
    cpu_cores: Option<f64>,
    /// The memory that this device may use, in bytes; all of it when absent.
    #[arg(long, env = "SENSEMBLE_MEMORY_BYTES", value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// Accept plaintext from other machines: the network is yours alone.
    #[arg(long, env = "SENSEMBLE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
    #[command(flatten)]
    broker: super::broker::BrokerAddress,
    #[command(flatten)]
    collector: super::collector::Collector,
    /// End when standard input ends.
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

/// Runs it until it is told to stop.
pub(crate) async fn run(options: Options, scheduler: String) -> Result<Exit, Failure> {
    if let Some(cores) = options.cpu_cores
        && !(cores.is_finite() && 0.0 < cores)
    {
        return Err(Failure::usage(format!("--cpu-cores {cores} must be above 0")));
    }
    let device = match options.device {
        Some(device) => device,
        None => sysinfo::System::host_name().map_err(|_| {
            Failure::usage("this machine has no host name").hint("give it one with --device")
        })?,
    };
    let collector = options.collector.settings(options.insecure)?;
    let mqtt = options.broker.place(&options.site, &device, options.insecure)?;
    let config = node::Config {
        device,
        site: options.site,
        data_dir: options.data_dir,
        scheduler,
        grpc: options.grpc,
        http: options.http,
        metrics: options.metrics,
        advertise: options.advertise,
        cpu_cores: options.cpu_cores,
        memory_bytes: options.memory_bytes,
        insecure: options.insecure,
        mqtt: mqtt.map(|(url, place)| node::config::Mqtt { url, told: place.told() }),
        traces: collector.map(|settings| node::config::Traces {
            environment: options.collector.environment(),
            told: settings.told(),
        }),
        program: std::env::current_exe().doing(|| "cannot find this program".to_owned())?,
    };
    let drain = super::drain(options.parent_pipe)?;
    node::run(config, drain).await.doing(|| "the node stopped".to_owned())
}
