//! The root: starts the actors, restarts what fails, and gives up aloud when that does not help.

use std::{sync::Arc, time::Duration};

use kameo::{
    actor::{Actor, ActorRef, Spawn as _},
    error::Infallible,
    mailbox,
    message::{Context, Message},
    supervision::{RestartPolicy, SupervisionStrategy},
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    Limits,
    controller::{Controller, Desk},
    registry::{Registry, Vault},
};

/// Messages that wait for an actor; whoever sends more waits with them.
const MAILBOX: usize = 256;
/// Restarts of an actor in [`RESTART_WINDOW`] before the process gives up.
const RESTARTS_MAX: u32 = 5;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(10);

/// What the root starts from.
#[derive(Clone)]
pub(crate) struct Beginning {
    pub(crate) vault: Vault,
    pub(crate) limits: Limits,
}

/// The actor that supervises the others.
pub(crate) struct Root {
    desk: Desk,
    controller: ActorRef<Controller>,
}

/// Whom did you start?
pub(crate) struct Crew;

/// The answer to [`Crew`].
#[derive(Clone, kameo::Reply)]
pub(crate) struct Started {
    pub(crate) desk: Desk,
    pub(crate) controller: ActorRef<Controller>,
}

impl Actor for Root {
    type Args = Beginning;
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForOne
    }

    async fn on_start(beginning: Beginning, root: ActorRef<Self>) -> Result<Self, Infallible> {
        let registry = Registry::supervise(&root, beginning.vault.clone())
            .restart_policy(RestartPolicy::Permanent)
            .restart_limit(RESTARTS_MAX, RESTART_WINDOW)
            .spawn_with_mailbox(mailbox::bounded(MAILBOX))
            .await;
        // The controller begins with the books that the registry opens.
        registry.wait_for_startup().await;
        let desk = Desk {
            vault: beginning.vault,
            registry,
            limits: beginning.limits,
            orders_changed: watch::Sender::new(0),
            nudge: Arc::new(Notify::new()),
            started: Instant::now(),
        };
        let controller = Controller::supervise(&root, desk.clone())
            .restart_policy(RestartPolicy::Permanent)
            .restart_limit(RESTARTS_MAX, RESTART_WINDOW)
            .spawn_with_mailbox(mailbox::bounded(MAILBOX))
            .await;
        Ok(Self { desk, controller })
    }
}

impl Message<Crew> for Root {
    type Reply = Started;

    async fn handle(&mut self, _: Crew, _: &mut Context<Self, Started>) -> Started {
        Started { desk: self.desk.clone(), controller: self.controller.clone() }
    }
}
