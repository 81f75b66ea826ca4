//! Who uses a workspace: what nobody uses any more may be stopped.
//!
//! An agent's use and a person's hold both keep the container running; a hold keeps the sessions of the workspace awake
//! beside that. Invariant: whoever uses a workspace says so *before* it asks for its connection, and a container is only
//! stopped for want of use after its connection was taken back under the same lock: nobody is left with a dying one.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::place::Place;
use super::shared::Slot;
use super::{Clock, WorkspaceError, Workspaces, work::Command};
use crate::domain::{WorkspaceId, WorkspaceStatus};

/// The books of one workspace.
#[derive(Debug)]
pub(super) struct Uses {
    agents: usize,
    holds: usize,
    /// When the last use ended.
    unused_since: Duration,
    /// When the last hold ended.
    held_until: Option<Duration>,
}

impl Uses {
    pub(super) fn new(now: Duration) -> Self {
        Self { agents: 0, holds: 0, unused_since: now, held_until: None }
    }

    const fn none(&self) -> bool {
        self.agents == 0 && self.holds == 0
    }
}

/// A use of a workspace; it ends when this is dropped.
#[must_use = "the workspace is used as long as this lives"]
pub struct Hold {
    slot: Arc<Slot>,
    clock: Arc<dyn Clock>,
    agent: bool,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Hold {
    fn new(slot: Arc<Slot>, clock: Arc<dyn Clock>, agent: bool) -> Self {
        {
            let mut uses = slot.uses.lock().unwrap_or_else(PoisonError::into_inner);
            *if agent { &mut uses.agents } else { &mut uses.holds } += 1;
        }
        Self { slot, clock, agent }
    }

    /// Whether it is the host that is used.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        self.slot.place == Place::Host
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut uses = self.slot.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        uses.unused_since = now;
        if self.agent {
            uses.agents = uses.agents.saturating_sub(1);
        } else {
            uses.holds = uses.holds.saturating_sub(1);
            uses.held_until = Some(now);
        }
    }
}

impl Slot {
    /// Takes the connection back if nobody uses the workspace; whether it did.
    pub(super) fn give_up_if_unused(&self) -> bool {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.none() {
            self.set_client(None);
        }
        uses.none()
    }
}

impl Workspaces {
    /// Holds a workspace for a person: a terminal that is attached, a file that is copied. As long as the guard lives,
    /// its container is not stopped for want of use and its sessions are not suspended for idleness. It does not start
    /// anything: hold first, then [`attach`](Self::attach).
    pub fn hold(&self, id: &WorkspaceId) -> Hold {
        Hold::new(self.shared.slot(id), Arc::clone(&self.shared.config.clock), false)
    }

    /// A workspace's use by a session's agent: its container is not stopped for want of use.
    pub fn use_by_agent(&self, id: &WorkspaceId) -> Hold {
        Hold::new(self.shared.slot(id), Arc::clone(&self.shared.config.clock), true)
    }

    /// Until when a person held it: now, if one does.
    #[must_use]
    pub fn held_until(&self, id: &WorkspaceId) -> Option<Duration> {
        let slot = self.shared.existing_slot(id)?;
        let uses = slot.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.holds > 0 { Some(self.shared.config.clock.now()) } else { uses.held_until }
    }

    /// The workspaces that run and that nobody has used for `time`.
    #[must_use]
    pub fn unused_for(&self, time: Duration) -> Vec<WorkspaceId> {
        let now = self.shared.config.clock.now();
        let unused = |slot: &Slot| {
            let uses = slot.uses.lock().unwrap_or_else(PoisonError::into_inner);
            uses.none() && uses.unused_since + time <= now
        };
        let mut slots = self.shared.all_slots();
        slots.retain(|(_, slot)| slot.status() == WorkspaceStatus::Running && unused(slot));
        slots.into_iter().map(|(id, _)| id).collect()
    }

    /// Stops its container if nobody uses the workspace; whether it is stopped now.
    ///
    /// # Errors
    /// `NotFound`, `EngineUnreachable`, …
    pub async fn stop_if_unused(&self, id: &WorkspaceId) -> Result<bool, WorkspaceError> {
        self.command(id, |reply| Command::Stop { only_unused: true, reply }).await?;
        let status = self.shared.status(id);
        Ok(matches!(status, WorkspaceStatus::Stopped | WorkspaceStatus::Absent))
    }

    /// The clock that uses are measured by.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.config.clock)
    }
}
