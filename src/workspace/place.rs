//! The two places that a workspace can be: a container of the engine's, or the host itself.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    WorkspaceError, host,
    lifecycle::{self, BringUp, Up},
    shared::Shared,
};
use crate::domain::{WorkspaceId, WorkspaceRecord};

/// Where a workspace is: what is done to it is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A container.
    Container,
    /// This machine.
    Host,
}

impl Place {
    pub(super) const fn of(record: &WorkspaceRecord) -> Self {
        if record.host { Self::Host } else { Self::Container }
    }

    /// Has its tether running, and connects.
    pub(super) fn bring_up(self, bring_up: BringUp) -> BoxFuture<'static, Result<Up, WorkspaceError>> {
        match self {
            Self::Container => Box::pin(bring_up.run()),
            Self::Host => Box::pin(host::bring_up(bring_up.shared, bring_up.run)),
        }
    }

    /// Ends everything in it, proven; `false`: there is nothing of it.
    pub(super) fn stop(self, shared: Arc<Shared>, id: WorkspaceId) -> BoxFuture<'static, Result<bool, WorkspaceError>> {
        match self {
            Self::Container => Box::pin(lifecycle::stop(shared, id)),
            Self::Host => Box::pin(async move { host::stop(&shared).await.map(|()| true) }),
        }
    }

    /// Removes everything of it, and its record last.
    pub(super) fn delete(
        self,
        shared: Arc<Shared>,
        record: WorkspaceRecord,
    ) -> BoxFuture<'static, Result<(), WorkspaceError>> {
        match self {
            Self::Container => Box::pin(lifecycle::delete(shared, record)),
            Self::Host => Box::pin(host::delete(shared, record)),
        }
    }
}
