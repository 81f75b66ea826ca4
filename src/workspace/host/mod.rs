//! The host as a workspace: a tether that is no container's, of this daemon's own or of a service of its own.
//!
//! There is at most one, called `host`, and only where the operator has enabled it. No engine is asked for anything.

mod own;
mod record;
mod service;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use self::own::Own;
use super::{
    WorkspaceError, host_socket,
    lifecycle::{Run, UNTIL_CONNECTED, Up, mark_deleting},
    shared::Shared,
};
use crate::{
    domain::{InstanceId, WorkspaceRecord},
    store::Batch,
    tether::client::{Connect, ConnectError, Stream, TetherClient, TetherError},
};

pub use service::HostService;

/// Between SIGTERM and SIGKILL for each process when everything is stopped.
const GRACE: Duration = Duration::from_secs(3);
/// How long a tether may take to end everything and go.
const UNTIL_GONE: Duration = Duration::from_secs(30);
/// How long between two looks at what tells nobody when it comes.
const LOOK: Duration = Duration::from_millis(2);

/// Whether sessions may work on the host, and how its tether is had.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Whether they may.
    pub enabled: bool,
    /// The socket of a tether that is a service of its own; without it this daemon starts one.
    pub socket: Option<PathBuf>,
    /// A directory of this daemon's own for the tether that it starts, absolute; made where it is not there.
    pub state: PathBuf,
    /// Where sessions work with the tether that this daemon starts; without it a directory below `state`.
    pub directory: Option<PathBuf>,
    /// A directory in memory: what agents are given lies below it for as long as they run.
    pub memory: PathBuf,
}

impl HostConfig {
    /// Not enabled.
    #[must_use]
    pub fn new(state: PathBuf) -> Self {
        Self { enabled: false, socket: None, state, directory: None, memory: "/dev/shm".into() }
    }
}

/// How the host's tether is had.
pub(super) struct Host {
    enabled: bool,
    /// That of this daemon; with a service of its own it may still be there from before.
    own: Own,
    service: Option<PathBuf>,
}

/// Where a tether listens.
#[derive(Clone)]
enum Way {
    /// In this directory of ours, by the name that all our sockets have.
    Own(PathBuf),
    /// At this path.
    Service(PathBuf),
}

impl Host {
    pub(super) fn new(config: &HostConfig, instance: &InstanceId) -> Self {
        Self { enabled: config.enabled, own: Own::new(config, instance), service: config.socket.clone() }
    }

    fn way(&self) -> Way {
        self.service.clone().map_or_else(|| Way::Own(self.own.run_dir()), Way::Service)
    }

    /// Whether its tether can be connected to.
    pub(super) async fn runs(&self) -> bool {
        self.enabled && self.way().open().await.is_ok()
    }

    fn check_enabled(&self) -> Result<(), WorkspaceError> {
        if self.enabled { Ok(()) } else { Err(WorkspaceError::HostDisabled) }
    }
}

impl Way {
    async fn open(&self) -> io::Result<UnixStream> {
        match self {
            Self::Own(dir) => host_socket::connect(dir).await,
            Self::Service(path) => UnixStream::connect(path).await,
        }
    }

    fn away(&self, why: &io::Error) -> WorkspaceError {
        let message = match self {
            Self::Own(_) => format!("the tether that this daemon starts can't be reached: {why}"),
            Self::Service(path) => format!(
                "nothing serves at {} ({why}): `systemctl status wharf-host` tells more, and `[host] socket` has to name its socket",
                path.display()
            ),
        };
        WorkspaceError::HostAway { message }
    }
}

/// The way to one run of a tether on the host.
struct Connector {
    way: Way,
    lost: CancellationToken,
}

impl Connect for Connector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            tokio::select! {
                biased;
                () = self.lost.cancelled() => Err(ConnectError::Gone("it was stopped".to_owned())),
                opened = self.way.open() => match opened {
                    Ok(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                    // Without a listener there is nothing to come back to: a tether makes its socket once.
                    Err(e) if is_away(&e) => Err(ConnectError::Gone(format!("the host's tether has ended ({e})"))),
                    Err(e) => Err(ConnectError::Retry(e.to_string())),
                },
            }
        })
    }
}

fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | ConnectionRefused | PermissionDenied)
}

