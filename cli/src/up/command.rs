//! `sensemble up`.

use std::{net::SocketAddr, path::PathBuf};

use clap::builder::FalseyValueParser;
use runtime::{Drain, Exit};

use super::Config;
use crate::{
    failure::{Doing as _, Failure},
    lab::Fleet,
};

/// What `up` may be told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where everything is kept.
    #[arg(long, env = "SENSEMBLE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the scheduler listens; the serving worker takes 8001 (gRPC), 8000 (HTTP) and 8002
    /// (metrics) beside it. Port 0 picks free ones for all, which DATA_DIR/addresses.json names.
    #[arg(
        long,
        env = "SENSEMBLE_LISTEN",
        default_value = "127.0.0.1:7400",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// The place with its own network that this machine stands in.
    #[arg(long, env = "SENSEMBLE_SITE", default_value = "home")]
    site: String,
    /// A fleet on this machine instead of one node: the five machines of the paper, or those in
    /// FILE (TOML).
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    lab: Option<Option<PathBuf>>,
    /// Accept plaintext from other machines: the network is yours alone.
    #[arg(long, env = "SENSEMBLE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
    #[command(flatten)]
    broker: crate::process::broker::BrokerAddress,
    #[command(flatten)]
    collector: crate::process::collector::Collector,
    /// End when standard input ends.
    #[arg(long, hide = true)]
    parent_pipe: bool,
}

/// Runs everything until told to stop, and prints `ready` once it answers.
#[expect(clippy::print_stdout, reason = "`ready` is what scripts wait for")]
pub(crate) async fn run(options: Options, drain: Drain) -> Result<Exit, Failure> {
    let Options { data_dir, listen, site, lab, insecure, broker, collector, parent_pipe } = options;
    // Said here rather than by each node later, when it is wrong.
    let mqtt = broker.place(&site, "any", insecure)?.map(|(url, _)| url);
    let _understood = collector.settings(insecure)?;
    let traces = collector.environment();
    let lab = match lab {
        None => None,
        Some(None) => Some(Fleet::paper_here()),
        Some(Some(path)) => {
            let fleet = Fleet::read(path.clone());
            Some(fleet.doing(|| format!("no lab from {}", path.display()))?)
        }
    };
    let program = std::env::current_exe().doing(|| "cannot find this program".to_owned())?;
    let config = Config { data_dir, listen, insecure, site, mqtt, traces, program, lab };
    let drain = if parent_pipe { drain.with_parent() } else { drain };
    let run = super::run(config, drain, |addresses| {
        let shown = serde_json::to_string(addresses).unwrap_or_default();
        tracing::info!(addresses = shown, "everything answers");
        println!("ready");
    });
    Ok(Box::pin(run).await?)
}
