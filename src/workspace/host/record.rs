//! The host's record: made when it is enabled, shown as any other, and asked for by its name.

use super::stop_own;
use crate::{
    domain::{Setup, Timestamp, WorkspaceId, WorkspaceRecord, WorkspaceSpec, WorkspaceStatus},
    store::{Batch, StoreError},
    tether::client::TetherError,
    workspace::{WorkspaceError, WorkspaceState, Workspaces, container::WORK, place::Place, spec::HOST, work::Command},
};

impl Workspaces {
    /// Whether it is the host's name, which is no workspace's until the host is enabled.
    #[must_use]
    pub fn is_host_name(name: &str) -> bool {
        name == HOST
    }

    /// The host, as a workspace.
    ///
    /// # Errors
    /// `HostDisabled`, `Deleting`; `NameTaken` by a workspace of before names were reserved.
    pub async fn host(&self) -> Result<WorkspaceRecord, WorkspaceError> {
        self.shared.host.check_enabled()?;
        if let Some(record) = self.known_host()? {
            return Ok(record);
        }
        let record = WorkspaceRecord {
            id: WorkspaceId::new(),
            name: Some(HOST.to_owned()),
            spec: WorkspaceSpec::default(),
            sealed_env: None,
            sealed_credentials: None,
            setup: Setup { cloned: true, done: true, ..Setup::default() },
            ephemeral_of: None,
            created: Timestamp::now(),
            host: true,
            deleting: false,
        };
        let mut batch = Batch::new();
        batch.put_workspace(record.clone());
        match self.shared.store.commit(batch).await {
            Ok(()) => Ok(record),
            // Another call has made it.
            Err(StoreError::Taken { by, .. }) => {
                let gone = || WorkspaceError::NotFound { looked_up: by.clone() };
                self.known_host()?.ok_or_else(gone)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn known_host(&self) -> Result<Option<WorkspaceRecord>, WorkspaceError> {
        let Some(id) = self.shared.store.workspace_by_name(HOST)? else { return Ok(None) };
        match self.shared.store.workspace(&id)? {
            Some(record) if !record.host => {
                Err(WorkspaceError::NameTaken { name: HOST.to_owned(), id: id.to_string() })
            }
            Some(record) if record.deleting => Err(WorkspaceError::Deleting { id: id.to_string() }),
            found => Ok(found),
        }
    }

    /// Takes the host up as the daemon starts: what an earlier tether left is ended, and so is everything where the host
    /// is not enabled any more.
    ///
    /// # Errors
    /// `Store`; what can't be ended is told in the log, and again when it is stopped.
    pub async fn begin_host(&self) -> Result<(), WorkspaceError> {
        let shared = &self.shared;
        let record = match self.host().await {
            Ok(record) => Some(record),
            Err(WorkspaceError::Store(error)) => return Err(error.into()),
            Err(error @ WorkspaceError::NameTaken { .. }) => {
                tracing::error!(%error, "no session can work on the host");
                None
            }
            Err(_) => self.leftover_host()?,
        };
        let leave = shared.host.enabled && shared.host.service.is_none() && shared.host.runs().await;
        if !leave && let Err(error) = stop_own(shared).await {
            tracing::error!(%error, "what an earlier tether left on the host is not ended");
        }
        let Some(record) = record else { return Ok(()) };
        let runs = shared.host.runs().await;
        let slot = shared.slot(&record.id);
        let status = if runs { WorkspaceStatus::Running } else { WorkspaceStatus::Stopped };
        slot.state.send_replace(WorkspaceState { status, reason: None });
        if record.deleting {
            // The actor takes it as soon as it runs.
            slot.commands.send(Command::Delete { record: Box::new(record), reply: None }).await.ok();
        }
        Ok(())
    }

    /// The record where the host is disabled, or being deleted.
    fn leftover_host(&self) -> Result<Option<WorkspaceRecord>, WorkspaceError> {
        let Some(id) = self.shared.store.workspace_by_name(HOST)? else { return Ok(None) };
        Ok(self.shared.store.workspace(&id)?.filter(|record| record.host))
    }

    /// Where a session of this workspace works that asks for this directory: on the host it has to be there, and links are
    /// followed now.
    ///
    /// # Errors
    /// `Invalid` where it leads out; as of [`attach`](Self::attach).
    pub async fn working_directory(
        &self,
        record: &WorkspaceRecord,
        cwd: Option<&str>,
    ) -> Result<String, WorkspaceError> {
        if !record.host {
            return Ok(cwd.unwrap_or(WORK).to_owned());
        }
        // Held before it is asked for: it must not go meanwhile.
        let hold = self.use_by_agent(&record.id);
        let ran = self.is_running(&record.id).await?;
        let found = self.resolved_on_host(record, cwd).await;
        drop(hold);
        if found.is_err() && !ran {
            // It was started for this alone.
            self.stop_if_unused(&record.id).await.ok();
        }
        found
    }

    async fn resolved_on_host(&self, record: &WorkspaceRecord, cwd: Option<&str>) -> Result<String, WorkspaceError> {
        let client = self.attach(&record.id).await?;
        let directory = client.host().map(|host| host.directory).unwrap_or_default();
        let Some(cwd) = cwd else { return Ok(directory) };
        match client.resolve(cwd).await {
            Ok(path) => Ok(path),
            Err(TetherError::Invalid(message)) => Err(WorkspaceError::Invalid { field: "cwd", message }),
            Err(error) => Err(WorkspaceError::Tether { message: error.to_string() }),
        }
    }

    /// Whether this workspace needs no engine.
    #[must_use]
    pub fn is_host(&self, id: &WorkspaceId) -> bool {
        match self.shared.existing_slot(id) {
            Some(slot) => slot.place == Place::Host,
            None => self.shared.store.workspace(id).is_ok_and(|record| record.is_some_and(|record| record.host)),
        }
    }
}
