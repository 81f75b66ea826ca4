//! A tether that runs and that the engine knows nothing of: it was killed while it started the container. It has the lock
//! on the workspace's state, so that no other can serve before it has gone.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{WorkspaceError, host_socket, names, shared::Shared};
use crate::{
    domain::WorkspaceId,
    engine::{ContainerState, EngineError},
    tether::client::{Connect, ConnectError, Stream, TetherClient, TetherError},
};

/// How long it may take to go.
const UNTIL_GONE: Duration = Duration::from_secs(15);
/// How long between two looks at what tells nobody when it comes.
const LOOK: Duration = Duration::from_millis(2);

/// Ends a tether that answers though nothing runs by what is known. Whether the container runs
/// after all.
pub(super) async fn ended(shared: &Shared, id: &WorkspaceId) -> Result<bool, WorkspaceError> {
    let dir = shared.host_dir(id);
    if !shared.sockets.used() || !answers(&dir).await {
        return Ok(false);
    }
    match shared.engine.inspect_container(&names::container(id)).await {
        Ok(found) if matches!(found.state, ContainerState::Running | ContainerState::Paused) => return Ok(true),
        Ok(_) | Err(EngineError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::warn!(workspace = %id, "a tether answers that the engine does not know of: it is ended");
    end(dir, &shared.tracker).await?;
    Ok(false)
}

/// Whether a tether listens in a workspace's directory.
async fn answers(dir: &Path) -> bool {
    host_socket::connect(dir).await.is_ok()
}

/// Ends the one that listens there, with all that it holds.
async fn end(dir: PathBuf, tracker: &TaskTracker) -> Result<(), WorkspaceError> {
    let failed = |message: String| WorkspaceError::Tether {
        message: format!("one that the engine does not know of still runs, and can't be ended: {message}"),
    };
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let gone = async {
        let client =
            TetherClient::connect(Stray(dir.clone()), tracker, over).await.map_err(|e| failed(e.to_string()))?;
        match client.stop().await {
            Ok(()) | Err(TetherError::Disconnected | TetherError::Gone(_)) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        while answers(&dir).await {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    let late = || failed(format!("it does not go within {} s", UNTIL_GONE.as_secs()));
    tokio::time::timeout(UNTIL_GONE, gone).await.unwrap_or_else(|_| Err(late()))
}

/// The way to it.
struct Stray(PathBuf);

impl Connect for Stray {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        Box::pin(async {
            let opened = host_socket::connect(&self.0).await.map_err(|e| ConnectError::Gone(e.to_string()))?;
            Ok(Box::new(opened) as Box<dyn Stream>)
        })
    }
}