/// Has a tether running and connects to it.
pub(super) async fn bring_up(shared: Arc<Shared>, run: Run) -> Result<Up, WorkspaceError> {
    shared.host.check_enabled()?;
    let way = shared.host.way();
    if let Err(why) = way.open().await {
        match &way {
            Way::Own(_) => shared.host.own.start().await?,
            Way::Service(_) => return Err(way.away(&why)),
        }
    }
    let client = connect(&shared, way, run.lost.clone(), run.disconnect.child_token()).await?;
    Ok(Up { client, made: None, outdated: false })
}

async fn connect(
    shared: &Shared,
    way: Way,
    lost: CancellationToken,
    stop: CancellationToken,
) -> Result<TetherClient, WorkspaceError> {
    let given_up = stop.clone().drop_guard();
    let connecting = TetherClient::connect(Connector { way, lost }, &shared.tracker, stop);
    let message = match tokio::time::timeout(UNTIL_CONNECTED, connecting).await {
        Ok(Ok(client)) if client.host().is_some() => {
            given_up.disarm();
            return Ok(client);
        }
        Ok(Ok(_)) => "what serves at `[host] socket` is a container's tether".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {} s", UNTIL_CONNECTED.as_secs()),
    };
    Err(WorkspaceError::HostAway { message })
}

/// Ends every process on the host and proves it; a tether of this daemon's own goes, too.
pub(super) async fn stop(shared: &Shared) -> Result<(), WorkspaceError> {
    let host = &shared.host;
    if let Way::Service(path) = host.way() {
        return end_of_service(shared, Way::Service(path), false).await;
    }
    stop_own(shared).await
}

/// One that is away took everything with it: its unit's control group went with it.
async fn end_of_service(shared: &Shared, way: Way, forget: bool) -> Result<(), WorkspaceError> {
    if way.open().await.is_err_and(|e| is_away(&e)) {
        return Ok(());
    }
    let connection = CancellationToken::new();
    let _over = connection.clone().drop_guard();
    let client = connect(shared, way, CancellationToken::new(), connection).await?;
    end_all(&client, forget).await
}

async fn stop_own(shared: &Shared) -> Result<(), WorkspaceError> {
    let own = &shared.host.own;
    if !own.was_started() {
        return Ok(());
    }
    let way = Way::Own(own.run_dir());
    if way.open().await.is_err() {
        if own.went_in_order() {
            return Ok(());
        }
        // It was killed, and may have left something: the next one ends that before it listens.
        own.start().await?;
    }
    let connection = CancellationToken::new();
    let _over = connection.clone().drop_guard();
    let client = connect(shared, way, CancellationToken::new(), connection).await?;
    end_all(&client, false).await?;
    match client.stop().await {
        Ok(()) | Err(TetherError::Disconnected | TetherError::Gone(_)) => {}
        Err(error) => return Err(failed(&error)),
    }
    own.gone(Instant::now() + UNTIL_GONE).await
}

async fn end_all(client: &TetherClient, forget: bool) -> Result<(), WorkspaceError> {
    for process in client.list().await.map_err(|e| failed(&e))? {
        match client.end(&process.id, false, GRACE).await {
            Ok(_) | Err(TetherError::NotFound(_)) => {}
            Err(error) => return Err(failed(&error)),
        }
        if forget {
            client.forget(&process.id).await.map_err(|e| failed(&e))?;
        }
    }
    Ok(())
}

/// Removes what is wharf's on the host, and nothing of what sessions worked on.
pub(super) async fn delete(shared: Arc<Shared>, record: WorkspaceRecord) -> Result<(), WorkspaceError> {
    let id = record.id.clone();
    mark_deleting(&shared, record).await?;
    stop_own(&shared).await?;
    if let Some(path) = &shared.host.service {
        end_of_service(&shared, Way::Service(path.clone()), true).await?;
    }
    shared.host.own.remove().await?;
    let removed = shared.slot(&id).log.remove().await;
    removed.map_err(|e| WorkspaceError::Tether { message: format!("the workspace's log: {e}") })?;
    let mut batch = Batch::new();
    batch.delete_workspace(id);
    shared.store.commit(batch).await?;
    Ok(())
}

fn failed(error: &TetherError) -> WorkspaceError {
    WorkspaceError::Tether { message: error.to_string() }
}
