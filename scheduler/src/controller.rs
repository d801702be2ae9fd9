//! The controller: the one actor that knows what is measured, and decides.
//!
//! It owns the fleet (leases, loads, ways) and asks the registry to write down what it decides.
//! [`Tick`] is the whole loop: look at what is, compute what should be, write the difference down,
//! then send it. What was decided is in the books, so that a restart goes on where it was.

mod orders;
mod placing;
mod training;
mod views;

use std::{collections::BTreeMap, sync::Arc};

use kameo::{
    actor::{Actor, ActorRef},
    error::{Infallible, SendError},
    message::{Context, Message},
};
use proto::v1;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use orders::OrdersOf;
pub use placing::{Admit, Admitted, Fits, Unmet};
pub use training::JobHeard;
pub use views::{Census, Counted, Devices, Explain, Placements};

use crate::{
    Limits,
    fleet::{Fleet, FleetError, Heard, Report},
    journal::Entry,
    registry::{KnowDevice, Registry, RegistryError, Vault},
};

/// What the controller is made of; clones share the same registry and signals.
#[derive(Clone)]
pub struct Desk {
    /// What is written down.
    pub vault: Vault,
    /// Who writes it down.
    pub registry: ActorRef<Registry>,
    /// Periods and the site.
    pub limits: Limits,
    /// Grows with every change of any orders.
    pub orders_changed: watch::Sender<u64>,
    /// Asks for a [`Tick`] soon.
    pub nudge: Arc<Notify>,
    /// The clock's zero.
    pub started: Instant,
}

/// The actor.
pub struct Controller {
    desk: Desk,
    fleet: Fleet,
    /// The stream that speaks for each device: a newer one replaces an older one.
    sessions: BTreeMap<String, u64>,
    /// Of the last orders that each node said it obeys.
    obeyed: BTreeMap<String, u64>,
    orders: BTreeMap<String, Arc<v1::NodeOrders>>,
    /// When each running job was last mentioned: job → (attempt, when).
    heard: BTreeMap<String, (u64, u64)>,
    /// Sampling periods in a row for which a promise has been broken, by task and device.
    broken: BTreeMap<(String, String), u32>,
    /// What of each policy was unmet when it was last decided.
    unmet: BTreeMap<String, Vec<String>>,
    /// When the last tick began.
    ticked_ms: u64,
}

/// A node reports.
pub struct Hear {
    /// The stream it came by.
    pub session: u64,
    /// What it says.
    pub report: Report,
    /// Of the last orders that it obeys.
    pub generation: u64,
}

/// Why a report was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HearError {
    /// Another node speaks for this device now.
    #[error("another node has taken the lease of {device:?}; is its name used twice?")]
    Replaced {
        /// The device.
        device: String,
    },
    /// The fleet has no room.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// The scheduler measured a way; `None` is "no answer".
pub struct Measured {
    /// The device.
    pub device: String,
    /// There and back, in microseconds.
    pub us: Option<u32>,
}

/// Who is to be measured: device and address.
pub struct Targets;

/// The answer to [`Targets`].
#[derive(kameo::Reply)]
pub struct Addresses(pub Vec<(String, String)>);

/// Compare what is with what should be.
pub struct Tick {
    /// Whether a sampling period has passed; other ticks come because something changed.
    pub periodic: bool,
}

impl Actor for Controller {
    type Args = Desk;
    type Error = Infallible;

    async fn on_start(desk: Desk, _: ActorRef<Self>) -> Result<Self, Infallible> {
        let books = desk.vault.books();
        let now_ms = elapsed(&desk);
        let lease_ms = u64::try_from(desk.limits.lease.as_millis()).unwrap_or(u64::MAX);
        let fleet = Fleet::new(desk.limits.site.clone(), lease_ms, books.devices.clone(), now_ms);
        Ok(Self {
            desk,
            fleet,
            sessions: BTreeMap::new(),
            obeyed: BTreeMap::new(),
            orders: BTreeMap::new(),
            heard: BTreeMap::new(),
            broken: BTreeMap::new(),
            unmet: BTreeMap::new(),
            ticked_ms: now_ms,
        })
    }
}

