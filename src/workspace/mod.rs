//! Workspaces: from a spec to a running container with a tether connection, and what the engine did to it meanwhile.
//!
//! ```text
//!  Workspaces (handle) ── commands ──► Actor, one for each workspace ── BringUp, stop, delete ──► engine, tether
//!                                        ▲
//!  engine's events ──► watcher ──────────┘ what happened, what was seen
//! ```
//!
//! The host itself is one, too, where the operator wants it (`host/`); which of the two a workspace is, is its `Place`.

mod actor;
mod changes;
mod clock;
mod connector;
mod container;
mod error;
mod files;
mod footing;
mod host;
mod host_socket;
mod lifecycle;
mod logbook;
mod logs;
mod manager;
mod mounts;
mod names;
mod orphans;
mod place;
mod reasons;
mod setup;
mod shared;
mod spec;
mod stray;
mod task;
mod tether_volume;
mod usage;
mod view;
mod watcher;
mod work;

pub use changes::WorkspaceChanges;
pub use clock::{Clock, SystemClock};
pub use error::{PathProblem, WorkspaceError, image_hint};
pub use files::{Found, FoundKind, Put, PutKind};
pub use footing::Footing;
pub use host::{HostConfig, HostService};
pub use logs::LogStream;
pub use manager::Workspaces;
pub use mounts::AllowedMount;
pub use orphans::{Orphan, OrphanKind};
pub use shared::{EngineState, Transport, WorkspaceConfig, WorkspaceState};
pub use usage::Hold;
pub use view::{NewWorkspace, WorkspaceView};
