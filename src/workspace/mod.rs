//! Workspaces: from a spec to a running container with a tether connection, and what the engine did to it meanwhile.
//!
//! ```text
//!  Workspaces (handle) ── commands ──► Actor, one for each workspace ── BringUp, stop, delete ──► engine, tether
//!                                        ▲
//!  engine's events ──► watcher ──────────┘ what happened, what was seen
//! ```

mod actor;
mod connector;
mod container;
mod error;
mod hold;
mod host_socket;
mod lifecycle;
mod manager;
mod names;
mod orphans;
mod reasons;
mod shared;
mod spec;
mod tether_volume;
mod watcher;
mod work;

pub use error::{WorkspaceError, image_hint};
pub use hold::Hold;
pub use manager::{NewWorkspace, WorkspaceView, Workspaces};
pub use orphans::{Orphan, OrphanKind};
pub use shared::{EngineState, Transport, WorkspaceConfig, WorkspaceState};
