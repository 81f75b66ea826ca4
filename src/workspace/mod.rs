//! Workspaces: from a spec to a running container with a tether connection, and what the engine did to it meanwhile.

mod error;
mod manager;

pub use error::WorkspaceError;
pub use manager::{NewWorkspace, WorkspaceView, Workspaces};
