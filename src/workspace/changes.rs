//! A workspace made anew: another image or other limits, the same volumes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use super::{WorkspaceError, WorkspaceView, Workspaces, spec, work::Command};
use crate::{
    domain::{ExtraMount, Labels, Network, Repo, WorkspaceRecord},
    store::Batch,
};

/// What is to change; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceChanges {
    /// Another image.
    pub image: Option<String>,
    /// The whole environment, in place of the one before.
    pub env: Option<BTreeMap<String, String>>,
    /// CPUs, in cores.
    #[schema(minimum = 0.01, maximum = 4096.0)]
    pub cpus: Option<f64>,
    /// Memory and swap, in bytes.
    #[schema(minimum = 6_291_456, maximum = 9_223_372_036_854_775_807_i64)]
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Network: `default`, `none`, or the name of one.
    #[schema(value_type = Option<String>)]
    pub network: Option<Network>,
    /// The repository, while it is not cloned yet.
    pub repo: Option<Repo>,
    /// The setup command, while it has not run yet.
    pub setup: Option<String>,
    /// All extra mounts, in place of those before.
    pub mounts: Option<Vec<ExtraMount>>,
    /// All labels, in place of those before.
    pub labels: Option<Labels>,
}

impl Workspaces {
    /// Makes its container anew from its spec with these changes, with the volumes that it has, and starts it; what runs
    /// in it must be at rest. A setup that failed is tried again.
    ///
    /// # Errors
    /// `NotFound`, `Deleting`, and as of [`create`](Self::create) and [`attach`](Self::attach).
    pub async fn recreate(&self, id: &str, changes: WorkspaceChanges) -> Result<WorkspaceView, WorkspaceError> {
        let record = self.changed(id, changes).await?;
        let id = record.id.clone();
        self.command(&id, |reply| Command::Recreate { record: Box::new(record), reply }).await?;
        self.attach(&id).await?;
        self.get(id.as_str()).await
    }

    /// Checks changes without making them.
    ///
    /// # Errors
    /// As of [`recreate`](Self::recreate).
    pub async fn check_changes(&self, id: &str, changes: WorkspaceChanges) -> Result<(), WorkspaceError> {
        self.changed(id, changes).await.map(drop)
    }

    async fn changed(&self, id: &str, changes: WorkspaceChanges) -> Result<WorkspaceRecord, WorkspaceError> {
        let mut record = self.resolve(id)?;
        if record.host {
            let message = "it has no container to make anew, and no image, limits, mounts, repository or setup";
            return Err(WorkspaceError::NotOnHost { message });
        }
        if record.deleting {
            return Err(WorkspaceError::Deleting { id: record.id.to_string() });
        }
        let WorkspaceChanges { image, env, cpus, memory, pids, network, repo, setup, mounts, labels } = changes;
        let done = |field, what: &str| {
            let message = format!("{what} already, and the volumes are kept: delete the workspace to begin anew");
            WorkspaceError::Invalid { field, message }
        };
        if repo.is_some() && record.setup.cloned {
            return Err(done("repo", "it is cloned"));
        }
        if setup.is_some() && record.setup.done {
            return Err(done("setup", "it has run"));
        }
        let mut spec = record.spec.clone();
        spec.env = match env {
            Some(env) => env,
            None => self.shared.env(&record)?,
        };
        spec.cpus = cpus.or(spec.cpus);
        spec.memory = memory.or(spec.memory);
        spec.pids = pids.or(spec.pids);
        spec.image = image.or(spec.image);
        spec.network = network.unwrap_or(spec.network);
        spec.setup = setup.or(spec.setup);
        spec.mounts = mounts.unwrap_or(spec.mounts);
        spec.labels = labels.unwrap_or(spec.labels);
        let new_repo = repo.is_some();
        spec.repo = repo.or(spec.repo);
        spec::check(None, &spec)?;
        self.check_engine(&spec).await?;
        let env = std::mem::take(&mut spec.env);
        record.sealed_env = (!env.is_empty()).then(|| self.shared.seal(&env)).transpose()?;
        let credentials = spec.repo.as_mut().and_then(|repo| repo.credentials.take());
        if new_repo {
            record.sealed_credentials = credentials.map(|credentials| self.shared.seal(&credentials)).transpose()?;
        }
        record.spec = spec;
        record.setup.failure = None;
        Ok(record)
    }

    /// Forgets that a setup failed.
    pub(super) async fn try_again(&self, record: &WorkspaceRecord) -> Result<(), WorkspaceError> {
        if record.setup.failure.is_none() || record.deleting {
            return Ok(());
        }
        let mut record = record.clone();
        record.setup.failure = None;
        let mut batch = Batch::new();
        batch.put_workspace(record);
        Ok(self.shared.store.commit(batch).await?)
    }
}
