//! What time alone brings about: a silent turn's end, and rest.

use std::time::Duration;

use super::Actor;
use crate::domain::{PromptNumber, WorkspaceStatus};
use crate::session::state::Input;
use crate::store::StoreError;
use crate::workspace::Clock;

/// Ready at that time, or never.
pub(super) async fn until(clock: &dyn Clock, at: Option<Duration>) {
    match at {
        Some(at) => clock.until(at).await,
        None => std::future::pending().await,
    }
}

/// What idleness and silence are measured from.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When a client last asked for something, or the session was last busy.
    pub(super) active: Duration,
    /// When the agent last gave any output, or began to work.
    pub(super) heard: Duration,
    idle: bool,
    working: Option<PromptNumber>,
}

impl Actor {
    /// Sees what the session has come to: both times begin when the session becomes idle, or its agent goes to work.
    pub(super) fn observe(&mut self) {
        let (now, idle, working) = (self.shared.clock.now(), self.state.is_idle(), self.state.is_working());
        if !(idle && self.watch.idle) {
            self.watch.active = now;
        }
        if working.is_none() || working != self.watch.working {
            self.watch.heard = now;
        }
        (self.watch.idle, self.watch.working) = (idle, working);
    }

    /// When the clock is to be looked at next.
    pub(super) fn due(&self) -> Option<Duration> {
        let rules = &self.shared.rules;
        let silent =
            rules.turn_inactivity.filter(|_| self.state.is_working().is_some()).map(|most| self.watch.heard + most);
        let idle = rules.idle.filter(|_| self.state.is_idle()).map(|most| self.watch.active + most);
        silent.into_iter().chain(idle).min()
    }

    /// Ends a turn that has been silent, or an agent that nobody needs, if it is time.
    pub(super) async fn look_at_the_clock(&mut self) -> Result<(), StoreError> {
        let (now, rules) = (self.shared.clock.now(), self.shared.rules);
        if let (Some(most), Some(n)) = (rules.turn_inactivity, self.state.is_working())
            && self.watch.heard + most <= now
        {
            return self.handle([Input::Inactive { n, silence: most }]).await;
        }
        let Some(most) = rules.idle.filter(|most| self.watch.active + *most <= now) else { return Ok(()) };
        // A person in the workspace keeps its sessions awake; an agent that is frozen can't be ended, and costs nothing.
        let held = self.shared.workspaces.held_until(&self.record.workspace);
        let paused = self.workspace.borrow().status == WorkspaceStatus::Paused;
        if let Some(at) = held.filter(|at| *at + most > now).or_else(|| paused.then_some(now)) {
            self.watch.active = at;
            return Ok(());
        }
        self.watch.active = now;
        self.idled = true;
        tracing::info!(session = %self.id, "nobody needs it: its agent is ended");
        self.handle([Input::Idle]).await
    }

    /// Says that the session uses its workspace: before it asks for the connection.
    pub(super) fn use_workspace(&mut self) {
        self.idled = false;
        let (workspaces, id) = (&self.shared.workspaces, &self.record.workspace);
        self.hold.get_or_insert_with(|| workspaces.use_by_agent(id));
    }

    /// Ends the session's use of its workspace once nothing of it is there; after idleness the container goes with the
    /// last use.
    pub(super) fn let_go(&mut self) {
        if self.hold.is_none() || self.state.needs_workspace() || !self.tasks.is_empty() {
            return;
        }
        self.hold = None;
        if std::mem::take(&mut self.idled) {
            let (workspaces, id) = (self.shared.workspaces.clone(), self.record.workspace.clone());
            self.shared.tracker.spawn(async move {
                if let Err(e) = workspaces.stop_if_unused(&id).await {
                    // It is found again by the sweep.
                    tracing::debug!(workspace = %id, error = %e, "it could not be stopped");
                }
            });
        }
    }
}
