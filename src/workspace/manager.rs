//! The manager of workspaces.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    EngineState, NewWorkspace, Orphan, WorkspaceConfig, WorkspaceError, WorkspaceState, WorkspaceView, mounts, names,
    orphans,
    shared::Shared,
    spec, watcher,
    work::{Command, Reply},
};
use crate::{
    domain::{
        Network, Page, SessionId, Setup, Timestamp, WorkspaceId, WorkspaceRecord, WorkspaceSpec, WorkspaceStatus,
    },
    engine::{ContainerState, Engine, EngineError, LABEL_INSTANCE, LABEL_WORKSPACE},
    store::{Batch, Store, StoreError},
    tether::client::TetherClient,
};

/// All workspaces of a daemon; cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    pub(super) shared: Arc<Shared>,
}

impl Workspaces {
    /// Begins to follow the engine, which need not be there: it is used when it appears. All tasks are `tracker`'s and
    /// end with `stop`; containers run on.
    #[must_use]
    pub fn new(
        store: Store,
        engine: Engine,
        config: WorkspaceConfig,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared::new(store, engine, config, tracker, stop));
        shared.tracker.spawn(watcher::run(Arc::clone(&shared)));
        Self { shared }
    }

    /// Makes one, or returns the same-named if the spec is equal. `true`: it was made by this call.
    ///
    /// # Errors
    /// `Invalid`, `NameTaken`, `ImageMissing`, `EngineUnreachable`, …; nothing was made.
    pub async fn create(&self, new: NewWorkspace) -> Result<(WorkspaceView, bool), WorkspaceError> {
        spec::check(new.name.as_deref(), &new.spec)?;
        if let Some(name) = &new.name
            && let Some(id) = self.shared.store.workspace_by_name(name)?
        {
            return self.same(name, &id, new.spec).map(|view| (view, false));
        }
        self.shared.store.room_to_begin()?;
        let record = self.prepare(new.name.clone(), new.spec.clone(), None).await?;
        let view = self.view(&record)?;
        let mut batch = Batch::new();
        batch.put_workspace(record);
        match self.shared.store.commit(batch).await {
            Ok(()) => Ok((view, true)),
            Err(StoreError::Taken { name, by, .. }) => {
                let id = by.parse().map_err(|_| WorkspaceError::NameTaken { name: name.clone(), id: by })?;
                self.same(&name, &id, new.spec).map(|view| (view, false))
            }
            Err(StoreError::TooLarge { limit, .. }) => Err(WorkspaceError::Invalid {
                field: "env",
                message: format!("environment and labels are too large: encoded, a spec takes at most {limit} bytes"),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The workspace of that name, if it was made from an equal spec.
    fn same(&self, name: &str, id: &WorkspaceId, spec: WorkspaceSpec) -> Result<WorkspaceView, WorkspaceError> {
        let record = self.record(id)?;
        if record.deleting {
            return Err(WorkspaceError::Deleting { id: id.to_string() });
        }
        let mut theirs = record.spec.clone();
        theirs.env = self.shared.env(&record)?;
        if theirs == without_credentials(self.resolved(spec)) {
            self.view(&record)
        } else {
            Err(WorkspaceError::NameTaken { name: name.to_owned(), id: id.to_string() })
        }
    }

    /// Checks a spec against its rules and the engine, and makes the record of a workspace that is not yet stored.
    ///
    /// # Errors
    /// `Invalid`, `ImageMissing`, `EngineUnreachable`, …
    pub async fn prepare(
        &self,
        name: Option<String>,
        spec: WorkspaceSpec,
        ephemeral_of: Option<SessionId>,
    ) -> Result<WorkspaceRecord, WorkspaceError> {
        spec::check(name.as_deref(), &spec)?;
        let mut spec = self.resolved(spec);
        self.check_engine(&spec).await?;
        let env = std::mem::take(&mut spec.env);
        let credentials = spec.repo.as_mut().and_then(|repo| repo.credentials.take());
        Ok(WorkspaceRecord {
            id: WorkspaceId::new(),
            name,
            spec,
            sealed_env: (!env.is_empty()).then(|| self.shared.seal(&env)).transpose()?,
            sealed_credentials: credentials.map(|credentials| self.shared.seal(&credentials)).transpose()?,
            setup: Setup::default(),
            ephemeral_of,
            created: Timestamp::now(),
            host: false,
            deleting: false,
        })
    }

    /// Checks a spec against what the operator allows and the engine has.
    pub(super) async fn check_engine(&self, spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
        let Shared { engine, config, .. } = &*self.shared;
        mounts::check(&spec.mounts, &config.mounts, engine.endpoint())?;
        let image = spec.image.as_deref().unwrap_or_default();
        if !engine.image_exists(image).await? {
            return Err(WorkspaceError::image_missing(image.to_owned()));
        }
        if let Network::Named(network) = &spec.network
            && !engine.network_exists(network).await?
        {
            let message = format!("the engine has no network `{network}`: `docker network create {network}` makes it");
            return Err(WorkspaceError::Invalid { field: "network", message });
        }
        if let Some(cpus) = spec.cpus
            && let Some(there) = engine.cpus().await?
            && cpus > f64::from(there)
        {
            let message = format!("the engine's machine has {there} cores, and {cpus} are more");
            return Err(WorkspaceError::Invalid { field: "cpus", message });
        }
        if spec.disk.is_some() {
            let labels = [(LABEL_INSTANCE.to_owned(), self.shared.store.instance().to_string())].into();
            let probe = format!("wharf-probe-{}", uuid::Uuid::new_v4().simple());
            if let Err(why) = engine.limits_volumes(&probe, &labels).await? {
                let message = format!(
                    "the engine can't limit a volume's size here ({why}): leave it out, or keep the engine's data on XFS mounted with `pquota`"
                );
                return Err(WorkspaceError::Invalid { field: "disk", message });
            }
        }
        Ok(())
    }

    /// By id or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: &str) -> Result<WorkspaceView, WorkspaceError> {
        self.view(&self.resolve(id)?)
    }

    /// The record, by id or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn resolve(&self, id_or_name: &str) -> Result<WorkspaceRecord, WorkspaceError> {
        let not_found = || WorkspaceError::NotFound { looked_up: id_or_name.chars().take(128).collect() };
        let id = match id_or_name.parse::<WorkspaceId>() {
            Ok(id) => id,
            Err(_) if WorkspaceId::check_name(id_or_name).is_err() => return Err(not_found()),
            Err(_) => self.shared.store.workspace_by_name(id_or_name)?.ok_or_else(not_found)?,
        };
        self.shared.store.workspace(&id)?.ok_or_else(not_found)
    }

    /// Newest first; `after` is the id that the page before ended with.
    ///
    /// # Errors
    /// `Invalid` where `after` is no id.
    pub async fn list(&self, after: Option<String>, limit: usize) -> Result<Page<WorkspaceView>, WorkspaceError> {
        let before = after
            .map(|after| after.parse::<WorkspaceId>())
            .transpose()
            .map_err(|e| WorkspaceError::Invalid { field: "after", message: e.to_string() })?;
        let limit = limit.clamp(1, 1000);
        let mut records = self.shared.store.workspaces(before.as_ref(), limit + 1)?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|record| record.id.to_string());
        let items = records.iter().map(|record| self.view(record)).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// Starts its container, making it if need be; returns when tether answers. A setup that failed is tried again.
    ///
    /// # Errors
    /// As of [`attach`](Self::attach).
    pub async fn start(&self, id: &str) -> Result<WorkspaceView, WorkspaceError> {
        let record = self.resolve(id)?;
        self.try_again(&record).await?;
        self.attach(&record.id).await?;
        self.get(record.id.as_str()).await
    }

    /// Stops its container and proves that nothing of it runs.
    ///
    /// # Errors
    /// `NotFound`, `EngineUnreachable`, …
    pub async fn stop(&self, id: &str) -> Result<WorkspaceView, WorkspaceError> {
        let record = self.resolve(id)?;
        self.command(&record.id, |reply| Command::Stop { only_unused: false, reply }).await?;
        self.view(&record)
    }

    /// Deletes container, volumes and record; its sessions must be closed before. Done when it returns; when the daemon
    /// or the engine dies in between, it is finished later.
    ///
    /// # Errors
    /// `NotFound`, `EngineUnreachable`, …
    pub async fn delete(&self, id: &WorkspaceId) -> Result<(), WorkspaceError> {
        let record = Box::new(self.record(id)?);
        self.command(id, |reply| Command::Delete { record, reply: Some(reply) }).await
    }

    /// A connection to its tether: the one that is there, or a new one, for which the container is made, thawed and
    /// started as need be. Concurrent calls share the work.
    ///
    /// # Errors
    /// `NotFound`, `Deleting`, `ImageMissing`, `EngineUnreachable`, `Engine`, `Tether`.
    pub async fn attach(&self, id: &WorkspaceId) -> Result<TetherClient, WorkspaceError> {
        let record = self.record(id)?;
        if record.deleting {
            return Err(WorkspaceError::Deleting { id: id.to_string() });
        }
        let slot = self.shared.slot(id);
        if let Some(client) = slot.client()
            && slot.status() != WorkspaceStatus::Paused
        {
            return Ok(client);
        }
        self.command(id, |reply| Command::Attach { record: Box::new(record), reply }).await
    }

    /// The connection that is there.
    #[must_use]
    pub fn attached(&self, id: &WorkspaceId) -> Option<TetherClient> {
        self.shared.existing_slot(id).and_then(|slot| slot.client())
    }

    /// The workspaces whose containers run, by the engine's word.
    ///
    /// # Errors
    /// `EngineUnreachable`: try again when [`engine_state`](Self::engine_state) is `Up`.
    pub async fn running(&self) -> Result<Vec<WorkspaceId>, WorkspaceError> {
        let label = [(LABEL_INSTANCE, self.shared.store.instance().as_str())];
        let containers = self.shared.engine.list_containers(&label).await?;
        let running = containers.iter().filter(|c| matches!(c.state, ContainerState::Running | ContainerState::Paused));
        let ids = running.filter_map(|c| c.labels.get(LABEL_WORKSPACE)?.parse::<WorkspaceId>().ok());
        let mut known = Vec::new();
        for id in ids {
            if self.shared.store.workspace(&id)?.is_some_and(|record| !record.deleting) {
                known.push(id);
            }
        }
        Ok(known)
    }

    /// Whether its container runs, by the engine's word, or the host's tether.
    ///
    /// # Errors
    /// `EngineUnreachable`, …
    pub async fn is_running(&self, id: &WorkspaceId) -> Result<bool, WorkspaceError> {
        if self.is_host(id) {
            return Ok(self.shared.host.runs().await);
        }
        match self.shared.engine.inspect_container(&names::container(id)).await {
            Ok(container) => Ok(matches!(container.state, ContainerState::Running | ContainerState::Paused)),
            Err(EngineError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What happens to its container. The last value is `Absent` when the workspace is deleted.
    #[must_use]
    pub fn watch(&self, id: &WorkspaceId) -> watch::Receiver<WorkspaceState> {
        self.shared.slot(id).state.subscribe()
    }

    /// Whether the engine answers, and what to do where it does not.
    #[must_use]
    pub fn engine_state(&self) -> watch::Receiver<EngineState> {
        self.shared.engine_state.subscribe()
    }

    /// The environment of every process in it, unsealed.
    ///
    /// # Errors
    /// `Engine` where it can't be unsealed.
    pub fn process_env(&self, record: &WorkspaceRecord) -> Result<Vec<(String, String)>, WorkspaceError> {
        Ok(self.shared.env(record)?.into_iter().collect())
    }

    /// Containers, volumes and directories of this daemon that the registry does not know, and tether's volumes of
    /// other versions that nothing uses.
    ///
    /// # Errors
    /// `EngineUnreachable`, …
    pub async fn orphans(&self) -> Result<Vec<Orphan>, WorkspaceError> {
        orphans::find(&self.shared).await
    }

    /// Removes those that are this daemon's alone, and answers what was removed.
    ///
    /// # Errors
    /// `EngineUnreachable`, …: what is left is found again.
    pub async fn remove_orphans(&self) -> Result<Vec<Orphan>, WorkspaceError> {
        orphans::remove(&self.shared).await
    }

    /// As clients see it.
    ///
    /// # Errors
    /// `Store`; `Engine` where its environment can't be unsealed.
    pub fn view(&self, record: &WorkspaceRecord) -> Result<WorkspaceView, WorkspaceError> {
        let store = &self.shared.store;
        let mut sessions = 0;
        for id in store.sessions_of_workspace(&record.id)? {
            sessions += usize::from(store.session(&id)?.is_some_and(|session| session.closed.is_none()));
        }
        let mut spec = record.spec.clone();
        spec.env = self.shared.env(record)?.into_keys().map(|name| (name, HIDDEN.to_owned())).collect();
        let failed = record.setup.failure.is_some();
        Ok(WorkspaceView {
            id: record.id.clone(),
            name: record.name.clone(),
            status: if failed { WorkspaceStatus::Error } else { self.shared.status(&record.id) },
            error: record.setup.failure.clone(),
            spec,
            ephemeral: record.ephemeral_of.is_some(),
            host: record.host,
            sessions,
            created: record.created,
        })
    }

    fn record(&self, id: &WorkspaceId) -> Result<WorkspaceRecord, WorkspaceError> {
        let record = self.shared.store.workspace(id)?;
        record.ok_or_else(|| WorkspaceError::NotFound { looked_up: id.to_string() })
    }

    /// The spec with what it leaves open and must not change later.
    pub(super) fn resolved(&self, mut spec: WorkspaceSpec) -> WorkspaceSpec {
        spec.image.get_or_insert_with(|| self.shared.config.default_image.clone());
        spec
    }

    pub(super) async fn command<T>(
        &self,
        id: &WorkspaceId,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, WorkspaceError> {
        let (reply, answer) = oneshot::channel();
        let slot = self.shared.slot(id);
        slot.commands.send(make(reply)).await.map_err(|_| WorkspaceError::stopping())?;
        match answer.await {
            Ok(result) => result,
            // The actor ended: with the daemon, or with the workspace.
            Err(_) if self.shared.stop.is_cancelled() => Err(WorkspaceError::stopping()),
            Err(_) => Err(WorkspaceError::NotFound { looked_up: id.to_string() }),
        }
    }
}

/// They are not kept, so they don't tell workspaces apart.
fn without_credentials(mut spec: WorkspaceSpec) -> WorkspaceSpec {
    if let Some(repo) = &mut spec.repo {
        repo.credentials = None;
    }
    spec
}

/// Shown in place of a variable's value.
const HIDDEN: &str = "***";
