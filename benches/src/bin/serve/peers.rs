//! The servers of others, over the members that the learning bench fitted in Python.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use benches::folder::Fault;

use crate::process::{Core, Process, pinned, until_it_listens};

/// What the one task is called by all of them.
pub(crate) const TASK: &str = "hapt";
/// How long a Python server may take to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server that we compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// MLServer, of Seldon.
    Seldon,
    Kserve,
    Sklearn,
    Onnx,
    Mix,
}

impl Server {
    /// As `serve.py` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seldon => "mlserver",
            Self::Kserve => "kserve",
            Self::Sklearn => "sklearn",
            Self::Onnx => "onnx",
            Self::Mix => "mix",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Seldon => "MLServer gRPC",
            Self::Kserve => "KServe Python server, gRPC",
            Self::Sklearn => "bare grpcio + scikit-learn",
            Self::Onnx => "bare grpcio + ONNX Runtime",
            Self::Mix => "best hand-made Python: ONNX Runtime, scikit-learn for kNN",
        }
    }
}

/// The Pythons that were installed for this, and the members.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    /// Has scikit-learn and XGBoost: it fits.
    pub(crate) learning: PathBuf,
    /// Has MLServer and ONNX Runtime.
    pub(crate) serving: PathBuf,
    /// Has KServe.
    pub(crate) kserve: PathBuf,
    /// `learn.py` and `serve.py`.
    pub(crate) scripts: PathBuf,
    /// The data set, and below `peers` what was fitted on it.
    pub(crate) folder: PathBuf,
}

impl Peers {
    /// Fits the members unless an earlier run over the same rows did, and converts them.
    pub(crate) fn ready(&self) -> Result<(), Fault> {
        if !self.folder.join("peers/boosted.pickle").exists() {
            let mut fit = Command::new(&self.learning);
            fit.arg(self.scripts.join("learn.py")).arg("families").arg(&self.folder);
            finish("learn.py", fit.stdout(Stdio::null()))?;
        }
        if !self.folder.join("peers/boosted.onnx").exists() {
            let mut convert = Command::new(&self.serving);
            convert.arg(self.scripts.join("serve.py")).arg("convert").arg(&self.folder);
            finish("serve.py convert", convert.stdout(Stdio::null()).stderr(Stdio::null()))?;
        }
        Ok(())
    }

    /// Starts one over `members`, waits until it listens.
    pub(crate) fn start(
        &self,
        server: Server,
        members: &[&str],
        core: Core,
    ) -> Result<(Process, SocketAddr), Fault> {
        let python = if server == Server::Kserve { &self.kserve } else { &self.serving };
        // Two more ports follow it: those of HTTP and of the metrics.
        let address = free_row_of_ports()?;
        let mut command = pinned(core, python);
        command.args(["-W", "ignore"]).arg(self.scripts.join("serve.py")).arg(server.name());
        command.arg(&self.folder).args([members.join(","), address.port().to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start(&mut command)?;
        until_it_listens(address, &mut process, PATIENCE)?;
        Ok((process, address))
    }
}

/// The first of three ports that are free, as far as that can be known.
fn free_row_of_ports() -> Result<SocketAddr, Fault> {
    for _ in 0..100 {
        let first = crate::process::free_address()?;
        let port = first.port();
        let rest = [port.checked_add(1), port.checked_add(2)];
        let free = |port: Option<u16>| {
            port.is_some_and(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if rest.into_iter().all(free) {
            return Ok(first);
        }
    }
    Err("no three free ports in a row".into())
}

fn finish(what: &str, command: &mut Command) -> Result<(), Fault> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{what} ended with {status}").into()) }
}

/// The members, as both sides name them.
pub(crate) const SEVEN: [&str; 7] =
    ["knn", "ridge", "forest", "linear-svm", "rbf-svm", "mlp", "boosted"];
/// The three that answer soonest in Python.
pub(crate) const THREE: [&str; 3] = ["ridge", "linear-svm", "mlp"];

/// Where `names` stand among the seven.
pub(crate) fn places(names: &[&str]) -> Vec<u32> {
    (0..).zip(SEVEN).filter(|(_, it)| names.contains(it)).map(|(at, _)| at).collect()
}
