//! Opens the byte stream to a workspace's tether: by the host socket where the engine is local, else by an exec.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    WorkspaceError,
    container::{PROGRAM, SOCKET},
    host_socket,
    shared::Shared,
};
use crate::{
    engine::EngineError,
    tether::client::{Connect, ConnectError, Stream},
};

/// How long a started tether may take until it listens.
pub(super) const UNTIL_LISTENING: Duration = Duration::from_secs(3);
/// How often it is looked for: it takes a millisecond or two.
const LOOK: Duration = Duration::from_millis(1);

/// The way to one run of a container.
pub(super) struct Connector {
    pub(super) shared: Arc<Shared>,
    /// The container's name.
    pub(super) container: String,
    /// The directory of its host socket.
    pub(super) host_dir: PathBuf,
    /// Until when a socket that is not there is waited for: it was just started.
    pub(super) listening_by: Instant,
    /// Whether this run was reached by its socket: then it is not reached otherwise.
    pub(super) by_socket: AtomicBool,
    /// Cancelled when this run has ended.
    pub(super) lost: CancellationToken,
}

/// Why a container's tether is not connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    /// It answered that it can't be spoken to, or so that it can't.
    #[error("{0}")]
    Refused(String),
    /// It is not there, or the way to it is cut.
    #[error("{0}")]
    Missing(String),
}

impl From<NoConnection> for WorkspaceError {
    fn from(error: NoConnection) -> Self {
        Self::Tether { message: error.to_string() }
    }
}

impl Connector {
    async fn open(&self) -> Result<Box<dyn Stream>, ConnectError> {
        if self.shared.sockets.used() {
            match self.open_socket().await {
                Ok(stream) => return Ok(stream),
                // A socket without a listener: whether the container is gone is for the engine to say.
                Err(why) if self.shared.sockets.only() || self.by_socket.load(Ordering::Relaxed) => {
                    return Err(self.judge(why).await);
                }
                Err(_) => {}
            }
        }
        let argv = [PROGRAM, "connect", "--socket", SOCKET];
        match self.shared.engine.exec_attach(&self.container, &argv, "0", &self.lost).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(sorted(&error)),
        }
    }

    async fn open_socket(&self) -> Result<Box<dyn Stream>, String> {
        let just_started = || !self.by_socket.load(Ordering::Relaxed) && !self.lost.is_cancelled();
        let waited = just_started() && Instant::now() < self.listening_by;
        loop {
            match host_socket::connect(&self.host_dir).await {
                Ok(stream) => {
                    self.shared.sockets.works();
                    self.by_socket.store(true, Ordering::Relaxed);
                    return Ok(Box::new(stream));
                }
                Err(_) if just_started() && Instant::now() < self.listening_by => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => {
                    // Of a container that was not just started, it may only mean that tether is gone.
                    if waited {
                        self.shared.sockets.refuse();
                    }
                    return Err(format!("{}: {error}", self.host_dir.display()));
                }
            }
        }
    }

    async fn judge(&self, why: String) -> ConnectError {
        match self.shared.engine.inspect_container(&self.container).await {
            Ok(container) if container.state == crate::engine::ContainerState::Running => ConnectError::Retry(why),
            Ok(_) | Err(EngineError::NotFound { .. }) => ConnectError::Gone("the container does not run".to_owned()),
            Err(error) => ConnectError::Retry(error.to_string()),
        }
    }
}

impl Connect for Connector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            tokio::select! {
                biased;
                () = self.lost.cancelled() => Err(ConnectError::Gone("the container ended".to_owned())),
                opened = self.open() => opened,
            }
        })
    }
}

fn sorted(error: &EngineError) -> ConnectError {
    match error {
        EngineError::NotRunning { message } => ConnectError::Gone(message.clone()),
        EngineError::NotFound { .. } => ConnectError::Gone("the container was removed".to_owned()),
        other => ConnectError::Retry(other.to_string()),
    }
}
