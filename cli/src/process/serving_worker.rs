//! `sensemble serving-worker`, which a node starts.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::builder::FalseyValueParser;
use runtime::Exit;

use crate::failure::{Doing as _, Failure};

/// Holds the token that orders must carry. In the environment only: what stands on a command line,
/// everyone on the machine can read.
const TOKEN: &str = "SENSEMBLE_CONTROL_TOKEN";

/// What a serving worker may be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where it keeps bundles, receipts and corrections.
    #[arg(long, env = "SENSEMBLE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where it answers gRPC.
    #[arg(long, env = "SENSEMBLE_GRPC", default_value = "127.0.0.1:8001", value_name = "ADDRESS")]
    grpc: SocketAddr,
    /// Where it answers HTTP.
    #[arg(long, env = "SENSEMBLE_HTTP", default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Where it shows its metrics.
    #[arg(
        long,
        env = "SENSEMBLE_METRICS",
        default_value = "127.0.0.1:8002",
        value_name = "ADDRESS"
    )]
    metrics: SocketAddr,
    /// Accept plaintext from other machines: the network is yours alone.
    #[arg(long, env = "SENSEMBLE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
    /// How long it goes on answering without a node, in seconds.
    #[arg(long, env = "SENSEMBLE_ORPHAN_WAIT_S", default_value_t = 60, value_name = "S")]
    orphan_wait_s: u64,
    /// How long it goes on answering after it was told to stop and has said so, in milliseconds:
    /// whoever balances load over several workers needs as long to notice.
    #[arg(long, env = "SENSEMBLE_GRACE_MS", default_value_t = 100, value_name = "MS")]
    grace_ms: u64,
    #[command(flatten)]
    broker: super::broker::BrokerAddress,
    #[command(flatten)]
    collector: super::collector::Collector,
    /// The place with its own network that it stands in.
    #[arg(long, env = "SENSEMBLE_SITE", default_value = "home")]
    site: String,
    /// The name of this device in the fleet.
    #[arg(long, env = "SENSEMBLE_DEVICE", default_value = "device-1", value_name = "NAME")]
    device: String,
}

/// Runs it until it is told to stop, or nobody needs it any more.
pub(crate) async fn run(options: Options) -> Result<Exit, Failure> {
    let token = std::env::var(TOKEN).map_err(|_| {
        Failure::usage(format!("{TOKEN} is not set"))
            .hint("a serving worker is started by `sensemble node`, which sets it")
    })?;
    let mqtt = options.broker.place(&options.site, &options.device, options.insecure)?;
    let config = serving_worker::Config {
        data_dir: options.data_dir,
        grpc: options.grpc,
        http: options.http,
        metrics: options.metrics,
        insecure: options.insecure,
        token,
        orphan_wait: Duration::from_secs(options.orphan_wait_s),
        grace: Duration::from_millis(options.grace_ms),
        mqtt: mqtt.map(|(_, place)| place),
        traces: options.collector.settings(options.insecure)?,
        device: options.device,
    };
    let drain = super::drain(false)?;
    serving_worker::run(config, drain).await.doing(|| "the serving worker stopped".to_owned())
}
