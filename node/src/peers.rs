//! Round trips from this node's site to the serving workers of the other devices, as an app here
//! would have them: gRPC health checks over connections that are kept.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use proto::v1;
use runtime::Drain;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{health::Health, rtt::Window};

/// How often each peer is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// Longer than this is no round trip but a fault.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Checks in flight, so that a large fleet is not a burst.
const IN_FLIGHT_MAX: usize = 16;
/// After this many faults in a row the round trips of before say nothing of the next.
const FAULTS_MAX: u32 = 10;

/// One peer.
struct Peer {
    endpoint: String,
    health: Health,
    window: Window,
    faults: u32,
}

impl Peer {
    fn of(endpoint: &str) -> Option<Self> {
        let health = Health::of(endpoint, WAIT_MAX).ok()?;
        Some(Self { endpoint: endpoint.to_owned(), health, window: Window::default(), faults: 0 })
    }

    async fn ask(&mut self) {
        match self.health.ask(WAIT_MAX).await {
            Ok(took) => {
                // The first answer of a connection paid for making it.
                if self.faults == 0 {
                    self.window.push(took);
                }
                self.faults = 0;
            }
            Err(error) => {
                tracing::debug!(peer = self.endpoint, error = %runtime::Report(&error), "no answer");
                self.faults = self.faults.saturating_add(1);
                if self.faults == FAULTS_MAX {
                    self.window = Window::default();
                }
            }
        }
    }
}

/// Asks the peers in `wanted` for as long as the node lives, and tells what it saw in `seen`.
pub(crate) async fn measure(
    mut wanted: watch::Receiver<BTreeMap<String, String>>,
    seen: watch::Sender<Vec<v1::RttObservation>>,
    drain: Drain,
) {
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.wait() => return,
            _ = ticks.tick() => {}
        }
        let now = wanted.borrow_and_update().clone();
        peers.retain(|device, peer| now.get(device) == Some(&peer.endpoint));
        for (device, endpoint) in &now {
            if !peers.contains_key(device)
                && let Some(peer) = Peer::of(endpoint)
            {
                peers.insert(device.clone(), Peer { faults: 1, ..peer });
            }
        }
        let asked = stream::iter(peers.values_mut()).for_each_concurrent(IN_FLIGHT_MAX, Peer::ask);
        tokio::select! {
            () = drain.wait() => return,
            () = asked => {}
        }
        let observed = peers.iter().filter_map(|(device, peer)| {
            let quantiles = peer.window.quantiles()?;
            Some(v1::RttObservation {
                device: device.clone(),
                p50_us: quantiles.p50_us,
                p95_us: quantiles.p95_us,
                samples: quantiles.samples,
            })
        });
        seen.send_replace(observed.collect());
    }
}
