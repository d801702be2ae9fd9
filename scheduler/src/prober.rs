//! The prober: measures the way from the scheduler's site to every device, as an app would see it.
//!
//! One kept connection for each device, one health check a heartbeat over it. A device that is
//! seen for the first time is asked a number of times in a row, so that an admission need not wait.

use std::{collections::BTreeMap, time::Duration};

use kameo::actor::ActorRef;
use runtime::Drain;
use tokio::{task::JoinHandle, time::Instant};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::controller::{Controller, Measured, Targets};

/// Measurements in a row of a device that is new: enough for a 95th percentile that one outlier
/// does not decide.
const BURST: usize = 20;
/// Between the measurements of a burst.
const BURST_PAUSE: Duration = Duration::from_millis(5);
/// An answer that takes longer is none.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);

/// Measures until the drain is asked for.
pub(crate) async fn run(controller: ActorRef<Controller>, heartbeat: Duration, drain: Drain) {
    let mut probes: BTreeMap<String, Probe> = BTreeMap::new();
    let mut beat = tokio::time::interval(heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.wait() => break,
            _ = beat.tick() => {}
        }
        // While the controller restarts there is nobody to measure for.
        let Ok(targets) = controller.ask(Targets).await else { continue };
        let targets: BTreeMap<String, String> = targets.0.into_iter().collect();
        probes.retain(|device, probe| {
            let stays = targets.get(device) == Some(&probe.address) && !probe.task.is_finished();
            if !stays {
                probe.task.abort();
            }
            stays
        });
        for (device, address) in targets {
            probes.entry(device.clone()).or_insert_with(|| {
                let probe = probe(device, address.clone(), controller.clone(), heartbeat);
                Probe { address, task: runtime::spawn::named("probe", probe) }
            });
        }
    }
    for probe in probes.into_values() {
        probe.task.abort();
    }
}

struct Probe {
    address: String,
    task: JoinHandle<()>,
}

/// Measures one device until it is told to stop.
async fn probe(
    device: String,
    address: String,
    controller: ActorRef<Controller>,
    heartbeat: Duration,
) {
    let Some(channel) = proto::parse::endpoint(&address)
        .ok()
        .and_then(|endpoint| Endpoint::from_shared(endpoint).ok())
        .map(|endpoint| endpoint.connect_timeout(ANSWER_WAIT_MAX).tcp_nodelay(true).connect_lazy())
    else {
        tracing::warn!(device.id = device, "a serving address is not understood");
        return;
    };
    let mut health = HealthClient::new(channel);
    let mut burst = BURST;
    let mut cold = true;
    loop {
        let us = measure(&mut health).await;
        // The first answer of a connection includes making it: nobody's request pays that again.
        let counts = us.is_none() || !cold;
        cold = us.is_none();
        if counts && controller.ask(Measured { device: device.clone(), us }).await.is_err() {
            tracing::debug!(device.id = device, "nobody took a measurement");
        }
        if us.is_some() && 0 < burst {
            burst -= 1;
            tokio::time::sleep(BURST_PAUSE).await;
        } else {
            tokio::time::sleep(heartbeat).await;
        }
    }
}

/// There and back, in microseconds; `None` when there was no answer in time.
async fn measure(health: &mut HealthClient<Channel>) -> Option<u32> {
    let began = Instant::now();
    let check = health.check(HealthCheckRequest { service: String::new() });
    match tokio::time::timeout(ANSWER_WAIT_MAX, check).await {
        // Whatever it says of its health, it has answered.
        Ok(Ok(_)) => Some(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)),
        Ok(Err(status)) => {
            tracing::debug!(error = %status, "no answer to a measurement");
            None
        }
        Err(_) => None,
    }
}
