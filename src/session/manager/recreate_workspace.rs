//! A workspace's container made anew under its sessions.

use super::super::SessionError;
use super::{Command, Sessions};
use crate::domain::SessionStatus;
use crate::workspace::{WorkspaceChanges, WorkspaceView};

impl Sessions {
    /// Makes a workspace's container anew: its sessions rest (a running turn is cancelled), and those that were awake
    /// resume in the new container.
    ///
    /// # Errors
    /// `Workspace`, `Timeout`; where the changes can't be, nothing was done.
    pub async fn recreate_workspace(&self, id: &str, changes: WorkspaceChanges) -> Result<WorkspaceView, SessionError> {
        let workspaces = &self.shared.workspaces;
        let workspace = workspaces.resolve(id)?.id;
        // First of all: what can't be is told before anything rests.
        workspaces.check_changes(workspace.as_str(), changes.clone()).await?;
        let mut awake = Vec::new();
        for session in self.open_sessions_of(&workspace)? {
            let status = self.shared.store.progress(&session)?.map(|progress| progress.status);
            if !matches!(status, None | Some(SessionStatus::Suspended | SessionStatus::Closed | SessionStatus::Error)) {
                awake.push(session.clone());
            }
            let rested = self.ask(&session, |reply| Command::Suspend { by_hand: false, reply });
            self.patiently("ending the agent", rested).await?;
        }
        let view = workspaces.recreate(workspace.as_str(), changes).await?;
        for session in awake {
            // Who waits for it asks the session.
            let (reply, _unheard) = tokio::sync::oneshot::channel();
            self.handle(&session).send(Command::Wake { reply }).await;
        }
        Ok(view)
    }
}
