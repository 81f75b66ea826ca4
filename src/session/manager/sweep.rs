//! Stopping the containers that nobody has used for as long as a session may be idle.
//!
//! A session that goes to rest takes its container with it where it was the last; this finds the others: of sessions that
//! were closed or failed, and what a person started and left.

use std::time::Duration;

use super::Sessions;
use crate::domain::WorkspaceId;
use crate::session::SessionError;

/// The shortest and the longest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(60);

impl Sessions {
    /// Looks around from time to time, until the daemon stops.
    pub(super) fn sweep(&self) {
        let Some(idle) = self.shared.rules.idle else { return };
        let sessions = self.clone();
        let every = (idle / 4).clamp(LOOK_MIN, LOOK_MAX);
        self.shared.tracker.spawn(async move {
            let (clock, stop) = (sessions.shared.clock.clone(), sessions.shared.stop.clone());
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.until(clock.now() + every) => {}
                }
                for workspace in sessions.shared.workspaces.unused_for(idle) {
                    if let Err(e) = sessions.stop_unused(&workspace).await {
                        tracing::debug!(%workspace, error = %e, "it could not be stopped for want of use");
                    }
                }
            }
        });
    }

    /// Turns in flight and prompts that wait are never swept, whoever has them in hand.
    async fn stop_unused(&self, workspace: &WorkspaceId) -> Result<(), SessionError> {
        for id in self.open_sessions_of(workspace)? {
            let progress = self.shared.store.progress(&id)?;
            if progress.is_some_and(|p| p.turn.is_some() || !p.queue.is_empty()) {
                return Ok(());
            }
        }
        tracing::info!(%workspace, "nobody uses it: its container is stopped");
        self.shared.workspaces.stop_if_unused(workspace).await?;
        Ok(())
    }
}
