//! What a node is told at its start: checked once, believed afterwards.

use std::{net::SocketAddr, path::PathBuf};

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this device in the fleet.
    pub device: String,
    /// The place with its own network that it stands in.
    pub site: String,
    /// Where it keeps its orders, its measurements, and its serving worker's folder.
    pub data_dir: PathBuf,
    /// Where the scheduler is, as `host:port` or `http://host:port`.
    pub scheduler: String,
    /// Where the serving worker answers gRPC; port 0 picks a free one and keeps it.
    pub grpc: SocketAddr,
    /// Where the serving worker answers HTTP; port 0 picks a free one and keeps it.
    pub http: SocketAddr,
    /// Where the serving worker shows its metrics; port 0 picks a free one and keeps it.
    pub metrics: SocketAddr,
    /// Where apps reach the serving worker, as `host:port`; its gRPC address when absent.
    pub advertise: Option<String>,
    /// The cores that this device may use; all of the machine's when absent.
    pub cpu_cores: Option<f64>,
    /// The memory that this device may use; all of the machine's when absent.
    pub memory_bytes: Option<u64>,
    /// Whether plaintext beyond loopback is accepted.
    pub insecure: bool,
    /// The broker at which the serving worker answers, if any.
    pub mqtt: Option<Mqtt>,
    /// The collector that the serving worker tells of traces, if any.
    pub traces: Option<Traces>,
    /// The program that workers are started from: the one binary of Sensemble.
    pub program: PathBuf,
}

/// The broker at which the serving worker answers.
#[derive(Clone)]
pub struct Mqtt {
    /// Its address, which may hold a password.
    pub url: String,
    /// What a serving worker that was told so writes of it.
    pub told: String,
}

impl std::fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told)
    }
}

/// The collector that the serving worker tells of traces.
#[derive(Clone, Debug)]
pub struct Traces {
    /// What the environment of the serving worker says of it.
    pub environment: Vec<(String, String)>,
    /// What a serving worker that was told so writes of it.
    pub told: String,
}

/// Why a node cannot start as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A device name that would not do as a folder, a metric label and a word in a table.
    #[error(
        "{device:?} is no name for a device: use 1 to 64 letters, digits, dots, dashes and \
         underscores, beginning with a letter or a digit"
    )]
    Device {
        /// What was given.
        device: String,
    },
    /// A share that is no share.
    #[error("cpu_cores = {cores} must be more than 0")]
    Cores {
        /// What was given.
        cores: f64,
    },
    /// The scheduler's address is no address.
    #[error("the scheduler cannot be found")]
    Scheduler(#[source] proto::parse::ParseError),
    /// The advertised address is no address.
    #[error("the advertised address cannot be found")]
    Advertise(#[source] proto::parse::ParseError),
}

/// Whether `name` will do as a folder, a label and a word in a table.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    name.len() <= 64
        && name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

impl Config {
    /// Checks what can be checked before anything is touched.
    ///
    /// # Errors
    ///
    /// Every variant of [`ConfigError`], each for exactly one way of being wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !is_name(&self.device) {
            return Err(ConfigError::Device { device: self.device.clone() });
        }
        if let Some(cores) = self.cpu_cores
            && !(cores.is_finite() && 0.0 < cores)
        {
            return Err(ConfigError::Cores { cores });
        }
        proto::parse::endpoint(&self.scheduler).map_err(ConfigError::Scheduler)?;
        if let Some(advertise) = &self.advertise {
            proto::parse::endpoint(advertise).map_err(ConfigError::Advertise)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            device: "pi-4".to_owned(),
            site: "home".to_owned(),
            data_dir: PathBuf::from("data"),
            scheduler: "127.0.0.1:7400".to_owned(),
            grpc: anywhere,
            http: anywhere,
            metrics: anywhere,
            advertise: None,
            cpu_cores: None,
            memory_bytes: None,
            insecure: false,
            mqtt: None,
            traces: None,
            program: PathBuf::from("sensemble"),
        }
    }

    #[test]
    fn each_way_of_being_wrong_has_its_error() {
        assert!(config().check().is_ok());
        for device in ["", "-rf", "../up", "a b", &"x".repeat(65)] {
            let wrong = Config { device: device.to_owned(), ..config() };
            assert!(matches!(wrong.check(), Err(ConfigError::Device { .. })), "{device:?}");
        }
        for cores in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = Config { cpu_cores: Some(cores), ..config() };
            assert!(matches!(wrong.check(), Err(ConfigError::Cores { .. })), "{cores}");
        }
        let wrong = Config { scheduler: "home".to_owned(), ..config() };
        assert!(matches!(wrong.check(), Err(ConfigError::Scheduler(_))));
        let wrong = Config { advertise: Some("home".to_owned()), ..config() };
        assert!(matches!(wrong.check(), Err(ConfigError::Advertise(_))));
    }
}
