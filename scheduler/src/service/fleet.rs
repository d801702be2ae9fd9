//! The lease: reports come up, orders go down, for as long as the node lives.

use std::sync::{Arc, atomic::Ordering};

use proto::v1::{self, fleet_server::Fleet};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Services};
use crate::{
    controller::{Hear, OrdersOf},
    error::{asked, told},
    fleet::{Facts, Report},
    rtt::Rtt,
};

/// Orders that wait for a slow node; the newest is the whole of what it should do.
const ORDERS_WAITING: usize = 4;
/// Tasks, jobs, ways and notes that one report may hold.
const LIST_MAX: usize = 1_000;
/// Longest name of a device or a site, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// More cores than any device has.
const CORES_MAX: f64 = 65_536.0;

#[tonic::async_trait]
impl Fleet for Services {
    type LeaseStream = Answers<v1::NodeOrders>;

    async fn lease(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let reports = request.into_inner();
        let (sender, receiver) = mpsc::channel(ORDERS_WAITING);
        let services = self.clone();
        runtime::spawn::named("lease", async move {
            if let Err(status) = services.hold(reports, &sender).await {
                // The node logs what it is told; here it is one line of many.
                tracing::debug!(error = %status, "a lease ended");
                let _the_node_is_gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Answers::new(receiver)))
    }
}

impl Services {
    async fn hold(
        &self,
        mut reports: Streaming<v1::NodeReport>,
        sender: &mpsc::Sender<Result<v1::NodeOrders, Status>>,
    ) -> Result<(), Status> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut changed = self.orders_changed.subscribe();
        let mut device: Option<String> = None;
        let mut sent = (0, Instant::now());
        loop {
            let orders = tokio::select! {
                () = self.drain.wait() => {
                    return Err(Status::unavailable("the scheduler is stopping"));
                }
                () = sender.closed() => return Ok(()),
                report = reports.message() => {
                    let Some(message) = report? else { return Ok(()) };
                    let generation = message.generation;
                    let report = parse(message).map_err(Status::invalid_argument)?;
                    if device.get_or_insert_with(|| report.device.clone()) != &report.device {
                        return Err(Status::invalid_argument("one lease is for one device"));
                    }
                    asked(self.controller.ask(Hear { session, report, generation }).await)?
                }
                _ = changed.changed() => {
                    let Some(device) = &device else { continue };
                    told(self.controller.ask(OrdersOf { device: device.clone() }).await)?
                }
            };
            let Some(orders) = orders else { continue };
            let now = Instant::now();
            if sent.0 < orders.generation || self.limits.heartbeat <= now - sent.1 {
                sent = (orders.generation, now);
                if sender.send(Ok(Arc::unwrap_or_clone(orders))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// A report that holds, or what is wrong with it.
fn parse(message: v1::NodeReport) -> Result<Report, String> {
    let name = |what: &str, text: &str| {
        let fits = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if fits {
            Ok(())
        } else {
            Err(format!(
                "{:?} cannot be the name of a {what}: 1 to {NAME_BYTES_MAX} bytes without spaces",
                text.chars().take(80).collect::<String>()
            ))
        }
    };
    name("device", &message.device)?;
    name("site", &message.site)?;
    let serving_address = if message.serving_address.is_empty() {
        String::new()
    } else {
        proto::parse::endpoint(&message.serving_address)
            .map_err(|error| error.to_string())?
            .trim_start_matches("http://")
            .to_owned()
    };
    let lengths =
        [message.serving.len(), message.jobs.len(), message.rtt.len(), message.notes.len()];
    if lengths.into_iter().any(|length| LIST_MAX < length) {
        return Err(format!("a report holds at most {LIST_MAX} of each kind"));
    }
    let capacity = message.capacity.ok_or("a report needs a capacity")?;
    if !(0.0 < capacity.cpu_cores && capacity.cpu_cores <= CORES_MAX) {
        return Err(format!("{} cores cannot be", capacity.cpu_cores));
    }
    let speed = message.speed.ok_or("a report needs a speed")?;
    let speed = speed.try_into().map_err(|error: proto::parse::ParseError| error.to_string())?;
    Ok(Report {
        device: message.device,
        boot: message.boot,
        facts: Facts {
            site: message.site,
            serving_address,
            arch: message.arch.chars().take(32).collect(),
            cpu_cores: capacity.cpu_cores,
            memory_bytes: capacity.memory_bytes,
            cpu_share: if capacity.cpu_share.is_finite() { capacity.cpu_share } else { 1.0 },
            cpu_share_by: capacity.cpu_share_by.chars().take(64).collect(),
            speed,
        },
        cpu_used: if capacity.cpu_used.is_finite() { capacity.cpu_used } else { 0.0 },
        memory_free_bytes: capacity.memory_free_bytes,
        serving: message.serving,
        jobs: message.jobs,
        outbox_waiting: message.outbox_waiting,
        rtt: message
            .rtt
            .into_iter()
            .map(|seen| {
                let rtt = Rtt { p50_us: seen.p50_us, p95_us: seen.p95_us, samples: seen.samples };
                (seen.device, rtt)
            })
            .collect(),
        notes: message.notes.iter().map(|note| crate::journal::cut(note)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> v1::NodeReport {
        v1::NodeReport {
            device: "pi4".into(),
            site: "home".into(),
            serving_address: "http://127.0.0.1:8001".into(),
            arch: "aarch64".into(),
            capacity: Some(v1::Capacity { cpu_cores: 4.0, ..v1::Capacity::default() }),
            speed: Some(v1::DeviceSpeed { madd_ns: 1.0, ..v1::DeviceSpeed::default() }),
            ..v1::NodeReport::default()
        }
    }

    #[test]
    fn an_address_is_kept_as_host_and_port() {
        assert_eq!(parse(message()).unwrap().facts.serving_address, "127.0.0.1:8001");
        let silent = v1::NodeReport { serving_address: String::new(), ..message() };
        assert_eq!(parse(silent).unwrap().facts.serving_address, "");
    }

    #[test]
    fn what_no_node_would_say_is_refused() {
        let capacity = |cpu_cores| Some(v1::Capacity { cpu_cores, ..v1::Capacity::default() });
        let speed = Some(v1::DeviceSpeed { madd_ns: f64::NAN, ..v1::DeviceSpeed::default() });
        for bad in [
            v1::NodeReport { device: String::new(), ..message() },
            v1::NodeReport { device: "a b".into(), ..message() },
            v1::NodeReport { site: "x".repeat(65), ..message() },
            v1::NodeReport { serving_address: "nowhere".into(), ..message() },
            v1::NodeReport { capacity: None, ..message() },
            v1::NodeReport { capacity: capacity(0.0), ..message() },
            v1::NodeReport { capacity: capacity(f64::NAN), ..message() },
            v1::NodeReport { capacity: capacity(f64::INFINITY), ..message() },
            v1::NodeReport { speed: None, ..message() },
            v1::NodeReport { speed, ..message() },
            v1::NodeReport { notes: vec![String::new(); LIST_MAX + 1], ..message() },
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
