//! The three things that are done to a workspace's container: brought up and connected, stopped, deleted.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    WorkspaceError,
    connector::{Connector, NoConnection, UNTIL_LISTENING},
    container::{self, GRACE_SECONDS},
    host_socket,
    logbook::Logbook,
    names, reasons,
    setup::{self, Pending},
    shared::Shared,
    stray,
};
use crate::{
    crash::point,
    domain::{Setup, WorkspaceId, WorkspaceRecord, WorkspaceStatus},
    engine::{ContainerState, EngineError, LABEL_TETHER, LABEL_WORKSPACE},
    store::Batch,
    tether::client::{TetherClient, TetherError},
};

/// How often one thing after the other may turn out to be missing while a container is brought up.
const ATTEMPTS: usize = 6;
/// How long a started container's tether has to answer.
pub(super) const UNTIL_CONNECTED: Duration = Duration::from_secs(30);

/// One run of a container, from before its start until its end.
#[derive(Clone, Default)]
pub(super) struct Run {
    /// Cancelled when it has ended.
    pub(super) lost: CancellationToken,
    /// Ends the connection.
    pub(super) disconnect: CancellationToken,
    /// Set once the engine has started it: what the engine says of it from then on is of this run.
    pub(super) started: Arc<AtomicBool>,
}

/// A workspace's container to be brought up.
pub(super) struct BringUp {
    pub(super) shared: Arc<Shared>,
    pub(super) record: WorkspaceRecord,
    pub(super) run: Run,
    /// What was last seen of it: saves asking, and need not be true.
    pub(super) status: WorkspaceStatus,
    /// Whether it was made with another version of tether.
    pub(super) outdated: bool,
    /// What is told of it.
    pub(super) log: Logbook,
    /// Why the tether that runs in it can't be spoken to.
    pub(super) refused: Option<String>,
}

/// A connected workspace.
pub(super) struct Up {
    pub(super) client: TetherClient,
    /// The engine's id of the container, where this call made it.
    pub(super) made: Option<String>,
    /// Whether it runs another version of tether than this daemon's: it is made again when it next stands still.
    pub(super) outdated: bool,
}

impl BringUp {
    /// Makes the container where there is none, starts it, connects, and sets up what is not yet.
    pub(super) async fn run(mut self) -> Result<Up, WorkspaceError> {
        // Whoever asked may have read it before it was changed.
        if let Some(record) = self.shared.store.workspace(&self.record.id)? {
            self.record = record;
        }
        if let Some(failure) = &self.record.setup.failure {
            return Err(setup::error(failure));
        }
        let up = self.up().await?;
        point("workspace-connected");
        self.set_up(&up.client).await?;
        Ok(up)
    }

    async fn set_up(&mut self, client: &TetherClient) -> Result<(), WorkspaceError> {
        if setup::is_done(&self.record) {
            return Ok(());
        }
        let pending = Pending { shared: &self.shared, record: &mut self.record, client, log: &self.log };
        let done = tokio::select! {
            biased;
            () = self.run.lost.cancelled() => {
                Err(WorkspaceError::Tether { message: "the container ended while it was set up".to_owned() })
            }
            done = pending.run() => done,
        };
        if done.is_err() {
            self.run.disconnect.cancel();
        }
        done
    }

    async fn up(&mut self) -> Result<Up, WorkspaceError> {
        if self.status == WorkspaceStatus::Unknown {
            self.look().await?;
        }
        if self.status == WorkspaceStatus::Running {
            self.run.started.store(true, Ordering::Relaxed);
            match self.connect(Instant::now()).await {
                Ok(client) => return Ok(Up { client, made: None, outdated: self.outdated }),
                Err(error) if self.run.lost.is_cancelled() => return Err(error.into()),
                // It ended meanwhile, or the engine has not told us yet that it did.
                Err(error) => {
                    self.run.started.store(false, Ordering::Relaxed);
                    self.refused = matches!(error, NoConnection::Refused(_)).then(|| error.to_string());
                    self.look().await?;
                }
            }
        }
        let made = self.start().await?;
        self.run.started.store(true, Ordering::Relaxed);
        match self.connect(Instant::now() + UNTIL_LISTENING).await {
            Ok(client) => Ok(Up { client, outdated: self.outdated && made.is_none(), made }),
            Err(error) => Err(self.why_it_ended().await.unwrap_or_else(|| error.into())),
        }
    }

