//! Where the broker is, as a person writes it: `mqtt://user:password@host:port`.

use std::{fmt, str::FromStr};

use runtime::place::Place;

/// The port of MQTT without TLS.
const PORT: u16 = 1883;
/// Longest address: a host name has at most 253 bytes, and nobody types a longer password.
const BYTES_MAX: usize = 1024;

/// The address of a broker, and who we are to it. Never shown with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    pub(super) place: Place,
    pub(super) user: Option<(String, String)>,
}

/// Why there is no such broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Not how a broker is written.
    #[error(
        "{reason}: write the broker as mqtt://HOST, mqtt://HOST:PORT or mqtt://USER:PASSWORD@HOST:PORT"
    )]
    Written {
        /// What is wrong.
        reason: &'static str,
    },
    /// TLS is asked for, and there is none.
    #[error(
        "there is no TLS to brokers yet: reach the broker over mqtt:// on this machine, \
         through a tunnel, or on a network of your own with --insecure"
    )]
    Tls,
    /// Plaintext that others could read.
    #[error(
        "{host} is not this machine and there is no TLS to brokers yet: \
         use a broker on localhost, or say --insecure if the network is yours alone"
    )]
    Exposed {
        /// Where the broker would be.
        host: String,
    },
}

impl Broker {
    /// Who we are to it, as a digest.
    pub(super) fn fingerprint(&self) -> String {
        let (name, password) = self.user.as_ref().map_or(("", ""), |(a, b)| (a, b));
        let text = format!("{name}\0{password}");
        runtime::secret::hex(&models::bundle::digest(text.as_bytes())[..8])
    }

    /// Gives the broker back if it may be spoken to.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Exposed`] for a broker elsewhere, without `insecure`.
    pub fn allowed(self, insecure: bool) -> Result<Self, BrokerError> {
        if !self.place.is_here() && !insecure {
            return Err(BrokerError::Exposed { host: self.place.host });
        }
        Ok(self)
    }
}

impl FromStr for Broker {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let wrong = |reason| BrokerError::Written { reason };
        if BYTES_MAX < text.len() || text.chars().any(|it| it.is_control() || it.is_whitespace()) {
            return Err(wrong("the address is too long, or has a blank in it"));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("the scheme is missing"))?;
        match scheme {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" => return Err(BrokerError::Tls),
            _ => return Err(wrong("the scheme is not mqtt")),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, place)) => (Some(user), place),
        };
        let user = user
            .map(|user| {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let plain = |it| super::topic::decoded(it).ok_or_else(|| wrong("a % stands alone"));
                Ok((plain(name)?, plain(password)?))
            })
            .transpose()?;
        Ok(Self { place: Place::parse(place, PORT).map_err(wrong)?, user })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}", self.place)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_a_port_and_perhaps_somebody() {
        let broker = |text: &str| text.parse::<Broker>();
        let plain = broker("mqtt://localhost").unwrap();
        assert_eq!((plain.place.to_string().as_str(), plain.user), ("localhost:1883", None));
        let somebody = broker("mqtt://ann:p%40ss%2f@[::1]:1884/").unwrap();
        assert_eq!(somebody.place.to_string(), "[::1]:1884");
        assert_eq!(somebody.user, Some(("ann".to_owned(), "p@ss/".to_owned())));
        for wrong in [
            "",
            "localhost",
            "http://x",
            "mqtt://",
            "mqtt://a:b",
            "mqtt://a:0",
            "mqtt://[::1",
            "mqtt://a b",
            "mqtt://%@h",
        ] {
            assert!(matches!(broker(wrong), Err(BrokerError::Written { .. })), "{wrong}");
        }
        assert_eq!(broker("mqtts://h"), Err(BrokerError::Tls));
    }

    #[test]
    fn a_password_is_never_shown_and_plaintext_stays_on_this_machine() {
        let broker: Broker = "mqtt://ann:secret@10.0.0.9".parse().unwrap();
        assert_eq!(format!("{broker} {broker:?}"), "mqtt://10.0.0.9:1883 mqtt://10.0.0.9:1883");
        assert!(matches!(broker.clone().allowed(false), Err(BrokerError::Exposed { .. })));
        assert!(broker.allowed(true).is_ok());
        let here: Broker = "mqtt://127.0.0.1".parse().unwrap();
        assert!(here.allowed(false).is_ok());
    }
}
