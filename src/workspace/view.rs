//! Workspaces as clients ask for them and see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{SetupFailure, Timestamp, WorkspaceId, WorkspaceSpec, WorkspaceStatus};

/// A workspace to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewWorkspace {
    /// A unique name.
    pub name: Option<String>,
    /// What it is made from.
    #[serde(flatten)]
    pub spec: WorkspaceSpec,
}

/// A workspace as clients see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceView {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the engine says of its container.
    pub status: WorkspaceStatus,
    /// Why its repository or its setup command failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SetupFailure>,
    /// What it is made from; values of `env` and the repository's credentials are not shown.
    pub spec: WorkspaceSpec,
    /// Whether it goes with its session.
    pub ephemeral: bool,
    /// Whether it is the host itself, without a container.
    #[serde(default)]
    pub host: bool,
    /// Its open sessions.
    pub sessions: usize,
    /// When it was made.
    pub created: Timestamp,
}
