//! What all sessions of a daemon share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::log::SessionLog;
use crate::agent::{Catalogue, Surroundings};
use crate::domain::{Caps, SessionId, SessionRecord};
use crate::seal::Sealer;
use crate::store::{Store, StoreError};
use crate::workspace::{Clock, Workspaces};

/// How many workspaces may be woken at once: the engine starts containers one after another anyway.
const WAKES: usize = 8;
/// How many subscribers may wait for sessions that do not exist yet.
pub(super) const LATE_MAX: usize = 1000;

/// The longest id of an agent's conversation, in bytes: it is a key of the registry.
pub(super) const AGENT_ID_MAX: usize = 256;

/// A record as large as it may become by itself: what has no room for the agent's id and the close is too large.
pub(super) fn with_room(record: &SessionRecord) -> SessionRecord {
    SessionRecord { agent_session_id: Some("x".repeat(AGENT_ID_MAX)), closed: Some(record.created), ..record.clone() }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// What an agent gets to end a cancelled turn by itself, before its tree is ended.
    pub cancel_grace: Duration,
    /// What a process gets between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// What an agent gets for its handshake, its MCP servers' start included.
    pub handshake: Duration,
    /// How long an actor with nothing to do stays in memory.
    pub linger: Duration,
    /// The longest wait for an agent to become ready or to be ended.
    pub patience: Duration,
}

/// What the operator wants of all sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// After how long without a turn, a queue or a terminal a session is suspended; `None`: never.
    pub idle: Option<Duration>,
    /// After how long without output a turn is ended; `None`: never.
    pub turn_inactivity: Option<Duration>,
    /// What a session may use up that says nothing of it.
    pub caps: Caps,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            cancel_grace: Duration::from_secs(5),
            kill_grace: Duration::from_secs(2),
            handshake: Duration::from_secs(90),
            linger: Duration::from_secs(60),
            patience: Duration::from_secs(120),
        }
    }
}

/// What all sessions of a daemon share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) workspaces: Workspaces,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) sealer: Sealer,
    pub(super) surroundings: Arc<dyn Surroundings>,
    pub(super) timeouts: Timeouts,
    pub(super) rules: Rules,
    /// Measures idleness and inactivity.
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    /// How many workspaces may be woken at once.
    pub(super) wakes: Semaphore,
    /// How many sessions that nobody has asked for may be on their way to a ready agent at once.
    pub(super) recoveries: Arc<Semaphore>,
    logs: Mutex<HashMap<SessionId, Weak<SessionLog>>>,
    /// How many subscriptions there are.
    pub(super) subscribers: Arc<AtomicUsize>,
    /// The places to wait for sessions that do not exist yet.
    pub(super) late: Arc<Semaphore>,
    pub(super) begun: Instant,
}

/// One more subscription, as long as it lives.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "the composition root's list of parts")]
    pub(super) fn new(
        store: Store,
        workspaces: Workspaces,
        catalogue: Arc<Catalogue>,
        sealer: Sealer,
        surroundings: Arc<dyn Surroundings>,
        timeouts: Timeouts,
        rules: Rules,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            clock: workspaces.clock(),
            workspaces,
            catalogue,
            sealer,
            surroundings,
            timeouts,
            rules,
            tracker,
            stop,
            wakes: Semaphore::new(WAKES),
            recoveries: Arc::new(Semaphore::new(WAKES)),
            logs: Mutex::default(),
            subscribers: Arc::default(),
            late: Arc::new(Semaphore::new(LATE_MAX)),
            begun: Instant::now(),
        }
    }

    /// To be held by a subscription.
    pub(super) fn counted(&self) -> Counted {
        Counted::new(&self.subscribers)
    }

    /// The one log object of a session: its actor publishes on it, its subscribers read from it.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn log(&self, id: &SessionId) -> Result<Arc<SessionLog>, StoreError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(id).and_then(Weak::upgrade) {
            return Ok(log);
        }
        // Read under the lock: an actor holds its log before it writes, so nothing can be written unseen.
        let (last_seq, ended) = self.store.progress(id)?.map_or((0, false), |p| (p.last_seq, p.closed.is_some()));
        if logs.len() > 64 && logs.len().is_power_of_two() {
            logs.retain(|_, log| log.strong_count() > 0);
        }
        let log = Arc::new(SessionLog::new(last_seq, ended));
        logs.insert(id.clone(), Arc::downgrade(&log));
        Ok(log)
    }
}
