//! Sessions: the state machine, its actor, the queue, the log and its subscribers, and the manager over all of them.

mod actor;
mod all_events;
mod content;
mod error;
mod log;
mod manager;
mod redact;
mod retention;
mod sealed;
mod shared;
mod state;
mod stats;
mod view;

pub use all_events::{AllEvents, AllFilter, AllPage, Cursor, From};
pub use error::SessionError;
pub use log::Subscription;
pub use manager::{Accepted, Cancelled, Created, EventPage, LateSubscription, Marked, Sessions};
pub use retention::Retention;
pub use shared::{Rules, Timeouts};
pub use stats::{SessionTotals, Share};
pub use view::{NewPrompt, NewSession, PermissionAnswer, SessionChanges, SessionFilter, SessionView, WorkspaceChoice};