fn elapsed(desk: &Desk) -> u64 {
    u64::try_from(desk.started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Message<Hear> for Controller {
    type Reply = Result<Option<Arc<v1::NodeOrders>>, HearError>;

    async fn handle(
        &mut self,
        Hear { session, report, generation }: Hear,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let device = report.device.clone();
        if self.sessions.get(&device).is_some_and(|&newest| session < newest) {
            return Err(HearError::Replaced { device });
        }
        let now_ms = self.now_ms();
        for job in &report.jobs {
            if job.state == i32::from(v1::JobState::Running) {
                self.heard.insert(job.job.clone(), (job.attempt, now_ms));
            }
        }
        let ended = report.jobs.iter().any(|job| job.state != i32::from(v1::JobState::Running));
        let facts = report.facts.clone();
        let heard = self.fleet.report(report, now_ms)?;
        self.sessions.insert(device.clone(), session);
        self.obeyed.insert(device.clone(), generation);

        let known = self.desk.vault.books.borrow().devices.get(&device) == Some(&facts);
        let entry = match heard {
            Heard::Joined => Some(("device.joined", "joined the fleet")),
            Heard::Returned => Some(("device.returned", "holds its lease again")),
            Heard::Restarted => Some(("device.restarted", "its node was started anew")),
            Heard::Renewed => None,
        };
        if entry.is_some() || !known {
            let entry = entry.map(|(kind, text)| Entry {
                kind,
                device: device.clone(),
                text: format!(
                    "{text}: {:.2} cores, {} MiB, {} at {:?}",
                    facts.cpu_cores,
                    facts.memory_bytes >> 20,
                    facts.arch,
                    facts.site
                ),
                detail: serde_json::to_value(&facts).unwrap_or_default(),
                ..Entry::default()
            });
            let know =
                KnowDevice { device: device.clone(), facts: (!known).then_some(facts), entry };
            self.consume("remember a device", self.desk.registry.ask(know).await);
        }
        if ended || heard != Heard::Renewed {
            self.desk.nudge.notify_one();
        }
        Ok(self.orders.get(&device).cloned())
    }
}

impl Message<Measured> for Controller {
    type Reply = ();

    async fn handle(&mut self, Measured { device, us }: Measured, _: &mut Context<Self, ()>) {
        let site = &self.desk.limits.site;
        let unmeasured = !self.fleet.reach(&device, self.now_ms()).contains_key(site);
        self.fleet.measured(&device, us);
        if unmeasured && us.is_some() {
            self.desk.nudge.notify_one();
        }
    }
}

impl Message<Targets> for Controller {
    type Reply = Addresses;

    async fn handle(&mut self, _: Targets, _: &mut Context<Self, Addresses>) -> Addresses {
        Addresses(
            self.fleet
                .present(self.now_ms())
                .filter(|(_, device, _)| !device.facts.serving_address.is_empty())
                .map(|(name, device, _)| (name.clone(), device.facts.serving_address.clone()))
                .collect(),
        )
    }
}

impl Message<Tick> for Controller {
    type Reply = ();

    async fn handle(&mut self, Tick { periodic }: Tick, _: &mut Context<Self, ()>) {
        self.excuse();
        self.mourn().await;
        self.tend_jobs().await;
        self.start_due_trainings().await;
        self.start_queued_jobs().await;
        self.place(periodic).await;
        self.write_orders().await;
    }
}

impl Controller {
    /// Milliseconds since the scheduler started.
    fn now_ms(&self) -> u64 {
        elapsed(&self.desk)
    }

    /// A controller that was held up (by a disk that was slow to sync, by a machine that was busy)
    /// has reports waiting that it did not see in time: that costs no device its lease.
    fn excuse(&mut self) {
        let now_ms = self.now_ms();
        let beat_ms = u64::try_from(self.desk.limits.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let late_ms = now_ms.saturating_sub(self.ticked_ms).saturating_sub(beat_ms);
        self.ticked_ms = now_ms;
        if beat_ms < late_ms {
            tracing::warn!(
                actor = "controller",
                late_ms,
                "held up; leases are extended by as much"
            );
            self.fleet.excuse(late_ms, now_ms);
        }
    }

    /// Writes down whose lease has ended.
    async fn mourn(&mut self) {
        for device in self.fleet.take_lost(self.now_ms()) {
            let entry = Entry {
                kind: "device.lost",
                device: device.clone(),
                text: format!(
                    "its lease ended: nothing was heard for {:.1} s",
                    self.desk.limits.lease.as_secs_f64()
                ),
                ..Entry::default()
            };
            let know = KnowDevice { device, facts: None, entry: Some(entry) };
            self.consume("journal a lost device", self.desk.registry.ask(know).await);
        }
    }

    /// Logs what the registry did not do: the next tick tries again.
    fn consume<T, M>(
        &self,
        what: &'static str,
        answer: Result<T, SendError<M, RegistryError>>,
    ) -> Option<T> {
        match answer {
            Ok(done) => Some(done),
            Err(SendError::HandlerError(error)) => {
                tracing::error!(actor = "controller", what, error = %runtime::Report(&error));
                None
            }
            Err(
                SendError::ActorNotRunning(_)
                | SendError::ActorStopped
                | SendError::ActorRestarting(_)
                | SendError::MailboxFull(_)
                | SendError::Timeout(_),
            ) => {
                tracing::warn!(actor = "controller", what, "the registry did not answer");
                None
            }
        }
    }
}