    /// Why the container ended right after its start says more than that nothing can be reached in it.
    async fn why_it_ended(&self) -> Option<WorkspaceError> {
        let found = self.shared.engine.inspect_container(&names::container(&self.record.id)).await.ok()?;
        let ended = found.state == ContainerState::Exited;
        let why = reasons::death(found.exit_code, found.oom_killed, self.shared.memory(&self.record));
        ended.then(|| WorkspaceError::Tether { message: format!("{why} right after its start") })
    }

    /// Asks the engine what there is: a new daemon may be asked for a workspace before it has seen all containers.
    async fn look(&mut self) -> Result<(), WorkspaceError> {
        self.status = match self.shared.engine.inspect_container(&names::container(&self.record.id)).await {
            Ok(found) => {
                let version = found.labels.get(LABEL_TETHER).map(String::as_str);
                self.outdated = version != Some(self.shared.tether.version());
                match found.state {
                    ContainerState::Running => WorkspaceStatus::Running,
                    ContainerState::Paused => WorkspaceStatus::Paused,
                    ContainerState::Created | ContainerState::Exited | ContainerState::Other => {
                        WorkspaceStatus::Stopped
                    }
                }
            }
            Err(EngineError::NotFound { .. }) => WorkspaceStatus::Absent,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    async fn connect(&self, listening_by: Instant) -> Result<TetherClient, NoConnection> {
        let connector = Connector {
            shared: Arc::clone(&self.shared),
            container: names::container(&self.record.id),
            host_dir: self.shared.host_dir(&self.record.id),
            listening_by,
            by_socket: AtomicBool::new(false),
            lost: self.run.lost.clone(),
        };
        let stop = self.run.disconnect.child_token();
        // An attempt that is given up must not go on behind the next one.
        let given_up = stop.clone().drop_guard();
        let connecting = TetherClient::connect(connector, &self.shared.tracker, stop);
        let message = tokio::select! {
            biased;
            () = self.run.lost.cancelled() => "the container ended".to_owned(),
            connected = tokio::time::timeout(UNTIL_CONNECTED, connecting) => match connected {
                Ok(Ok(client)) => {
                    given_up.disarm();
                    return Ok(client);
                }
                Ok(Err(error @ TetherError::Unsupported(_))) => return Err(NoConnection::Refused(error.to_string())),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it did not answer within {} s", UNTIL_CONNECTED.as_secs()),
            },
        };
        Err(NoConnection::Missing(message))
    }

    /// Until the container runs; answers its id where it was made here. Whatever is missing is made, in the order in
    /// which the engine finds it missing: so nothing is asked on the usual way.
    async fn start(&self) -> Result<Option<String>, WorkspaceError> {
        let engine = &self.shared.engine;
        let name = names::container(&self.record.id);
        let (mut made, mut exists) = (None, self.status != WorkspaceStatus::Absent);
        // A tether that lives listens already, at a socket that it makes only once.
        let alive = matches!(self.status, WorkspaceStatus::Running | WorkspaceStatus::Paused)
            || stray::ended(&self.shared, &self.record.id).await?;
        // One that runs was just tried: a tether of another version is of no use any more where it can't be spoken to; but
        // one that only could not be reached may hold a turn.
        if exists && self.outdated && (self.refused.is_some() || !alive) {
            if let Some(why) = &self.refused {
                tracing::warn!(workspace = %self.record.id, why, "its container is made anew, with this daemon's tether");
                self.log.line("wharf", &format!("{why}: its container is made anew")).await;
            }
            engine.remove_container(&name).await?;
            exists = false;
        }
        let mut last = None;
        for _ in 0..ATTEMPTS {
            self.check_wanted()?;
            if self.shared.sockets.used() && !(alive && exists) {
                self.make_host_dir().await?;
            }
            if !exists {
                made = self.create().await?.or(made);
                exists = true;
            }
            self.check_wanted()?;
            match engine.start_container(&name).await {
                Ok(()) => {
                    point("container-started");
                    return Ok(made);
                }
                Err(EngineError::Paused { .. }) => {
                    engine.unpause_container(&name).await?;
                    return Ok(made);
                }
                Err(EngineError::NotFound { .. }) => exists = false,
                Err(error) if container::is_half_started(&error) => {
                    tracing::warn!(container = name, %error, "the engine lost it while it started it: it is made anew");
                    self.log.line("wharf", "the engine lost its container in a start: it is made anew").await;
                    engine.remove_container(&name).await?;
                    exists = false;
                    last = Some(error);
                }
                Err(error) if container::is_without_program(&error) => {
                    tracing::warn!(volume = self.shared.tether.name(), "tether is missing in its volume: filling it");
                    self.shared.tether.fill(engine, self.shared.store.instance(), self.image()).await?;
                    last = Some(error);
                }
                Err(error) if container::is_without_bind(&error) && self.shared.sockets.refuse() => {
                    engine.remove_container(&name).await?;
                    exists = false;
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let message = last.map_or_else(|| "it was removed while it was being started".to_owned(), |e| e.to_string());
        Err(WorkspaceError::Engine { message })
    }

    /// Makes the container with all its volumes; `None`: it was there.
    async fn create(&self) -> Result<Option<String>, WorkspaceError> {
        let shared = &self.shared;
        shared.tether.ensure(&shared.engine, shared.store.instance(), self.image()).await?;
        loop {
            let host_dir = shared.sockets.used().then(|| shared.host_dir(&self.record.id));
            let defaults = shared.defaults();
            let instance = shared.store.instance();
            let spec = container::spec(&self.record, instance, &defaults, &shared.tether, host_dir.as_deref());
            match shared.engine.create_container(&spec).await {
                Ok(id) => {
                    point("container-made");
                    self.log.line("wharf", &format!("its container is made from {}", spec.image)).await;
                    return Ok(Some(id));
                }
                Err(EngineError::Conflict { .. }) => return self.check_ours(&spec.name).await.map(|()| None),
                Err(error) if container::is_without_bind(&error) && host_dir.is_some() && shared.sockets.refuse() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Nothing more is begun once it is broken off.
    fn check_wanted(&self) -> Result<(), WorkspaceError> {
        let broken_off = || WorkspaceError::Engine { message: "the start was broken off".to_owned() };
        if self.run.lost.is_cancelled() { Err(broken_off()) } else { Ok(()) }
    }

    /// A container of this name must be this workspace's.
    async fn check_ours(&self, name: &str) -> Result<(), WorkspaceError> {
        let found = self.shared.engine.inspect_container(name).await?;
        if found.labels.get(LABEL_WORKSPACE).map(String::as_str) == Some(self.record.id.as_str()) {
            return Ok(());
        }
        let message = format!("the container name {name} is taken by a container of somebody else's: remove that one");
        Err(WorkspaceError::Engine { message })
    }

    async fn make_host_dir(&self) -> Result<(), WorkspaceError> {
        let run_dir = self.shared.sockets.run_dir().to_owned();
        let dir = self.shared.host_dir(&self.record.id);
        on_disk(dir, move |dir| host_socket::prepare(&run_dir, dir)).await
    }

    fn image(&self) -> &str {
        self.record.spec.image.as_deref().unwrap_or(&self.shared.config.default_image)
    }
}

/// Thaws a container under a connection that is there.
pub(super) async fn thaw(
    shared: Arc<Shared>,
    id: WorkspaceId,
    client: TetherClient,
    outdated: bool,
) -> Result<Up, WorkspaceError> {
    shared.engine.unpause_container(&names::container(&id)).await?;
    Ok(Up { client, made: None, outdated })
}

/// Stops the container and has the engine confirm that nothing of it runs; `false`: there is none.
pub(super) async fn stop(shared: Arc<Shared>, id: WorkspaceId) -> Result<bool, WorkspaceError> {
    let engine = &shared.engine;
    let name = names::container(&id);
    for _ in 0..3 {
        match engine.inspect_container(&name).await {
            Err(EngineError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
            Ok(found) => match found.state {
                ContainerState::Created | ContainerState::Exited => return Ok(true),
                // A frozen process takes no signal.
                ContainerState::Paused => engine.unpause_container(&name).await?,
                ContainerState::Running | ContainerState::Other => {}
            },
        }
        match engine.stop_container(&name, GRACE_SECONDS).await {
            Ok(()) | Err(EngineError::NotFound { .. }) => {}
            Err(error @ EngineError::Unreachable { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(container = name, %error, "stopping failed, killing it");
                engine.kill_container(&name, "KILL").await?;
            }
        }
    }
    Err(WorkspaceError::Engine { message: format!("container {name} was stopped, and still runs") })
}

/// Removes the container, keeps the volumes, and only then takes the changed record: what a crash leaves in between is
/// the workspace as it was.
pub(super) async fn recreate(shared: Arc<Shared>, mut record: WorkspaceRecord) -> Result<(), WorkspaceError> {
    stop(Arc::clone(&shared), record.id.clone()).await?;
    shared.engine.remove_container(&names::container(&record.id)).await?;
    let not_found = || WorkspaceError::NotFound { looked_up: record.id.to_string() };
    let stored = shared.store.workspace(&record.id)?.ok_or_else(not_found)?;
    // What was set up while the changes were being checked is set up.
    record.setup = Setup { failure: None, ..stored.setup };
    record.deleting = stored.deleting;
    if record.setup.cloned {
        record.spec.repo = stored.spec.repo;
        record.sealed_credentials = None;
    }
    let mut batch = Batch::new();
    batch.put_workspace(record);
    Ok(shared.store.commit(batch).await?)
}

/// The first step of a deletion.
pub(super) async fn mark_deleting(shared: &Shared, mut record: WorkspaceRecord) -> Result<(), WorkspaceError> {
    if !record.deleting {
        record.deleting = true;
        let mut batch = Batch::new();
        batch.put_workspace(record);
        shared.store.commit(batch).await?;
    }
    Ok(())
}

/// Removes everything of the workspace: container, volumes, directory, and last its record, so that a crash in between
/// is finished later.
pub(super) async fn delete(shared: Arc<Shared>, record: WorkspaceRecord) -> Result<(), WorkspaceError> {
    let id = record.id.clone();
    mark_deleting(&shared, record).await?;
    let engine = &shared.engine;
    engine.remove_container(&names::container(&id)).await?;
    let volumes = names::volumes(&id);
    for volume in [volumes.work, volumes.home, volumes.tether] {
        engine.remove_volume(&volume).await?;
    }
    on_disk(shared.host_dir(&id), host_socket::remove).await?;
    let removed = shared.slot(&id).log.remove().await;
    removed.map_err(|e| WorkspaceError::Engine { message: format!("the workspace's log: {e}") })?;
    let mut batch = Batch::new();
    batch.delete_workspace(id);
    shared.store.commit(batch).await?;
    Ok(())
}

/// Runs what blocks on the disk where it holds nobody up.
async fn on_disk(
    dir: PathBuf,
    work: impl FnOnce(&std::path::Path) -> std::io::Result<()> + Send + 'static,
) -> Result<(), WorkspaceError> {
    let failed = |why: String| WorkspaceError::Engine { message: format!("the directory of host sockets: {why}") };
    match tokio::task::spawn_blocking(move || work(&dir).map_err(|e| format!("{}: {e}", dir.display()))).await {
        Ok(done) => done.map_err(failed),
        Err(panic) => Err(failed(panic.to_string())),
    }
}
