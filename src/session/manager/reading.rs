//! What is read of all sessions together: totals, and every session's events as one stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Sessions;
use crate::session::SessionError;
use crate::session::all_events::{self, AllEvents, AllFilter, AllPage, From};
use crate::session::stats::{self, SessionTotals, Share};
use crate::store::CommitLatency;

impl Sessions {
    /// Totals of all sessions, or of one project's; no session's log is read.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn totals(&self, project: Option<&str>) -> Result<(SessionTotals, Vec<Share>), SessionError> {
        stats::count(&self.shared, project)
    }

    /// How many subscriptions there are, to one session and to all.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.shared.subscribers.load(Ordering::Relaxed)
    }

    /// How long this manager has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Bytes that the store takes on the disk.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn disk_use(&self) -> Result<u64, SessionError> {
        let store = self.shared.store.clone();
        tokio::task::spawn_blocking(move || store.disk_use()).await.map_err(|_| SessionError::Stopping)
    }

    /// How long the store's commits took.
    #[must_use]
    pub fn commit_latency(&self) -> CommitLatency {
        self.shared.store.commit_latency()
    }

    /// The id of the session and of the workspace that a filter names.
    ///
    /// # Errors
    /// `NotFound`, `Workspace`.
    pub fn all_filter(
        &self,
        session: Option<&str>,
        workspace: Option<&str>,
        types: Vec<String>,
    ) -> Result<AllFilter, SessionError> {
        let session = session.map(|id| self.resolve(id)).transpose()?.map(|record| record.id);
        let workspace = workspace.map(|id| self.shared.workspaces.resolve(id)).transpose()?.map(|record| record.id);
        Ok(AllFilter { workspace, session, types })
    }

    /// A page of every session's events, in the order in which they became durable.
    ///
    /// # Errors
    /// `Invalid` for a cursor beyond the end.
    pub async fn all_events(&self, filter: AllFilter, from: From, limit: usize) -> Result<AllPage, SessionError> {
        all_events::page(&self.shared, filter, from, limit).await
    }

    /// Every session's events after a cursor, then each new one.
    ///
    /// # Errors
    /// `Invalid` for a cursor beyond the end.
    pub fn subscribe_all(&self, filter: AllFilter, from: From) -> Result<AllEvents, SessionError> {
        all_events::subscribe(&self.shared, filter, from)
    }
}
