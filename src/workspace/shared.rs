//! What the manager, the actors and the engine's watcher share.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AllowedMount, Clock, SystemClock, WorkspaceError, actor::Actor, container::Defaults, host::Host, host::HostConfig,
    host_socket::HostSockets, logbook::Logbook, names, place::Place, tether_volume::TetherVolume, usage::Uses,
    work::Command,
};
use crate::{
    domain::{Credentials, WorkspaceId, WorkspaceRecord, WorkspaceStatus},
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
    /// What may be mounted beside the volumes.
    pub mounts: Vec<AllowedMount>,
    /// The most bytes that are carried into or out of a workspace at once.
    pub files_limit: u64,
    /// A directory for the workspaces' logs, absolute; made where it is not there.
    pub log_dir: PathBuf,
    /// Seals the environment.
    pub sealer: Sealer,
    /// Whether sessions may work on the host itself.
    pub host: HostConfig,
    /// Measures how long nobody has used a workspace.
    pub clock: Arc<dyn Clock>,
}

impl WorkspaceConfig {
    /// The defaults: 4 GiB, 2048 processes, `wharf/workspace:latest`.
    #[must_use]
    pub fn new(run_dir: PathBuf, sealer: Sealer) -> Self {
        Self {
            log_dir: run_dir.with_file_name("logs"),
            host: HostConfig::new(run_dir.with_file_name("host")),
            mounts: Vec::new(),
            files_limit: 4 << 30,
            run_dir,
            transport: Transport::Auto,
            default_image: "wharf/workspace:latest".to_owned(),
            memory: 4 << 30,
            pids: 2048,
            cpus: None,
            sealer,
            clock: Arc::new(SystemClock::default()),
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

impl WorkspaceState {
    /// Whether something was killed for lack of memory.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.reason.as_deref().is_some_and(super::reasons::is_memory)
    }
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
    pub(super) place: Place,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) state: watch::Sender<WorkspaceState>,
    pub(super) uses: Mutex<Uses>,
    pub(super) log: Logbook,
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
    pub(super) host: Host,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) engine_state: watch::Sender<EngineState>,
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
            host: Host::new(&config.host, store.instance()),
            engine_state: watch::Sender::new(EngineState::Connecting),
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
        // Of what is not in the store nothing is brought up.
        let record = self.store.workspace(id).ok().flatten();
        let place = record.as_ref().map_or(Place::Container, Place::of);
        let status = if place == Place::Host { WorkspaceStatus::Stopped } else { self.status_unseen() };
        let state = WorkspaceState { status, reason: None };
        let slot = Arc::new(Slot {
            place,
            commands,
            state: watch::Sender::new(state),
            log: Logbook::at(self.config.log_dir.join(format!("{}.log", names::short(id)))),
            uses: Mutex::new(Uses::new(self.config.clock.now())),
            client: Mutex::default(),
        });
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

    /// The environment of a workspace's processes, unsealed.
    pub(super) fn env(&self, record: &WorkspaceRecord) -> Result<BTreeMap<String, String>, WorkspaceError> {
        Ok(self.open(record.sealed_env.as_deref(), "environment")?.unwrap_or_default())
    }

    /// The repository's credentials, unsealed.
    pub(super) fn credentials(&self, record: &WorkspaceRecord) -> Result<Option<Credentials>, WorkspaceError> {
        self.open(record.sealed_credentials.as_deref(), "credentials")
    }

    /// Seals what must not lie in clear.
    pub(super) fn seal(&self, value: &impl Serialize) -> Result<Vec<u8>, WorkspaceError> {
        let broken = |why: &dyn std::fmt::Display| WorkspaceError::Engine { message: format!("a secret: {why}") };
        let clear = serde_json::to_vec(value).map_err(|e| broken(&e))?;
        self.config.sealer.seal(&clear).map_err(|e| broken(&e))
    }

    fn open<T: DeserializeOwned>(&self, sealed: Option<&[u8]>, what: &str) -> Result<Option<T>, WorkspaceError> {
        let broken =
            |why: String| WorkspaceError::Engine { message: format!("the workspace's {what} can't be read: {why}") };
        let Some(sealed) = sealed else { return Ok(None) };
        let clear = self.config.sealer.open(sealed).map_err(|e| broken(e.to_string()))?;
        // The error of a value that can't be read would show a part of it.
        serde_json::from_slice(&clear).map(Some).map_err(|_| broken("it has another form".to_owned()))
    }

    pub(super) fn memory(&self, record: &WorkspaceRecord) -> u64 {
        record.spec.memory.unwrap_or(self.config.memory)
    }
}
