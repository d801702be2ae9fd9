//! Where somebody is, as a person writes it: `HOST`, `HOST:PORT`, `[::1]:PORT`.

use std::{fmt, net::IpAddr};

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl Place {
    /// Reads `text`; where it names no port, it is the `usual` one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a few words.
    pub fn parse(text: &str, usual: u16) -> Result<Self, &'static str> {
        if text.contains(['/', '?', '#', '@']) {
            return Err("what is not HOST:PORT is not understood");
        }
        // An IPv6 address stands in brackets, because it has colons of its own.
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("a ] is missing")?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or("a : is missing after the ]")?),
                };
                (host, port)
            }
            None => match text.split_once(':') {
                None => (text, None),
                Some((host, port)) => (host, Some(port)),
            },
        };
        let port = match port {
            None => usual,
            Some(port) => port.parse().map_err(|_| "the port is no number up to 65535")?,
        };
        if host.is_empty() || port == 0 {
            return Err("the host or the port is missing");
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether it is this machine, so that nobody else hears what is said to it.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            || self.host.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (text, shown, here) in [
            ("localhost", "localhost:7", true),
            ("LocalHost:80", "LocalHost:80", true),
            ("127.0.0.9:80", "127.0.0.9:80", true),
            ("[::1]", "[::1]:7", true),
            ("[fe80::1]:80", "[fe80::1]:80", false),
            ("pi.local:1883", "pi.local:1883", false),
        ] {
            let place = Place::parse(text, 7).unwrap();
            assert_eq!((place.to_string().as_str(), place.is_here()), (shown, here));
            assert_eq!(Place::parse(shown, 9), Ok(place));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "", ":80", "a:", "a:0", "a:65536", "a:b", "[::1", "[::1]80", "::1", "a/b", "a@b",
            "[]:9",
        ] {
            assert!(Place::parse(text, 7).is_err(), "{text}");
        }
    }
}
