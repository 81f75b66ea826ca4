//! What the manager, the actors and the engine's watcher share.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    actor::Actor, container::Defaults, hold::Holds, host_socket::HostSockets, names, tether_volume::TetherVolume,
    work::Command,
};
use crate::{
    domain::{WorkspaceId, WorkspaceRecord, WorkspaceStatus},
    engine::Engine,
    seal::Sealer,
    store::Store,
    tether::client::TetherClient,
};

/// How many commands wait for an actor, which takes each at once.
const COMMANDS: usize = 64;

/// How the daemon reaches tether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// By a host socket where the engine turns out to see this machine's files, else by an exec.
    #[default]
    Auto,
    /// By an exec: works with every engine.
    Exec,
    /// By a host socket, and not otherwise.
    Socket,
}

/// How workspaces are made.
#[derive(Clone, Debug)]
pub struct WorkspaceConfig {
    /// A directory of this daemon's own, absolute, for the host sockets; made where it is not there.
    pub run_dir: PathBuf,
    /// How tether is reached.
    pub transport: Transport,
    /// The image where the spec names none.
    pub default_image: String,
    /// Memory and swap in bytes where the spec says nothing.
    pub memory: u64,
    /// Processes and threads where the spec says nothing.
    pub pids: u32,
    /// Cores where the spec says nothing; `None`: all of them.
    pub cpus: Option<f64>,
    /// Seals the environment.
    pub sealer: Sealer,
}

impl WorkspaceConfig {
    /// The defaults: 4 GiB, 2048 processes, `wharf/workspace:latest`.
    #[must_use]
    pub fn new(run_dir: PathBuf, sealer: Sealer) -> Self {
        Self {
            run_dir,
            transport: Transport::Auto,
            default_image: "wharf/workspace:latest".to_owned(),
            memory: 4 << 30,
            pids: 2048,
            cpus: None,
            sealer,
        }
    }
}

/// What is known of a workspace's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceState {
    /// Its status.
    pub status: WorkspaceStatus,
    /// In words why it is so, where it is not by a call of ours.
    pub reason: Option<String>,
}

/// Whether the engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Not yet asked.
    Connecting,
    /// It answers, and what it runs is known.
    Up,
    /// It can't be reached, and what to do.
    Down(String),
}

/// What others hold of a workspace's actor.
pub(super) struct Slot {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) state: watch::Sender<WorkspaceState>,
    client: Mutex<Option<TetherClient>>,
}

impl Slot {
    pub(super) fn client(&self) -> Option<TetherClient> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_client(&self, client: Option<TetherClient>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    pub(super) fn status(&self) -> WorkspaceStatus {
        self.state.borrow().status
    }
}

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) engine: Engine,
    pub(super) config: WorkspaceConfig,
    pub(super) sockets: HostSockets,
    pub(super) tether: TetherVolume,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) engine_state: watch::Sender<EngineState>,
    pub(super) holds: Holds,
    slots: Mutex<HashMap<WorkspaceId, Arc<Slot>>>,
}

impl Shared {
    pub(super) fn new(
        store: Store,
        engine: Engine,
        config: WorkspaceConfig,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let local = engine.endpoint().is_local();
        Self {
            sockets: HostSockets::new(config.run_dir.clone(), config.transport, local),
            tether: TetherVolume::new(crate::embedded::TETHER),
            engine_state: watch::Sender::new(EngineState::Connecting),
            holds: Holds::default(),
            slots: Mutex::default(),
            store,
            engine,
            config,
            tracker,
            stop,
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The workspace's slot; its actor is started where there is none.
    pub(super) fn slot(self: &Arc<Self>, id: &WorkspaceId) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(id) {
            return Arc::clone(slot);
        }
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let state = WorkspaceState { status: self.status_unseen(), reason: None };
        let slot = Arc::new(Slot { commands, state: watch::Sender::new(state), client: Mutex::default() });
        slots.insert(id.clone(), Arc::clone(&slot));
        let actor = Actor::new(Arc::clone(self), Arc::clone(&slot), id.clone(), receiver);
        self.tracker.spawn(actor.run());
        slot
    }

    pub(super) fn existing_slot(&self, id: &WorkspaceId) -> Option<Arc<Slot>> {
        self.slots().get(id).cloned()
    }

    pub(super) fn all_slots(&self) -> Vec<(WorkspaceId, Arc<Slot>)> {
        self.slots().iter().map(|(id, slot)| (id.clone(), Arc::clone(slot))).collect()
    }

    pub(super) fn forget(&self, id: &WorkspaceId) {
        self.slots().remove(id);
    }

    pub(super) fn status(&self, id: &WorkspaceId) -> WorkspaceStatus {
        self.existing_slot(id).map_or_else(|| self.status_unseen(), |slot| slot.status())
    }

    /// The status of what has no slot: every container that exists got one when the engine was last looked at.
    fn status_unseen(&self) -> WorkspaceStatus {
        match *self.engine_state.borrow() {
            EngineState::Up => WorkspaceStatus::Absent,
            EngineState::Connecting | EngineState::Down(_) => WorkspaceStatus::Unknown,
        }
    }

    pub(super) fn defaults(&self) -> Defaults<'_> {
        Defaults {
            image: &self.config.default_image,
            memory: self.config.memory,
            pids: self.config.pids,
            cpus: self.config.cpus,
        }
    }

    pub(super) fn host_dir(&self, id: &WorkspaceId) -> PathBuf {
        names::host_dir(self.sockets.run_dir(), id)
    }

    pub(super) fn memory(&self, record: &WorkspaceRecord) -> u64 {
        record.spec.memory.unwrap_or(self.config.memory)
    }
}
