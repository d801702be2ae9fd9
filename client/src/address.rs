//! Where a service is: `host:port`, with or without `http://` in front.

use std::{fmt, str::FromStr, time::Duration};

use tonic::transport::{Channel, Endpoint};

use crate::error::ClientError;

/// How long a connection may take to come about.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// Connects, waiting no longer than [`CONNECT_MAX`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`] when nobody answers there.
    pub async fn connect(&self) -> Result<Channel, ClientError> {
        let unreachable = |error: tonic::transport::Error| ClientError::Unreachable {
            address: self.0.clone(),
            because: innermost(&error),
        };
        Endpoint::from_shared(format!("http://{}", self.0))
            .map_err(unreachable)?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            // A peer that lost its power says nothing: ask whether it is still there.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(unreachable)
    }
}

/// The first cause: what lies between it and us says "transport error" three times.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

impl FromStr for Address {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address { text: text.to_owned() };
        let trimmed = text.trim();
        let rest = trimmed.strip_prefix("http://").unwrap_or(trimmed).trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if host.is_empty() || port == 0 || !(bracketed || host.chars().all(plain)) {
            return Err(wrong());
        }
        Ok(Self(format!("{host}:{port}")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_may_be_left_out() {
        for text in ["http://pi.local:7400", "pi.local:7400", " http://pi.local:7400/ "] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), "pi.local:7400");
        }
        assert_eq!("[::1]:80".parse::<Address>().unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in
            ["", "pi", "pi:", ":80", "pi:0", "pi:70000", "https://pi:80", "a b:80", "::1:80"]
        {
            assert!(
                matches!(text.parse::<Address>(), Err(ClientError::Address { .. })),
                "{text:?} was accepted"
            );
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        // Bound and dropped at once, so that nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
        let error = address.connect().await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
