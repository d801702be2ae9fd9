//! The nodes: one with the whole machine, or one for each device of the lab, behind its distance.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use node::{folder, logs::Log, serving::Addresses};
use runtime::{Drain, listen};
use tokio::net::TcpListener;

use super::{
    Config, NODES_STOP_MAX, UpError,
    child::{Child, Role},
    ports::{available, reachable},
};
use crate::lab::{LabDevice, proxy::Proxy};

/// How often it is looked whether a line is to be cut.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node that is to be started.
pub(super) struct Plan {
    name: String,
    /// Its data folder.
    pub(super) data_dir: PathBuf,
    site: String,
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
    /// Where apps reach it when that is not its gRPC address.
    pub(super) advertise: Option<SocketAddr>,
    share: Option<(f64, u64)>,
    line: Option<(TcpListener, Duration)>,
}

/// The line to a device of the lab: delayed, and cut for as long as there is a file called `cut` in
/// the folder of the device.
pub(super) struct Line {
    drain: Drain,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.drain.ask();
    }
}

/// Where the serving worker of the node in `data_dir` answers, as reached from this machine.
pub(super) fn addresses(data_dir: &Path) -> Option<Addresses> {
    let path = node::serving::addresses_path(data_dir);
    let Addresses { grpc, http, metrics } = folder::read_json(&path).ok().flatten()?;
    Some(Addresses { grpc: reachable(grpc), http: reachable(http), metrics: reachable(metrics) })
}

/// The nodes of `config`, with addresses that can be had.
///
/// # Errors
///
/// [`UpError`].
pub(super) async fn plan(config: &Config) -> Result<Vec<Plan>, UpError> {
    match &config.lab {
        None => Ok(vec![whole_machine(config).await?]),
        Some(fleet) => {
            let mut plans = Vec::new();
            for device in &fleet.devices {
                plans.push(in_the_lab(config, device).await?);
            }
            Ok(plans)
        }
    }
}

async fn whole_machine(config: &Config) -> Result<Plan, UpError> {
    let data_dir = config.data_dir.join("node");
    let at = |port| {
        let port = if config.listen.port() == 0 { 0 } else { port };
        SocketAddr::new(config.listen.ip(), port)
    };
    let (grpc, http, metrics) = (at(8001), at(8000), at(8002));
    let held = left_running(&data_dir);
    for (what, address) in [("gRPC", grpc), ("HTTP", http), ("metrics", metrics)] {
        // What an earlier node left running holds its ports, and is adopted.
        if !held.contains(&address) {
            let what = format!("serving worker's {what}");
            available(&what, address, config.insecure).await?;
        }
    }
    let host = sysinfo::System::host_name().unwrap_or_default();
    let name = if node::config::is_name(&host) { host } else { "device-1".to_owned() };
    let site = config.site.clone();
    Ok(Plan { name, data_dir, site, grpc, http, metrics, advertise: None, share: None, line: None })
}

async fn in_the_lab(config: &Config, device: &LabDevice) -> Result<Plan, UpError> {
    let data_dir = config.data_dir.join("devices").join(&device.name);
    let write = |path: PathBuf| |source| UpError::Write { path, source };
    std::fs::create_dir_all(&data_dir).map_err(write(data_dir.clone()))?;
    let listener = line_listener(config, device, &data_dir).await?;
    let path = line_path(&data_dir);
    let address = listener.local_addr().map_err(write(path.clone()))?;
    folder::write_json(&path, &address).map_err(write(path))?;
    let anywhere = SocketAddr::new(config.listen.ip(), 0);
    Ok(Plan {
        name: device.name.clone(),
        data_dir,
        site: device.site.clone().unwrap_or_else(|| config.site.clone()),
        grpc: anywhere,
        http: anywhere,
        metrics: anywhere,
        advertise: Some(reachable(address)),
        share: Some((device.cpu_cores, device.memory_bytes)),
        line: Some((listener, device.rtt)),
    })
}

fn line_path(data_dir: &Path) -> PathBuf {
    data_dir.join("line.json")
}

