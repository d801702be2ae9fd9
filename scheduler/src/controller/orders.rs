//! Orders: the whole of what each node should do, numbered, and sent when it changes.

use std::{collections::BTreeMap, sync::Arc};

use kameo::message::{Context, Message};
use proto::v1;
use signals::{Input, Stretch as _};

use super::Controller;
use crate::{books::Books, jobs::State, registry::NextGeneration};

/// Tasks elsewhere that a device is told of: a node takes as many.
const ROUTES_MAX: usize = 1024;

/// What a device should do now; nothing before the first decision.
pub struct OrdersOf {
    /// The device.
    pub device: String,
}

impl Message<OrdersOf> for Controller {
    type Reply = Option<Arc<v1::NodeOrders>>;

    async fn handle(
        &mut self,
        OrdersOf { device }: OrdersOf,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        self.orders.get(&device).cloned()
    }
}

impl Controller {
    /// Gives a new number to all orders that have changed, then lets them be sent.
    pub(super) async fn write_orders(&mut self) {
        let books = self.desk.vault.books();
        let present: Vec<String> =
            self.fleet.present(self.now_ms()).map(|(name, _, _)| name.clone()).collect();
        let mut changed = false;
        for device in present {
            let wanted = self.wanted(&books, &device);
            let before = self.orders.get(&device);
            let obeyed = self.obeyed.get(&device).copied().unwrap_or(0);
            // A node that obeys a later order than ours obeys a scheduler that is gone.
            let same = before.is_some_and(|before| {
                obeyed <= before.generation
                    && v1::NodeOrders { generation: 0, ..(**before).clone() } == wanted
            });
            if same {
                continue;
            }
            let next = NextGeneration { least: obeyed };
            let asked = self.desk.registry.ask(next).await;
            let Some(generation) = self.consume("number new orders", asked) else { return };
            tracing::info!(
                device.id = device,
                generation,
                tasks = wanted.serving.len(),
                jobs = wanted.jobs.len(),
                "orders changed"
            );
            self.orders.insert(device, Arc::new(v1::NodeOrders { generation, ..wanted }));
            changed = true;
        }
        if changed {
            self.desk.orders_changed.send_modify(|count| *count += 1);
        }
    }

    /// What a device should do, without a number.
    fn wanted(&self, books: &Books, device: &str) -> v1::NodeOrders {
        let serving = books.placements.iter().flat_map(|(task, placed)| {
            placed.iter().filter(|placed| placed.choice.device == device).map(|placed| {
                v1::Assignment {
                    task: task.clone(),
                    generation: placed.generation,
                    revision: placed.choice.revision,
                    digest: placed.choice.digest.to_vec().into(),
                    members: proto::parse::members(placed.choice.subset),
                    gated: placed.choice.gated,
                    fallback: placed.choice.fallback.clone(),
                    coverage_thousandths: placed.choice.coverage_thousandths,
                    abstain_below_thousandths: placed.choice.abstain_below_thousandths,
                    input: books.tasks.get(task).map_or_else(String::new, |it| raw(&it.task.input)),
                }
            })
        });
        let jobs = books
            .jobs
            .values()
            .filter(|job| job.state == State::Running && job.device.as_deref() == Some(device))
            .map(|job| v1::TrainingOrder {
                job: job.id.clone(),
                attempt: job.attempt,
                task: job.task.clone(),
            });
        let peers = self
            .fleet
            .present(self.now_ms())
            .filter(|(_, peer, _)| !peer.facts.serving_address.is_empty())
            .map(|(name, peer, _)| v1::Peer {
                device: name.clone(),
                serving_address: peer.facts.serving_address.clone(),
            });
        let addresses: BTreeMap<String, String> = self
            .fleet
            .present(self.now_ms())
            .map(|(name, peer, _)| (name.clone(), peer.facts.serving_address.clone()))
            .filter(|(_, address)| !address.is_empty())
            .collect();
        let routes = books.placements.iter().filter_map(|(task, placed)| {
            if placed.iter().any(|placed| placed.choice.device == device) {
                return None;
            }
            let places = placed.iter().filter_map(|placed| {
                let device = placed.choice.device.clone();
                let serving_address = addresses.get(&device)?.clone();
                Some(v1::Peer { device, serving_address })
            });
            let places: Vec<v1::Peer> = places.collect();
            (!places.is_empty()).then(|| v1::Route { task: task.clone(), places })
        });
        let millis =
            |period: std::time::Duration| u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        v1::NodeOrders {
            generation: 0,
            serving: serving.collect(),
            jobs: jobs.collect(),
            heartbeat_ms: millis(self.desk.limits.heartbeat),
            lease_ms: millis(self.desk.limits.lease),
            peers: peers.collect(),
            routes: routes.take(ROUTES_MAX).collect(),
        }
    }
}

/// How raw samples become features, for who takes them: windows only, so far.
fn raw(input: &Input) -> String {
    match input {
        Input::Window(window) => {
            let samples = |samples: usize| f64::from(u32::try_from(samples).unwrap_or(u32::MAX));
            let said = serde_json::json!({
                "kind": input.kind(), "channels": window.channels(), "rate_hz": window.rate_hz(),
                "length_s": samples(window.length()) / window.rate_hz(),
                "step_s": samples(window.step()) / window.rate_hz(),
                "detail": window.detail().name(),
            });
            said.to_string()
        }
        Input::Features(_) | Input::Audio(_) | Input::Image(_) => String::new(),
    }
}
