//! Sessions: the state machine, its actor, the queue, the log and its subscribers, and the manager over all of them.

mod actor;
mod content;
mod error;
mod log;
mod manager;
mod redact;
mod sealed;
mod shared;
mod state;
mod view;

pub use error::SessionError;
pub use log::Subscription;
pub use manager::{Accepted, Cancelled, Created, EventPage, Marked, Sessions};
pub use shared::{Rules, Timeouts};
pub use view::{NewPrompt, NewSession, PermissionAnswer, SessionChanges, SessionFilter, SessionView, WorkspaceChoice};