/// Where the line to `device` begins: where it did the last time, when that is free.
async fn line_listener(
    config: &Config,
    device: &LabDevice,
    data_dir: &Path,
) -> Result<TcpListener, UpError> {
    let ip: IpAddr = config.listen.ip();
    let before: Option<SocketAddr> = folder::read_json(&line_path(data_dir)).ok().flatten();
    if let Some(before) = before
        && before.ip() == ip
        && let Ok(listener) = listen::bind(before, config.insecure).await
    {
        return Ok(listener);
    }
    listen::bind(SocketAddr::new(ip, 0), config.insecure)
        .await
        .map_err(|source| UpError::Address { what: format!("line to {}", device.name), source })
}

/// What a serving worker says of itself.
#[derive(serde::Deserialize)]
struct Card {
    pid: u32,
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
}

/// The addresses that a serving worker of an earlier node holds; none when it has ended.
fn left_running(data_dir: &Path) -> Vec<SocketAddr> {
    let card = folder::read_json::<Card>(&data_dir.join("serving").join("serving.json"));
    match card {
        Ok(Some(card)) if Path::new(&format!("/proc/{}", card.pid)).exists() => {
            vec![card.grpc, card.http, card.metrics]
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

impl Plan {
    /// Starts the node, and the line to it when it has one; gives its log, too.
    pub(super) fn start(
        &mut self,
        config: &Config,
        scheduler: SocketAddr,
    ) -> Result<(Child, Option<Line>, PathBuf), UpError> {
        let mut words: Vec<OsString> = vec!["node".into()];
        let mut tell = |flag: &str, value: OsString| words.extend([flag.into(), value]);
        tell("--device", self.name.clone().into());
        tell("--site", self.site.clone().into());
        tell("--data-dir", self.data_dir.clone().into());
        tell("--scheduler", scheduler.to_string().into());
        tell("--grpc", self.grpc.to_string().into());
        tell("--http", self.http.to_string().into());
        tell("--metrics", self.metrics.to_string().into());
        if let Some(advertise) = self.advertise {
            tell("--advertise", advertise.to_string().into());
        }
        if let Some((cores, memory_bytes)) = self.share {
            tell("--cpu-cores", format!("{cores:.3}").into());
            tell("--memory-bytes", memory_bytes.to_string().into());
        }
        let mqtt = config.mqtt.iter().map(|url| ("SENSEMBLE_MQTT".to_owned(), url.clone()));
        let role = Role {
            name: format!("node {}", self.name),
            program: config.program.clone(),
            words,
            insecure: config.insecure,
            environment: mqtt.chain(config.traces.iter().cloned()).collect(),
            log: Log::new(&config.data_dir.join("logs"), &format!("node-{}", self.name)),
            stop_max: NODES_STOP_MAX,
        };
        let log = role.log.path().to_owned();
        let line = match self.line.take() {
            None => None,
            Some((listener, rtt)) => Some(self.lay(listener, rtt)?),
        };
        Ok((Child::start(role, Vec::new), line, log))
    }

    fn lay(&self, listener: TcpListener, rtt: Duration) -> Result<Line, UpError> {
        let data_dir = self.data_dir.clone();
        let target = Arc::new(move || addresses(&data_dir).map(|found| found.grpc));
        let proxy = Proxy::start(listener, target, rtt)
            .map_err(|source| UpError::Write { path: line_path(&self.data_dir), source })?;
        tracing::info!(name = self.name, address = %proxy.address(), ?rtt, "line laid");
        let (drain, cut) = (Drain::new(), self.data_dir.join("cut"));
        let (until, name) = (drain.clone(), self.name.clone());
        runtime::spawn::named("line", async move {
            let mut was_cut = false;
            loop {
                tokio::select! {
                    () = until.wait() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let is_cut = tokio::fs::try_exists(&cut).await.unwrap_or(false);
                if is_cut != was_cut {
                    tracing::info!(name, is_cut, "line");
                    if is_cut {
                        proxy.cut()
                    } else {
                        proxy.heal()
                    }
                    was_cut = is_cut;
                }
            }
        });
        Ok(Line { drain })
    }
}
