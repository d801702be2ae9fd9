//! The MQTT broker that a process is told of.

use serving_worker::mqtt::{Broker, Place};

use crate::failure::Failure;

/// Where the broker is.
#[derive(Clone, clap::Args)]
pub(crate) struct BrokerAddress {
    /// Answer at an MQTT broker too: `mqtt://[USER:PASSWORD@]HOST[:PORT]`. An address with a password
    /// is better said as SENSEMBLE_MQTT: everyone on the machine can read a command line.
    #[arg(long = "mqtt", env = "SENSEMBLE_MQTT", value_name = "URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
}

impl std::fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("named", &self.url.is_some()).finish()
    }
}

impl BrokerAddress {
    /// The address as it was said and what it means; `None` when there is none, or an empty one.
    pub(crate) fn place(
        self,
        site: &str,
        device: &str,
        insecure: bool,
    ) -> Result<Option<(String, Place)>, Failure> {
        let Some(url) = self.url.filter(|url| !url.is_empty()) else { return Ok(None) };
        let broker = url.parse().and_then(|broker: Broker| broker.allowed(insecure));
        let broker = broker.map_err(|error| Failure::usage(format!("--mqtt: {error}")))?;
        let (site, device) = (site.to_owned(), device.to_owned());
        Ok(Some((url, Place { broker, site, device })))
    }
}
