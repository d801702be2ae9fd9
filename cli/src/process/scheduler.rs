//! `sensemble scheduler`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::builder::FalseyValueParser;
use runtime::Exit;

use crate::failure::{Doing as _, Failure};

/// What the scheduler may be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where tasks, samples, revisions and the journal are kept.
    #[arg(long, env = "SENSEMBLE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where it listens; port 0 picks a free one, which DATA_DIR/address.json names.
    #[arg(
        long,
        env = "SENSEMBLE_LISTEN",
        default_value = "127.0.0.1:7400",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// The place with its own network that it stands in.
    #[arg(long, env = "SENSEMBLE_SITE", default_value = "home")]
    site: String,
    /// How often nodes report, in milliseconds.
    #[arg(long, env = "SENSEMBLE_HEARTBEAT_MS", default_value_t = 1_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(10..=60_000))]
    heartbeat_ms: u64,
    /// How long a silent device keeps its tasks, in milliseconds.
    #[arg(long, env = "SENSEMBLE_LEASE_MS", default_value_t = 5_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(30..=600_000))]
    lease_ms: u64,
    /// Accept plaintext from other machines: the network is yours alone.
    #[arg(long, env = "SENSEMBLE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
    #[command(flatten)]
    collector: super::collector::Collector,
    /// End when standard input ends.
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

/// Runs it until it is told to stop.
pub(crate) async fn run(options: Options) -> Result<Exit, Failure> {
    let Options {
        data_dir,
        listen,
        site,
        heartbeat_ms,
        lease_ms,
        insecure,
        collector,
        parent_pipe,
    } = options;
    if lease_ms / 2 <= heartbeat_ms {
        return Err(Failure::usage(format!(
            "--heartbeat-ms {heartbeat_ms} must be less than half of --lease-ms {lease_ms}, \
             so that one lost report is never a lost device"
        )));
    }
    let config = scheduler::Config {
        listen,
        insecure,
        data_dir,
        site,
        heartbeat: Duration::from_millis(heartbeat_ms),
        lease: Duration::from_millis(lease_ms),
        traces: collector.settings(insecure)?,
    };
    let drain = super::drain(parent_pipe)?;
    scheduler::run(config, drain).await.doing(|| "the scheduler stopped".to_owned())
}
