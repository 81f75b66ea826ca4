//! What an actor is told, what it has under way, and who waits for it.

use std::future::{Future, pending};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{WorkspaceError, lifecycle::Up};
use crate::{
    domain::WorkspaceRecord,
    engine::{Container, EventKind},
    tether::client::TetherClient,
};

/// Where the answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, WorkspaceError>>;

/// What an actor is told.
pub(super) enum Command {
    /// Bring it up and connect.
    Attach { record: Box<WorkspaceRecord>, reply: Reply<TetherClient> },
    /// Stop it; `only_unused`: unless somebody uses it, and then nothing is done.
    Stop { only_unused: bool, reply: Reply<()> },
    /// Make its container anew from this changed record, when it is next needed.
    Recreate { record: Box<WorkspaceRecord>, reply: Reply<()> },
    /// Delete it; without a reply: finish a deletion that a crash broke off.
    Delete { record: Box<WorkspaceRecord>, reply: Option<Reply<()>> },
    /// The engine reports something of a container of this workspace.
    Happened { container: String, kind: EventKind },
    /// All containers were looked at: this is the workspace's.
    Seen(Option<Container>),
    /// The engine can't be reached.
    EngineGone(String),
}

/// A piece of work, and who waits for it.
pub(super) enum Work {
    Idle,
    BringUp(BoxFuture<'static, Result<Up, WorkspaceError>>, Vec<Reply<TetherClient>>),
    Stop(BoxFuture<'static, Result<bool, WorkspaceError>>, Vec<Reply<()>>),
    Recreate(BoxFuture<'static, Result<(), WorkspaceError>>, Reply<()>),
    Delete(BoxFuture<'static, Result<(), WorkspaceError>>, Vec<Reply<()>>),
}

/// What became of a piece of work.
pub(super) enum Done {
    Up(Result<Up, WorkspaceError>),
    Stopped(Result<bool, WorkspaceError>),
    Recreated(Result<(), WorkspaceError>),
    Deleted(Result<(), WorkspaceError>),
}

impl Work {
    pub(super) async fn done(&mut self) -> Done {
        match self {
            Self::Idle => pending().await,
            Self::BringUp(work, _) => Done::Up(work.await),
            Self::Stop(work, _) => Done::Stopped(work.await),
            Self::Recreate(work, _) => Done::Recreated(work.await),
            Self::Delete(work, _) => Done::Deleted(work.await),
        }
    }
}

/// Waits for what is there, or for ever.
pub(super) async fn ready<T>(future: Option<&mut (impl Future<Output = T> + Unpin)>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Answers all.
pub(super) fn answer<T: Clone>(waiting: Vec<Reply<T>>, result: &Result<T, WorkspaceError>) {
    for reply in waiting {
        // Who no longer waits needs no answer.
        reply.send(result.clone()).ok();
    }
}

/// In words.
pub(super) fn error_of<T>(result: &Result<T, WorkspaceError>) -> String {
    result.as_ref().err().map(ToString::to_string).unwrap_or_default()
}
