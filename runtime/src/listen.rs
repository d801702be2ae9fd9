//! Where a process listens: plaintext on loopback only, unless told otherwise.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

/// Why a process does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Plaintext that others could read.
    #[error(
        "{address} is not a loopback address and there is no TLS yet: \
         listen on 127.0.0.1, or say --insecure if the network is yours alone"
    )]
    Exposed {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}; port 0 picks a free one")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Binds `address`; port 0 picks a free port, which the listener knows.
///
/// # Errors
///
/// [`ListenError::Exposed`] for a plaintext address beyond loopback without `insecure`,
/// [`ListenError::Bind`] when the address cannot be had.
pub async fn bind(address: SocketAddr, insecure: bool) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() && !insecure {
        return Err(ListenError::Exposed { address });
    }
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plaintext_stays_on_loopback_unless_told_otherwise() {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        assert!(matches!(bind(everywhere, false).await, Err(ListenError::Exposed { .. })));
        assert!(bind(everywhere, true).await.is_ok());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(loopback, false).await.unwrap();
        let taken = listener.local_addr().unwrap();
        assert_ne!(taken.port(), 0);
        assert!(matches!(bind(taken, false).await, Err(ListenError::Bind { .. })));
    }
}
