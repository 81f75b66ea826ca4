//! The manager of workspaces.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WorkspaceError;
use crate::domain::{Page, Timestamp, WorkspaceId, WorkspaceSpec, WorkspaceStatus};

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
    /// What it is made from; values of `env` are not shown.
    pub spec: WorkspaceSpec,
    /// Whether it goes with its session.
    pub ephemeral: bool,
    /// Its open sessions.
    pub sessions: usize,
    /// When it was made.
    pub created: Timestamp,
}

/// All workspaces of a daemon; cheap to clone.
#[derive(Clone)]
pub struct Workspaces {}

impl Workspaces {
    /// Makes one, or returns the same-named if the spec is equal. `true`: it was made by this call.
    pub async fn create(&self, _new: NewWorkspace) -> Result<(WorkspaceView, bool), WorkspaceError> {
        todo!()
    }
    /// By id or name.
    pub async fn get(&self, _id: &str) -> Result<WorkspaceView, WorkspaceError> {
        todo!()
    }
    /// Newest first; `after` is the id that the page before ended with.
    pub async fn list(&self, _after: Option<String>, _limit: usize) -> Result<Page<WorkspaceView>, WorkspaceError> {
        todo!()
    }
    /// Starts its container, making it if need be; returns when tether answers.
    pub async fn start(&self, _id: &str) -> Result<WorkspaceView, WorkspaceError> {
        todo!()
    }
    /// Stops its container and proves that nothing of it runs.
    pub async fn stop(&self, _id: &str) -> Result<WorkspaceView, WorkspaceError> {
        todo!()
    }
}
