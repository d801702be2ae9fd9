//! Which addresses to use: those that were asked for, checked before anything starts; else those of
//! the last time, when they are free.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use node::folder;
use runtime::listen;

use super::{Config, UpError};

/// What a scheduler writes when it listens.
#[derive(serde::Deserialize)]
struct Listens {
    address: SocketAddr,
}

/// Where the scheduler under `data_dir` writes where it listens.
pub(super) fn scheduler_path(data_dir: &Path) -> PathBuf {
    data_dir.join("scheduler").join("address.json")
}

/// Where the scheduler under `data_dir` says that it listens, as reached from this machine.
pub(super) fn scheduler_now(data_dir: &Path) -> Option<SocketAddr> {
    let listens: Listens = folder::read_json(&scheduler_path(data_dir)).ok().flatten()?;
    Some(reachable(listens.address))
}

/// Where the scheduler should listen.
///
/// # Errors
///
/// [`UpError::Address`] when what was asked for cannot be had.
pub(super) async fn scheduler(config: &Config) -> Result<SocketAddr, UpError> {
    let asked = config.listen;
    let path = scheduler_path(&config.data_dir);
    if asked.port() == 0
        && let Ok(Some(Listens { address: before })) = folder::read_json(&path)
        && before.ip() == asked.ip()
        && available("scheduler", before, config.insecure).await.is_ok()
    {
        return Ok(before);
    }
    available("scheduler", asked, config.insecure).await?;
    Ok(asked)
}

/// Checks that `what` can listen on `address`: better said now than by a child's log.
///
/// # Errors
///
/// [`UpError::Address`].
pub(super) async fn available(
    what: &str,
    address: SocketAddr,
    insecure: bool,
) -> Result<(), UpError> {
    match listen::bind(address, insecure).await {
        Ok(_given_back_at_once) => Ok(()),
        Err(source) => Err(UpError::Address { what: what.to_owned(), source }),
    }
}

/// From this machine, what listens everywhere is reached on loopback.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let other = listen::bind(anywhere, false).await.unwrap();
        let address = other.local_addr().unwrap();
        let error = available("scheduler", address, false).await.unwrap_err();
        let text = runtime::Report(&error).to_string();
        assert!(text.contains("scheduler") && text.contains(&address.to_string()), "{text}");
        drop(other);
        available("scheduler", address, false).await.unwrap();
    }

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        let of = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:7400"), "127.0.0.1:7400");
        assert_eq!(of("[::]:7400"), "[::1]:7400");
        assert_eq!(of("10.0.0.1:7400"), "10.0.0.1:7400");
    }
}
