//! Distance: a TCP proxy that delivers every byte half a round trip after it was sent.
//!
//! Bytes are delayed, not throttled: each direction may have [`FLIGHT_BYTES_MAX`] in flight, and
//! keeps its order. A connection costs a round trip before its first byte, as it does on a network.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use runtime::Drain;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until},
};

/// What one direction of one connection may have in flight: at 64 ms one way, 64 MB a second.
const FLIGHT_BYTES_MAX: usize = 4 << 20;
/// Pieces in flight: many small messages are no reason to hold back.
const FLIGHT_PIECES_MAX: usize = 4_096;
/// Bytes read at once.
const PIECE_BYTES: usize = 32 << 10;
/// Connections at a time; beyond that new ones are closed at once.
const CONNECTIONS_MAX: usize = 1_024;

/// Where a proxy leads: looked up for each connection, since a worker may move.
pub(crate) type Target = Arc<dyn Fn() -> Option<SocketAddr> + Send + Sync>;

/// A proxy that listens, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    drain: Drain,
    #[cfg(test)]
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens on `listener`, and leads to `target` with a round trip of `rtt` more.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub(crate) fn start(listener: TcpListener, target: Target, rtt: Duration) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        let drain = Drain::new();
        let connections = Arc::new(AtomicUsize::new(0));
        #[cfg(test)]
        let counted = connections.clone();
        let accept = accept(listener, target, rtt, is_cut, drain.clone(), connections);
        runtime::spawn::named("proxy", accept);
        Ok(Self {
            address,
            cut,
            drain,
            #[cfg(test)]
            connections: counted,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the line: what is in flight is lost, and new connections are closed at once.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Heals the line: new connections lead to the target again.
    pub(crate) fn heal(&self) {
        self.cut.send_replace(false);
    }

    /// Connections that stand.
    #[cfg(test)]
    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain.ask();
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(
    listener: TcpListener,
    target: Target,
    rtt: Duration,
    is_cut: watch::Receiver<bool>,
    drain: Drain,
    connections: Arc<AtomicUsize>,
) {
    loop {
        let accepted = tokio::select! {
            () = drain.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let near = match accepted {
            Ok((near, _)) => near,
            Err(error) => {
                // Out of file descriptors, say: it passes, and spinning would not help.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if *is_cut.borrow() || CONNECTIONS_MAX <= connections.load(Ordering::Relaxed) {
            continue;
        }
        let Some(target) = target() else { continue };
        let counted = Counted::new(&connections);
        let (mut is_cut, drain) = (is_cut.clone(), drain.clone());
        runtime::spawn::named("proxy connection", async move {
            let _counted = counted;
            tokio::select! {
                () = drain.wait() => {}
                _ = is_cut.wait_for(|&cut| cut) => {}
                ended = carry(near, target, rtt) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %target, "a connection broke");
                    }
                }
            }
        });
    }
}

/// Carries both directions of one connection until both have ended.
async fn carry(near: TcpStream, target: SocketAddr, rtt: Duration) -> io::Result<()> {
    let accepted = Instant::now();
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // On a network the connection itself would have taken a round trip.
    let connected = accepted + rtt;
    tokio::try_join!(
        delayed(near_read, far_write, connected, rtt / 2),
        delayed(far_read, near_write, connected, rtt / 2),
    )?;
    Ok(())
}

/// A piece in flight.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    /// Its room, given back when it has arrived.
    _room: OwnedSemaphorePermit,
}

/// One direction: reads at once, writes `delay` later, in order.
async fn delayed(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connected: Instant,
    delay: Duration,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(FLIGHT_BYTES_MAX));
    let (sent, mut arriving) = mpsc::channel::<Piece>(FLIGHT_PIECES_MAX);
    let send = async move {
        let mut buffer = vec![0_u8; PIECE_BYTES];
        loop {
            let length = from.read(&mut buffer).await?;
            let bytes = u32::try_from(length).expect("a piece is at most PIECE_BYTES long");
            if bytes == 0 {
                // `sent` ends with this block: the other side ends once all pieces have arrived.
                return io::Result::Ok(());
            }
            let room = room.clone().acquire_many_owned(bytes).await.map_err(io::Error::other)?;
            let due = Instant::now().max(connected) + delay;
            let piece = Piece { due, bytes: buffer[..length].to_vec(), _room: room };
            if sent.send(piece).await.is_err() {
                return Ok(());
            }
        }
    };
    let arrive = async move {
        while let Some(piece) = arriving.recv().await {
            sleep_until(piece.due).await;
            to.write_all(&piece.bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(send, arrive)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        runtime::spawn::named("echo", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                runtime::spawn::named("echo connection", async move {
                    let (mut read, mut write) = stream.split();
                    let _ends_with_the_test = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn proxy(target: Option<SocketAddr>, rtt: Duration) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Proxy::start(listener, Arc::new(move || target), rtt).unwrap()
    }

    #[tokio::test]
    async fn a_round_trip_takes_at_least_what_was_declared() {
        let rtt = Duration::from_millis(30);
        let proxy = proxy(Some(echo().await), rtt).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let mut byte = [7_u8];
        let mut fastest = Duration::MAX;
        for trip in 0..5 {
            let sent = Instant::now();
            stream.write_all(&byte).await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
            assert!(rtt <= sent.elapsed(), "trip {trip} took {:?}", sent.elapsed());
            // The first one of a connection pays for making it.
            assert!(trip != 0 || 2 * rtt <= sent.elapsed(), "{:?}", sent.elapsed());
            fastest = fastest.min(sent.elapsed());
        }
        assert!(fastest < 2 * rtt, "delayed, not stuck: {fastest:?}");
    }

    #[tokio::test]
    async fn bytes_keep_their_order_and_are_delayed_rather_than_throttled() {
        let rtt = Duration::from_millis(100);
        let proxy = proxy(Some(echo().await), rtt).await;
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let sent: Vec<u8> = (0..8_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let begun = Instant::now();
        let sending = {
            let sent = sent.clone();
            runtime::spawn::named("sender", async move {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            })
        };
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        sending.await.unwrap();
        let took = begun.elapsed();
        assert!(received == sent, "the same bytes in the same order, and then the end");
        assert!(rtt <= took);
        // One piece a round trip would take 24 s, one socket buffer a round trip 4 s and more.
        assert!(took < Duration::from_secs(3), "8 MB in {took:?}");
    }

    #[tokio::test]
    async fn a_line_that_was_cut_heals_for_new_connections() {
        let proxy = proxy(Some(echo().await), Duration::from_millis(1)).await;
        let mut byte = [1_u8];
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        before.write_all(&byte).await.unwrap();
        before.read_exact(&mut byte).await.unwrap();
        assert_eq!(proxy.connections(), 1);

        proxy.cut();
        assert!(matches!(before.read(&mut byte).await, Ok(0) | Err(_)), "it ends");
        let mut during = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(matches!(during.read(&mut byte).await, Ok(0) | Err(_)), "it leads nowhere");

        proxy.heal();
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        after.write_all(&byte).await.unwrap();
        after.read_exact(&mut byte).await.unwrap();
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn a_proxy_without_a_target_closes_at_once_and_a_dropped_one_is_gone() {
        let proxy = proxy(None, Duration::ZERO).await;
        let address = proxy.address();
        let mut byte = [1_u8];
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
        drop(proxy);
        // Its task ends as soon as it is scheduled: then nobody listens.
        let gone = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    }
}
