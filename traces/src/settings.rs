//! Where traces go and which of them, as a person says it.

use runtime::place::Place;

use crate::sampler::{Sampler, SamplerError};

/// The port of OTLP over gRPC.
const PORT: u16 = 4317;
/// Longest address: a host name has at most 253 bytes.
const BYTES_MAX: usize = 512;

/// A collector, and what it is told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    endpoint: String,
    sampler: Sampler,
}

/// Why nothing is sent there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not how a collector is written.
    #[error("{reason}: write the collector as http://HOST:PORT; it is told over gRPC")]
    Written {
        /// What is wrong.
        reason: &'static str,
    },
    /// TLS is asked for, and there is none.
    #[error(
        "there is no TLS to collectors yet: reach the collector over http:// on this machine, \
         through a tunnel, or on a network of your own with --insecure"
    )]
    Tls,
    /// Plaintext that others could read.
    #[error(
        "{host} is not this machine and there is no TLS to collectors yet: \
         use a collector on localhost, or say --insecure if the network is yours alone"
    )]
    Exposed {
        /// Where the collector would be.
        host: String,
    },
    /// No such rule.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}

impl Settings {
    /// Tells the collector at `endpoint` of what the rule `sampler` takes; see [`Sampler::new`].
    ///
    /// # Errors
    ///
    /// [`SettingsError`], one for each way of being wrong; a collector elsewhere needs `insecure`.
    pub fn new(
        endpoint: &str,
        (sampler, argument): (&str, &str),
        insecure: bool,
    ) -> Result<Self, SettingsError> {
        let sampler = Sampler::new(sampler, argument)?;
        let wrong = |reason| SettingsError::Written { reason };
        if BYTES_MAX < endpoint.len() || !endpoint.chars().all(|it| it.is_ascii_graphic()) {
            return Err(wrong("the address is too long, or has a blank in it"));
        }
        let place = match endpoint.split_once("://") {
            None => endpoint,
            Some(("http", place)) => place,
            Some(("https", _)) => return Err(SettingsError::Tls),
            Some(_) => return Err(wrong("the scheme is not http")),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let place = Place::parse(place, PORT).map_err(wrong)?;
        if !place.is_here() && !insecure {
            return Err(SettingsError::Exposed { host: place.host });
        }
        Ok(Self { endpoint: format!("http://{place}"), sampler })
    }

    /// `http://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Which traces it is told of.
    #[must_use]
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// All of it in one line: what is compared to find out whether a process was told the same.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { endpoint, sampler } = self;
        match sampler.argument() {
            None => format!("{sampler} to {endpoint}"),
            Some(ratio) => format!("{sampler} {ratio} to {endpoint}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_written_in_several_ways_and_reached_in_one() {
        let at = |endpoint| Settings::new(endpoint, ("", ""), false).unwrap().endpoint;
        assert_eq!(at("http://127.0.0.1:4317"), "http://127.0.0.1:4317");
        assert_eq!(at("localhost"), "http://localhost:4317");
        assert_eq!(at("http://[::1]:9/"), "http://[::1]:9");
        let half = ("parentbased_traceidratio", "0.5");
        let told = Settings::new("localhost:1", half, false).unwrap().told();
        assert_eq!(told, "parentbased_traceidratio 0.5 to http://localhost:1");
    }

    #[test]
    fn what_cannot_be_told_is_refused_in_words() {
        let error = |endpoint| Settings::new(endpoint, ("", ""), false).unwrap_err();
        assert_eq!(error("https://localhost"), SettingsError::Tls);
        assert_eq!(
            error("http://10.0.0.7"),
            SettingsError::Exposed { host: "10.0.0.7".to_owned() }
        );
        assert!(Settings::new("http://10.0.0.7", ("", ""), true).is_ok());
        for endpoint in [
            "",
            "http://",
            "ftp://x",
            "localhost:x",
            "localhost:0",
            "a b",
            "http://u@h",
            "http://h/v1",
        ] {
            assert!(matches!(error(endpoint), SettingsError::Written { .. }), "{endpoint:?}");
        }
        let sampler = Settings::new("localhost", ("some", ""), false).unwrap_err();
        assert!(matches!(sampler, SettingsError::Sampler(_)));
    }
}
